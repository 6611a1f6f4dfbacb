"""The group level: what counts where there is a review, what stands out, and what the page says."""

import base64
import re
import shutil
import struct
import sys
import zlib
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from cohort_phantoms import bids_tree, fake_modules, run_cohort, wanted_of
from microbleeds.cohort import page
from microbleeds.cohort.group import HISTOGRAM_COLUMNS, QUALITY_COLUMNS, REGION_COLUMNS, write_group
from microbleeds.cohort.inputs import Wanted, find_scans
from microbleeds.cohort.outliers import LIMIT, find_outliers
from microbleeds.cohort.quality import noise_share, thumbnail
from microbleeds.cohort.records import read_record, write_record
from microbleeds.errors import InputError
from microbleeds.export.table_cells import parse_table, read_table_text
from microbleeds.export.tables import SUBJECT_COLUMNS
from microbleeds.outputs import read_result
from microbleeds.read_write import write_json
from microbleeds.review_files import Review, ReviewedFinding, review_to_json
from microbleeds.volume import Volume

NAMES = ["a", "b", "c", "d", "e", "f", "g"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Seven scans with results, "g" damaged, in "in" and "out" of a folder."""
    folder = tmp_path_factory.mktemp("cohort")
    source, output = bids_tree(folder / "in", NAMES), folder / "out"
    (source / "sub-g" / "anat" / "sub-g_T2starw.nii.gz").write_bytes(b"nothing")
    with pytest.MonkeyPatch.context() as patch:
        for name, module in fake_modules().items():
            patch.setitem(sys.modules, name, module)
        run_cohort(source, output)
    return folder


@pytest.fixture
def cohort(made, tmp_path, monkeypatch):
    """A copy of it: source and output, and the fake detector."""
    for name, module in fake_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return shutil.copytree(made / "in", tmp_path / "in"), shutil.copytree(made / "out", tmp_path / "out")


def grouped(source, output):
    """Run the group level; return the rows of the table, the histogram and the regions by name, and the page."""
    files = write_group(find_scans(source, Wanted()), output, lambda share: None)
    columns = {"table": (*SUBJECT_COLUMNS, *QUALITY_COLUMNS), "histogram": HISTOGRAM_COLUMNS, "regions": REGION_COLUMNS}
    rows = {key: parse_table(*read_table_text(files[key]), own) for key, own in columns.items()}
    return rows, files["report"].read_text(encoding="utf-8")


def place(output, name):
    return output / f"sub-{name}" / "anat"


def findings_of(output, name):
    return len(read_result(place(output, name) / f"sub-{name}_T2starw_desc-cmb_findings.json").findings)


def text_of(html):
    return unescape(re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)))


def review(folder, name, verdicts):
    """Write a finished review of a scan's findings as other programs would."""
    findings = tuple(ReviewedFinding(number, (0.0, 0.0, 0.0), 3.0, verdict, added_by_reader=True, region="insula",
                                     side="right") for number, verdict in enumerate(verdicts, 1))
    write_json(folder / f"sub-{name}_T2starw_desc-cmb_review.json", review_to_json(
        Review(f"sub-{name}_T2starw.nii.gz", "", "gre", "Dr. <A>", findings)))


def test_counts_are_the_detectors_and_called_unreviewed(cohort):
    source, output = cohort
    rows, html = grouped(source, output)
    expected = {name: findings_of(output, name) for name in NAMES[:-1]}
    assert {row["subject"]: row["total"] for row in rows["table"]} == expected
    assert {row["reviewed"] for row in rows["table"]} == {"unreviewed"} and rows["table"][0]["definite"] is None
    assert rows["table"][0]["field_strength_t"] == 3 and rows["table"][0]["slice_mm"] == 2
    assert {row["microbleeds"]: row["scans"] for row in rows["histogram"]} == {
        count: list(expected.values()).count(count) for count in set(expected.values())}
    frontal = {row["side"]: row for row in rows["regions"] if row["region"] == "frontal"}
    assert frontal["left"]["unreviewed"] == frontal["left"]["total"] == sum(expected.values())
    assert frontal["left"]["scans"] == sum(count > 0 for count in expected.values()) and frontal["right"]["total"] == 0
    text = text_of(html)
    assert "Research tool - not for clinical use" in text and "6 of 6 scans simulated" in text
    assert "6 with a result, 1 failed, 0 not run yet" in text
    assert "6 unreviewed: there the counts are the detector's" in text and "readers' verdicts" not in text
    assert "sub-g_T2starw.nii.gz is not an image or is damaged" in text


@pytest.mark.parametrize("beside_scan", [True, False])
def test_a_readers_verdicts_go_before(cohort, beside_scan):
    source, output = cohort
    review(place(source if beside_scan else output, "b"), "b", ["accepted", "rejected", "accepted"])
    rows, html = grouped(source, output)
    row = rows["table"][1]
    assert (row["subject"], row["reader"], row["total"], row["definite"]) == ("b", "Dr. <A>", 2, 2)
    insula, = (row for row in rows["regions"] if (row["region"], row["side"]) == ("insula", "right"))
    assert (insula["definite"], insula["unreviewed"], insula["scans"]) == (2, 0, 1)
    assert sum(row["reviewed"] for row in rows["histogram"]) == 1
    text = text_of(html)
    assert "1 reviewed (1 finished): there the readers' verdicts count" in text and "5 unreviewed" in text
    assert "2 definite, 0 possible, finished by Dr. <A>" in text and "Dr. <A>" not in html


def test_what_stands_out_comes_first_and_is_marked(cohort):
    source, output = cohort
    record = read_record(place(output, "d"), "sub-d_T2starw")
    write_record(place(output, "d"), "sub-d_T2starw", replace(record, figures={**record.figures, "brain_ml": 0.8}))
    # run times of the fake are as the machine likes
    for name in NAMES[:-1]:
        own = read_record(place(output, name), f"sub-{name}_T2starw")
        write_record(place(output, name), f"sub-{name}_T2starw", replace(own, figures={**own.figures, "seconds": 9}))
    rows, html = grouped(source, output)
    assert [row["subject"] for row in rows["table"] if row["stands_out"]] == ["d"]
    assert re.findall(r"<b>(\w)</b><br><a href=\"sub-", html)[0] == "d"
    line = html[html.index('<tr class="outlier">'):]
    assert '<td class="odd">0.8</td>' in line[:line.index("</tr>")] and "brain volume 0.8 ml" in line
    assert html.count('class="outlier"') == 1 and "3.5 robust deviations" in text_of(html)


def test_every_scan_has_its_thumbnail_in_the_page(cohort):
    source, output = cohort
    _, html = grouped(source, output)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(pictures) == 6
    for picture in map(base64.b64decode, pictures):
        assert picture[:4] == b"\x89PNG" and struct.unpack(">II", picture[16:24]) == (288, 96)
    assert not re.search(r'(src|href)="(https?:|//)|url\(', html)


def test_scans_without_a_result_are_counted(cohort):
    source, output = cohort
    (place(output, "a") / "sub-a_T2starw_desc-cmb_run.json").unlink()
    # as a kill between the results and the record leaves it
    (place(output, "b") / "sub-b_T2starw_desc-cmb_findings.json").write_text("{}")
    rows, html = grouped(source, output)
    assert [row["subject"] for row in rows["table"]] == ["c", "d", "e", "f"]
    assert "4 with a result, 1 failed, 2 not run yet" in text_of(html)


def test_mixed_models_and_changed_inputs_are_told(cohort):
    source, output = cohort
    run_cohort(source, output, wanted=wanted_of("m2"), labels=["c"])
    (source / "sub-d" / "anat" / "sub-d_T2starw.json").write_text("{}")
    text = text_of(grouped(source, output)[1])
    assert "made with 2 different models or settings" in text and "1 results were made of an input that has" in text


def test_a_damaged_review_is_told_and_stops_nothing(cohort):
    source, output = cohort
    (place(source, "b") / "sub-b_T2starw_desc-cmb_review.json").write_text("{")
    rows, html = grouped(source, output)
    assert len(rows["table"]) == 5 and "sub-b_T2starw_desc-cmb_review.json is not JSON" in text_of(html)


def test_a_group_without_results_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="run the participant level first"):
        grouped(bids_tree(tmp_path / "in", ["a"]), tmp_path / "out")


