"""What the probe says in words: one line (HTML) per figure, each with a plain reading."""

from html import escape

from microbleeds import probe
from microbleeds.findings import FARTHEST_EDGE_MM
from slicer.i18n import tr as _

_SURFACE_MM = 3.0
"""Nearer to the edge of the brain a dark spot is often a vessel in a sulcus, cut across."""
_CROWD_MM = 10.0
_BALL_LIKE = 0.6
"""Simulated balls of a few thick voxels have this sphericity or more, most cylinders less."""


def shapeLine(figures) -> str:
    """Return how far the structure runs."""
    if figures.run_slices is None:
        return _("Shape: nothing stands out of its surroundings here")
    readings = {probe.ROUND: _("compact"), probe.VESSEL: _("vessel likely"), probe.UNCLEAR: _("unclear")}
    beyond = _(" or more") if figures.run_cut else ""
    text = (_("Dark on one slice ({through:.1f} mm{beyond})") if figures.run_slices == 1
            else _("Continues over {slices} slices ({through:.1f} mm{beyond})"))
    return (text + _(", {across:.1f} mm in plane: <b>{reading}</b>")).format(
        slices=figures.run_slices, through=figures.run_mm, beyond=beyond, across=figures.run_in_plane_mm,
        reading=readings[figures.shape_reading])


def contrastLine(figures, bright) -> str:
    """Return how far the focus stands out."""
    ratio = figures.contrast_to_noise
    if ratio is None:
        return _("Contrast: unknown")
    reading = _("faint") if ratio < probe.FAINT_RATIO else _("clear")
    if figures.contrast is None:
        text = _("Brighter than its surroundings, CNR {ratio:.1f}") if bright else _("CNR {ratio:.1f}")
        return (text + ": <b>{reading}</b>").format(ratio=ratio, reading=reading)
    return _("{contrast:.0f} % darker than its surroundings, CNR {ratio:.1f}: <b>{reading}</b>").format(
        contrast=100 * figures.contrast, ratio=ratio, reading=reading)


def sphericityLine(figures) -> str:
    """Return how like a ball the region is."""
    if figures.sphericity is None:
        return _("Sphericity: unknown")
    reading = _("round") if figures.sphericity >= _BALL_LIKE else _("elongated")
    return _("Outline's sphericity {value:.2f}: <b>{reading}</b>").format(value=figures.sphericity, reading=reading)


def edgeLine(item) -> str:
    """Return how far the edge of the brain is."""
    if item.added_by_reader:
        return _("Edge of the brain: not measured for findings of the reader")
    if item.edge_mm is None:
        return _("Edge of the brain: {limit:.0f} mm or more away: <b>far from the surface</b>").format(
            limit=FARTHEST_EDGE_MM)
    reading = _("at the surface, a vessel in a sulcus?") if item.edge_mm < _SURFACE_MM else _("not at the surface")
    return _("Edge of the brain {distance:.1f} mm away: <b>{reading}</b>").format(distance=item.edge_mm,
                                                                               reading=reading)


def neighboursLine(distances) -> str:
    """Return where the other findings on screen are; `distances` are (mm, id), nearest first."""
    if not distances:
        return _("No other finding on screen: <b>alone</b>")
    near = sum(distance < _CROWD_MM for distance, _number in distances)
    reading = _("{count} within {limit:.0f} mm").format(count=near, limit=_CROWD_MM) if near else _("alone")
    return _("Nearest finding, number {number}, {distance:.1f} mm away: <b>{reading}</b>").format(
        number=distances[0][1], distance=distances[0][0], reading=reading)


def otherLine(name, kind, figures) -> str:
    """Return what another sequence shows at the place."""
    readings = {
        probe.PARAMAGNETIC: _("paramagnetic: blood, a vein or iron"),
        probe.DIAMAGNETIC: _("diamagnetic: calcification likely"),
        probe.POSITIVE: _("above; the sign depends on the scanner, compare with a vein"),
        probe.NEGATIVE: _("below; the sign depends on the scanner, compare with a vein"),
        probe.DARK: _("dark"), probe.BRIGHT: _("bright"), probe.ISO: _("like its surroundings"),
        probe.UNCLEAR: _("unclear")}
    name = escape(name)
    if figures is None or figures.difference is None:
        return _("{name}: does not show this place").format(name=name)
    ratio = "" if figures.ratio_to_noise is None else _(", CNR {ratio:+.1f}").format(ratio=figures.ratio_to_noise)
    return _("{name}: {difference:+.3g}{ratio}: <b>{reading}</b>").format(
        name=name, difference=figures.difference, ratio=ratio, reading=readings[figures.reading])


def signHint() -> str:
    """Return what to load to see the sign of the susceptibility."""
    return _("Load the QSM of this scan to tell calcification from blood, veins and iron.")
