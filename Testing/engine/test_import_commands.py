"""The command import: a review comes back from every form, nothing that was said is lost, bad files change nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from microbleeds import regions
from microbleeds.case_files import find_review, read_case
from microbleeds.cli import main
from microbleeds.errors import InputError
from microbleeds.findings import DetectionResult
from microbleeds.geometry import right_handed, to_canonical, voxel_to_ras
from microbleeds.image_files import read_image
from microbleeds.outputs import write_result
from microbleeds.read_write import files_sha256, read_labels, read_scan, write_image, write_label_map
from microbleeds.region_codes import region_from_json, region_to_json
from microbleeds.review_log import ADDED, COMMENT, DETECTED, REGION, UNDONE, VERDICT, Event, replay
from microbleeds.review_sidecar import file_voxels_sha256, read_sidecar
from microbleeds.stored_review import open_review, with_events, write_stored
from microbleeds.volume import Volume
from review_phantoms import detection

AT = "2026-11-24T09:00:00+00:00"
SHAPE = (30, 26, 14)
VOXELS = np.array([[6, 6, 4], [20, 8, 6], [10, 18, 8], [22, 20, 10], [14, 12, 3]])
"""Of the findings; the last one is one that only the reader has seen."""
COMMENTS = ('"quoted" and \'single\'', "tab\there\nline\r\nlast", "möglich – Straße", "可能出血, 左", "=1+1; n/a\\")
CHOSEN = {"region": "thalamus", "side": "left"}
FORMS = {"json": "a/S_desc-cmb_review.json", "tsv": "out/cmb_findings.tsv", "csv": "out/cmb_findings.csv",
         "mrk.json": "out/S_desc-cmb_points.mrk.json", "fcsv": "out/S_desc-cmb_points.fcsv"}


def ball(voxel):
    return np.argwhere(np.ones((3, 3, 3))) + voxel - 1


def make_scan(folder, affine):
    """Write a scan with the results of a detection of the first four places; return its path."""
    folder.mkdir()
    data = np.random.default_rng(3).normal(500, 8, SHAPE).astype(np.float32)
    labels = np.zeros(SHAPE, np.int32)
    for number, voxel in enumerate(VOXELS, 1):
        data[tuple(ball(voxel).T)] = 120
        if number <= 4:
            labels[tuple(ball(voxel).T)] = number
    volume, image = Volume(data, affine), folder / "S.nii.gz"
    write_image(image, volume)
    found = detection(voxel_to_ras(volume, VOXELS[:4]))
    mapped = Volume(np.full((15, 13, 14), regions.OCCIPITAL, np.uint8), affine @ np.diag([2, 2, 1, 1]))
    result = DetectionResult(found.candidates, replace(found.provenance, input_sha256=files_sha256([image])), mapped)
    write_result(result, volume.with_data(labels), volume, "S", folder, "")
    return image


def said(number, action, value):
    return Event(AT, "Bo", action, number, value)


def review(image):
    """Review a scan as the panel would, whose log counts voxels as Slicer loads them."""
    scan = read_scan(image)
    inside = np.zeros(SHAPE, bool)
    inside[tuple(ball(VOXELS[4]).T)] = True
    outline = np.argwhere(right_handed(scan.volume.with_data(inside)).data)
    place = voxel_to_ras(scan.volume, VOXELS[4])
    events = [said(1, VERDICT, "accepted"), said(1, "certainty", "definite"), said(1, REGION, CHOSEN),
              said(2, VERDICT, "rejected"), said(2, "mimic_kind", "vessel"), said(4, VERDICT, "accepted"),
              said(4, "certainty", "possible"),
              said(5, ADDED, {"ras_mm": place.tolist(), "diameter_mm": 3.5, "region": region_to_json(outline)}),
              *(said(number, COMMENT, comment) for number, comment in enumerate(COMMENTS, 1))]
    write_stored(with_events(open_review(scan), events, "Bo"))


@pytest.fixture(scope="module", params=["right-handed", "left-handed"])
def affine(request):
    right = np.array([[0.64, 0.54, 0, -12], [-0.48, 0.72, 0, 9], [0, 0, 1.6, -30], [0, 0, 0, 1]])
    return right if request.param == "right-handed" else np.diag([-1, 1, 1, 1]) @ right


@pytest.fixture(scope="module")
def made(tmp_path_factory, affine):
    folder = tmp_path_factory.mktemp("sites")
    image = make_scan(folder / "a", affine)
    shutil.copytree(folder / "a", folder / "b")
    review(image)
    assert main(["export", str(image), "-o", str(folder / "out"), "--progress", "none", "--formats", "tables",
                 "points", "labels", "segmentation"]) == 0
    return folder


@pytest.fixture
def here(tmp_path, made):
    """The scan as it lies at two sites: a is reviewed and exported in every form, b has a detection only."""
    return shutil.copytree(made, tmp_path / "sites")


def run(capsys, *arguments):
    capsys.readouterr()
    code = main(["import", *map(str, arguments), "--progress", "none"])
    out, err = capsys.readouterr()
    return code, out, err


def state_in(folder):
    return replay(read_sidecar(folder / "S_desc-cmb_review.json").events)


def words(item):
    return item.verdict, item.certainty, item.mimic_kind, item.comment


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# What comes back

@pytest.mark.parametrize("form", FORMS)
def test_a_review_comes_back_from_every_form(here, capsys, form):
    code, out, err = run(capsys, here / "b/S.nii.gz", here / FORMS[form], "--reader", "Cy")
    assert code == 0, err
    theirs, ours = state_in(here / "a"), state_in(here / "b")
    assert [words(item) for item in ours.items] == [words(item) for item in theirs.items]
    assert np.abs(np.subtract([item.position_ras for item in ours.items],
                              [item.position_ras for item in theirs.items])).max() <= 0.1
    with_regions = form in ("json", "tsv", "csv")
    assert [item.chosen_region for item in ours.items] == [
        ("thalamus", "left") if with_regions else None, None, None, None, None]
    assert out.count("taken: finding") == 4 and "added: finding 5 at R, A, S = " in out and not err
    assert all(event.reader == "Cy" for event in read_sidecar(here / "b/S_desc-cmb_review.json").events[1:])

    before = contents(here / "b")
    code, out, err = run(capsys, here / "b/S.nii.gz", here / FORMS[form])
    assert code == 0 and out.count("same: finding") == 5 and "There is nothing to write." in out and not err
    assert contents(here / "b") == before


@pytest.mark.parametrize("name", ["S_desc-cmb_labels.nii.gz", "S_desc-cmb.seg.nrrd"])
def test_outlines_come_back_voxel_for_voxel(here, capsys, name):
    code, out, err = run(capsys, here / "b/S.nii.gz", here / "out" / name)
    assert code == 0, err
    assert [item.verdict for item in state_in(here / "b").items] == ["accepted", "undecided", "undecided", "accepted",
                                                                     "accepted"]
    assert out.count("missing: finding") == 2
    labels = to_canonical(read_labels(here / "b/S_desc-cmb_dseg.nii.gz"))
    expected = np.zeros(SHAPE, np.int32)
    for number, voxel in enumerate(VOXELS, 1):
        expected[tuple(ball(voxel).T)] = number
    scan = read_image(here / "b/S.nii.gz").volume
    assert np.array_equal(labels.data, to_canonical(scan.with_data(expected)).data)
    # in the log as 3D Slicer counts them
    added, = (event for event in read_sidecar(here / "b/S_desc-cmb_review.json").events if event.action == ADDED)
    voxels = region_from_json(added.value["region"])
    assert np.array_equal(np.unique(right_handed(scan.with_data(expected)).data[tuple(voxels.T)]), [5])


def test_everything_can_be_undone(here, capsys):
    run(capsys, here / "b/S.nii.gz", here / FORMS["json"])
    events = read_sidecar(here / "b/S_desc-cmb_review.json").events
    undone = replay((*events, *(Event(AT, "", UNDONE, event.finding) for event in reversed(events[1:]))))
    assert events[0].action == DETECTED and undone.items == replay(events[:1]).items


def test_the_panel_will_know_the_scan_again(here, capsys):
    run(capsys, here / "b/S.nii.gz", here / FORMS["json"])
    sidecar = read_sidecar(here / "b/S_desc-cmb_review.json")
    assert sidecar.voxels_sha256 == file_voxels_sha256(here / "b/S.nii.gz")
    assert (sidecar.input_name, sidecar.input_sha256) == ("S.nii.gz", files_sha256([here / "b/S.nii.gz"]))
    assert sidecar.threshold == 0.5


def test_without_a_detection_everything_is_added(here, capsys):
    (here / "c").mkdir()
    shutil.copy(here / "b/S.nii.gz", here / "c/S.nii.gz")
    code, out, err = run(capsys, here / "c/S.nii.gz", here / FORMS["json"])
    assert code == 0 and out.count("added: finding") == 5, err
    theirs, ours = state_in(here / "a"), state_in(here / "c")
    assert [words(item) for item in ours.items] == [words(item) for item in theirs.items]
    assert [item.position_ras for item in ours.items] == [item.position_ras for item in theirs.items]
    assert ours.item(1).chosen_region == ("thalamus", "left")
    labels = to_canonical(read_labels(here / "c/S_desc-cmb_dseg.nii.gz")).data
    assert np.array_equal(np.unique(labels), [0, 1, 2, 3, 4, 5]), "points have regions on the scan"


def test_results_elsewhere_begin_a_review_beside_the_scan(here, capsys):
    (here / "c").mkdir()
    shutil.copy(here / "b/S.nii.gz", here / "c/S.nii.gz")
    code, out, _ = run(capsys, here / "c/S.nii.gz", here / FORMS["tsv"], "--results", here / "b")
    assert code == 0 and out.count("taken: finding") == 4
    assert [words(item) for item in state_in(here / "c").items] == [words(item) for item in state_in(here / "a").items]
    assert "S_desc-cmb_dseg.nii.gz" in contents(here / "c") and "S_desc-cmb_review.json" not in contents(here / "b")


def test_a_review_in_the_folder_of_a_cohort_is_gone_on_with(here, capsys):
    scan, place = here / "a/S.nii.gz", here / "cohort/sub-S/anat"
    place.mkdir(parents=True)
    for path in (here / "a").glob("S_desc-cmb_*"):
        path.rename(place / path.name)
    (here / "theirs.tsv").write_text("R_mm\tA_mm\tS_mm\tverdict\n" + "\t".join(map(str, state_in(place).item(
        3).position_ras)) + "\trejected\n", encoding="utf-8")
    code, out, err = run(capsys, scan, here / "theirs.tsv", "--results", here / "cohort")
    assert code == 0 and "taken: finding 3" in out, err
    assert contents(here / "a").keys() == {"S.nii.gz"}, "no other review was begun"
    assert state_in(place).item(3).verdict == "rejected" and state_in(place).item(1).verdict == "accepted"
    assert read_case(scan, results=here / "cohort").findings[2].verdict == "rejected", "and everybody uses it"


@pytest.mark.parametrize("affine", ["left-handed"], indirect=True)
@pytest.mark.parametrize("folder", ["", "sub-S/anat"])
def test_import_and_export_take_the_same_of_several_reviews(here, folder):
    """That of another scan in the results, one's own beside the scan."""
    place = here / "cohort" / folder
    place.mkdir(parents=True)
    content = json.loads((here / FORMS["json"]).read_text(encoding="utf-8"))
    other = {**content, "voxels_sha256": "0", "input": {**content["input"], "sha256": "0"}, "log": content["log"][:1]}
    (place / "S_desc-cmb_review.json").write_text(json.dumps(other), encoding="utf-8")
    scan = read_scan(here / "a/S.nii.gz")
    assert find_review(scan, here / "cohort") == open_review(scan, results=here / "cohort").path == here / FORMS["json"]
    assert read_case(scan.path, results=here / "cohort").findings[0].verdict == "accepted"
    # of a copy in another format it is the voxels that are the same
    write_image(here / "a/S.nrrd", read_image(scan.path).volume)
    assert find_review(read_scan(here / "a/S.nrrd"), here / "cohort") == here / FORMS["json"]
    # none of this scan: the first one, which import refuses and export tells
    (here / FORMS["json"]).write_text("{ half")
    assert find_review(scan, here / "cohort") == place / "S_desc-cmb_review.json"
    with pytest.raises(InputError, match="is a review of another scan than S.nii.gz"):
        open_review(scan, results=here / "cohort")


