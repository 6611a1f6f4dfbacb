"""Reviews made elsewhere: every form read, refused where it is not safe, matched, and carried out in the log."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from microbleeds.components import equivalent_diameter_mm
from microbleeds.errors import InputError
from microbleeds.export.label_files import write_label_map_file, write_segmentation_file
from microbleeds.export.point_files import write_points
from microbleeds.export.tables import write_finding_table
from microbleeds.export.training_set import write_training_set
from microbleeds.geometry import to_canonical, voxel_to_ras
from microbleeds.import_files import ForeignFinding, read_foreign, with_grown_regions
from microbleeds.import_review import ONE_NEAR_SEVERAL, SEVERAL_NEAR_ONE, events_of, match_foreign
from microbleeds.outputs import markups_json, result_to_json
from microbleeds.read_write import write_image, write_json
from microbleeds.region_codes import region_from_json
from microbleeds.review_files import Review, ReviewedFinding, write_review
from microbleeds.review_log import (
    ADDED,
    COMMENT,
    DETECTED,
    REGION,
    VERDICT,
    Event,
    detection_value,
    events_from_json,
    events_to_json,
    replay,
)
from microbleeds.review_sidecar import Sidecar, sidecar_text
from microbleeds.reviewed_case import Acquisition, CaseFinding, ReviewedCase
from microbleeds.volume import Volume
from review_phantoms import detection

SHAPE = (40, 36, 12)
GRID = Volume(np.zeros(SHAPE, np.float32), np.array([[-1.0, 0, 0, 20], [0, 1, 0, -18], [0, 0, 2, -12], [0, 0, 0, 1]]))
AT = "2026-05-06T07:08:09+02:00"
COMMENTS = ('"quoted", and 2 = 1 + 1', "tab\there\nand a line\r\nmöglich – 可能出血", "=SUM(A1)", "-1\\n 'x'; \"",
            "n/a")


def place(voxel, grid=GRID):
    return tuple(voxel_to_ras(grid, np.array(voxel, float)).tolist())


def case_of(grid=GRID):
    """Return a reviewed case with five findings, one on voxels that touch each verdict, and nasty comments."""
    data = np.random.default_rng(1).normal(500, 10, SHAPE).astype(np.float32)
    labels, findings = np.zeros(SHAPE, np.int32), []
    told = [("accepted", "definite", ""), ("rejected", "", "vessel"), ("rejected", "possible", ""),
            ("undecided", "", ""), ("accepted", "possible", "")]
    for number, ((verdict, certainty, mimic), comment) in enumerate(zip(told, COMMENTS, strict=True), 1):
        corner = np.array([6 * number, 5 * number, number + 1])
        labels[tuple(slice(a, a + 2) for a in corner)] = number
        findings.append(CaseFinding(number, place(corner + [0.53, 0.51, 0.47], grid), 3.1, 15.6, 0.5, verdict,
                                    certainty, mimic, comment))
    return ReviewedCase("01", "", "sub-01_T2star", "sub-01_T2star.nii.gz", "0", grid.with_data(data),
                        grid.with_data(labels), Acquisition("gre", 3.0, 20.0, (1.0, 1.0, 2.0)), tuple(findings), "AB",
                        AT, True, True)


def assert_same_findings(found, case):
    assert len(found) == len(case.findings)
    for one, own in zip(found, case.findings, strict=True):
        assert np.abs(np.subtract(one.position_ras, own.position_ras)).max() <= 1e-6
        assert (one.verdict, one.certainty, one.mimic_kind, one.comment, one.diameter_mm) == \
            (own.verdict, own.certainty, own.mimic_kind, own.comment, own.diameter_mm)


def points(*places, **more):
    return [ForeignFinding(number, tuple(map(float, own)), **more) for number, own in enumerate(places, 1)]


def log_of(*places, probabilities=None):
    return (Event(AT, "", DETECTED, 0, detection_value(detection(places, probabilities), replay(()))),)


def said(number, action, value):
    return Event(AT, "AB", action, number, value)


def carried_out(log, plan, take=()):
    """Return what stands after an import; its events pass through JSON, as the review file keeps them."""
    events = events_of(plan, "CD", AT, replay(log).next_id, take)
    whole = events_from_json(json.loads(json.dumps(events_to_json((*log, *events)))), "log")
    assert all(event.reader == "CD" and event.at == AT for event in whole[len(log):])
    return replay(whole)


# What our own exports write comes back

@pytest.fixture(params=["plain", "oblique", "left-handed"])
def case(request, draw_affine):
    if request.param == "plain":
        return case_of()
    affine = draw_affine(np.random.default_rng(8), left_handed=request.param == "left-handed", spacing=(0.7, 0.9, 2.2))
    return case_of(Volume(GRID.data, affine))


@pytest.mark.parametrize("name", ["p.mrk.json", "p.fcsv", "p.tsv", "p.csv"])
def test_our_points_and_tables_come_back(tmp_path, case, name):
    if name.endswith((".tsv", ".csv")):
        write_finding_table(tmp_path / name, [case])
    else:
        write_points(tmp_path / name, case)
    found = read_foreign(tmp_path / name, case.image)
    assert_same_findings(found, case)
    plan = match_foreign(case, found)
    assert [match.own for match in plan.matched] == [1, 2, 3, 4, 5]
    assert not (plan.additions or plan.missing or plan.changes or plan.conflicts)


def test_our_review_files_and_training_sets_come_back(tmp_path, case):
    review = Review("sub-01_T2star.nii.gz", "", "gre", "AB", tuple(
        ReviewedFinding(one.id, one.position_ras, one.diameter_mm, one.verdict, False, one.mimic_kind, one.certainty,
                        one.comment) for one in case.findings))
    write_review(tmp_path / "review.json", review)
    assert_same_findings(read_foreign(tmp_path / "review.json", case.image), case)
    write_training_set([case], tmp_path / "set")
    assert_same_findings(read_foreign(tmp_path / "set/train/sub-01_T2star_desc-cmb_review.json", case.image), case)


@pytest.mark.parametrize("name", ["labels.nii.gz", "labels.mha", "labels.seg.nrrd"])
def test_our_label_map_comes_back_voxel_for_voxel(tmp_path, case, name):
    if name.endswith(".seg.nrrd"):
        write_segmentation_file(tmp_path / name, case, everything=True)
    else:
        write_label_map_file(tmp_path / name, case, everything=True)
    found = read_foreign(tmp_path / name, case.image)
    assert [one.label for one in found] == [f"value {number}" for number in range(1, 6)]
    for number, one in enumerate(found, 1):
        assert np.array_equal(one.voxels, np.argwhere(case.labels.data == number)) and one.verdict is None
        assert one.diameter_mm == pytest.approx(equivalent_diameter_mm(8 * case.image.voxel_volume_mm3))
        assert np.allclose(one.position_ras, place(one.voxels.mean(axis=0), case.image))
    assert [match.own for match in match_foreign(case, found).matched] == [1, 2, 3, 4, 5]


def test_detections_are_undecided(tmp_path):
    result = detection([place((5, 5, 5)), place((20, 20, 5))])
    write_json(tmp_path / "f.json", result_to_json(result))
    write_json(tmp_path / "f.mrk.json", markups_json(result))
    for name in ("f.json", "f.mrk.json"):
        found = read_foreign(tmp_path / name, GRID)
        assert [one.position_ras for one in found] == [place((5, 5, 5)), place((20, 20, 5))]
        assert [(one.verdict, one.diameter_mm, one.label) for one in found] == [("undecided", 3.0, "CMB-1"),
                                                                                ("undecided", 3.0, "CMB-2")]


def test_a_review_without_findings_is_one(tmp_path):
    empty = replace(case_of(), findings=(), labels=GRID.with_data(np.zeros(SHAPE, np.int32)))
    write_finding_table(tmp_path / "t.tsv", [empty])
    write_points(tmp_path / "p.mrk.json", empty)
    write_points(tmp_path / "p.fcsv", empty)
    write_label_map_file(tmp_path / "l.nii.gz", empty)
    (tmp_path / "other.csv").write_text("R_mm,A_mm,S_mm\n")
    for name in ("t.tsv", "p.mrk.json", "p.fcsv", "l.nii.gz", "other.csv"):
        assert read_foreign(tmp_path / name, GRID) == ()
    assert match_foreign(case_of(), ()).missing == (1, 2, 3, 4, 5)


# Label maps of others

def labels_file(path, data, grid=GRID):
    write_image(path, Volume(np.asarray(data), grid.affine))
    return path


def test_one_value_is_split_into_regions_and_several_values_are_findings(tmp_path):
    data = np.zeros(SHAPE, np.uint8)
    data[3:5, 3:5, 3:5] = data[5, 5, 5] = data[20:22, 20:22, 6] = 4
    found = read_foreign(labels_file(tmp_path / "a.nii.gz", data), GRID)
    assert [len(one.voxels) for one in found] == [9, 4] and [one.label for one in found] == ["", ""]
    data[20:22, 20:22, 6] = 7
    data[3, 9, 3] = 4
    found = read_foreign(labels_file(tmp_path / "b.nrrd", data), GRID)
    assert [(one.label, len(one.voxels)) for one in found] == [("value 4", 10), ("value 7", 4)]
    # the value of a class, not of one lesion
    data[35, 30, 10] = 4
    found = read_foreign(labels_file(tmp_path / "c.nii.gz", data), GRID)
    assert sorted((one.label, len(one.voxels)) for one in found) == [("value 4", 1), ("value 4", 1), ("value 4", 9),
                                                                     ("value 7", 4)]


def test_the_same_grid_in_another_axis_order_is_taken(tmp_path, draw_affine):
    for left_handed in (False, True):
        grid = Volume(GRID.data, draw_affine(np.random.default_rng(2), left_handed=left_handed, spacing=(1, 1.2, 2)))
        data = np.zeros(SHAPE, np.float32)
        data[3:5, 30, 3:5] = 1
        write_image(tmp_path / "c.nii.gz", to_canonical(grid.with_data(data)))
        found, = read_foreign(tmp_path / "c.nii.gz", grid)
        assert np.array_equal(found.voxels, np.argwhere(data))


def test_another_grid_is_refused_with_both(tmp_path):
    data = np.zeros((40, 36, 11), np.uint8)
    with pytest.raises(InputError) as refused:
        read_foreign(labels_file(tmp_path / "l.nii.gz", data), GRID, "sub-01_T2star.nii.gz")
    for part in ("l.nii.gz", "40×36×11 voxels of 1×1×2 mm", "sub-01_T2star.nii.gz", "40×36×12 voxels of 1×1×2 mm"):
        assert part in str(refused.value)
    moved = GRID.affine.copy()
    moved[0, 3] += 0.5
    with pytest.raises(InputError, match="does not lie on that of the scan"):
        read_foreign(labels_file(tmp_path / "m.nii.gz", np.zeros(SHAPE, np.uint8), Volume(GRID.data, moved)), GRID)
    with pytest.raises(InputError, match="1×1×2.5 mm that does not lie"):
        read_foreign(labels_file(tmp_path / "s.nii.gz", np.zeros(SHAPE, np.uint8),
                                 Volume(GRID.data, GRID.affine @ np.diag([1, 1, 1.25, 1]))), GRID)


@pytest.mark.parametrize(("value", "sentence"), [(0.5, "not whole numbers"), (-1, "negative"),
                                                 (np.inf, "negative or not whole")])
def test_values_that_are_no_labels_are_refused(tmp_path, value, sentence):
    data = np.zeros(SHAPE, np.float32)
    data[3, 3, 3], data[9, 9, 9] = value, 1
    path = labels_file(tmp_path / "l.nrrd", data)
    with pytest.raises(InputError, match=sentence):
        read_foreign(path, GRID)


def test_a_brain_mask_is_refused_and_nan_is_background(tmp_path):
    data = np.zeros(SHAPE, np.float32)
    data[5:30, 5:30, 2:10] = 1
    with pytest.raises(InputError, match="more than 10% of the scan marked"):
        read_foreign(labels_file(tmp_path / "l.nii.gz", data), GRID)
    data[:] = np.nan
    data[3, 3, 3] = 1
    assert len(read_foreign(labels_file(tmp_path / "n.nrrd", data), GRID)) == 1


# Tables of others

def table(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(("name", "text"), [
    ("t.tsv", "R_mm\tA_mm\tS_mm\n-3.5\t7\t4\n"), ("t.csv", "L_mm,P_mm,S_mm\n3.5,-7,4\n"),
    ("t.csv", "r,a,s\n-3.5,7,4\n\n"), ("t.csv", "R (mm);A (mm);S (mm)\r\n-3,5;7,0;4\r\n"),
    ("t.csv", "x,y,z,coordinate_system\n3.5,-7,4,lps\n"), ("t.tsv", "# CoordinateSystem = RAS\nx\ty\tz\n-3.5\t7\t4\n"),
    ("t.csv", "i,j,k,R_mm,A_mm,S_mm\n1,1,1,-3.5,7,4\n"), ("t.csv", "R_mm\tA_mm\tS_mm\n-3.5\t7\t4\n")])
def test_places_are_read_in_the_system_that_is_stated(tmp_path, name, text):
    for start in ("", "\ufeff"):
        found, = read_foreign(table(tmp_path / name, start + text), GRID)
        assert found.position_ras == (-3.5, 7.0, 4.0)
        assert (found.verdict, found.meant, found.diameter_mm, found.comment) == (None, "accepted", None, "")


def test_the_caller_may_state_the_system(tmp_path):
    path = table(tmp_path / "t.csv", "x,y,z\n3.5,-7,4\n")
    assert read_foreign(path, GRID, coordinate_system="LPS")[0].position_ras == (-3.5, 7.0, 4.0)
    assert read_foreign(path, GRID, coordinate_system="RAS")[0].position_ras == (3.5, -7.0, 4.0)
    path = table(tmp_path / "t.csv", "x,y,z,space\n3.5,-7,4,RAS\n")
    with pytest.raises(InputError, match="t.csv has places in LPS and RAS"):
        read_foreign(path, GRID, coordinate_system="LPS")


def test_words_of_a_table_are_read(tmp_path):
    path = table(tmp_path / "t.csv", 'ID,R_mm,A_mm,S_mm,Verdict,Certainty,Mimic,diameter_mm,Comment\n'
                                     'a,1,2,3,Accepted,possible,,4.5,"two\nlines, ""ä"""\nb,4,5,6,,,vessel,n/a,\n')
    first, second = read_foreign(path, GRID)
    assert (first.label, first.verdict, first.certainty, first.diameter_mm) == ("a", "accepted", "possible", 4.5)
    assert first.comment == 'two\nlines, "ä"'
    assert (second.verdict, second.mimic_kind, second.diameter_mm) == ("rejected", "vessel", None)


