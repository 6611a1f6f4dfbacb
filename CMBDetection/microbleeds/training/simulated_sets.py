"""The simulated data sets that the shipped weights were trained and calibrated on.

    python -m microbleeds.training.simulated_sets --labels FILE... --role training --count 150 --seed 11 -o DIR

Training cases hold many bleeds and mimics, because time is spent per voxel and every patch shall teach much; validation
cases, which thresholds and calibration are chosen on, hold as many as patients do. A quarter (a fifth) of them is of
poor quality: noise, motion, thick slices. The two take different label maps and seeds, and neither those of the
benchmark.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..progress import make_reporter
from ..simulation.bleeds import MAX_COUNT
from ..simulation.data_set import IMAGES_OF, CasePlan, make_data_set
from ..simulation.protocol import draw_protocol
from ..simulation.subject import SubjectSettings

TRAINING, VALIDATION = "training", "validation"
_MODALITIES = {TRAINING: ("gre", "swi", "qsm", "gre", "swi", "qsm", "gre", "swi", "qsm", "gre"),
               VALIDATION: ("gre", "swi", "qsm")}
"""Repeated in this order; GRE, the sequence with the most varied protocols, is a little more frequent in training."""
_VALIDATION_BLEEDS = (0, 4, 15, 0, 2, 8, 0, 1, 25, 3, 6, 12)
_POOR_EVERY = {TRAINING: 4, VALIDATION: 5}


def plan_cases_of(role: str, count: int, seed: int, labels: Sequence[Path]) -> tuple[CasePlan, ...]:
    """Return the plans of a data set for training or validation; a plan depends on the seed and its number alone."""
    plans = []
    for number in range(1, count + 1):
        rng = np.random.default_rng((seed, number, 0))
        modality = _MODALITIES[role][(number - 1) % len(_MODALITIES[role])]
        turn = (number - 1) // len(set(_MODALITIES[role]))
        poor = _poor_quality(rng) if number % _POOR_EVERY[role] == 0 else {}
        if role == TRAINING:
            subject = SubjectSettings(bleeds=int(rng.integers(30, MAX_COUNT + 1)), mimics=float(rng.uniform(2, 5)),
                                      whole_head=bool(rng.random() < 0.5))
        else:
            subject = SubjectSettings(bleeds=_VALIDATION_BLEEDS[turn % len(_VALIDATION_BLEEDS)],
                                      mimics=2.0 if poor else 1.0)
        plans.append(CasePlan(f"sub-{number:04d}", (seed, number, 1), labels[turn % len(labels)],
                              IMAGES_OF[modality], draw_protocol(rng, modality, **poor), subject))
    return tuple(plans)


def _poor_quality(rng: np.random.Generator) -> dict[str, float]:
    return {"signal_to_noise": float(rng.uniform(6, 14)), "motion_mm": float(rng.uniform(0.4, 1.4)),
            "slice_mm": float(rng.uniform(3, 5)), "smoothing_mm": 0.0}


def main() -> None:
    """Make the data set named on the command line; what is there already is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, nargs="+", required=True, help="FreeSurfer-coded label maps, in turns")
    parser.add_argument("--role", choices=(TRAINING, VALIDATION), required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    plans = plan_cases_of(options.role, options.count, options.seed, options.labels)
    make_data_set(plans, options.output, options.jobs, make_reporter("bar"))


if __name__ == "__main__":
    main()
