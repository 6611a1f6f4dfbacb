"""A schematic brain whose regions are shaded by the number of microbleeds in them and numbered as in `regions.REGIONS`.

Drawn for this program, simplified, not to scale and not copied from any atlas: both hemispheres from outside, one
axial and one coronal slice at the level of the thalamus. Radiological convention: the patient's right is on the left.
The shapes are plain curves, so that a page and a PDF draw the same ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape

from ..regions import (
    BASAL_GANGLIA,
    BRAINSTEM,
    CEREBELLUM,
    CORPUS_CALLOSUM,
    DEEP_WHITE_MATTER,
    EXTERNAL_CAPSULE,
    FRONTAL,
    INSULA,
    INTERNAL_CAPSULE,
    LEFT,
    OCCIPITAL,
    PARIETAL,
    REGIONS,
    RIGHT,
    TEMPORAL,
    THALAMUS,
)
from ..subject_counts import GROUPS, LAST_GROUP

Point = tuple[float, float]

WIDTH, HEIGHT = 412.0, 102.0
"""Of the diagram, in its own units; x to the right, y downward."""
SHADES = tuple((name, largest, colour) for (largest, name), colour in
               zip((*GROUPS, (None, LAST_GROUP)), ("#eef1f4", "#fde3ad", "#f7b25c", "#dd6a33", "#9c2121"), strict=True))
"""Name, largest count and colour, from light to dark, of the groups in which subjects are counted."""
OUTLINE, VENTRICLE, INK, INK_ON_DARK, CAPTION_INK = "#7a8590", "#ffffff", "#1c2126", "#ffffff", "#59636e"
LINE_WIDTH = 0.5
_DARK_FROM = 5
"""Counts that are shaded so dark that only white figures can be read on them."""

_VENTRICLE = 0
"""In place of a region's number: left white, without a number."""


@dataclass(frozen=True)
class Shape:
    """One area of the diagram.

    Attributes
    ----------
    region : str
        One of `REGIONS`; "" for a ventricle.
    side : "left" or "right"
        Of the patient.
    curve : tuple of (x, y)
        Closed path of cubic Bezier curves: the first point, then two control points and an end for each curve.
    label : (x, y) or None
        Middle of its number, if it carries one.
    label_size : float
        Height of the letters.
    """

    region: str
    side: str
    curve: tuple[Point, ...]
    label: Point | None
    label_size: float


@dataclass(frozen=True)
class Caption:
    """A word in the diagram, centred on (x, y)."""

    text: str
    x: float
    y: float
    size: float


_Area = tuple[int, tuple[tuple[Point, ...], ...], Point | None, float]
"""Number of the region, smooth edges that meet in corners (a single one that ends where it starts is a smooth loop),
place and height of its number."""