@pytest.mark.parametrize(("text", "sentence"), [
    ("", "t.csv is empty"), ("\n \n", "t.csv is empty"), ("# one\n# two\n", "no cells"), (",,,\n , ,\n", "no cells"),
    ("# CoordinateSystem = RAS", "no cells"),
    ("x,y,z\n1,2,3\n", "does not say what its columns x, y, z count"),
    ("x,y,z,space\n1,2,3,voxel\n", "has places in VOXEL"), ("x,y,z,space\n1,2,3,RAS\n1,2,3,LPS\n", "in LPS and RAS"),
    ("i,j,k\n1,2,3\n", "only voxel numbers"), ("x_voxel,y_voxel,z_voxel\n1,2,3\n", "only voxel numbers"),
    ("name,size\na,2\n", "no columns with places"), ("just words\nand more\n", "no columns with places"),
    ("R_mm,A_mm,S_mm\n1,nan,3\n", "Row 1 of t.csv has the place 1, nan, 3, which is not three numbers"),
    ("R_mm,A_mm,S_mm\n1,2,3\n1,2,\n", "Row 2 of t.csv has the place"), ("R_mm,A_mm,S_mm\n1,2,inf\n", "1, 2, inf"),
    ("R_mm,A_mm,S_mm\n1,2\n", "Row 1 of t.csv has the place"),
    ("R_mm,A_mm,S_mm\n1,2,3,4\n", "Row 1 of t.csv has 4 cells for 3 columns"),
    ("id,R_mm,A_mm,S_mm\n1,1,2,3\n1,4,5,6\n", "Row 2 of t.csv has the id 1 of an earlier row"),
    ("R_mm,A_mm,S_mm\n1,2,3\n1,2,300\n", "t.csv has 1 of 2 places outside the scan, the first one number 2"),
    ("R_mm,A_mm,S_mm,verdict\n1,2,3,maybe\n", "Row 1 of t.csv has the verdict 'maybe'; write one of accepted"),
    ("R_mm,A_mm,S_mm,verdict,mimic\n1,2,3,accepted,vessel\n", "Row 1 of t.csv is accepted and rejected as “vessel” at"),
    ("R_mm,A_mm,S_mm,diameter\n1,2,3,-4\n", "Row 1 of t.csv has the diameter '-4'"),
    ("R_mm,A_mm,S_mm,R_mm\n1,2,3,4\n", "two columns r_mm"), ('R_mm,A_mm,S_mm\n1,2,"3\n', "is no table"),
    ("scan,R_mm,A_mm,S_mm\na,1,2,3\nb,1,2,3\n", "lists findings of several scans \\(a, b\\)")])
