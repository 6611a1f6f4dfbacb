"""Rates from counts: pooled over scans, per scan, and along a sweep of thresholds (FROC).

False positives are always per scan, never per lesion: the two are confused in print. A rate whose denominator is
zero is None, and such scans are left out of means and medians: sensitivity needs a lesion, precision a prediction,
F1 one of either.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median

import numpy as np

from .matching import Counts, match_centres

FROC_THRESHOLDS = (0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99)


@dataclass(frozen=True)
class Rates:
    """Sensitivity (the paper's TPR), precision and their harmonic mean, each in [0, 1] or None."""

    sensitivity: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class Average:
    """Mean and median over the `scans` in which a rate is defined."""

    mean: float | None
    median: float | None
    scans: int


@dataclass(frozen=True)
class FalsePositives:
    """False positives per scan: over all scans, over those with and those without lesions.

    `clean_scans_kept_clean` counts the scans without lesions and without any prediction, out of `clean_scans`.
    """

    per_scan: float | None
    per_scan_with_lesions: float | None
    per_scan_without_lesions: float | None
    clean_scans: int
    clean_scans_kept_clean: int


@dataclass(frozen=True)
class Summary:
    """One matching rule over all scans."""

    scans: int
    counts: Counts
    pooled: Rates
    per_scan: dict[str, Average]
    false_positives: FalsePositives


@dataclass(frozen=True)
class FrocPoint:
    """One threshold of an FROC curve; pooled over scans."""

    threshold: float
    sensitivity: float | None
    precision: float | None
    false_positives_per_scan: float | None
    false_positives_per_scan_with_lesions: float | None
    false_positives_per_scan_without_lesions: float | None


@dataclass(frozen=True, eq=False)
class ScoredCandidates:
    """Candidates of one scan with a score, and the lesions of the reference: (m, 3) RAS mm, (m,), (n, 3) RAS mm.

    Candidates that are `spared`, (m,) bool, are left out unless they lie on a lesion, see `matching.match_centres`.
    """

    positions_ras: np.ndarray
    scores: np.ndarray
    lesions_ras: np.ndarray
    spared: np.ndarray | None = None

    def counts(self, threshold: float) -> Counts:
        """Count the candidates with a score of at least the threshold, by distance of centres."""
        chosen = self.scores >= threshold
        return match_centres(self.positions_ras[chosen], self.lesions_ras,
                             spared=None if self.spared is None else self.spared[chosen])


def rates(counts: Counts) -> Rates:
    """Return the rates of one scan, or of pooled counts.

    Examples
    --------
    >>> rates(Counts(lesions=4, found=2, predictions=2, correct=1))
    Rates(sensitivity=0.5, precision=0.5, f1=0.5)
    """
    sensitivity = _ratio(counts.found, counts.lesions)
    precision = _ratio(counts.correct, counts.predictions)
    if counts.lesions + counts.predictions == 0:
        return Rates(None, None, None)
    if not sensitivity or not precision:
        return Rates(sensitivity, precision, 0.0)
    return Rates(sensitivity, precision, 2 * sensitivity * precision / (sensitivity + precision))


def pool(counts: Sequence[Counts]) -> Counts:
    """Return the sums over scans."""
    return Counts(*(sum(values) for values in zip(*(asdict(item).values() for item in counts), strict=True))) \
        if counts else Counts(0, 0, 0, 0)


def summarise(counts: Sequence[Counts]) -> Summary:
    """Return pooled and per-scan rates; `counts` holds one entry per scan."""
    each = [rates(item) for item in counts]
    per_scan = {name: _average([getattr(item, name) for item in each]) for name in ("sensitivity", "precision", "f1")}
    pooled = pool(counts)
    return Summary(len(counts), pooled, rates(pooled), per_scan, false_positives(counts))


def false_positives(counts: Sequence[Counts]) -> FalsePositives:
    """Return false positives per scan, apart for scans with and without lesions."""
    clean = [item for item in counts if item.lesions == 0]
    return FalsePositives(
        per_scan=_mean_false_positives(counts),
        per_scan_with_lesions=_mean_false_positives([item for item in counts if item.lesions > 0]),
        per_scan_without_lesions=_mean_false_positives(clean),
        clean_scans=len(clean),
        clean_scans_kept_clean=sum(item.predictions == 0 for item in clean),
    )


def froc(scans: Sequence[ScoredCandidates], thresholds: Sequence[float] = FROC_THRESHOLDS) -> tuple[FrocPoint, ...]:
    """Return the FROC curve by distance of centres: candidates with a score of at least the threshold count."""
    return tuple(_froc_point(scans, threshold) for threshold in thresholds)


def _froc_point(scans: Sequence[ScoredCandidates], threshold: float) -> FrocPoint:
    counts = [scan.counts(threshold) for scan in scans]
    pooled, wrong = rates(pool(counts)), false_positives(counts)
    return FrocPoint(threshold, pooled.sensitivity, pooled.precision, wrong.per_scan, wrong.per_scan_with_lesions,
                     wrong.per_scan_without_lesions)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _average(values: Sequence[float | None]) -> Average:
    defined = [value for value in values if value is not None]
    return Average(fmean(defined), median(defined), len(defined)) if defined else Average(None, None, 0)


def _mean_false_positives(counts: Sequence[Counts]) -> float | None:
    return fmean(item.false_positives for item in counts) if counts else None