# half an axial slice: x outward from the midline, y from front to back
_A_FRONT = ((0, 3), (4, 1.5), (14, 1), (26, 8), (35, 21), (39, 36))
_A_SIDE = ((39, 38.5), (40.5, 50), (38.5, 62), (35, 70))
_A_BACK = ((35, 70), (28, 81), (17, 90), (6, 94), (0, 92))
_A_CUT = ((35, 70), (28, 66), (20, 64))
_AXIAL: tuple[_Area, ...] = (
    (FRONTAL, (_A_FRONT, ((39, 36), (35.5, 36.5), (32, 35.5), (27, 27), (14, 24), (0, 21)), ((0, 21), (0, 3))),
     (24, 15), 6),
    (TEMPORAL, (_A_SIDE, _A_CUT, ((20, 64), (29, 58.5), (33.2, 50), (33.6, 39), (36, 39.4), (39, 38.5))),
     (36.9, 54), 5),
    (OCCIPITAL, (tuple(reversed(_A_CUT)), _A_BACK, ((0, 92), (0, 64)), ((0, 64), (20, 64))), (14, 83), 6),
    (DEEP_WHITE_MATTER, (((4, 16), (13, 12.5), (21, 17), (26, 25), (28, 34), (29, 46), (27, 57), (27, 68), (24, 76),
                          (14, 79), (6, 74), (2, 65), (1, 48), (1, 28), (4, 16)),), (18, 20.5), 5),
    (CORPUS_CALLOSUM, (((0, 17.5), (5, 16.5), (9, 19)), ((9, 19), (6.5, 22), (0, 23.5)), ((0, 23.5), (0, 17.5))),
     (3.7, 20), 4.4),
    (CORPUS_CALLOSUM, (((0, 64), (6, 63.5), (11, 66)), ((11, 66), (7, 69.5), (0, 70.5)), ((0, 70.5), (0, 64))),
     (4, 67), 4.4),
    (_VENTRICLE, (((1, 25.5), (6, 23), (8.2, 24), (6, 29), (2.2, 36), (1, 33), (1, 25.5)),), None, 0),
    (_VENTRICLE, (((11, 69), (15, 68), (16, 72), (13, 76), (10.5, 73), (11, 69)),), None, 0),
    (BASAL_GANGLIA, (((8.6, 25), (11, 27), (10.8, 34), (8, 39), (5.2, 37), (6, 31), (8.6, 25)),), (8.3, 32.6), 4.4),
    (THALAMUS, (((2, 46), (6, 44), (9.5, 48), (13.5, 56), (12, 61), (6, 62), (2, 55), (2, 46)),), (7.2, 54.5), 4.4),
    (INTERNAL_CAPSULE, (((11.8, 26.5), (15.5, 27.5)), ((15.5, 27.5), (14.6, 36), (14, 42), (17, 50), (21.5, 57)),
                        ((21.5, 57), (17.5, 60)), ((17.5, 60), (13.5, 52), (9.8, 44), (10.8, 38), (11.8, 26.5))),
     (12.1, 43), 4.4),
    (BASAL_GANGLIA, (((16.2, 30), (20, 31.5), (22.6, 38), (23, 46), (21.5, 53), (18.2, 49), (15, 42), (15.6, 36),
                      (16.2, 30)),), (19, 42), 4.4),
    (EXTERNAL_CAPSULE, (((20.8, 30), (23.6, 29)), ((23.6, 29), (26.2, 37), (26.6, 46), (24.5, 55.5)),
                        ((24.5, 55.5), (22, 54)), ((22, 54), (23.7, 46), (23.3, 37), (20.8, 30))), (25, 41.4), 3.8),
    (INSULA, (((24.3, 28.5), (28.8, 28.5)), ((28.8, 28.5), (31.9, 37), (32.2, 46), (29.4, 56)),
              ((29.4, 56), (25.3, 55.5)), ((25.3, 55.5), (27.4, 46), (27, 37), (24.3, 28.5))), (29.6, 44), 3.8),
)
# half a coronal slice: y from top to bottom
_C_TOP = ((0, 5), (4, 3), (12, 2), (24, 6.5))
_C_UPPER = ((24, 6.5), (33, 14), (38, 25), (39.5, 37))
_C_CUT = ((24, 6.5), (22, 14), (21, 22))
_CORONAL: tuple[_Area, ...] = (
    (FRONTAL, (_C_TOP, _C_CUT, ((21, 22), (10, 20), (0, 22)), ((0, 22), (0, 5))), (12, 8.3), 6),
    (PARIETAL, (_C_UPPER, ((39.5, 37), (36, 38.5), (33, 37.5), (29, 30), (21, 22)), tuple(reversed(_C_CUT))),
     (31, 22), 6),
    (TEMPORAL, (((39.7, 40), (40, 50), (36, 62), (27, 67.5), (16, 65), (11.5, 57)),
                ((11.5, 57), (19, 54), (29.5, 54), (35, 40.4)), ((35, 40.4), (37, 41.2), (39.7, 40))), (29, 60), 6),
    (DEEP_WHITE_MATTER, (((2, 19), (12, 12.5), (20, 14), (27, 23), (30.5, 32), (30, 44), (27, 52.5), (18, 53.5),
                          (10, 51.5), (3, 50), (1, 40), (1, 28), (2, 19)),), (20.5, 19.5), 5),
    (CORPUS_CALLOSUM, (((0, 22), (8, 21), (14, 20)), ((14, 20), (14, 23.5), (8, 26), (0, 27.5)), ((0, 27.5), (0, 22))),
     (5, 24.2), 4.4),
    (_VENTRICLE, (((1.2, 29.5), (8, 27.5), (13, 25.5), (12, 29), (6, 32), (1.2, 33), (1.2, 29.5)),), None, 0),
    (BASAL_GANGLIA, (((14.6, 25), (17.6, 26), (17, 30), (13.8, 31.4), (12.6, 29.5), (14.6, 25)),), (15.1, 28.4), 3.8),
    (THALAMUS, (((1.5, 36), (6, 33.5), (11.5, 34.5), (12, 40), (9, 47), (4, 49), (1.5, 44), (1.5, 36)),), (6.5, 41.3),
     4.4),
    (INTERNAL_CAPSULE, (((18.2, 28.5), (21.6, 31)), ((21.6, 31), (18.5, 37), (17.2, 43), (13.8, 51)),
                        ((13.8, 51), (10.6, 49)), ((10.6, 49), (13, 42), (14, 35.5), (18.2, 28.5))), (15.3, 40.8), 4.4),
    (BASAL_GANGLIA, (((22, 33), (24.2, 37), (24.6, 43), (22.8, 49), (18.8, 48.5), (18.2, 44), (19.5, 38), (22, 33)),),
     (21.5, 43), 4.4),
    (EXTERNAL_CAPSULE, (((23.4, 33), (25.8, 33)), ((25.8, 33), (28, 38), (28.2, 43.5), (26, 50.5)),
                        ((26, 50.5), (23.6, 49.8)), ((23.6, 49.8), (25.4, 43.5), (25.1, 38), (23.4, 33))),
     (26.6, 41), 3.8),
    (INSULA, (((26.6, 32.6), (30.6, 33)), ((30.6, 33), (33.4, 38), (33.4, 44), (30.3, 51.5)),
              ((30.3, 51.5), (26.8, 50.8)), ((26.8, 50.8), (29, 44), (28.8, 38), (26.6, 32.6))), (31.1, 41.6), 3.8),
    (CEREBELLUM, (((9.5, 71.5), (19, 69.5), (29, 71.5), (32, 77), (27, 85), (16, 90), (8, 87), (9.5, 71.5)),),
     (21, 79.5), 6),
    (BRAINSTEM, (((0, 52), (4, 53), (8, 57)), ((8, 57), (9.5, 68), (8.5, 74), (5.2, 79)), ((5.2, 79), (4.4, 94)),
                 ((4.4, 94), (0, 94)), ((0, 94), (0, 52))), (4.1, 66), 4.4),
)
# a hemisphere from outside: x from front to back
_L_CENTRAL = ((53, 3), (50, 14), (45.5, 26), (42, 40))
_L_SYLVIAN_FRONT = ((26, 48), (33, 44.5), (42, 40))
_L_SYLVIAN_BACK = ((42, 40), (54, 38), (66, 34))
_L_TEMPORAL_BACK = ((66, 34), (73, 44))
_L_PARIETOOCCIPITAL = ((83, 16.5), (78, 28), (73, 44))
_L_PREOCCIPITAL = ((73, 44), (74.5, 53), (74, 61))