def test_tables_that_are_not_safe_are_refused(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        read_foreign(table(tmp_path / "t.csv", text), GRID)
    assert "t.csv" in str(refused.value) and "\n" not in str(refused.value)


def test_our_table_of_two_scans_is_refused(tmp_path):
    write_finding_table(tmp_path / "t.tsv", [case_of(), replace(case_of(), session="2", scan_name="b.nii.gz")])
    with pytest.raises(InputError, match="several scans"):
        read_foreign(tmp_path / "t.tsv", GRID)


def test_files_of_no_form_are_refused(tmp_path):
    with pytest.raises(InputError, match="t.csv is not UTF-8"):
        read_foreign(table(tmp_path / "t.csv", "R_mm,A_mm,S_mm,comment\n1,2,3,ä\n", "latin-1"), GRID)
    with pytest.raises(InputError, match="gone.tsv cannot be opened"):
        read_foreign(tmp_path / "gone.tsv", GRID)
    for name, text, sentence in (
            ("t.docx", "x", "in no form that can be imported; give a label map"), ("t.json", "{", "is not JSON"),
            ("t.json", "[" * 100_000, "is not JSON"), ("t.mrk.json", '{"a":' * 100_000, "is not JSON"),
            ("t.json", "{}", "neither a review"), ("t.json", "[1]", "neither a review"), ("e.json", "", "is empty"),
            ("r.json", '{"findings": [], "schema_version": "9"}', "schema version 9"), ("l.nii.gz", "", "is empty"),
            ("l.nii.gz", "nonsense", "not an image or is damaged")):
        with pytest.raises(InputError, match=sentence):
            read_foreign(table(tmp_path / name, text), GRID)


# Points of 3D Slicer

def markups(path, *controls, **more):
    content = {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": list(controls), **more}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(("more", "expected"), [
    ({}, (-3.5, 7.0, 4.0)), ({"coordinateSystem": "RAS"}, (3.5, -7.0, 4.0)), ({"coordinateSystem": "1"},
                                                                            (-3.5, 7.0, 4.0)),
    ({"coordinateSystem": "0", "coordinateUnits": ["mm", "UCUM", "millimeter"]}, (3.5, -7.0, 4.0))])
