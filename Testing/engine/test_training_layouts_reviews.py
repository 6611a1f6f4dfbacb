"""Reviews: the file and what it refuses; a reviewed case and the classes of its voxels."""

import json
from dataclasses import replace

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.geometry import voxel_to_ras
from microbleeds.read_write import read_scan, write_image, write_label_map
from microbleeds.review_files import (
    Review,
    ReviewedFinding,
    read_review,
    review_from_json,
    review_to_json,
    write_review,
)
from microbleeds.training.check_data_set import check_data_set
from microbleeds.training.labelled_scans import IGNORED, MICROBLEED, MIMIC, VESSEL, read_truth
from microbleeds.training.layouts import find_labelled_scans
from microbleeds.volume import Volume

AFFINE = np.array([[-1.0, 0, 0, 30], [0, 1, 0, -20], [0, 0, 2, -10], [0, 0, 0, 1]])
BOXES = {1: np.s_[5:8, 5:8, 3:5], 2: np.s_[15:18, 5:8, 3:5], 3: np.s_[25:28, 5:8, 3:5], 4: np.s_[35:38, 5:8, 3:5],
         8: np.s_[5:8, 30:33, 3:5]}
ADDED = np.s_[24:27, 24:27, 6:8]


def finding(number, verdict, voxel, **more):
    place = (np.array(voxel) * [-1, 1, 2] + [30, -20, -10]).astype(float)
    return ReviewedFinding(number, tuple(place.tolist()), 3.0, verdict, **more)


REVIEW = Review("sub-3_scan.nii.gz", "", "gre", "AB", (
    finding(1, "accepted", (6, 6, 3), certainty="possible", comment="“faint”"),
    finding(2, "rejected", (16, 6, 3), mimic_kind="vessel"), finding(3, "rejected", (26, 6, 3)),
    finding(4, "undecided", (36, 6, 3)), finding(9, "accepted", (25, 25, 7), added_by_reader=True)))


def write_case(folder, review=REVIEW, image_name="sub-3_scan.nii.gz", seed=0):
    data = np.random.default_rng(seed).normal(500, 10, (48, 40, 12)).astype(np.float32)
    data[ADDED] = 100
    labels = np.zeros(data.shape, np.int32)
    for number, box in BOXES.items():
        labels[box] = number
    volume = Volume(data, AFFINE)
    write_image(folder / image_name, volume)
    write_label_map(folder / "sub-3_scan_desc-cmb_dseg.nii.gz", volume.with_data(labels))
    write_review(folder / "sub-3_scan_desc-cmb_review.json", review)
    return volume


def test_a_review_comes_back(tmp_path):
    write_review(tmp_path / "r.json", REVIEW)
    assert read_review(tmp_path / "r.json") == REVIEW
    newer = {**review_to_json(REVIEW), "schema_version": "1.4", "more": 1}
    assert review_from_json(newer, "r.json") == REVIEW


@pytest.mark.parametrize(("change", "sentence"), [
    ({"schema_version": "2.0"}, "r.json has schema version 2.0"), ({"reader": None}, "None is not a text"),
    ({"findings": 3}, "r.json is not a review as documented"), ({"input": {}}, "r.json has no 'name'")])
def test_a_review_of_another_form_is_refused(change, sentence):
    with pytest.raises(InputError, match=sentence):
        review_from_json({**review_to_json(REVIEW), **change}, "r.json")


@pytest.mark.parametrize(("change", "sentence"), [
    ({"verdict": "open"}, "'open' is none of 'accepted'"), ({"id": 2}, "two findings have the same id"),
    ({"id": 0}, "id 0 is not a whole number"), ({"position_ras": [1, 2]}, "place or diameter of finding 1"),
    ({"position_ras": [1, 2, float("nan")]}, "place or diameter"), ({"diameter_mm": -1}, "place or diameter"),
    ({"mimic_kind": "vessel"}, "finding 1 is accepted and a vessel at once"), ({"mimic_kind": "cat"}, "'cat' is none"),
    ({"added_by_reader": "no"}, "added_by_reader of finding 1 is 'no'"), ({"certainty": "sure"}, "'sure' is none")])
def test_a_finding_of_another_form_is_refused(change, sentence):
    content = review_to_json(REVIEW)
    content["findings"][0] |= change
    with pytest.raises(InputError, match=sentence):
        review_from_json(content, "r.json")


def test_what_could_not_be_read_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"r.json is not a review"):
        write_review(tmp_path / "r.json", replace(REVIEW, modality="ct"))
    assert not (tmp_path / "r.json").exists()
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(InputError, match="r.json is not JSON"):
        read_review(tmp_path / "r.json")
    with pytest.raises(InputError, match="gone.json cannot be opened"):
        read_review(tmp_path / "gone.json")