def _back(edge: tuple[Point, ...]) -> tuple[Point, ...]:
    return tuple(reversed(edge))


_LATERAL: tuple[_Area, ...] = (
    (BRAINSTEM, (((52, 64), (52, 72), (54.5, 77), (59, 81), (61.5, 94)), ((61.5, 94), (68.5, 94)),
                 ((68.5, 94), (66, 82), (68, 70), (68, 62)), ((68, 62), (52, 64))), (60.5, 74.5), 6),
    (CEREBELLUM, (((67, 66), (76, 63), (88, 62.5), (94, 68), (92, 77), (83, 84), (72, 83), (66, 76), (67, 66)),),
     (80, 74), 6),
    (FRONTAL, (((26, 48), (17, 50.5), (8, 50), (3, 42), (5, 28), (14, 14.5), (28, 6), (42, 2.8), (53, 3)), _L_CENTRAL,
               _back(_L_SYLVIAN_FRONT)), (25, 28), 6),
    (PARIETAL, (((53, 3), (64, 5), (75, 10), (83, 16.5)), _L_PARIETOOCCIPITAL, _back(_L_TEMPORAL_BACK),
                _back(_L_SYLVIAN_BACK), _back(_L_CENTRAL)), (63, 20), 6),
    (OCCIPITAL, (((83, 16.5), (91, 26), (97, 40), (97, 52), (92, 59), (84, 61.5), (74, 61)), _back(_L_PREOCCIPITAL),
                 _back(_L_PARIETOOCCIPITAL)), (85, 44), 6),
    (TEMPORAL, (_L_SYLVIAN_FRONT, _L_SYLVIAN_BACK, _L_TEMPORAL_BACK, _L_PREOCCIPITAL,
                ((74, 61), (60, 65.5), (44, 68), (31, 66.5), (23, 60), (22, 53), (26, 48))), (48, 53.5), 6),
)

