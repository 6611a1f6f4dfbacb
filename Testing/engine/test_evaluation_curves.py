import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from microbleeds.evaluation.curves import froc_svg, reliability_svg
from microbleeds.evaluation.metrics import FrocPoint
from microbleeds.evaluation.reliability import reliability

SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'a <script>alert("1")</script> & \'b\' \x00\x1b\udc80 ]]>'


def point(false_positives, sensitivity, threshold=0.5):
    return FrocPoint(threshold, sensitivity, None, false_positives, None, None)


def parse(text):
    return ElementTree.fromstring(text.encode())


def of_class(root, name):
    return [element for element in root.iter() if element.get("class") == name]


def ticks(root, axis):
    """Return where each number of an axis stands; the numbers across are centred, those upwards stand on a line."""
    place = {"x": lambda element: float(element.get("x")), "y": lambda element: float(element.get("y")) - 4}[axis]
    return {float(element.text): place(element) for element in of_class(root, f"{axis}-tick") if element.text}


def corners(curve):
    return [tuple(map(float, pair.split(","))) for pair in curve.find(f"{SVG}polyline").get("points").split()]


def curves_of(root):
    return {curve.find(f"{SVG}title").text: curve for curve in of_class(root, "curve")}


def texts(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def test_points_stand_at_their_numbers():
    curve = [point(8, 1.0), point(1, 0.8), point(0.25, 0.6), point(0.125, 0.4), point(0, 0.2)]
    root = parse(froc_svg({"one": curve}, "FROC"))
    x, y = ticks(root, "x"), ticks(root, "y")
    expected = [(x[item.false_positives_per_scan], y[item.sensitivity]) for item in curve]
    assert np.array(corners(curves_of(root)["one"])) == pytest.approx(np.array(expected), abs=0.11)
    assert list(x) == [0, 0.125, 0.25, 0.5, 1, 2, 4, 8] and list(y) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_the_axis_rises_and_is_logarithmic_from_an_eighth_on():
    figures = np.linspace(0, 3.9, 200)
    root = parse(froc_svg({"one": [point(value, 0.5) for value in figures]}, "FROC"))
    x = np.array([corner[0] for corner in corners(curves_of(root)["one"])])
    assert (np.diff(x) > 0).all()
    step = (ticks(root, "x")[4] - ticks(root, "x")[0.125]) / 5
    many = figures > 0.125
    assert x[many] == pytest.approx(ticks(root, "x")[1] + step * np.log2(figures[many]), abs=0.2)


@pytest.mark.parametrize("highest", [0, 0.1, 4, 4.01, 300, 70000])
def test_the_axis_holds_every_point_and_its_numbers_do_not_touch(highest):
    root = parse(froc_svg({"one": [point(highest, 0.9), point(0, 0.1)]}, "FROC"))
    x = ticks(root, "x")
    assert max(x) >= min(highest, 4)
    last = max(corner[0] for corner in corners(curves_of(root)["one"]))
    grid_end = float(of_class(root, "axes")[0].find(f"{SVG}rect").get("width")) + x[0]
    assert last <= grid_end + 0.1
    for left, right in pairwise(x):
        assert x[right] - x[left] > 3.5 * (len(f"{left:g}") + len(f"{right:g}"))


def test_the_pooled_curve_is_bold_on_top_and_alone_marked():
    folds = {f"fold {n}": [point(2, 0.8 + n / 100), point(1, 0.6)] for n in range(5)}
    root = parse(froc_svg({"pooled": [point(2, 0.83), point(1, 0.6)], **folds}, "FROC"))
    assert [entry.find(f"{SVG}title").text for entry in of_class(root, "legend")] == ["pooled", *folds]
    curves = curves_of(root)
    assert list(curves) == [*folds, "pooled"]
    widths = [float(curve.find(f"{SVG}polyline").get("stroke-width")) for curve in curves.values()]
    assert widths[-1] > 2 * max(widths[:-1])
    assert [len(list(curve.iter(f"{SVG}circle"))) for curve in curves.values()] == [0] * 5 + [2]


def test_curves_differ_without_colour_and_with_it_and_the_legend_shows_them_alike():
    root = parse(froc_svg({f"fold {n}": [point(1, 0.5)] for n in range(28)}, "FROC"))

    def looks(elements):
        return [(line.get("stroke"), line.get("stroke-dasharray")) for line in elements]

    lines = looks(curve.find(f"{SVG}polyline") for curve in of_class(root, "curve"))
    assert len(set(lines)) == 28
    assert all(first[0] != second[0] and first[1] != second[1] for first, second in pairwise(lines))
    assert looks(entry.find(f"{SVG}path") for entry in of_class(root, "legend")) == lines
    height = float(root.get("viewBox").split()[3])
    assert all(float(element.get("y")) < height for element in root.iter(f"{SVG}text"))


def test_points_say_what_they_are():
    root = parse(froc_svg({"one": [point(1.25, 0.75, 0.35)]}, "FROC"))
    (circle,) = root.iter(f"{SVG}circle")
    assert circle.find(f"{SVG}title").text == \
        "one: sensitivity 0.750 at 1.25 false positives per scan, threshold 0.35"


def test_title_and_description_for_those_who_hear_the_figure():
    curve = [point(3, 0.97), point(0.9, 0.93), point(0.5, 0.93), point(0.1, 0.4)]
    root = parse(froc_svg({"pooled": curve, "clean": [point(0, None)]}, "FROC of 5 folds"))
    assert [element.tag for element in root][:2] == [f"{SVG}title", f"{SVG}desc"] and root.get("role") == "img"
    assert root[0].text == "FROC of 5 folds"
    assert root[1].text.endswith("pooled: sensitivity 0.930 at 0.5 false positives per scan.")


def test_points_without_lesions_are_left_out():
    root = parse(froc_svg({"clean": [point(0.5, None), point(None, 0.5)]}, "FROC"))
    assert corners(curves_of(root)["clean"]) == [] and "clean: none" in texts(root)
    assert curves_of(parse(froc_svg({}, "FROC"))) == {}


@pytest.mark.parametrize("svg", [
    froc_svg({NASTY: [point(1, 0.5)]}, NASTY * 3),
    reliability_svg(reliability(np.array([0.5]), np.array([1])), 0.5, NASTY * 3),
], ids=["froc", "reliability"])
def test_names_are_words_and_nothing_is_outside_the_file(svg):
    root = parse(svg)
    assert 'a <script>alert("1")</script> & \'b\'' in root[0].text
    allowed = {"svg", "title", "desc", "g", "rect", "path", "polyline", "circle", "text"}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= allowed
    assert not re.search(r"href|url\(|style=| id=| on\w+=", re.sub(r">[^<]*<", "><", svg))


def test_long_titles_wrap_and_long_names_are_cut_but_told_in_full():
    title, name = "a long title " * 12, "a very long name of one curve among many"
    root = parse(froc_svg({name: [point(1, 0.5)]}, title))
    shown = texts(root)
    lines = [text for text in shown if text.startswith(("a long", "long", "title"))]
    assert len(lines) > 1 and " ".join(lines).split() == title.split()
    assert name not in shown and "a very long name of one…" in shown
    frame = of_class(root, "axes")[0].find(f"{SVG}rect")
    assert float(frame.get("y")) >= 20 * len(lines)
    assert of_class(root, "legend")[0].find(f"{SVG}title").text == name


def test_reliability_curve_and_its_bars():
    bins = reliability(np.array([0.2] * 4 + [0.6] * 2 + [0.8] * 10), np.array([0] * 4 + [1, 0] + [1] * 8 + [0] * 2),
                       bins=5)
    root = parse(reliability_svg(bins, 0.0634, "Held-out scans"))
    assert root[0].text == "Held-out scans (ECE 0.063)"
    x = ticks(root, "x")
    frame = of_class(root, "axes")[0].find(f"{SVG}rect")
    bottom, height = float(frame.get("y")) + float(frame.get("height")), float(frame.get("height"))
    expected = [(x[0.2], bottom), (x[0.6], bottom - 0.5 * height), (x[0.8], bottom - 0.8 * height)]
    assert np.array(corners(curves_of(root)["Reliability"])) == pytest.approx(np.array(expected), abs=0.11)
    heights = [float(bar.get("height")) for bar in of_class(root, "bar")]
    assert heights == pytest.approx(np.array([0, 4, 0, 2, 10]) * heights[-1] / 10, abs=0.11)
    assert [text for text in texts(root) if text in ("0", "4", "2", "10")] == ["0", "4", "0", "2", "10"]
    numbers = re.findall(r"[\d.]+", of_class(root, "diagonal")[0].get("d"))
    assert list(map(float, numbers)) == [x[0], bottom, x[1], bottom - height]


def test_counts_stay_within_their_bars():
    bins = reliability(np.full(123456, 0.51), np.ones(123456), bins=20)
    root = parse(reliability_svg(bins, 0.49, "Many"))
    assert "123456" not in texts(root)
    assert any("123456" in bar.find(f"{SVG}title").text for bar in of_class(root, "bar"))


def test_no_candidates():
    root = parse(reliability_svg(reliability(np.empty(0), np.empty(0)), None, "None"))
    assert "not defined" in root[0].text and corners(curves_of(root)["Reliability"]) == []
