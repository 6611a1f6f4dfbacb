"""Which scans stand out from a cohort.

A scan stands out where a figure lies more than 3.5 robust deviations from the median of the scans of its sequence
(the modified z-score of Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993). A robust deviation is 1.4826
times the median absolute deviation, and never less than the figure's own least one, so that a cohort of one protocol
is not all outliers. Figures that vary by a factor are compared by their logarithm, counts by their square root, whose
spread does not grow with them.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

LIMIT = 3.5
LEAST_SCANS = 5
"""Of one sequence; fewer have no median worth comparing with."""

_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Figure:
    """A figure of a scan that is compared.

    Attributes
    ----------
    name : str
        Its key, see `quality.measure`.
    title, unit : str
    scale : callable
        From a value to where it is compared.
    least : float
        Smallest robust deviation there.
    """

    name: str
    title: str
    unit: str
    scale: Callable[[float], float]
    least: float


FIGURES = (
    Figure("brain_ml", "brain volume", "ml", math.log, 0.02),
    Figure("in_plane_mm", "voxel in plane", "mm", math.log, 0.01),
    Figure("slice_mm", "slice distance", "mm", math.log, 0.01),
    Figure("noise_share", "noise share", "", math.log, 0.05),
    Figure("candidates", "candidates", "", math.sqrt, 0.5),
    Figure("findings", "findings", "", math.sqrt, 0.5),
    Figure("seconds", "run time", "s", math.log, 0.1))

RULE = (f"A scan stands out where {', '.join(figure.title for figure in FIGURES[:-1])} or {FIGURES[-1].title} lies "
        f"more than {LIMIT:g} robust deviations ({_TO_SIGMA:g} × the median absolute deviation) from the median of the "
        f"scans of its sequence, if there are {LEAST_SCANS} or more. Counts are compared by their square roots, all "
        "else by logarithms; a robust deviation is at least "
        f"{', '.join(f'{figure.least:g} ({figure.title})' for figure in FIGURES)}.")


@dataclass(frozen=True)
class Deviation:
    """By how many robust deviations (signed) a figure of a scan lies from the median of its sequence."""

    figure: Figure
    value: float
    median: float
    deviations: float

    @property
    def text(self) -> str:
        """The deviation in words."""
        unit = f" {self.figure.unit}" if self.figure.unit else ""
        return (f"{self.figure.title} {self.value:.3g}{unit}, median {self.median:.3g}{unit} "
                f"({self.deviations:+.1f})")


def find_outliers(figures: Sequence[Mapping[str, Any]], sequences: Sequence[str]) -> list[tuple[Deviation, ...]]:
    """Return for every scan the figures by which it stands out, the largest deviation first.

    Parameters
    ----------
    figures : sequence of mapping
        Figures of each scan by name; None, or not above 0 where a logarithm is compared, is left out.
    sequences : sequence of str
        Of each scan.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for number, sequence in enumerate(sequences):
        members[sequence].append(number)
    found: list[list[Deviation]] = [[] for _ in figures]
    for numbers in members.values():
        if len(numbers) < LEAST_SCANS:
            continue
        for figure in FIGURES:
            values = {number: float(figures[number][figure.name]) for number in numbers
                      if _can_be_compared(figures[number].get(figure.name), figure)}
            for number, deviation in _deviations(values, figure).items():
                if abs(deviation.deviations) > LIMIT:
                    found[number].append(deviation)
    return [tuple(sorted(one, key=lambda deviation: -abs(deviation.deviations))) for one in found]


def _can_be_compared(value: Any, figure: Figure) -> bool:
    return value is not None and (value > 0 or (value == 0 and figure.scale is math.sqrt))


def _deviations(values: Mapping[int, float], figure: Figure) -> dict[int, Deviation]:
    if not values:
        return {}
    middle = median(values.values())
    scaled = {number: figure.scale(value) for number, value in values.items()}
    centre = median(scaled.values())
    spread = max(_TO_SIGMA * median(abs(value - centre) for value in scaled.values()), figure.least)
    return {number: Deviation(figure, values[number], middle, (value - centre) / spread)
            for number, value in scaled.items()}