_MIDLINES = (155.0, 257.0)
"""x of the middle of the axial and the coronal slice."""
_LATERAL_RIGHT, _LATERAL_LEFT = 106.0, 306.0
"""x of the front of the brain, seen from the right (it looks to the right) and from the left."""
CAPTIONS = (
    Caption("Right side", 56, 99, 5.5), Caption("Axial", _MIDLINES[0], 99, 5.5),
    Caption("Coronal", _MIDLINES[1], 99, 5.5), Caption("Left side", 356, 99, 5.5),
    *(Caption(letter, middle + offset, y, 6.5) for middle, y in zip(_MIDLINES, (6.0, 6.0), strict=True)
      for letter, offset in (("R", -40), ("L", 40))),
)


@cache
def shapes() -> tuple[Shape, ...]:
    """Return the areas of the diagram in the order in which they are painted, later ones over earlier ones."""
    placed = [(_LATERAL, RIGHT, _LATERAL_RIGHT, -1), (_LATERAL, LEFT, _LATERAL_LEFT, 1)]
    for areas, middle in zip((_AXIAL, _CORONAL), _MIDLINES, strict=True):
        placed += [(areas, RIGHT, middle, -1), (areas, LEFT, middle, 1)]
    return tuple(_shape(area, side, origin, direction) for areas, side, origin, direction in placed for area in areas)


def shade(count: int) -> str:
    """Return the colour of a region with this many microbleeds, as #rrggbb."""
    return next(colour for _, largest, colour in SHADES if largest is None or count <= largest)


def label_ink(count: int) -> str:
    """Return a colour that can be read on `shade`."""
    return INK_ON_DARK if count >= _DARK_FROM else INK


def number_of(shape: Shape) -> str:
    """Return the number of a region as it stands in the diagram."""
    return str(REGIONS.index(shape.region) + 1)


def diagram_svg(counts: Mapping[tuple[str, str], int]) -> str:
    """Return the diagram as one SVG element.

    Parameters
    ----------
    counts : dict of int by (region, side)
        Regions that it does not have are shaded as 0.
    """
    parts = [_shape_svg(shape, counts.get((shape.region, shape.side), 0)) for shape in shapes()]
    parts += [_text_svg(one.text, one.x, one.y, one.size, CAPTION_INK) for one in CAPTIONS]
    found = "; ".join(f"{side} {region} {count}" for (region, side), count in counts.items() if count)
    return (f'<svg class="diagram" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
            f'aria-label="{escape("Microbleeds by region: " + (found or "none"))}">{"".join(parts)}</svg>')


def _shape_svg(shape: Shape, count: int) -> str:
    numbers = [f"{x:.2f} {y:.2f}" for x, y in shape.curve]
    path = f'd="M{numbers[0]}C{" ".join(numbers[1:])}Z" style="stroke:{OUTLINE};stroke-width:{LINE_WIDTH};fill:'
    if not shape.region:
        return f'<path {path}{VENTRICLE}"/>'
    text = ""
    if shape.label:
        text = _text_svg(number_of(shape), *shape.label, shape.label_size, label_ink(count))
    return f'<path {path}{shade(count)}"><title>{shape.side} {shape.region}: {count}</title></path>{text}'


def _text_svg(text: str, x: float, y: float, size: float, colour: str) -> str:
    # as style, because the rules of a page for its other pictures are stronger than attributes
    style = f"font:{size:g}px Arial,sans-serif;fill:{colour};text-anchor:middle;dominant-baseline:central"
    return f'<text x="{x:g}" y="{y:g}" style="{style}">{text}</text>'


def _shape(area: _Area, side: str, origin: float, direction: int) -> Shape:
    number, edges, label, size = area
    curve = [edges[0][0]]
    for edge in edges:
        curve += _smooth(edge)
    moved = [(round(origin + direction * x, 2), float(y)) for x, y in [*curve, label or curve[0]]]
    return Shape(REGIONS[number - 1] if number else "", side, tuple(moved[:-1]), moved[-1] if label else None, size)


def _smooth(edge: tuple[Point, ...]) -> list[Point]:
    """Return the Bezier curves of a Catmull-Rom spline through the points: two control points and an end for each."""
    closed = edge[0] == edge[-1] and len(edge) > 2
    before, after = (edge[-2], edge[1]) if closed else (edge[0], edge[-1])
    points = [before, *edge, after]
    curves: list[Point] = []
    for (x0, y0), (x1, y1), (x2, y2), (x3, y3) in zip(points, points[1:], points[2:], points[3:], strict=False):
        curves += [(x1 + (x2 - x0) / 6, y1 + (y2 - y0) / 6), (x2 - (x3 - x1) / 6, y2 - (y3 - y1) / 6), (x2, y2)]
    return curves