def test_many_scans_go_to_several_pages(cohort, monkeypatch):
    source, output = cohort
    monkeypatch.setattr(page, "PAGE_ROWS", 4)
    _, html = grouped(source, output)
    second = (output / "cohort_2.html").read_text(encoding="utf-8")
    assert html.count("<img ") == 4 and second.count("<img ") == 2 and 'href="cohort_2.html"' in html
    assert "not for clinical use" in second and "Histogram" not in second
    monkeypatch.setattr(page, "PAGE_ROWS", 500)
    grouped(source, output)
    assert not (output / "cohort_2.html").exists()


def figures(**changed):
    return {"brain_ml": 1200.0, "in_plane_mm": 0.9, "slice_mm": 2.0, "noise_share": 0.03, "candidates": 25,
            "findings": 4, "seconds": 8.0, **changed}


@pytest.mark.parametrize(("name", "inside", "outside"), [
    # least deviations 0.02 and 0.1 of the logarithm, 0.5 of the square root
    ("brain_ml", 1200 * np.exp(0.069), 1200 * np.exp(0.071)), ("brain_ml", 1200 * np.exp(-0.069), 600.0),
    ("candidates", 45, 46), ("candidates", 11, 10), ("findings", 14, 15), ("seconds", 11.3, 11.4),
    ("slice_mm", 2.07, 2.08)])
