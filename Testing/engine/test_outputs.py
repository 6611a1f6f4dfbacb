import csv
import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from microbleeds import outputs
from microbleeds.errors import InputError
from microbleeds.findings import DetectionResult
from microbleeds.outputs import (
    SCHEMA_VERSION,
    TABLE_COLUMNS,
    findings_table,
    markups_json,
    read_result,
    result_from_json,
    result_to_json,
    write_result,
)
from microbleeds.read_write import read_labels
from microbleeds.volume import Volume

DOCUMENT = Path(__file__).resolve().parents[2] / "Resources" / "findings-schema.md"


@pytest.fixture
def result(draw_result):
    return draw_result(np.random.default_rng(0))


@pytest.fixture
def scan(draw_volume):
    return draw_volume(np.random.default_rng(1), left_handed=True)


def write(result, scan, folder, report="<p>µ</p>"):
    labels = scan.with_data((np.arange(scan.data.size) % 4).reshape(scan.shape))
    return write_result(result, labels, scan, "sub-1", folder, report)


def test_the_five_files(result, scan, tmp_path):
    files = write(result, scan, tmp_path / "new")
    assert {key: path.name for key, path in files.items()} == {
        "findings": "sub-1_desc-cmb_findings.json", "table": "sub-1_desc-cmb_findings.tsv",
        "labels": "sub-1_desc-cmb_dseg.nii.gz", "markups": "sub-1_desc-cmb_markups.mrk.json",
        "report": "sub-1_desc-cmb_report.html"}
    assert sorted((tmp_path / "new").iterdir()) == sorted(files.values())
    assert read_result(files["findings"]) == result
    assert files["report"].read_text(encoding="utf-8") == "<p>µ</p>"
    labels = read_labels(files["labels"])
    assert labels.same_grid(scan) and labels.data[0, 0, :4].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(10))
def test_json_round_trip_is_exact(draw_result, seed):
    result = draw_result(np.random.default_rng(seed), count=seed)
    assert result_from_json(json.loads(json.dumps(result_to_json(result), allow_nan=False))) == result


def test_numpy_numbers_are_written_as_numbers(result):
    first = result.candidates[0]
    numpy_like = replace(first, id=np.int64(first.id), probability=np.float32(0.1), position_ras=tuple(np.ones(3)))
    entry = result_to_json(DetectionResult((numpy_like,), result.provenance))["findings"][0]
    assert json.loads(json.dumps(entry))["probability"] == float(np.float32(0.1))


def test_findings_are_the_kept_candidates(result):
    content = result_to_json(result)
    assert [entry["id"] for entry in content["candidates"]] == [1, 2, 3, 4, 5]
    assert [entry["id"] for entry in content["findings"]] == [1, 3, 5]
    assert {entry["status"] for entry in content["findings"]} == {"kept"}
    assert content["candidates"][1]["removed_by"] == "step3_cleanup: volume"


def test_a_scan_without_candidates_is_a_normal_result(draw_result, scan, tmp_path):
    result = draw_result(np.random.default_rng(0), count=0)
    files = write(result, scan, tmp_path)
    assert read_result(files["findings"]) == result
    assert files["table"].read_text() == "\t".join(TABLE_COLUMNS) + "\n"
    assert json.loads(files["markups"].read_text())["markups"][0]["controlPoints"] == []


def test_the_table_is_exact(result):
    rows = list(csv.DictReader(findings_table(result).splitlines(), delimiter="\t"))
    assert len(rows) == len(result.findings)
    for row, finding in zip(rows, result.findings, strict=True):
        assert int(row["id"]) == finding.id and float(row["probability"]) == finding.probability
        position = {"": finding.position_ras, "box_min_": finding.box_ras[0], "box_max_": finding.box_ras[1],
                    "minimum_": finding.extrema.minimum_ras, "maximum_": finding.extrema.maximum_ras}
        for name, expected in position.items():
            assert tuple(float(row[f"{name}{axis}_mm"]) for axis in "RAS") == expected
        assert float(row["minimum"]) == finding.extrema.minimum


def keys(text, heading):
    """Return the names in the first column of the table under a heading of the document."""
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]


def test_the_document_names_the_keys_that_are_written(result):
    text, content = DOCUMENT.read_text(encoding="utf-8"), result_to_json(result)
    assert f"version {SCHEMA_VERSION}" in text
    assert keys(text, "Top level") == list(content)
    assert keys(text, "Entry of `findings` and `candidates`") == list(content["candidates"][0])
    assert keys(text, "`extrema`") == list(content["candidates"][0]["extrema"])
    assert keys(text, "`provenance`") == list(content["provenance"])


def broken(change):
    def apply(content):
        change(content)
        return content
    return apply


def test_a_file_of_version_1_0_has_no_edge_distances(result):
    content = result_to_json(result)
    content["schema_version"] = "1.0"
    for entry in (*content["findings"], *content["candidates"]):
        del entry["edge_mm"]
    read = result_from_json(content)
    assert [finding.edge_mm for finding in read.candidates] == [None] * len(result.candidates)