@pytest.mark.parametrize("affine", ["left-handed"], indirect=True)
def test_a_place_on_the_edge_of_the_scan_has_a_region(here, capsys):
    (here / "c").mkdir()
    shutil.copy(here / "b/S.nii.gz", here / "c/S.nii.gz")
    volume = read_scan(here / "c/S.nii.gz").volume
    for number, voxel in enumerate(([-0.5, 12, 6], [29.5, 12, 6], [14, -0.55, 6], [14, 12, 13.5])):
        place = voxel_to_ras(volume, np.array(voxel))
        (here / f"edge-{number}.tsv").write_text("R_mm\tA_mm\tS_mm\n" + "\t".join(map(repr, place.tolist())) + "\n",
                                                 encoding="utf-8")
        code, out, err = run(capsys, here / "c/S.nii.gz", here / f"edge-{number}.tsv")
        assert code == 0 and "added: finding" in out, err
    added = [event.value for event in read_sidecar(here / "c/S_desc-cmb_review.json").events if event.action == ADDED]
    slicer = right_handed(volume)
    for value in added:
        away = voxel_to_ras(slicer, region_from_json(value["region"])) - value["ras_mm"]
        assert np.linalg.norm(away, axis=1).max() < 8, "at the place, not at the other end of the scan"


# Conflicts