def test_markups_are_read_in_their_system(tmp_path, more, expected):
    path = markups(tmp_path / "p.mrk.json", {"id": "1", "label": "F-1", "description": "left, small",
                                             "position": [3.5, -7, 4]},
                   {"id": "2", "label": "F-2", "position": [], "positionStatus": "undefined"}, **more)
    found, = read_foreign(path, GRID)
    assert (found.position_ras, found.label, found.comment, found.verdict) == (expected, "F-1", "left, small", None)


def test_markups_that_are_not_safe_are_refused(tmp_path):
    point = {"id": "1", "label": "a", "position": [1, 2, 3]}
    path = tmp_path / "p.mrk.json"
    for controls, more, sentence in (
            ([point], {"coordinateSystem": "IJK"}, "has places in IJK"), ([point], {"coordinateUnits": "um"}, "in um"),
            ([point], {"type": "Line"}, "holds no point list"), ([point, point], {}, "Point 2 .* has the id 1"),
            ([{**point, "position": [1, 2, float("nan")]}], {}, "Point 1 of p.mrk.json has the place 1, 2, nan"),
            ([{**point, "position": [1, 2]}], {}, "Point 1 of p.mrk.json has the place"),
            ([5], {}, "is not as 3D Slicer"),
            ([{"id": "1"}], {}, "is not as 3D Slicer"), ([{**point, "position": [1, 2, 300]}], {}, "outside the scan"),
            ([{**point, "description": '{"verdict": "yes"}'}], {}, "Point 1 of p.mrk.json has the verdict 'yes'")):
        with pytest.raises(InputError, match=sentence):
            read_foreign(markups(path, *controls, **more), GRID)


