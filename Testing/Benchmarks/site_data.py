"""A simulated site: one protocol unlike any that the shipped model was trained on, and the scans that the site has.

The training draws GRE at 13 to 45 ms with slices of .8 to 5 mm and a magnitude filter of at most .5 mm
(`microbleeds.simulation.protocol.draw_protocol`); the site lies outside in all of these, and its noise is strong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmark_set import THICK, BenchmarkCase
from microbleeds.simulation.data_set import IMAGES_OF, CasePlan
from microbleeds.simulation.protocol import draw_protocol
from microbleeds.simulation.subject import SubjectSettings

REVIEWED, TEST, TRAINING, CLEAN = "reviewed", "test", "training", "clean"
PARTS = (REVIEWED, TEST, TRAINING, CLEAN)
_BLEEDS = {REVIEWED: (4, 15, 2, 8, 1, 25, 3, 6, 12, 5), TEST: (0, 4, 15, 0, 2, 8, 0, 1, 25, 3, 6, 12), CLEAN: (0,)}
"""Repeated in this order; a site reviews patients with microbleeds, and tests on what comes."""
_TRAINING_BLEEDS, _TRAINING_MIMICS = (10, 45), (1.0, 3.0)
"""As `microbleeds.training.simulated_sets` draws them, so that few cases show much."""


@dataclass(frozen=True)
class Site:
    """The protocol of the site; tilt, shading and so on differ from scan to scan as they do everywhere."""

    field_tesla: float = 1.5
    echo_time_ms: float = 58.0
    in_plane_mm: float = 0.9
    slice_mm: float = 6.0
    gap_mm: float = 1.5
    smoothing_mm: float = 0.9
    signal_to_noise: float = 8.0

    def fixed(self) -> dict[str, float | tuple[float, ...]]:
        """Return the fields of the simulator's protocol that are the site's."""
        return {"field_tesla": self.field_tesla, "echo_times_ms": (self.echo_time_ms,),
                "in_plane_mm": self.in_plane_mm, "slice_mm": self.slice_mm, "gap_mm": self.gap_mm,
                "smoothing_mm": self.smoothing_mm, "signal_to_noise": self.signal_to_noise}


def site_plans(site: Site, part: str, count: int, seed: int, labels: Sequence[Path]) -> tuple[CasePlan, ...]:
    """Return the plans of one of `PARTS`; a plan depends on the site, seed, part and number alone."""
    plans = []
    for number in range(1, count + 1):
        own = (seed, PARTS.index(part), number)
        rng = np.random.default_rng((*own, 0))
        protocol = draw_protocol(rng, "gre", **site.fixed())
        plans.append(CasePlan(f"sub-{part}{number:03d}", (*own, 1), labels[(number - 1) % len(labels)],
                              IMAGES_OF["gre"], protocol, _subject(part, number, rng)))
    return tuple(plans)


def as_benchmark_case(plan: CasePlan) -> BenchmarkCase:
    """Return a plan as `benchmark_scores` takes a case; the drawn microbleeds are read from the case, not from here."""
    return BenchmarkCase(plan.name, plan.seed[-2], "gre", "site", THICK, plan.protocol.slice_mm,
                         plan.protocol.field_tesla, plan.subject.bleeds or 0, 0)


def _subject(part: str, number: int, rng: np.random.Generator) -> SubjectSettings:
    if part == TRAINING:
        return SubjectSettings(bleeds=int(rng.integers(*_TRAINING_BLEEDS)),
                               mimics=float(rng.uniform(*_TRAINING_MIMICS)))
    return SubjectSettings(bleeds=_BLEEDS[part][(number - 1) % len(_BLEEDS[part])])