def test_limits_of_standing_out(name, inside, outside):
    usual = [figures() for _ in range(8)]
    assert find_outliers([*usual, figures(**{name: inside})], ["gre"] * 9)[-1] == ()
    deviation, = find_outliers([*usual, figures(**{name: outside})], ["gre"] * 9)[-1]
    assert deviation.figure.name == name and abs(deviation.deviations) > LIMIT


def test_spread_of_a_cohort_widens_the_limits_and_sequences_are_apart():
    spread = [figures(brain_ml=volume) for volume in (1000, 1100, 1200, 1300, 1400)]
    assert find_outliers([*spread, figures(brain_ml=1600)], ["gre"] * 6)[-1] == ()
    other = [figures(slice_mm=1.0)] * 5
    assert not any(find_outliers([*spread, *other], ["gre"] * 5 + ["swi"] * 5))
    assert not any(find_outliers([figures(), figures(), figures(brain_ml=1.0)], ["qsm"] * 3))
    assert not any(find_outliers([figures(noise_share=None, findings=0)] * 6, ["gre"] * 6))


def test_noise_is_measured_whatever_the_scale():
    rng = np.random.default_rng(1)
    ramp = np.linspace(100, 300, 64)[:, None, None] * np.ones((64, 64, 6))
    brain = Volume(np.ones(ramp.shape, bool), np.diag([1, 1, 3, 1.0]))
    for noise in (2.0, 8.0):
        image = Volume((ramp + rng.normal(0, noise, ramp.shape)).astype(np.float32), brain.affine)
        # 5th to 95th percentile of an even ramp are nine tenths of it
        assert noise_share(image, brain) == pytest.approx(noise / 180, rel=0.1)
        scaled = image.with_data(image.data * 7 - 5)
        assert noise_share(scaled, brain) == pytest.approx(noise_share(image, brain), rel=1e-2)
    assert noise_share(brain.with_data(np.ones(ramp.shape, np.float32)), brain) is None


def test_a_thumbnail_shows_the_mask_in_white_around_the_middle():
    grid = np.meshgrid(*(np.arange(40) * 4.0 - 78 for _ in range(3)), indexing="ij")
    inside = sum(axis**2 for axis in grid) < 60**2
    affine = np.diag([4.0, 4, 4, 1])
    content = thumbnail(Volume(np.where(inside, 100, 10).astype(np.float32), affine), Volume(inside, affine))
    body = content[content.index(b"IDAT") + 4:content.index(b"IEND") - 8]
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(96, 289)[:, 1:]
    pixels = np.cumsum(rows, axis=0, dtype=np.uint8)
    for number in range(3):
        white = np.argwhere(pixels[:, number * 96:(number + 1) * 96] == 255)
        radius = np.linalg.norm(white - 47.5, axis=1) * 2
        assert len(white) > 100 and abs(radius.mean() - 58) < 4 and np.ptp(radius) < 12