@pytest.mark.parametrize(("version", "system", "expected"), [
    ("4.10", "# CoordinateSystem = 0\n", (3.5, -7.0, 4.0)), ("4.10", "", (3.5, -7.0, 4.0)),
    ("4.11", "# CoordinateSystem = LPS\n", (-3.5, 7.0, 4.0)), ("4.11", "", (-3.5, 7.0, 4.0)),
    ("5.12", "# CoordinateSystem = RAS\n", (3.5, -7.0, 4.0)), ("4.6", "# CoordinateSystem = 1\n", (-3.5, 7.0, 4.0))])
def test_the_older_point_list_is_read_as_its_version_means_it(tmp_path, version, system, expected):
    path = table(tmp_path / "p.fcsv", f"# Markups fiducial file version = {version}\n{system}# columns = id,x,y,z,ow,"
                 'ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n1,3.5,-7,4,0,0,0,1,1,1,0,F-1,"a ""b"", c",,2,0\n')
    found, = read_foreign(path, GRID)
    assert (found.position_ras, found.label, found.comment) == (expected, "F-1", 'a "b", c')


@pytest.mark.parametrize(("text", "sentence"), [
    ("1,2,3,4\n", "does not begin as a point list"),
    ("# Markups fiducial file version = 5.2\n# CoordinateSystem = IJK\n", "has places in IJK"),
    ("# Markups fiducial file version = 5.2\n1,2,x,4\n", "Point 1 of p.fcsv has the place 2, x, 4"),
    ("# Markups fiducial file version = 5.2\n1,2,3,400\n", "1 of 1 places outside"),
    ("# Markups fiducial file version = 5.2\n1,2,3," + "4" * 200_000, "no points that can be read")])
def test_older_point_lists_that_are_not_safe_are_refused(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read_foreign(table(tmp_path / "p.fcsv", text), GRID)


def test_a_description_nested_too_deep_is_a_comment(tmp_path):
    deep = "[" * 100_000
    found, = read_foreign(markups(tmp_path / "p.mrk.json", {"position": [0, 0, 0], "description": deep},
                                  measurements=[{"value": float("nan")}]), GRID)
    assert (found.comment, found.verdict) == (deep, None)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize("name", ["a.tsv", "a.fcsv", "a.json"])
def test_what_is_no_ordinary_file_is_told_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} cannot be opened \(It is not an ordinary file\)"):
        read_foreign(tmp_path / name, GRID)


# Matching

def test_pairs_are_one_to_one_and_the_nearest_come_first():
    log = log_of((0, 0, 0), (4, 0, 0), (15, 0, 0))
    plan = match_foreign(replay(log).items, points((3.9, 0, 0), (0.2, 0, 0), (-12, 3, 0)))
    assert [(match.own, match.foreign.number) for match in plan.matched] == [(1, 2), (2, 1)]
    assert [match.distance_mm for match in plan.matched] == pytest.approx([0.2, 0.1])
    assert [one.number for one in plan.additions] == [3] and plan.missing == (3,) and plan.conflicts == ()


def test_the_tolerance_is_the_callers():
    items = replay(log_of((0, 0, 0))).items
    for tolerance_mm, matched in ((2.9, 0), (3.1, 1)):
        plan = match_foreign(items, points((3, 0, 0)), tolerance_mm=tolerance_mm)
        assert len(plan.matched) == matched == 1 - len(plan.additions)


def test_regions_that_overlap_are_one_however_far_their_centres():
    labels = np.zeros(SHAPE, np.int32)
    labels[5:25, 10, 5], labels[30:32, 30, 5] = 3, 4
    items = [CaseFinding(3, place((6, 10, 5)), 0.0, 0.0, None, "accepted"),
             CaseFinding(4, place((30, 30, 5)), 0.0, 0.0, None, "accepted")]
    voxels = np.argwhere(labels == 3)[10:]
    there = ForeignFinding(1, place((19, 10, 5)), voxels=voxels)
    plan = match_foreign(items, [there], GRID.with_data(labels))
    assert [(match.own, match.overlapping) for match in plan.matched] == [(3, True)]
    assert match_foreign(items, [there]).additions == (there,)
    # a point inside the region; a region that only touches it
    plan = match_foreign(items, points(place((24, 10, 5))), GRID.with_data(labels))
    assert [(match.own, match.overlapping) for match in plan.matched] == [(3, True)]
    plan = match_foreign(items, points(place((23.5, 10.5, 5.5))), GRID.with_data(labels))
    assert [match.own for match in plan.matched] == [3], "halfway between voxels, in that of the lower index"
    beside = ForeignFinding(1, place((24, 13, 5)), voxels=np.array([[24, y, 5] for y in range(10, 16)]))
    added, = match_foreign(items, [beside], GRID.with_data(labels), tolerance_mm=2.0).additions
    assert added.voxels.tolist() == [[24, y, 5] for y in range(11, 16)]


