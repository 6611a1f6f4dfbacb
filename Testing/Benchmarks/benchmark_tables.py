"""The figures as Markdown tables."""

from collections.abc import Sequence

from benchmark_calibration import CalibrationScore
from benchmark_goals import Goal, Measure, judge_goals
from benchmark_scores import GroupScore
from benchmark_set import VERSION
from benchmark_steps import PAPER, STEPS, StepScore
from benchmark_tools import markdown_table, number, with_interval
from microbleeds.evaluation.by_kind import CAUSES, CauseCounts
from microbleeds.evaluation.intervals import CONFIDENCE, RESAMPLES
from microbleeds.evaluation.matching import CENTRE_LIMIT_MM
from microbleeds.evaluation.metrics import FrocPoint

FROC_FP_PER_SCAN = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
RULE = ("A prediction is a numbered region, or a 26-connected cluster of a binary map; it is right if its centre is "
        f"nearer than {CENTRE_LIMIT_MM:g} mm to that of a visible microbleed, one to one. Predictions on microbleeds "
        "that were drawn but cannot be seen are spared: neither right nor wrong. Scans without are those without a "
        f"visible microbleed. TPR, FP per scan, precision and F1 are pooled; in brackets {CONFIDENCE:.0%} intervals "
        f"({RESAMPLES} bootstrap samples of scans). Seconds are the median.")
GOALS_RULE = "Of the balanced point. A goal is met if the measured figure itself reaches it, whatever its interval."
STEPS_RULE = ("Detector: all candidates of step 1. Student: those of at least the operating point's probability, "
              "whatever the clean-up says of them; both by the candidates' centres. Clean-up: the final result as in "
              "the first table. Paper: Table 3 of Sundaresan et al. 2023, on scans of patients and matched by overlap.")
CALIBRATION_RULE = ("Candidates that the clean-up leaves, both tiers; true are those nearer than "
                    f"{CENTRE_LIMIT_MM:g} mm to a visible microbleed, a second one on the same lesion too (“again”; "
                    "the last column calls those wrong).")


def tables(title: str, main: Sequence[GroupScore], splits: Sequence[GroupScore],
           calibrations: Sequence[CalibrationScore]) -> str:
    """Return everything as Markdown; `title` says what was measured."""
    parts = [f"# {title}", f"Simulated benchmark, version {VERSION}. {RULE}", _figures(main), "## Goals",
             GOALS_RULE, _goals(judge_goals(main, calibrations))]
    if all(group.steps for group in main):
        parts += ["## Steps one by one", STEPS_RULE, _steps(main)]
    if calibrations:
        parts += ["## Calibration", CALIBRATION_RULE, _calibrations(calibrations)]
    if splits:
        parts += ["## Standard tier: slices and field strength", _figures(splits)]
    parts += ["## What the false positives lie on",
              "False positives; then how many of the visible things of that kind got one.", _causes(main),
              "## Which microbleeds are found", _found(main)]
    if all(group.froc for group in main):
        for curve in main[0].froc:
            parts += [f"## FROC, {curve}",
                      "Highest TPR of a threshold with at most so many false positives per scan; – where none has so "
                      "few.", _froc(main, curve)]
    return "\n\n".join(parts) + "\n"


def best_sensitivity(points: Sequence[FrocPoint], false_positives_per_scan: float) -> float | None:
    """Return the highest sensitivity of the points with at most so many false positives per scan, or None.

    Only measured points count; nothing is interpolated.
    """
    return max((point.sensitivity for point in points if point.sensitivity is not None
                and point.false_positives_per_scan <= false_positives_per_scan), default=None)


def _figures(groups: Sequence[GroupScore]) -> str:
    rows = []
    for group in groups:
        summary, intervals, wrong = group.summary, group.intervals, group.summary.false_positives
        rows.append([
            group.name, f"{summary.scans} ({wrong.clean_scans})", str(summary.counts.lesions),
            with_interval(summary.pooled.sensitivity, intervals.sensitivity),
            with_interval(wrong.per_scan, intervals.false_positives_per_scan),
            f"{number(wrong.per_scan_with_lesions)} / {number(wrong.per_scan_without_lesions)}",
            f"{wrong.clean_scans_kept_clean} of {wrong.clean_scans}",
            with_interval(summary.pooled.precision, intervals.precision), number(summary.pooled.f1),
            str(group.spared), "–" if group.median_seconds is None else f"{group.median_seconds:.1f}"])
    return markdown_table(["", "scans (without)", "microbleeds", "TPR", "FP per scan", "scans with / without",
                           "without, no FP", "precision", "F1", "spared", "s per scan"], rows)


def _goals(goals: Sequence[Goal]) -> str:
    words = {True: "yes", False: "no", None: "not measured"}
    rows = [[goal.group, " at ".join(map(_reach, goal.measures)),
             " at ".join(with_interval(measure.value, measure.interval, 3) for measure in goal.measures),
             words[goal.met]] for goal in goals]
    return markdown_table(["", "reach", "measured", "met"], rows)


def _reach(measure: Measure) -> str:
    return f"{measure.name} {'≥' if measure.at_least else '≤'} {measure.reach:g}"


def _steps(groups: Sequence[GroupScore]) -> str:
    rows = [[group.name, *(text for step in STEPS for text in _step(group.steps[step]))] for group in groups]
    rows += [[name, *(f"{value:.1f}" if place == 1 else number(value) for step in steps
                      for place, value in enumerate(step))] for name, steps in PAPER.items()]
    columns = (f"{step}: {name}" for step in STEPS for name in ("TPR", "FP per scan", "precision"))
    return markdown_table(["", *columns], rows)


def _step(score: StepScore) -> tuple[str, str, str]:
    summary, intervals = score.summary, score.intervals
    return (with_interval(summary.pooled.sensitivity, intervals.sensitivity),
            with_interval(summary.false_positives.per_scan, intervals.false_positives_per_scan),
            with_interval(summary.pooled.precision, intervals.precision))


def _calibrations(scores: Sequence[CalibrationScore]) -> str:
    rows = [[score.name, str(score.candidates), f"{score.true} ({score.again})",
             with_interval(score.ece, score.interval, 3), number(score.ece_one_to_one, 3)] for score in scores]
    return markdown_table(["", "candidates", "true (again)", "ECE", "ECE, one to one"], rows)


def _causes(groups: Sequence[GroupScore]) -> str:
    rows = []
    for index, cause in enumerate(CAUSES):
        rows.append([cause, *(_cause(group.causes[index]) for group in groups)])
    return markdown_table(["", *(group.name for group in groups)], rows)


def _cause(counts: CauseCounts) -> str:
    if counts.visible is None:
        return str(counts.false_positives)
    return f"{counts.false_positives}; {counts.fooled} of {counts.visible}" if counts.visible else "none there"


def _found(groups: Sequence[GroupScore]) -> str:
    rows = []
    for field in ("found_by_diameter", "found_by_region"):
        names = dict.fromkeys(name for group in groups for name in getattr(group, field))
        for name in sorted(names, key=lambda text: (not text.startswith("under"), text)):
            pairs = [getattr(group, field).get(name, (0, 0)) for group in groups]
            rows.append([name, *(f"{found} of {total}" for found, total in pairs)])
    return markdown_table(["", *(group.name for group in groups)], rows)


def _froc(groups: Sequence[GroupScore], curve: str) -> str:
    rows = [[group.name, *(number(best_sensitivity(group.froc[curve], limit)) for limit in FROC_FP_PER_SCAN)]
            for group in groups]
    return markdown_table(["FP per scan at most", *(f"{limit:g}" for limit in FROC_FP_PER_SCAN)], rows)
