"""From a scan to its findings: the whole method on one page.

1. Which image is it, and where is the brain? (`modality`, `brain_mask`)
2. `step0_prepare`: bias field, intensity scale, radial symmetry, all on one working grid around the brain.
3. `step1_candidates`: the detector marks everything that may be a microbleed.
4. `step2_classify`: the student network looks at each candidate again and gives its probability.
5. `step3_cleanup`: rules on size, shape and place remove what cannot be one.
6. `assemble`: findings in millimetres, and a label map on the grid of the scan; `region_map` says where each lies.
"""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import scipy
import SimpleITK as sitk
import torch

from . import __version__
from .assemble import make_findings
from .errors import InputError, SettingsError
from .findings import DetectionResult, Provenance
from .modality import decide_modality
from .read_write import Scan
from .reference_prepare import prepare_as_reference
from .reference_tiling import reference_probability_map
from .region_lookup import locate
from .region_map import find_regions
from .settings import DEVICES, MODALITIES
from .step0_prepare import find_brain, prepare
from .step1_candidates import find_candidates
from .step2_classify import classify
from .step3_cleanup import removal_rules
from .tiling import probability_map
from .volume import Volume
from .weights import Model

Progress = Callable[[str, str, float], None]
"""Called with the step, a short text for the user, and the finished fraction of the scan."""

_WAYS = {"microbleeds": (prepare, probability_map), "reference": (prepare_as_reference, reference_probability_map)}
"""Step 0, and how the detector is run, by the architecture of the model: as its networks were trained."""
_BEGINS = {"brain": 0.0, "prepare": 0.1, "candidates": 0.3, "classify": 0.87, "cleanup": 0.94,
           "regions": 0.98, "end": 1.0}
"""Share of the time at which each step begins."""


@dataclass(frozen=True, eq=False)
class Detection:
    """The result; on the grid of the scan the ids of the kept findings (int32), and the brain (bool)."""

    result: DetectionResult
    labels: Volume
    brain: Volume


def detect(scan: Scan, model: Model, *, mask: Volume | None = None, modality: str = "auto",
           operating_point: str = "balanced", device: str = "auto", improbable_regions: bool = False,
           progress: Progress = lambda step, message, fraction: None) -> Detection:
    """Find microbleeds in a scan.

    Parameters
    ----------
    scan : Scan
    model : Model
    mask : Volume, optional
        Brain mask on the grid of the scan; found by a network if not given.
    modality : {"auto", "gre", "swi", "qsm"}
    operating_point : str
        One of the model's.
    device : str
        One of `settings.DEVICES`.
    improbable_regions : bool
        See `assemble.make_findings`.
    progress : callable

    Raises
    ------
    InputError
        If the scan cannot be used, for example because no brain is found in it.
    SettingsError
        If the modality, operating point or device is not available.
    """
    settings, device, clock = model.settings(operating_point), choose_device(device), _Clock(progress)
    prepare_scan, run_detector = _WAYS[model.architecture]
    volume, warnings = scan.volume, list(scan.warnings)
    try:
        with clock.step("brain", "Brain mask", shown_as="prepare"):
            brain = find_brain(volume, mask, device)
            modality, reason = _choose_modality(modality, scan, brain)
        with clock.step("prepare", "Bias field, intensities, radial symmetry"):
            prepared = prepare_scan(volume, brain, modality, settings.prepare, clock.tell)
    except InputError as error:
        raise InputError(f"{scan.path.name}: {error}") from error
    if "undecided" in reason:
        warnings.append(reason)
    with clock.step("candidates", "Detector"):
        candidates = find_candidates(prepared, model.detector, settings.candidates, device, clock.advance,
                                     run_detector)
    if len(candidates) == settings.candidates.max_candidates:
        warnings.append(f"Only the {len(candidates)} most probable candidates were looked at; check the image and the "
                        "brain mask.")
    with clock.step("classify", "Classifier"):
        candidates = classify(candidates, prepared, model.student, settings.classify, model.calibration, device,
                              clock.advance)
    with clock.step("cleanup", "Clean-up"):
        centres_ras = np.reshape([candidate.position_ras for candidate in candidates], (-1, 3))
        rules = removal_rules([candidate.voxels for candidate in candidates], centres_ras, prepared.image,
                              prepared.brain, settings.cleanup)
        findings, labels = make_findings(candidates, rules, settings.classify.threshold, volume, prepared.brain,
                                         improbable_regions)
    with clock.step("regions", "Regions", shown_as="cleanup"):
        regions, margin = find_regions(volume, brain, device)
    if regions is None:
        warnings.append(f"The regions of the brain could not be told on this scan (margin {margin:.3f}), so no finding "
                        "has one; check the orientation in its header, and the brain mask.")
    else:
        findings = tuple(replace(finding, place=locate(regions, finding.position_ras)) for finding in findings)
    provenance = _provenance(scan, model, operating_point, modality, reason, clock.seconds, warnings)
    return Detection(DetectionResult(findings, provenance, regions), labels, brain)


def choose_device(device: str) -> str:
    """Return the torch device for one of `settings.DEVICES`.

    Raises
    ------
    SettingsError
        If there is no such device.
    """
    if device not in DEVICES:
        raise SettingsError(f"device must be one of {', '.join(DEVICES)}, got {device!r}.")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("There is no graphics card that PyTorch can use here; choose the device cpu.")
    return device


def _choose_modality(modality: str, scan: Scan, brain: Volume) -> tuple[str, str]:
    if modality == "auto":
        return decide_modality(scan.volume, brain, scan.stem, scan.metadata)
    if modality not in MODALITIES:
        raise SettingsError(f"modality must be auto or one of {', '.join(MODALITIES)}, got {modality!r}.")
    return modality, f"Given by the user ({modality.upper()})."


def _provenance(scan: Scan, model: Model, operating_point: str, modality: str, reason: str, seconds: dict[str, float],
                warnings: list[str]) -> Provenance:
    return Provenance(
        input_name=scan.path.name, input_sha256=scan.sha256, modality=modality, modality_reason=reason,
        model_name=model.name, model_sha256=model.sha256, operating_point=operating_point, shape=scan.volume.shape,
        spacing_mm=tuple(scan.volume.spacing.tolist()), parameters=model.settings(operating_point).to_json(),
        versions=_versions(), seconds=seconds, warnings=tuple(warnings), simulated=scan.simulated)


def _versions() -> dict[str, str]:
    return {"microbleeds": __version__, "python": platform.python_version(), "numpy": np.__version__,
            "scipy": scipy.__version__, "SimpleITK": sitk.Version.VersionString(), "torch": str(torch.__version__)}


class _Clock:
    """Tells progress within the step that runs, and notes the seconds of each."""

    def __init__(self, progress: Progress):
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def step(self, name: str, message: str, shown_as: str | None = None) -> Iterator[None]:
        names = list(_BEGINS)
        self._begin, self._end = _BEGINS[name], _BEGINS[names[names.index(name) + 1]]
        self._shown_as, self._message = shown_as or name, message
        self.advance(0.0)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def advance(self, fraction: float) -> None:
        self.tell(self._message, fraction)

    def tell(self, message: str, fraction: float) -> None:
        self._progress(self._shown_as, message, self._begin + fraction * (self._end - self._begin))
