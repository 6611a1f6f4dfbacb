"""Figures of an evaluation as SVG: FROC curves and the reliability curve, with nothing outside the file.

Every size is in the units of the view box. No style sheet and no ids, so that several figures fit into one page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, log2
from textwrap import wrap

from .metrics import FrocPoint
from .reliability import ReliabilityBin

POOLED = "pooled"
"""A curve whose name begins with this is drawn bold, and the others thin."""

_LOWEST_FP = 0.125
_LEAST_HIGHEST_FP = 4.0
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255")
"""Okabe & Ito 2008, without yellow, which is lost on white, and with the wine red of Tol 2021."""
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""Four dashes and seven colours: the 29th curve looks like the first."""
_INK, _MUTED, _GRID = "#1c2126", "#59636e", "#dde2e7"
_LINE = 18
_NAME_LENGTH = 24
_MOST_NUMBERS = 12
_TITLE_LENGTH = 70


@dataclass(frozen=True)
class _Box:
    """The area between the axes."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height


@dataclass(frozen=True)
class _Stroke:
    """How a curve is drawn; `marks` says whether its points get dots."""

    colour: str
    width: float
    dash: str
    marks: bool

    @property
    def attributes(self) -> str:
        dash = f' stroke-dasharray="{self.dash}"' if self.dash else ""
        return f'stroke="{self.colour}" stroke-width="{self.width}"{dash}'


def froc_svg(curves: Mapping[str, Sequence[FrocPoint]], title: str) -> str:
    """Return FROC curves as an SVG document.

    The axis of false positives per scan is logarithmic from 0.125 on and linear from 0 to there, so that thresholds
    without a single false positive have a place. Points without a sensitivity are left out.

    Parameters
    ----------
    curves : name to points, in the order of the legend
    title : str
        Names and title may hold any character.
    """
    points = {name: [(point.false_positives_per_scan, point.sensitivity, point.threshold) for point in curve
                     if point.sensitivity is not None and point.false_positives_per_scan is not None]
              for name, curve in curves.items()}
    box = _Box(62, _title_height(title), 440, 330)
    highest = max([_LEAST_HIGHEST_FP, *(x for curve in points.values() for x, _, _ in curve)])
    end = 1 + ceil(log2(highest / _LOWEST_FP))
    numbers = ["0", *(f"{_LOWEST_FP * 2 ** n:g}" for n in range(end))]
    ticks = [(n / end, number if end <= _MOST_NUMBERS or n % 2 == 0 else "") for n, number in enumerate(numbers)]
    parts = [_axes(box, ticks, _fifths(), f"False positives per scan (logarithmic from {_LOWEST_FP:g} on)",
                   "Sensitivity (TPR)")]
    strokes = _strokes(list(points))
    for name in sorted(points, key=_is_pooled):
        placed = [(box.left + box.width * _doublings(x) / end, box.bottom - box.height * y) for x, y, _ in points[name]]
        tips = [f"{name}: sensitivity {y:.3f} at {x:.3g} false positives per scan, threshold {threshold:g}"
                for x, y, threshold in points[name]]
        parts.append(_curve(name, placed, tips, strokes[name]))
    parts += [_legend_entry(box.right + 18, box.top + 8 + _LINE * place, name if points[name] else f"{name}: none",
                            stroke) for place, (name, stroke) in enumerate(strokes.items())]
    height = max(box.bottom + 54, box.top + _LINE * len(points) + 12)
    return _document(title, _froc_words(points), 760, height, parts)


def reliability_svg(bins: Sequence[ReliabilityBin], ece: float | None, title: str) -> str:
    """Return a reliability curve as an SVG document: the curve above, the candidates of each bin as bars below.

    Parameters
    ----------
    bins : sequence of ReliabilityBin
    ece : float or None
        Expected calibration error, printed behind the title.
    title : str
    """
    title = f"{title} (ECE\N{NO-BREAK SPACE}{'not defined' if ece is None else f'{ece:.3f}'})"
    top = _title_height(title, 50)
    box = _Box(62, top, 400, 400)
    low = _Box(62, box.bottom + 30, 400, 70)
    filled = [(item.mean_probability, item.share_true, item) for item in bins
              if item.mean_probability is not None and item.share_true is not None]
    tips = [f"{share:.3f} true of {item.count} with a mean probability of {mean:.3f}" for mean, share, item in filled]
    placed = [(box.left + box.width * mean, box.bottom - box.height * share) for mean, share, _ in filled]
    diagonal = (f'<path class="diagonal" d="M{box.left} {box.bottom}L{box.right} {box.top}" stroke="{_MUTED}" '
                'stroke-width="1.2" stroke-dasharray="5 4"/>')
    words = "; ".join(f"{item.low:g} to {item.high:g}: {tip}" for tip, (_, _, item) in zip(tips, filled, strict=True))
    parts = [_axes(box, _fifths(), _fifths(), "", "Share that are lesions"), diagonal,
             _curve("Reliability", placed, tips, _Stroke(_COLOURS[0], 2.2, "", True)),
             _axes(low, _fifths(), [], "Predicted probability", "Candidates"), *_bars(low, bins)]
    return _document(title, f"Reliability curve by bins of probability. {words}.", 500, low.bottom + 54, parts, 50)


def _doublings(value: float) -> float:
    """Return the place of a count on the axis: 0, 1 at 0.125, 2 at 0.25 and so on."""
    return value / _LOWEST_FP if value < _LOWEST_FP else 1 + log2(value / _LOWEST_FP)


def _is_pooled(name: str) -> bool:
    return name.startswith(POOLED)


def _strokes(names: Sequence[str]) -> dict[str, _Stroke]:
    """Return how each curve is drawn; without a pooled curve all are of middle width and have their points marked."""
    pooled = [name for name in names if _is_pooled(name)]
    others = [name for name in names if not _is_pooled(name)]
    strokes = {name: _Stroke(_INK, 3.2, _DASHES[n % len(_DASHES)], True) for n, name in enumerate(pooled)}
    strokes |= {name: _Stroke(_COLOURS[n % len(_COLOURS)], 1.4 if pooled else 2, _DASHES[n % len(_DASHES)], not pooled)
                for n, name in enumerate(others)}
    return {name: strokes[name] for name in names}


def _froc_words(points: Mapping[str, Sequence[tuple[float, float, float]]]) -> str:
    """Return what a reader of the figure would say of each curve."""
    words = ["Sensitivity against false positives per scan."]
    for name, curve in points.items():
        few = [point for point in curve if point[0] <= 1]
        if few:
            x, y, _ = max(few, key=lambda point: (point[1], -point[0]))
            words.append(f"{name}: sensitivity {y:.3f} at {x:.3g} false positives per scan.")
    return " ".join(words)


def _curve(name: str, placed: Sequence[tuple[float, float]], tips: Sequence[str], stroke: _Stroke) -> str:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{_text(tip)}</title></circle>'
                   for (x, y), tip in zip(placed, tips, strict=True)) if stroke.marks else ""
    return (f'<g class="curve"><title>{_text(name)}</title>'
            f'<polyline points="{line}" fill="none" stroke-linejoin="round" {stroke.attributes}/>'
            f'<g fill="{stroke.colour}">{dots}</g></g>')


def _legend_entry(x: float, y: float, name: str, stroke: _Stroke) -> str:
    short = name if len(name) <= _NAME_LENGTH else name[:_NAME_LENGTH - 1] + "…"
    return (f'<g class="legend"><title>{_text(name)}</title><path d="M{x} {y}h32" {stroke.attributes}/>'
            f'<text x="{x + 40}" y="{y + 4}">{_text(short)}</text></g>')


def _bars(box: _Box, bins: Sequence[ReliabilityBin]) -> list[str]:
    """Return a bar for each bin, with its count above it where there is room."""
    most = max((item.count for item in bins), default=0) or 1
    parts = []
    for item in bins:
        x, width = box.left + box.width * item.low, box.width * (item.high - item.low)
        height = (box.height - 14) * item.count / most
        parts.append(f'<rect class="bar" x="{x + 1:.1f}" y="{box.bottom - height:.1f}" width="{width - 2:.1f}" '
                     f'height="{height:.1f}" fill="{_COLOURS[5]}"><title>{item.count} candidates from {item.low:g} to '
                     f"{item.high:g}</title></rect>")
        if 6 * len(str(item.count)) < width:
            parts.append(f'<text x="{x + width / 2:.1f}" y="{box.bottom - height - 4:.1f}" font-size="10" '
                         f'text-anchor="middle">{item.count}</text>')
    return parts


def _fifths() -> list[tuple[float, str]]:
    return [(n / 5, f"{n / 5:.1f}") for n in range(6)]


def _axes(box: _Box, across: Sequence[tuple[float, str]], up: Sequence[tuple[float, str]], x_name: str,
          y_name: str) -> str:
    """Return grid lines, frame, numbers and names; a tick is its place as a share of the axis and its number."""
    grid = "".join(f"M{box.left + box.width * share:.1f} {box.top}v{box.height}" for share, _ in across)
    grid += "".join(f"M{box.left} {box.bottom - box.height * share:.1f}h{box.width}" for share, _ in up)
    numbers = "".join(f'<text class="x-tick" x="{box.left + box.width * share:.1f}" y="{box.bottom + 17}" '
                      f'text-anchor="middle">{number}</text>' for share, number in across)
    numbers += "".join(f'<text class="y-tick" x="{box.left - 8}" y="{box.bottom - box.height * share + 4:.1f}" '
                       f'text-anchor="end">{number}</text>' for share, number in up)
    middle = box.top + box.height / 2
    return (f'<g class="axes"><path d="{grid}" stroke="{_GRID}"/>'
            f'<rect x="{box.left}" y="{box.top}" width="{box.width}" height="{box.height}" stroke="{_MUTED}" '
            f'fill="none"/><g fill="{_MUTED}">{numbers}</g>'
            f'<text x="{box.left + box.width / 2}" y="{box.bottom + 40}" text-anchor="middle">{x_name}</text>'
            f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{y_name}</text></g>')


def _title_lines(title: str, length: int) -> list[str]:
    return wrap(title, length) or [""]


def _title_height(title: str, length: int = _TITLE_LENGTH) -> int:
    return 18 + 20 * len(_title_lines(title, length))


def _document(title: str, words: str, width: float, height: float, parts: Sequence[str],
              title_length: int = _TITLE_LENGTH) -> str:
    heading = "".join(f'<text x="18" y="{24 + 20 * place}" font-size="15" font-weight="600">{_text(line)}</text>'
                      for place, line in enumerate(_title_lines(title, title_length)))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img">\n<title>{_text(title)}</title>\n<desc>{_text(words)}</desc>\n'
            f'<rect width="100%" height="100%" fill="#fff"/>\n'
            f'<g font-family="system-ui, \'Segoe UI\', Arial, sans-serif" font-size="12" fill="{_INK}">\n'
            f'{heading}\n' + "\n".join(parts) + "\n</g>\n</svg>\n")


def _text(words: str) -> str:
    """Return words as XML text; characters that XML cannot hold, and kinds of space, become a space."""
    return escape("".join(letter if letter.isprintable() else " " for letter in words))