def test_one_of_theirs_between_two_is_asked():
    log = log_of((0, 0, 0), (4, 0, 0), (15, 15, 0))
    plan = match_foreign(replay(log).items, points((1.8, 0, 0)))
    conflict, = plan.conflicts
    assert (conflict.kind, conflict.own) == (ONE_NEAR_SEVERAL, (1, 2))
    assert conflict.sentence == ("Their number 1 (accepted) may be finding 1 (1.8 mm) and 2 (2.2 mm); taking theirs "
                                 "counts it as 1.")
    assert plan.matched == plan.additions == plan.changes == () and plan.missing == (3,)
    assert [item.verdict for item in carried_out(log, plan).items] == ["undecided"] * 3
    assert [item.verdict for item in carried_out(log, plan, [conflict]).items] == ["accepted", "undecided", "undecided"]
    # clearly the nearer one; the other belongs to somebody else
    assert not match_foreign(replay(log).items, points((1.2, 0, 0))).conflicts
    assert not match_foreign(replay(log).items, points((1.8, 0, 0), (3.9, 0, 0))).conflicts


def test_a_region_of_theirs_over_two_is_asked():
    labels = np.zeros(SHAPE, np.int32)
    labels[5:10, 10, 5], labels[11:13, 10, 5] = 1, 2
    items = [CaseFinding(1, place((7, 10, 5)), 0.0, 0.0, None, "accepted"),
             CaseFinding(2, place((11.5, 10, 5)), 0.0, 0.0, None, "accepted")]
    there = ForeignFinding(1, place((8, 10, 5)), voxels=np.array([[x, 10, 5] for x in range(5, 13)]))
    conflict, = match_foreign(items, [there], GRID.with_data(labels)).conflicts
    assert (conflict.kind, conflict.own) == (ONE_NEAR_SEVERAL, (1, 2))


def test_two_of_theirs_near_one_are_asked():
    log = log_of((0, 0, 0))
    plan = match_foreign(replay(log).items, points((0.5, 0, 0), (0, 1.5, 0)))
    conflict, = plan.conflicts
    assert (conflict.kind, conflict.own, conflict.foreign.number) == (SEVERAL_NEAR_ONE, (1,), 2)
    assert "number 2 (accepted) lies 1.5 mm from finding 1" in conflict.sentence
    assert [(match.own, match.foreign.number) for match in plan.matched] == [(1, 1)]
    assert len(carried_out(log, plan).items) == 1
    taken = carried_out(log, plan, [conflict])
    assert [(item.id, item.position_ras) for item in taken.items] == [(1, (0, 0, 0)), (2, (0, 1.5, 0))]


def test_of_different_opinions_ones_own_is_kept_unless_theirs_is_wanted():
    log = (*log_of((0, 0, 0), (10, 0, 0), (0, 10, 0), (10, 10, 0), (-9, -9, 0)), said(1, VERDICT, "accepted"),
           said(2, VERDICT, "rejected"), said(2, "mimic_kind", "vessel"), said(3, VERDICT, "accepted"),
           said(3, "certainty", "definite"), said(3, COMMENT, "mine"), said(5, VERDICT, "rejected"))
    foreign = [ForeignFinding(1, (0, 0, 0), label="A", verdict="rejected", mimic_kind="calcification",
                              certainty="possible"),
               ForeignFinding(2, (10, 0, 0), label="B", verdict="rejected", mimic_kind="artefact"),
               ForeignFinding(3, (0, 10, 0), verdict="accepted", certainty="possible", comment="their\nwords"),
               ForeignFinding(4, (10, 10, 0), verdict="rejected", mimic_kind="cavernoma", comment="popcorn"),
               ForeignFinding(5, (-9, -9, 0))]
    plan = match_foreign(replay(log).items, foreign)
    assert [(one.kind, one.own) for one in plan.conflicts] == [
        ("verdict", (1,)), ("mimic_kind", (2,)), ("certainty", (3,)), ("comment", (3,)), ("verdict", (5,))]
    assert [one.sentence for one in plan.conflicts] == [
        "Finding 1 is accepted here, and is rejected (calcification, possible) by their “A”.",
        "Finding 2 is rejected as “vessel” here, and as “artefact” by their “B”.",
        "Finding 3 is definite here, and possible by their number 3.",
        "Finding 3 has the comment “mine” here, and “their words” by their number 3.",
        "Finding 5 is rejected here, and is accepted by their number 5."]
    kept = carried_out(log, plan)
    assert [(one.verdict, one.certainty, one.mimic_kind, one.comment) for one in kept.items] == [
        ("accepted", "", "", ""), ("rejected", "", "vessel", ""), ("accepted", "definite", "", "mine"),
        ("rejected", "", "cavernoma", "popcorn"), ("rejected", "", "", "")]
    taken = carried_out(log, plan, plan.conflicts)
    assert [(one.verdict, one.certainty, one.mimic_kind, one.comment) for one in taken.items] == [
        ("rejected", "possible", "calcification", ""), ("rejected", "", "artefact", ""),
        ("accepted", "possible", "", "their\nwords"), ("rejected", "", "cavernoma", "popcorn"),
        ("accepted", "", "", "")]
    with pytest.raises(ValueError, match="not one of this plan"):
        events_of(plan, "CD", AT, 6, match_foreign(replay(log).items, foreign).conflicts[:1])


