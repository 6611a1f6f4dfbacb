"""A reviewed case from its files: what stands after the log, regions included, and nothing of another scan."""

import json

import numpy as np
import pytest
from microbleeds import regions, review_log
from microbleeds.case_files import read_case, subject_and_session
from microbleeds.errors import InputError
from microbleeds.findings import DetectionResult
from microbleeds.geometry import voxel_to_ras
from microbleeds.outputs import result_to_json
from microbleeds.read_write import files_sha256, write_image, write_json, write_label_map, write_text
from microbleeds.review_files import ACCEPTED, REJECTED, Review, ReviewedFinding, write_review
from microbleeds.review_log import Event, ReviewState
from microbleeds.review_sidecar import Sidecar, sidecar_text
from microbleeds.volume import Volume
from review_phantoms import detection

AT, LATER = "2026-11-23T12:00:00+00:00", "2026-11-23T12:01:00+00:00"
STEM = "sub-07_ses-b_T2starw"
VOXELS = np.array([[10, 12, 6], [20, 15, 9], [30, 20, 12], [15, 30, 5]])


@pytest.fixture
def files(tmp_path, draw_affine):
    """A left-handed oblique scan, label map and review: 1 accepted, 2 rejected, 4 below the threshold, 5 added."""
    rng = np.random.default_rng(4)
    scan = Volume(rng.normal(300, 20, (40, 44, 18)).astype(np.float32), draw_affine(rng, True, (0.9, 0.9, 2.0)))
    image = tmp_path / f"{STEM}.nii.gz"
    write_image(image, scan)
    write_json(tmp_path / f"{STEM}.json", {"EchoTime": 0.02, "MagneticFieldStrength": 3, "Simulated": True})
    labels = np.zeros(scan.shape, np.int32)
    for number, voxel in enumerate(VOXELS, 1):
        labels[tuple(slice(n - 1, n + 2) for n in voxel)] = number
    write_label_map(tmp_path / f"{STEM}_desc-cmb_dseg.nii.gz", scan.with_data(labels))
    places = voxel_to_ras(scan, VOXELS)
    found = detection(places[[0, 1, 3]], [0.9, 0.8, 0.1])
    mapped = Volume(np.full((20, 22, 18), regions.OCCIPITAL, np.uint8), scan.affine @ np.diag([2, 2, 1, 1]))
    value = review_log.detection_value(DetectionResult(found.candidates, found.provenance, mapped), ReviewState())
    value["candidates"][2]["id"], value["candidates"][2]["label"] = 4, 4
    events = [Event(AT, "", "detected", 0, value), Event(AT, "A", "verdict", 1, ACCEPTED, 2.5),
              Event(AT, "A", "certainty", 1, "possible"), Event(AT, "A", "comment", 1, 'tab\t"q"\nÄ 出血'),
              Event(AT, "A", "verdict", 2, REJECTED, 1.0), Event(AT, "A", "mimic_kind", 2, "vessel"),
              Event(AT, "B", "added", 5, {"ras_mm": places[2].tolist(), "diameter_mm": 3.0}),
              Event(AT, "B", "region", 1, {"region": "insula", "side": "right"}),
              Event(LATER, "B", "verdict", 1, ACCEPTED, 1.25)]
    sidecar = Sidecar(tuple(events), image.name, files_sha256([image]), "cd" * 32, "B", 0.5, 1)
    write_text(tmp_path / f"{STEM}_desc-cmb_review.json", sidecar_text(sidecar))
    return image, scan, labels, places, found


def test_what_stands_after_the_log(files):
    image, scan, labels, places, _ = files
    case = read_case(image)
    assert (case.subject, case.session, case.stem, case.reader) == ("07", "b", STEM, "B")
    assert (case.is_reviewed, case.is_finished, case.reviewed_at, case.simulated) == (True, False, LATER, True)
    assert case.acquisition.modality == "gre" and case.acquisition.field_strength_t == 3
    assert case.acquisition.echo_time_ms == pytest.approx(20) and case.warnings == ()
    np.testing.assert_allclose(case.acquisition.voxel_mm, (0.9, 0.9, 2.0), atol=1e-4)
    first, second, added = case.findings
    assert (first.verdict, first.certainty, first.reader) == (ACCEPTED, "possible", "B")
    assert first.comment == 'tab\t"q"\nÄ 出血'
    assert first.seconds == 3.75
    assert (first.side, first.region, first.region_confidence, first.category) == ("right", "insula", None, "lobar")
    assert (second.verdict, second.mimic_kind, second.region, second.side) == (REJECTED, "vessel", "occipital", "left")
    assert 0.9 < second.region_confidence <= 1
    assert added.id == 5 and added.added_by_reader and added.region == "occipital" and added.probability is None
    np.testing.assert_allclose(added.position_ras, places[2], atol=1e-3)
    assert [one.id for one in case.microbleeds] == [1, 5]