@pytest.fixture
def contested(here):
    """Site b has a review of its own, which contradicts that of a in a verdict, a comment and a region."""
    stored = open_review(read_scan(here / "b/S.nii.gz"))
    events = [said(1, REGION, {"region": "frontal", "side": "right"}), said(2, VERDICT, "accepted"),
              said(4, COMMENT, "mine"), said(3, VERDICT, "accepted")]
    write_stored(with_events(stored, events, "Di"))
    return here


@pytest.mark.parametrize("affine", ["left-handed"], indirect=True)
@pytest.mark.parametrize("take", [(), ("--take", "mine"), ("--take", "theirs")])
def test_contradictions_are_listed_and_decided_by_take(contested, capsys, take):
    before = read_sidecar(contested / "b/S_desc-cmb_review.json")
    code, out, err = run(capsys, contested / "b/S.nii.gz", contested / FORMS["json"], *take)
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith("conflict")]
    place = "R, A, S = " + ", ".join(f"{mm:.1f}" for mm in replay(before.events).item(1).position_ras) + " mm"
    assert lines[0].startswith(f"conflict: finding 1 at {place}: Finding 1 lies in “frontal, right” here, and in "
                               "“thalamus, left” by their “CMB-1”.")
    assert "Finding 2 is accepted here, and is rejected (vessel) by their “CMB-2”." in lines[1]
    assert "has the comment “mine” here, and “可能出血, 左” by their “CMB-4”." in lines[2] and len(lines) == 3
    after = read_sidecar(contested / "b/S_desc-cmb_review.json")
    assert after.events[:len(before.events)] == before.events, "the log only grows"
    items = {item.id: item for item in replay(after.events).items}
    theirs = take == ("--take", "theirs")
    assert items[1].chosen_region == (("thalamus", "left") if theirs else ("frontal", "right"))
    assert (items[2].verdict, items[2].mimic_kind) == (("rejected", "vessel") if theirs else ("accepted", ""))
    assert (items[4].comment, items[3].verdict) == (COMMENTS[3] if theirs else "mine", "accepted")
    assert "kept: finding 3" not in out and items[3].comment == COMMENTS[2], "what nobody has said here is taken"
    assert ("3 conflicts: what is said here is kept; --take theirs" in err) == (take == ())
    again = contents(contested / "b")
    code, out, _ = run(capsys, contested / "b/S.nii.gz", contested / FORMS["json"], *take)
    assert code == 0 and contents(contested / "b") == again
    assert out.count("conflict: ") == (0 if theirs else 3)
    assert "kept: finding 3" in out, "they are undecided, which contradicts nobody"