def test_who_is_undecided_contradicts_nobody():
    log = (*log_of((0, 0, 0), (10, 0, 0)), said(1, VERDICT, "accepted"))
    plan = match_foreign(replay(log).items, points((0, 0, 0), (10, 0, 0), verdict="undecided", comment="?"))
    assert not plan.conflicts and {change.action for change in plan.changes} == {COMMENT}
    assert [(one.verdict, one.comment) for one in carried_out(log, plan).items] == [("accepted", "?"),
                                                                                   ("undecided", "?")]


def test_theirs_that_is_one_more_takes_no_voxel_from_the_one_beside_it():
    labels = np.zeros(SHAPE, np.int32)
    labels[10:12, 10, 5] = 1
    items = [CaseFinding(1, place((10.5, 10, 5)), 0.0, 0.0, None, "accepted")]
    foreign = [ForeignFinding(1, place((10.5, 10, 5))),
               ForeignFinding(2, place((12, 10, 5)), voxels=np.array([[x, 10, 5] for x in range(11, 16)]))]
    conflict, = match_foreign(items, foreign, GRID.with_data(labels)).conflicts
    assert conflict.kind == SEVERAL_NEAR_ONE and conflict.foreign.voxels.tolist() == [[x, 10, 5] for x in range(12, 16)]


# Regions of the brain

LEFT, RIGHT = {"region": "thalamus", "side": "left"}, {"region": "frontal", "side": "right"}


def test_only_regions_that_a_reader_has_chosen_are_read_from_our_files(tmp_path):
    case = case_of()
    first, second, *others = case.findings
    findings = (replace(first, region="thalamus", side="left"),
                replace(second, region="frontal", side="right", region_confidence=0.7), *others)
    for name in ("t.tsv", "t.csv"):
        write_finding_table(tmp_path / name, [replace(case, findings=findings)])
        assert [one.chosen_region for one in read_foreign(tmp_path / name, GRID)] == [("thalamus", "left"), *[None] * 4]
    log = (*log_of((0, 0, 0), (10, 0, 0), (0, 10, 0)), said(1, REGION, LEFT), said(2, REGION, RIGHT),
           said(2, REGION, None))
    (tmp_path / "r.json").write_text(sidecar_text(Sidecar(log, "s.nii.gz", "", "", "AB", 0.5)), encoding="utf-8")
    assert [one.chosen_region for one in read_foreign(tmp_path / "r.json", GRID)] == [("thalamus", "left"), None, None]
    # without a log nobody knows who says the region
    write_review(tmp_path / "f.json", Review("s.nii.gz", "", "gre", "AB", (
        ReviewedFinding(1, (0, 0, 0), 3.0, "accepted", region="thalamus", side="left"),)))
    assert read_foreign(tmp_path / "f.json", GRID)[0].chosen_region is None
    text = (tmp_path / "t.tsv").read_text(encoding="utf-8").replace("thalamus", "thalamos")
    with pytest.raises(InputError, match="Row 1 of t.tsv has the region 'thalamos'; write one of brainstem, "):
        read_foreign(table(tmp_path / "t.tsv", text), GRID)


def test_a_region_is_taken_where_nobody_has_chosen_one_and_asked_where_both_have():
    log = (*log_of((0, 0, 0), (10, 0, 0), (0, 10, 0)), said(2, REGION, LEFT), said(3, REGION, LEFT))
    foreign = [ForeignFinding(1, (0, 0, 0), verdict="undecided", chosen_region=("thalamus", "left")),
               ForeignFinding(2, (10, 0, 0), verdict="undecided", chosen_region=("thalamus", "left")),
               ForeignFinding(3, (0, 10, 0), label="A\nB", verdict="undecided", chosen_region=("frontal", "right")),
               ForeignFinding(4, (-10, -10, 0), chosen_region=("insula", "right"))]
    plan = match_foreign(replay(log).items, foreign)
    assert [(change.action, change.finding, change.value) for change in plan.changes] == [(REGION, 1, LEFT)]
    conflict, = plan.conflicts
    assert (conflict.kind, conflict.own, conflict.sentence) == (
        "region", (3,), "Finding 3 lies in “thalamus, left” here, and in “frontal, right” by their “A B”.")
    kept, taken = carried_out(log, plan), carried_out(log, plan, [conflict])
    assert [one.chosen_region for one in kept.items] == [("thalamus", "left")] * 3 + [("insula", "right")]
    assert taken.item(3).chosen_region == ("frontal", "right")
    again = match_foreign(taken.items, foreign)
    assert not (again.changes or again.conflicts or again.additions)


def test_a_region_of_the_map_contradicts_nobody():
    sure = CaseFinding(1, (0, 0, 0), 3.0, 14.0, 0.9, "accepted", region="frontal", side="right", region_confidence=0.9)
    chosen = replace(sure, id=2, position_ras=(10, 0, 0), region_confidence=None)
    foreign = points((0, 0, 0), (10, 0, 0), chosen_region=("thalamus", "left"))
    plan = match_foreign([sure, chosen], foreign)
    assert [(change.action, change.finding) for change in plan.changes] == [(REGION, 1)]
    assert [(conflict.kind, conflict.own) for conflict in plan.conflicts] == [("region", (2,))]


