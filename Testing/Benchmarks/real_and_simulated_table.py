"""Quantiles of the figures of foci and tissue, real beside published beside simulated, as markdown."""

from collections.abc import Sequence

import numpy as np
from real_and_simulated_foci import PROFILE_MM, SCALARS, FocusFigures

QUANTILES = (5, 25, 50, 75, 95)
PUBLISHED = {
    "drawn_inside": (0.45, 0.54, 0.73, 0.78, 0.89),
    "extreme": (0.06, 0.21, 0.35, 0.56, 0.67),
    "diameter_mm": (2.03, 2.40, 2.68, 3.16, 4.69),
    "nearest_mm": (3.0, 4.9, 8.8, 19.8, 61.5),
}
"""Real T2* microbleeds, from shared/data/README.md: contrast of 42 lesions, sizes on the grids of VALDO, clusters."""
MEANING = {
    "inside": "mean of the focus (halfway rule)",
    "extreme": "darkest (QSM brightest) voxel within 3 mm",
    "drawn_inside": "mean of as many voxels as the truth has",
    "diameter_mm": "equivalent diameter, mm",
    "slices": "slices it shows on",
    "roundness": "in-plane roundness, short / long axis",
    "nearest_mm": "nearest focus, mm",
    "shell_deviation": "standard deviation of the 4-7 mm shell",
    "gradient_per_mm": "median in-plane gradient of the shell, per mm",
    "company": "share of shell voxels < .8 (QSM > +.1 ppm)",
    "noise": "noise (finest structure)",
}
BACKGROUND = ("shell_deviation", "gradient_per_mm", "company", "noise")


def quantile_table(real: Sequence[FocusFigures], simulated: Sequence[FocusFigures], published: bool,
                   names: Sequence[str] = SCALARS) -> str:
    """Return one row per figure with its quantiles 5/25/50/75/95 in every column."""
    lines = [f"| figure | real (n={len(real)}) | published | simulated (n={len(simulated)}) |", "|---|---|---|---|"]
    for name in names:
        columns = [_quantiles([getattr(figures, name) for figures in group]) for group in (real, simulated)]
        known = _join(PUBLISHED[name]) if published and name in PUBLISHED else ""
        lines.append(f"| {MEANING[name]} | {columns[0]} | {known} | {columns[1]} |")
    return "\n".join(lines)


def profile_table(real: Sequence[FocusFigures], simulated: Sequence[FocusFigures]) -> str:
    """Return the median radial profile, one column per mm from the middle."""
    lines = ["| profile, median at mm | " + " | ".join(map(str, PROFILE_MM)) + " |",
             "|---" * (1 + len(PROFILE_MM)) + "|"]
    for name, group in (("real", real), ("simulated", simulated)):
        if group:
            medians = np.nanmedian([figures.profile for figures in group], axis=0)
            lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in medians) + " |")
    return "\n".join(lines)


def _quantiles(values: Sequence[float]) -> str:
    known = np.array(values, float)
    known = known[np.isfinite(known)]
    return _join(np.percentile(known, QUANTILES)) if known.size else "-"


def _join(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
                      for value in values)
