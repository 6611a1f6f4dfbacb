from xml.etree import ElementTree

import numpy as np
import pytest
from microbleeds.export.region_diagram import (
    HEIGHT,
    OUTLINE,
    SHADES,
    WIDTH,
    diagram_svg,
    label_ink,
    number_of,
    shade,
    shapes,
)
from microbleeds.regions import REGIONS, SIDES

EVERY_PLACE = [(region, side) for region in REGIONS for side in SIDES]


def outline(shape):
    """Return points along the curve of a shape, (n, 2)."""
    curve, t = np.array(shape.curve), np.linspace(0, 1, 20)[:, None]
    parts = []
    for start in range(0, len(curve) - 1, 3):
        a, b, c, d = curve[start:start + 4]
        parts.append((1 - t)**3 * a + 3 * (1 - t)**2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d)
    return np.concatenate(parts)


def holds(polygon, point):
    """Whether a point lies in a polygon, by the crossings of a ray."""
    (x, y), (x0, y0), (x1, y1) = point, polygon.T, np.roll(polygon, -1, axis=0).T
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.count_nonzero(crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)) % 2 == 1


def fills(svg):
    """Return the colours of the areas by (region, side), read off the drawing."""
    found = {}
    for path in ElementTree.fromstring(svg).iter("path"):
        title = path.find("title")
        if title is not None:
            side, _, region = title.text.rpartition(": ")[0].partition(" ")
            found.setdefault((region, side), set()).add(path.get("style").split("fill:")[1])
    return found


def test_every_region_of_both_sides_is_drawn_and_numbered():
    assert {(one.region, one.side) for one in shapes() if one.region} == set(EVERY_PLACE)
    assert {(one.region, one.side) for one in shapes() if one.label} == set(EVERY_PLACE)
    assert all(REGIONS[int(number_of(one)) - 1] == one.region for one in shapes() if one.region)


def test_every_shape_is_closed_and_within_the_diagram():
    for shape in shapes():
        points = outline(shape)
        assert np.allclose(points[0], points[-1], atol=0.02)
        assert points.min() >= 0 and (points <= (WIDTH, HEIGHT)).all()


def test_every_number_stands_in_its_own_region_on_top():
    for shape in shapes():
        if shape.label:
            covering = [one for one in shapes() if holds(outline(one), shape.label)]
            assert covering[-1].region == shape.region and covering[-1].side == shape.side


def test_the_sides_mirror_each_other_and_right_is_on_the_left():
    middle = {side: [np.mean(outline(one), axis=0) for one in shapes() if one.side == side] for side in SIDES}
    assert len(middle["left"]) == len(middle["right"])
    assert all(right[0] < left[0] and np.isclose(right[1], left[1])
               for right, left in zip(*(sorted(map(tuple, middle[side]), key=lambda p: round(p[1], 3))
                                        for side in ("right", "left")), strict=True))


@pytest.mark.parametrize(("count", "name"), [(0, "0"), (1, "1"), (2, "2-4"), (4, "2-4"), (5, "5-10"), (10, "5-10"),
                                             (11, "> 10"), (300, "> 10")])
def test_shades_are_the_groups_of_the_counts(count, name):
    assert shade(count) == {label: colour for label, _, colour in SHADES}[name]


def test_a_number_can_be_read_on_its_shade():
    def luminance(colour):
        values = np.array([int(colour[start:start + 2], 16) for start in (1, 3, 5)]) / 255
        values = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(values @ (0.2126, 0.7152, 0.0722))

    lights = [luminance(shade(count)) for count in (0, 1, 2, 5, 11)]
    assert lights == sorted(lights, reverse=True)
    for count, light in zip((0, 1, 2, 5, 11), lights, strict=True):
        brighter, darker = sorted((light, luminance(label_ink(count))), reverse=True)
        # WCAG asks 3 : 1 of large figures
        assert (brighter + 0.05) / (darker + 0.05) >= 3


def test_the_regions_with_microbleeds_are_shaded_and_no_others():
    counts = {("frontal", "left"): 3, ("thalamus", "right"): 1, ("cerebellum", "left"): 12}
    found = fills(diagram_svg(counts))
    assert set(found) == set(EVERY_PLACE)
    assert found == {place: {shade(counts.get(place, 0))} for place in EVERY_PLACE}


def test_the_drawing_says_its_counts_in_words_and_needs_no_style():
    svg = diagram_svg({("insula", "left"): 2, ("insula", "right"): 0})
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "Microbleeds by region: left insula 2"
    assert "none" in ElementTree.fromstring(diagram_svg({})).get("aria-label")
    assert all(OUTLINE in path.get("style") for path in root.iter("path"))
    assert {"R", "L", "Axial", "Coronal", "Right side", "Left side"} <= {text.text for text in root.iter("text")}
