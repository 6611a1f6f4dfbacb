"""The figures as files: FROC curves of each tier, reliability curves."""

from collections.abc import Sequence
from pathlib import Path

from benchmark_calibration import CalibrationScore
from benchmark_scores import ALL, GroupScore
from benchmark_set import TIERS
from microbleeds.evaluation.curves import POOLED, froc_svg, reliability_svg
from microbleeds.read_write import write_text

CURVE = "final"
"""Of the FROC curves, the one that is drawn: what the clean-up leaves, by its probability."""


def write_figures(start: Path, title: str, groups: Sequence[GroupScore],
                  calibrations: Sequence[CalibrationScore]) -> tuple[Path, ...]:
    """Write the figures that there are candidates for, and return their paths.

    Parameters
    ----------
    start : Path
        Folder and beginning of the names: ``START-froc-TIER.svg``, ``START-reliability.svg`` (all cases together) and,
        where there are several, ``START-reliability-MODALITY.svg``.
    title : str
        What was measured.
    groups : sequence of GroupScore
        By tier and modality.
    calibrations : sequence of CalibrationScore
    """
    figures = {}
    for tier in TIERS:
        names = {group.name: group.name.removeprefix(f"{tier}, ") for group in groups
                 if group.name.startswith(f"{tier}, ") and CURVE in group.froc}
        curves = {POOLED if names[group.name] == ALL else names[group.name]: group.froc[CURVE] for group in groups
                  if group.name in names}
        if curves:
            figures[f"froc-{tier}"] = froc_svg(curves, f"{title}: simulated benchmark, {tier} tier")
    for score in calibrations:
        name = "reliability" if score is calibrations[-1] else f"reliability-{score.name}"
        figures[name] = reliability_svg(score.bins, score.ece, f"{title}: simulated benchmark, {score.name}")
    paths = {name: start.with_name(f"{start.name}-{name}.svg") for name in figures}
    for name, text in figures.items():
        write_text(paths[name], text)
    return tuple(paths.values())