# Carrying it out

def test_additions_get_new_numbers_their_voxels_and_their_words():
    voxels = np.array([[5, 5, 5], [6, 5, 5], [6, 6, 6]])
    log = log_of((0, 0, 0), (10, 0, 0), probabilities=[0.9, 0.01])
    foreign = [ForeignFinding(1, (-10, 0, 0), 4.0, "A", COMMENTS[1], "rejected", "possible", "vessel", voxels),
               ForeignFinding(2, (-10, 9, 0)), ForeignFinding(3, (-10, -9, 0), verdict="undecided")]
    plan = match_foreign(replay(log).items, foreign)
    events = events_of(plan, "CD", AT, replay(log).next_id)
    assert [(event.action, event.finding) for event in events] == [
        (ADDED, 3), (VERDICT, 3), ("certainty", 3), ("mimic_kind", 3), (COMMENT, 3), (ADDED, 4), (ADDED, 5),
        (VERDICT, 5)]
    assert np.array_equal(region_from_json(events[0].value["region"]), voxels)
    assert events[5].value == {"ras_mm": [-10, 9, 0], "diameter_mm": 0.0, "region": None}
    third, fourth, fifth = carried_out(log, plan).items[2:]
    assert (third.position_ras, third.diameter_mm, third.verdict, third.certainty, third.mimic_kind, third.comment) == \
        ((-10, 0, 0), 4.0, "rejected", "possible", "vessel", COMMENTS[1])
    assert third.added_by_reader and (fourth.verdict, fifth.verdict) == ("accepted", "undecided")


def test_a_whole_review_comes_over(tmp_path):
    case = case_of()
    write_points(tmp_path / "p.mrk.json", case)
    found = read_foreign(tmp_path / "p.mrk.json", case.image)
    log = log_of(*(one.position_ras for one in case.findings[:3]))
    state = carried_out(log, match_foreign(replay(log).items, found))
    assert [(one.verdict, one.certainty, one.mimic_kind, one.comment) for one in state.items] == \
        [(one.verdict, one.certainty, one.mimic_kind, one.comment) for one in case.findings]
    assert np.abs(np.subtract([one.position_ras for one in state.items],
                              [one.position_ras for one in case.findings])).max() <= 0.1
    again = match_foreign(state.items, found)
    assert not (again.changes or again.additions or again.conflicts or again.missing)


@pytest.mark.parametrize("bright", [False, True])
def test_points_get_regions_on_the_scan(bright):
    data = np.random.default_rng(0).normal(500, 5, SHAPE).astype(np.float32)
    data[10:13, 10:13, 5], data[20:22, 20:22, 8] = (900, 900) if bright else (100, 100)
    given = ForeignFinding(1, place((1, 1, 1)), voxels=np.array([[1, 1, 1]]))
    first, second = place((11, 11, 5)), place((20, 21, 8))
    grown = with_grown_regions([ForeignFinding(3, first, 7.0), given, ForeignFinding(9, second)], GRID.with_data(data),
                               bright)
    assert grown[1] is given and [one.position_ras for one in grown] == [first, given.position_ras, second]
    assert np.array_equal(grown[0].voxels, np.argwhere(np.abs(data - 500) > 200)[:9]) and grown[0].diameter_mm == 7.0
    assert len(grown[2].voxels) == 4 and grown[2].diameter_mm == pytest.approx(equivalent_diameter_mm(8.0))


def test_random_reviews_always_replay():
    rng = np.random.default_rng(7)
    verdicts = (None, "accepted", "rejected", "undecided")
    for _ in range(60):
        log = log_of(*rng.uniform(-10, 10, (6, 3)))
        for number in range(1, 7):
            verdict = verdicts[rng.integers(1, 4)]
            log = (*log, said(number, VERDICT, verdict))
            if verdict == "rejected" and rng.random() < 0.5:
                log = (*log, said(number, "mimic_kind", "vessel"))
            if rng.random() < 0.4:
                log = (*log, said(number, "certainty", "definite"), said(number, COMMENT, "here"))
        foreign = []
        for number in range(1, 9):
            verdict = verdicts[rng.integers(0, 4)]
            mimic = "artefact" if verdict == "rejected" and rng.random() < 0.5 else ""
            foreign.append(ForeignFinding(number, tuple(rng.uniform(-10, 10, 3).tolist()), None, "", "there", verdict,
                                          ("", "possible")[rng.integers(2)], mimic))
        plan = match_foreign(replay(log).items, foreign)
        places = [one for one in plan.conflicts if one.kind in (ONE_NEAR_SEVERAL, SEVERAL_NEAR_ONE)]
        told = [*(match.foreign.number for match in plan.matched), *(one.number for one in plan.additions),
                *(one.foreign.number for one in places)]
        assert sorted(told) == list(range(1, 9))
        asked = {number for one in places for number in one.own}
        assert {match.own for match in plan.matched} | set(plan.missing) | asked == set(range(1, 7))
        for take in ((), plan.conflicts, plan.conflicts[::2]):
            assert len(carried_out(log, plan, take).items) == 6 + len(plan.additions) + sum(one.adds for one in take)