def test_labels_are_those_of_the_findings_on_the_grid_of_the_scan(files):
    image, scan, labels, _, _ = files
    case = read_case(image)
    assert case.labels.same_grid(case.image)
    np.testing.assert_array_equal(case.labels.data, np.where(np.isin(labels, (1, 2)), labels, 0))


def test_without_a_review_the_detection_counts_and_says_so(files, tmp_path):
    image, _, _, _, found = files
    (tmp_path / f"{STEM}_desc-cmb_review.json").unlink()
    with pytest.raises(InputError, match="has no review and no result of a detection"):
        read_case(image)
    content = result_to_json(found)
    content["provenance"]["input_sha256"] = files_sha256([image])
    write_json(tmp_path / f"{STEM}_desc-cmb_findings.json", content)
    case = read_case(image)
    assert not case.is_reviewed and len(case.microbleeds) == 3 and case.threshold == 0.5
    content["provenance"]["parameters"] = {}
    write_json(tmp_path / f"{STEM}_desc-cmb_findings.json", content)
    assert read_case(image).threshold == min(one.probability for one in found.findings)
    content["provenance"]["input_sha256"] = "0" * 64
    write_json(tmp_path / f"{STEM}_desc-cmb_findings.json", content)
    with pytest.raises(InputError, match="made from another file"):
        read_case(image)


def test_a_review_without_a_log_is_a_finished_one(files, tmp_path):
    image, _, _, places, _ = files
    review = Review(image.name, "", "swi", "C", (ReviewedFinding(2, tuple(places[1]), 3.0, ACCEPTED, region="thalamus",
                                                                 side="left"),))
    (tmp_path / "own").mkdir()
    path = tmp_path / "own" / f"{STEM}_desc-cmb_review.json"
    write_review(path, review)
    with pytest.raises(InputError, match="is missing, the label map"):
        read_case(image, review=path)
    (tmp_path / "own" / f"{STEM}_desc-cmb_dseg.nii.gz").write_bytes(
        (tmp_path / f"{STEM}_desc-cmb_dseg.nii.gz").read_bytes())
    case = read_case(image, review=path)
    assert case.is_finished and case.acquisition.modality == "swi"
    only, = case.microbleeds
    assert only.region == "thalamus" and only.volume_mm3 == pytest.approx(27 * 0.9 * 0.9 * 2, rel=1e-3)


def test_a_review_of_another_file_is_told(files, tmp_path):
    image, scan, _, _, _ = files
    write_image(image, scan.with_data(scan.data + 1))
    assert "made on another file" in read_case(image).warnings[0]


def test_a_label_map_of_another_grid_is_refused(files, tmp_path):
    image, scan, labels, _, _ = files
    write_label_map(tmp_path / f"{STEM}_desc-cmb_dseg.nii.gz", Volume(labels[1:], scan.affine))
    with pytest.raises(InputError, match="not on the grid"):
        read_case(image)


def test_a_damaged_review_is_one_sentence(files, tmp_path):
    image = files[0]
    path = tmp_path / f"{STEM}_desc-cmb_review.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["log"][0]["value"]["region_map"]["values"] = "AAAA"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="region map is not as documented"):
        read_case(image)


def test_names():
    assert subject_and_session("sub-07_ses-b_T2starw") == ("07", "b")
    assert subject_and_session("Ärztin 3 axial") == ("Ärztin 3 axial", "")


def test_results_of_a_cohort_are_found_in_its_folder(files, tmp_path):
    image, *_ = files
    place = tmp_path / "out" / "sub-07" / "ses-b" / "anat"
    place.mkdir(parents=True)
    for path in tmp_path.glob(f"{STEM}_desc-cmb_*"):
        path.rename(place / path.name)
    assert len(read_case(image, results=tmp_path / "out").findings) == 3
    with pytest.raises(InputError, match="no review and no result"):
        read_case(image)
