"""What the figures should reach at the balanced point, and whether they do."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark_calibration import CalibrationScore
from benchmark_scores import GroupScore
from benchmark_set import HARD, STANDARD
from microbleeds.evaluation.intervals import bootstrap
from microbleeds.evaluation.matching import Counts
from microbleeds.settings import MODALITIES

LEAST_TPR = {STANDARD: 0.93, HARD: 0.85}
MOST_FP_PER_SCAN = {STANDARD: 1.0, HARD: 2.0}
LEAST_CLEAN_SHARE = 0.9
MOST_ECE = 0.03

_TPR, _FP, _CLEAN, _ECE = "TPR", "FP per scan", "share of scans without microbleeds that have no FP", "ECE"


@dataclass(frozen=True)
class Measure:
    """One figure with its interval, and the number that it should reach: from below if `at_least`."""

    name: str
    reach: float
    at_least: bool
    value: float | None
    interval: tuple[float, float] | None

    @property
    def met(self) -> bool | None:
        """Whether the value itself, not its interval, is good enough; None where there is no value."""
        if self.value is None:
            return None
        return self.value >= self.reach if self.at_least else self.value <= self.reach


@dataclass(frozen=True)
class Goal:
    """A goal of a group of cases; it is met if all its measures are, and None where one of them is not known."""

    group: str
    measures: tuple[Measure, ...]
    met: bool | None


def judge_goals(groups: Sequence[GroupScore], calibrations: Sequence[CalibrationScore]) -> tuple[Goal, ...]:
    """Return the goals of the groups that were measured: each modality of a tier, and the calibration of all cases."""
    by_name = {group.name: group for group in groups}
    goals = []
    for tier in (STANDARD, HARD):
        own = [by_name[name] for name in (f"{tier}, {modality}" for modality in MODALITIES) if name in by_name]
        goals += [_goal(group.name, *_found_at_few_wrong(group, tier)) for group in own]
        if tier == STANDARD:
            goals += [_goal(group.name, _kept_clean(group)) for group in own]
    if calibrations:
        of_all = calibrations[-1]
        goals.append(_goal(of_all.name, Measure(_ECE, MOST_ECE, False, of_all.ece, of_all.interval)))
    return tuple(goals)


def _goal(group: str, *measures: Measure) -> Goal:
    met = [measure.met for measure in measures]
    return Goal(group, measures, None if None in met else all(met))


def _found_at_few_wrong(group: GroupScore, tier: str) -> tuple[Measure, Measure]:
    summary, intervals = group.summary, group.intervals
    return (Measure(_TPR, LEAST_TPR[tier], True, summary.pooled.sensitivity, intervals.sensitivity),
            Measure(_FP, MOST_FP_PER_SCAN[tier], False, summary.false_positives.per_scan,
                    intervals.false_positives_per_scan))


def _kept_clean(group: GroupScore) -> Measure:
    wrong = group.summary.false_positives
    kept, scans = wrong.clean_scans_kept_clean, wrong.clean_scans
    # each clean scan as a lesion that is found if the scan stays clean, so the share is a pooled sensitivity
    interval = bootstrap([Counts(1, int(n < kept), 0, 0) for n in range(scans)]).sensitivity
    return Measure(_CLEAN, LEAST_CLEAN_SHARE, True, kept / scans if scans else None, interval)