@pytest.mark.parametrize("affine", ["left-handed"], indirect=True)
def test_a_dry_run_tells_and_writes_nothing(contested, capsys):
    before = contents(contested / "b")
    code, out, err = run(capsys, contested / "b/S.nii.gz", contested / FORMS["tsv"], "--dry-run", "--take", "theirs")
    assert code == 0 and out.count("conflict: ") == 3 and "Theirs is taken." in out and "Nothing was written." in out
    assert contents(contested / "b") == before and not err


@pytest.mark.parametrize("affine", ["left-handed"], indirect=True)
def test_json_lines_have_files_counts_and_conflicts(contested, capsys):
    capsys.readouterr()
    assert main(["import", str(contested / "b/S.nii.gz"), str(contested / FORMS["json"]), "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events][-2:] == ["result", "done"]
    assert events[-2]["counts"] == {"findings": 5, "candidates": 5}
    assert sorted(events[-2]["files"]) == ["labels", "review"] and all(map(Path.exists, map(
        Path, events[-2]["files"].values())))
    assert sum("Finding" in event["message"] for event in events if event["event"] == "warning") == 3


# Refusals

def refused(capsys, folder, *arguments):
    """Return the sentence of an import that must change nothing."""
    before = contents(folder)
    code, out, err = run(capsys, *arguments)
    assert code == 2 and not out and err.count("\n") == 1, (code, out, err)
    assert contents(folder) == before
    return err


@pytest.mark.parametrize("affine", ["left-handed"], indirect=True)
def test_what_cannot_be_used_is_one_sentence_and_changes_nothing(here, capsys, affine, tmp_path):
    scan, folder = here / "b/S.nii.gz", here / "b"
    write_label_map(tmp_path / "l.nii.gz", Volume(np.zeros((30, 26, 7), np.int32), affine))
    sentence = refused(capsys, folder, scan, tmp_path / "l.nii.gz")
    assert "30×26×7 voxels of 0.8×0.9×1.6 mm" in sentence and "30×26×14 voxels of 0.8×0.9×1.6 mm" in sentence
    assert "gone.tsv cannot be opened" in refused(capsys, folder, scan, tmp_path / "gone.tsv")
    assert "gone.json cannot be opened" in refused(capsys, folder, scan, here / FORMS["tsv"], "--review",
                                                   tmp_path / "gone.json")
    content = json.loads((here / FORMS["json"]).read_text(encoding="utf-8"))
    (tmp_path / "half.json").write_text(json.dumps({**content, "log": content["log"][1:]}), encoding="utf-8")
    assert "The log of half.json is not as documented" in refused(capsys, folder, scan, tmp_path / "half.json")
    content["findings"][0]["comment"] = "\ud800"
    (tmp_path / "odd.json").write_text(json.dumps(content), encoding="utf-8")
    assert "no file can hold" in refused(capsys, folder, scan, tmp_path / "odd.json")


@pytest.mark.parametrize("affine", ["left-handed"], indirect=True)
def test_a_review_of_another_scan_is_refused(here, capsys, affine):
    other = make_scan(here / "c", affine).rename(here / "c/T.nii.gz")
    write_image(other, read_image(other).volume.with_data(np.random.default_rng(1).normal(
        400, 9, SHAPE).astype(np.float32)))
    for name, said_so in (("json", "is of S.nii.gz, not of T.nii.gz (names and SHA-256 differ)"),
                          ("tsv", "lists findings of S.nii.gz, not of T.nii.gz")):
        assert said_so in refused(capsys, here / "c", other, here / FORMS[name])
    # a copy of the scan in another format is the same scan
    write_image(here / "c/S.nrrd", read_image(here / "a/S.nii.gz").volume)
    for path in (here / "c").glob("S_desc*"):
        path.unlink()
    assert run(capsys, here / "c/S.nrrd", here / FORMS["json"])[0] == 0
    # the review that is gone on with must be of the scan itself
    shutil.copy(here / FORMS["json"], here / "c/T_desc-cmb_review.json")
    assert "is a review of another scan than T.nii.gz" in refused(capsys, here / "c", other, here / FORMS["fcsv"])


@pytest.mark.parametrize("affine", ["left-handed"], indirect=True)
def test_damaged_files_of_the_scan_are_told_and_left_alone(here, capsys):
    scan, own = here / "b/S.nii.gz", here / "b/S_desc-cmb_review.json"
    own.write_text("{ half")
    assert "S_desc-cmb_review.json is not JSON or is damaged" in refused(capsys, here / "b", scan, here / FORMS["tsv"])
    # the one that the panel has begun beside it
    beside = own.with_name(f"S-{file_voxels_sha256(scan)[:8]}_desc-cmb_review.json")
    shutil.copy(here / FORMS["json"], beside)
    shutil.copy(here / "a/S_desc-cmb_dseg.nii.gz", beside.with_name(beside.name.replace("review.json", "dseg.nii.gz")))
    code, out, _ = run(capsys, scan, here / FORMS["tsv"])
    assert code == 0 and out.count("same: finding") == 5 and own.read_text() == "{ half"
    beside.unlink()
    shutil.copy(here / FORMS["json"], own)
    (here / "b/S_desc-cmb_dseg.nii.gz").unlink()
    assert "the label map that belongs to the findings" in refused(capsys, here / "b", scan, here / FORMS["tsv"])
    own.unlink()
    # nobody knows whose label map it is that a new review would replace
    shutil.copy(here / "a/S_desc-cmb_dseg.nii.gz", here / "b")
    (here / "b/S_desc-cmb_findings.json").rename(here / "findings.json")
    assert "move it away" in refused(capsys, here / "b", scan, here / FORMS["tsv"])
    (here / "findings.json").rename(here / "b/S_desc-cmb_findings.json")
    (here / "b/S_desc-cmb_dseg.nii.gz").unlink()
    assert "the label map that belongs to the findings" in refused(capsys, here / "b", scan, here / FORMS["tsv"])
