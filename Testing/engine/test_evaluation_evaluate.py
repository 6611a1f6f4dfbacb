import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds.errors import InputError
from microbleeds.evaluation.evaluate import DISTANCE, OVERLAP, evaluate_folders, text_tables, write_evaluation
from microbleeds.evaluation.matching import Counts
from microbleeds.evaluation.metrics import Rates
from microbleeds.findings import DetectionResult, Extrema, Finding, Provenance
from microbleeds.outputs import write_result
from microbleeds.read_write import read_scan

SHAPE = (40, 40, 20)


def save(path, data):
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


def cube(centre, number=1, half=1):
    data = np.zeros(SHAPE, np.int32)
    data[tuple(slice(c - half, c + half + 1) for c in centre)] = number
    return data


def finding(number, centre, probability, detector, removed_by=None):
    position = tuple(map(float, centre))
    return Finding(number, position, probability, detector, 27.0, 3.7, (position, position),
                   Extrema(0.0, 1.0, position, position), "removed" if removed_by else "kept", removed_by)


@pytest.fixture
def cohort(tmp_path):
    """Scan a: lesions at 5 and 30; found at 5, by a finding 4 mm off at its edge; one false positive.

    Scan b: clean, one false positive, and one candidate that the clean-up removed. Scan c: clean, nothing found.
    """
    folders = tmp_path / "predictions", tmp_path / "truth"
    for folder in folders:
        folder.mkdir()
    lesions = {"a": cube((5, 5, 5)) + cube((30, 30, 10), 2), "b": np.zeros(SHAPE), "c": np.zeros(SHAPE)}
    candidates = {
        "a": (finding(1, (7, 5, 5), 0.9, 0.6), finding(2, (20, 20, 10), 0.8, 0.9),
              finding(3, (30, 30, 10), 0.3, 0.5, "step2_classify: probability")),
        "b": (finding(1, (10, 10, 10), 0.7, 0.5), finding(2, (30, 10, 10), 0.95, 0.4, "step3_cleanup: volume")),
        "c": ()}
    for stem, truth in lesions.items():
        save(tmp_path / f"{stem}.nii.gz", np.random.default_rng(0).normal(500, 50, SHAPE).astype(np.float32))
        scan = read_scan(str(tmp_path / f"{stem}.nii.gz")).volume
        labels = sum((cube(map(int, item.position_ras), item.id) for item in candidates[stem]),
                     np.zeros(SHAPE, np.int32))
        provenance = Provenance(f"{stem}.nii.gz", "0" * 64, "gre", "", "m", "1" * 64, "balanced", SHAPE,
                                (1.0, 1.0, 1.0), {}, {}, {})
        write_result(DetectionResult(candidates[stem], provenance), scan.with_data(labels), scan, stem, folders[0], "")
        save(folders[1] / f"{stem}_dseg.nii.gz", truth.astype(np.uint8))
    return folders


def test_a_hand_made_cohort(cohort):
    evaluation = evaluate_folders(*cohort)
    assert [scan.stem for scan in evaluation.scans] == ["a", "b", "c"]
    assert [scan.counts[OVERLAP] for scan in evaluation.scans] == [Counts(2, 1, 2, 1), Counts(0, 0, 1, 0),
                                                                   Counts(0, 0, 0, 0)]
    assert evaluation.summaries[OVERLAP].pooled == Rates(0.5, pytest.approx(1 / 3), pytest.approx(0.4))
    for rule in (OVERLAP, DISTANCE):
        wrong = evaluation.summaries[rule].false_positives
        assert (wrong.per_scan, wrong.per_scan_with_lesions, wrong.per_scan_without_lesions) \
            == (pytest.approx(2 / 3), 1.0, 0.5)
        assert (wrong.clean_scans, wrong.clean_scans_kept_clean) == (2, 1)


def test_froc_keeps_what_the_clean_up_removed_out_of_the_final_curve(cohort):
    froc = evaluate_folders(*cohort).froc
    final = {point.threshold: point for point in froc["final"]}
    assert (final[0.3].sensitivity, final[0.3].false_positives_per_scan) == (1.0, pytest.approx(2 / 3))
    assert (final[0.35].sensitivity, final[0.35].false_positives_per_scan) == (0.5, pytest.approx(2 / 3))
    assert (final[0.9].sensitivity, final[0.9].false_positives_per_scan) == (0.5, 0.0)
    first = {point.threshold: point for point in froc["step 1"]}
    assert (first[0.4].sensitivity, first[0.4].false_positives_per_scan) == (1.0, 1.0)
    assert (first[0.6].sensitivity, first[0.6].false_positives_per_scan) == (0.5, pytest.approx(1 / 3))


def test_without_findings_files_the_label_maps_are_enough(cohort):
    for path in cohort[0].glob("*.json"):
        path.unlink()
    for path in cohort[0].glob("*_dseg.nii.gz"):
        labels = sitk.ReadImage(str(path))
        assert sitk.GetArrayFromImage(labels).dtype.kind in "iu"
    evaluation = evaluate_folders(*cohort)
    assert evaluation.froc == {} and "No FROC table" in text_tables(evaluation)
    assert evaluation.scans[0].counts[DISTANCE].found >= 1


def test_label_map_and_findings_of_different_runs(cohort):
    path = cohort[0] / "c_desc-cmb_dseg.nii.gz"
    save(path, cube((5, 5, 5), 9))
    with pytest.raises(InputError, match="of different runs"):
        evaluate_folders(*cohort)


def test_text_names_what_was_left_out_and_every_rule(cohort):
    (cohort[1] / "c_dseg.nii.gz").unlink()
    text = text_tables(evaluate_folders(*cohort))
    assert "Left out, because there is no reference: c" in text
    assert "Overlap rule: 26-connected" in text and "Distance rule: centres nearer than 5 mm" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["all", "scans", "2", "1.000"] in lines and ["with", "lesions", "1", "1.000"] in lines
    assert ["without", "lesions", "1", "1.000", "0"] in lines
    assert "n/a" in text


def test_files(cohort, tmp_path):
    evaluation = evaluate_folders(*cohort)
    write_evaluation(evaluation, tmp_path)
    with (tmp_path / "evaluation.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["rule"], row["scan"]) for row in rows] == [(rule, scan) for rule in (OVERLAP, DISTANCE)
                                                            for scan in "abc"]
    assert (rows[0]["found"], rows[0]["missed"], rows[0]["false_positives"], rows[0]["f1"]) == ("1", "1", "1", "0.500")
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["schema_version"] == "1.0"
    assert content["summaries"]["overlap"]["pooled"]["sensitivity"] == 0.5
    assert content["scans"][0]["counts"]["overlap"] == {"lesions": 2, "found": 1, "predictions": 2, "correct": 1}
    assert len(content["froc"]["final"]) == len(content["froc"]["step 1"]) > 10