@pytest.mark.parametrize("change, sentence", [
    (lambda content: [],
     "x.json has schema version None, this program reads 1.2; make it again with the same version."),
    (lambda content: {**content, "schema_version": "2.0"},
     "x.json has schema version 2.0, this program reads 1.2; make it again with the same version."),
    (lambda content: {**content, "candidates": [{"id": 1}]},
     "x.json is not as documented (KeyError: 'extrema'); run the detection again."),
    (broken(lambda content: content["provenance"].pop("modality")),
     "x.json is not as documented (KeyError: 'modality'); run the detection again."),
    (broken(lambda content: content["candidates"][0].update(ras_mm=[1, 2])),
     "x.json is not as documented (ValueError: not enough values to unpack (expected 3, got 2)); run the detection "
     "again."),
    (broken(lambda content: content["candidates"][0].update(status="maybe")),
     "x.json is not as documented (ValueError: status 'maybe'); run the detection again."),
    (broken(lambda content: content["findings"].pop()),
     "x.json contradicts itself (findings are not the kept candidates); run the detection again."),
])
def test_json_of_another_form_is_one_sentence(result, change, sentence):
    with pytest.raises(InputError) as caught:
        result_from_json(change(result_to_json(result)), "x.json")
    assert str(caught.value) == sentence


def test_later_additions_do_not_matter(result):
    content = result_to_json(result)
    content["schema_version"] = "1.7"
    content["provenance"]["colour"] = content["candidates"][0]["colour"] = "blue"
    assert result_from_json(content) == result


def test_files_that_are_no_result(tmp_path):
    with pytest.raises(InputError, match=r"gone.json cannot be opened \(No such file or directory\); check the path"):
        read_result(tmp_path / "gone.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match=r"^x.json is not JSON or is damaged; run the detection again\.$"):
        read_result(tmp_path / "x.json")


@pytest.mark.parametrize("name", ["write_json", "write_text", "write_label_map", "markups_json"])
def test_a_failure_while_writing_leaves_the_folder_as_it_was(result, scan, tmp_path, monkeypatch, name):
    old = {key: path.read_bytes() for key, path in write(result, scan, tmp_path, "old").items()}

    def fail(*arguments):
        raise KeyError

    monkeypatch.setattr(outputs, name, fail)
    with pytest.raises(KeyError):
        write(result, scan, tmp_path, "new")
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 5
    assert old == {key: path.read_bytes() for key, path in write(result, scan, tmp_path, "old").items()}


def test_a_file_that_cannot_be_replaced_leaves_the_folder_as_it_was(result, scan, tmp_path):
    (tmp_path / "sub-1_desc-cmb_report.html").mkdir()
    with pytest.raises(InputError, match=r"^The results of sub-1 cannot be written to .* \(Is a directory\); free "
                                         r"space there or choose another folder\.$"):
        write(result, scan, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["sub-1_desc-cmb_report.html"]


def test_labels_have_to_lie_on_the_scan(result, scan, tmp_path):
    labels = Volume(np.zeros((3, 3, 3), np.int16), np.eye(4))
    with pytest.raises(ValueError, match="not on the grid"):
        write_result(result, labels, scan, "a", tmp_path, "")


def test_markups_points_are_locked_and_carry_the_finding(result):
    markup, = markups_json(result)["markups"]
    assert (markup["type"], markup["coordinateSystem"], markup["locked"]) == ("Fiducial", "RAS", True)
    for point, finding in zip(markup["controlPoints"], result.findings, strict=True):
        assert point["label"] == f"CMB-{finding.id}" and point["locked"]
        assert point["position"] == list(finding.position_ras)
        assert json.loads(point["description"]) == {
            "id": finding.id, "probability": finding.probability, "diameter_mm": finding.diameter_mm,
            "volume_mm3": finding.volume_mm3, "status": "open"}


LOAD_IN_SLICER = """
import json, sys
import slicer
scene, logic = slicer.vtkMRMLScene(), slicer.vtkSlicerMarkupsLogic()
logic.SetMRMLScene(scene)
node = scene.GetNodeByID(logic.LoadMarkups(sys.argv[1], "findings"))
assert node.GetLocked() and node.GetDisplayNode().GetGlyphTypeAsString() == "StarBurst2D"
print(json.dumps([[list(node.GetNthControlPointPositionWorld(i)), node.GetNthControlPointLabel(i),
                   node.GetNthControlPointLocked(i), node.GetNthControlPointDescription(i)]
                  for i in range(node.GetNumberOfControlPoints())]))
"""


@pytest.mark.skipif(find_spec("slicer") is None or find_spec("vtk") is None, reason="slicer-core is not installed")
def test_markups_load_in_slicer_with_the_points_on_the_lesions(result, scan, tmp_path):
    path = write(result, scan, tmp_path)["markups"]
    child = subprocess.run([sys.executable, "-c", LOAD_IN_SLICER, path], cwd=tmp_path, capture_output=True, text=True,
                           check=True)
    points = json.loads(child.stdout)
    assert len(points) == len(result.findings)
    for (position, label, locked, description), finding in zip(points, result.findings, strict=True):
        assert np.allclose(position, finding.position_ras, atol=1e-6)
        assert label == f"CMB-{finding.id}" and locked and json.loads(description)["id"] == finding.id
