"""How a model is trained: one frozen record, kept in the model's card. Defaults are the shipped recipe."""

from dataclasses import dataclass

from ..errors import SettingsError
from ..networks import TILE_MULTIPLES


@dataclass(frozen=True)
class TrainingSettings:
    """Numbers of the recipe; a step is one batch. Fine-tuning uses some of them, see `FINE_TUNING`.

    Attributes
    ----------
    seed : of weights, patches and variations
    width : channels of the finest level of the networks
    detector_steps : first round, on lesions, look-alikes and any brain
    refine_steps : second round, with the detector's own false candidates
    teacher_steps, student_steps : of the second step's networks
    detector_batch : patches per batch
    detector_patch : their size in voxels; smaller than the paper's 48³, so that a step of equal cost sees more places
    classifier_batch : 24³ patches per batch
    learning_rate : highest of the one-cycle schedule
    mimic_classes : the voxel logits have classes for vessels and mimics
    balance_lesions : voxels of small lesions weigh more
    lesion_share : of the focal loss in which every lesion counts alike, beside Dice and cross-entropy of the detector
    randomise : patches are varied in contrast, shading, resolution and noise
    distil : the student learns from the teacher, otherwise from labels alone
    hard_share : share of the labels in the student's loss (paper: 0.4)
    held_out : share of subjects kept for thresholds and calibration, where no data set is given for them
    """

    seed: int = 1
    width: int = 16
    detector_steps: int = 14000
    refine_steps: int = 3000
    teacher_steps: int = 1500
    student_steps: int = 1500
    detector_batch: int = 8
    detector_patch: tuple[int, int, int] = (32, 32, 24)
    classifier_batch: int = 32
    learning_rate: float = 2e-3
    mimic_classes: bool = True
    balance_lesions: bool = True
    lesion_share: float = 1.0
    randomise: bool = True
    distil: bool = True
    hard_share: float = 0.4
    held_out: float = 0.2

    def __post_init__(self):
        for name in ("width", "detector_steps", "refine_steps", "teacher_steps", "student_steps", "detector_batch"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _check(self.seed >= 0, "seed", self.seed, "0 or more")
        whole = all(size > 0 and size % multiple == 0
                    for size, multiple in zip(self.detector_patch, TILE_MULTIPLES, strict=True))
        _check(whole, "detector_patch", self.detector_patch, f"multiples of {TILE_MULTIPLES}")
        # batch normalisation needs two patches
        _check(self.classifier_batch >= 2, "classifier_batch", self.classifier_batch, "2 or more")
        _check(self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        _check(self.lesion_share >= 0, "lesion_share", self.lesion_share, "0 or more")
        _check(0 <= self.hard_share <= 1, "hard_share", self.hard_share, "in [0, 1]")
        _check(0 < self.held_out <= 0.5, "held_out", self.held_out, "more than 0 and at most 0.5")


def _check(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise SettingsError(f"{name} must be {expected}, got {value!r}.")


FINE_TUNING = TrainingSettings(detector_steps=400, student_steps=400, learning_rate=2e-4, held_out=0.3)
"""Few steps at a tenth of the rate, so that little of what the model knew is lost."""