def test_verdicts_become_classes(tmp_path):
    write_case(tmp_path)
    scan, = find_labelled_scans(tmp_path)
    assert (scan.layout, scan.subject, scan.modality) == ("reviews", "sub-3", "gre")
    truth = read_truth(scan, read_scan(scan.image).volume)
    assert not truth.kinds_known
    for number, expected in ((1, MICROBLEED), (2, VESSEL), (3, MIMIC), (4, IGNORED), (8, IGNORED)):
        assert (truth.classes[BOXES[number]] == expected).all()
    assert (truth.lesions[BOXES[1]] == 1).all() and (truth.lesions[ADDED] == 9).all()
    assert np.array_equal(truth.classes == MICROBLEED, truth.lesions > 0)
    assert (truth.lesions > 0).sum() == 18 + 18 and (truth.classes > 0).sum() == 5 * 18 + 18
    check_data_set([scan])


def test_the_folder_of_a_person_tells_the_subject_of_its_scans(tmp_path):
    # else two scans of one person could stand on both sides of a split
    for folder in ("sub-7/2019", "sub-7/2022", "other"):
        write_case(tmp_path / folder, replace(REVIEW, input_name="scan.nii.gz"), "scan.nii.gz")
        write_case(tmp_path / folder)
    found = {scan.image.relative_to(tmp_path).as_posix(): scan.subject for scan in find_labelled_scans(tmp_path)}
    assert found["sub-7/2019/scan.nii.gz"] == found["sub-7/2022/scan.nii.gz"] == "sub-7"
    assert found["other/scan.nii.gz"] == "scan" and found["sub-7/2019/sub-3_scan.nii.gz"] == "sub-3"


def test_a_point_of_the_reader_on_a_rejected_finding_stays_whole(tmp_path):
    point = finding(9, "accepted", (16, 6, 4), added_by_reader=True)
    volume = write_case(tmp_path, replace(REVIEW, findings=(point, REVIEW.findings[1])))
    data = volume.data.copy()
    data[14:17, 6, 4] = 50
    write_image(tmp_path / "sub-3_scan.nii.gz", volume.with_data(data))
    scan, = find_labelled_scans(tmp_path)
    truth = read_truth(scan, read_scan(scan.image).volume)
    assert np.array_equal(truth.lesions == 9, data == 50) and (truth.classes[data == 50] == MICROBLEED).all()
    assert (truth.classes[BOXES[2]] == VESSEL).sum() == 18 - 2


def test_added_points_are_bright_on_qsm(tmp_path):
    write_case(tmp_path, replace(REVIEW, modality="qsm", findings=REVIEW.findings[-1:]))
    data = read_scan(tmp_path / "sub-3_scan.nii.gz").volume
    write_image(tmp_path / "sub-3_scan.nii.gz", data.with_data(600 - data.data))
    scan, = find_labelled_scans(tmp_path)
    truth = read_truth(scan, read_scan(scan.image).volume)
    assert np.array_equal(truth.lesions > 0, data.data < 200)


def test_a_point_outside_the_scan_is_refused(tmp_path):
    volume = write_case(tmp_path, replace(REVIEW, findings=(finding(9, "accepted", (60, 6, 4), added_by_reader=True),)))
    scan, = find_labelled_scans(tmp_path)
    with pytest.raises(InputError, match=r"finding 9 at \[-30.0, -14.0, -2.0\] lies outside"):
        read_truth(scan, volume)
    assert np.allclose(voxel_to_ras(volume, [60, 6, 4]), [-30, -14, -2])


def test_the_image_may_have_any_format_and_the_name_that_the_review_gives(tmp_path):
    write_case(tmp_path, replace(REVIEW, input_name="export.nrrd"), "export.nrrd")
    scan, = find_labelled_scans(tmp_path)
    assert scan.image.name == "export.nrrd"
    check_data_set([scan])


def test_faults_of_reviews_are_told_together(tmp_path):
    write_case(tmp_path, replace(REVIEW, input_sha256="0" * 64))
    (tmp_path / "sub-3_scan_desc-cmb_dseg.nii.gz").unlink()
    write_image(tmp_path / "unread.nii.gz", Volume(np.arange(48 * 40 * 12.0).reshape(48, 40, 12), AFFINE))
    (tmp_path / "broken_desc-cmb_review.json").write_text(json.dumps({"schema_version": "1.0"}))
    write_image(tmp_path / "broken.nii.gz", Volume(np.arange(48 * 40 * 12.0)[::-1].reshape(48, 40, 12), AFFINE))
    with pytest.raises(InputError) as refused:
        check_data_set(find_labelled_scans(tmp_path))
    said = str(refused.value)
    for part in ("image changed since it was reviewed", "sub-3_scan_desc-cmb_dseg.nii.gz",
                 "unread.nii.gz (no ", "broken_desc-cmb_review.json has no 'input'"):
        assert part in said
