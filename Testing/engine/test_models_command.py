import json
import shutil

import numpy as np
import pytest
import reference_definitions as definitions
import SimpleITK as sitk
import torch
from microbleeds import cli
from microbleeds.calibration import Calibration
from microbleeds.model_folders import detection_models
from microbleeds.networks import Detector, Student
from microbleeds.resources import resource_path
from microbleeds.training.export import export_model
from microbleeds.weights import DEFAULT_MODEL, load_model

LESION = (12, 16, 8)
"""Voxel (i, j, k) of the scan below, whose voxels are 1 mm and run towards L, P, S."""


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("CMBDETECT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def zeros(shapes):
    return {key: torch.ones(shape) if key.endswith("running_var") else torch.zeros(shape)
            for key, shape in shapes.items()}


def write_bright_finder(folder):
    """Write published files whose detector marks voxels above .4 of the inverted image, and whose student agrees."""
    detector = zeros(definitions.DETECTOR_SHAPES)
    for key in ("inpconv.conv", "convfirst.double_conv.0", "convfirst.double_conv.3", "up1.conv.double_conv.0",
                "up1.conv.double_conv.3"):
        weight = detector[f"{key}.weight"]
        weight[(0, 0, *(size // 2 for size in weight.shape[2:]))] = 1
    for key in detector:
        if key.endswith(("double_conv.1.weight", "double_conv.4.weight")):
            detector[key] += 1
    detector["outconv.conv.weight"][1, 0], detector["outconv.conv.bias"][1] = 20, -8
    student = zeros(definitions.STUDENT_SHAPES)
    student["fc3.bias"][1] = 2
    torch.save(detector, folder / "bright_cdet_model_weights.pth")
    torch.save({"model_state_dict": student}, folder / "bright_cdisc_student_model.pth")


def write_scan(folder):
    """Write an ellipsoid brain with a dark blob and a dark dot, and its mask."""
    points = np.stack(np.meshgrid(*map(np.arange, (32, 32, 20)), indexing="ij"), axis=-1)
    brain = (((points - (15.5, 15.5, 9.5)) / (14, 14, 9)) ** 2).sum(axis=-1) <= 1
    data = np.where(brain, np.random.default_rng(1).integers(980, 1000, brain.shape), 0).astype(np.float32)
    data[np.abs(points - LESION).sum(axis=-1) <= 1] = 300
    data[20, 20, 11] = 300
    for name, array in (("scan_T2star.nii.gz", data), ("mask.nii.gz", brain.astype(np.uint8))):
        sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(array.T)), str(folder / name))
    return folder / "scan_T2star.nii.gz", folder / "mask.nii.gz"


def test_an_imported_model_detects(capsys, tmp_path, models):
    write_bright_finder(tmp_path)
    code, out, _ = run(capsys, "models", "import", tmp_path)
    assert code == 0 and str(models / "bright") in out and "--model bright" in out
    assert ("bright", "bright (MicrobleedNet's authors)") in detection_models()
    scan, mask = write_scan(tmp_path)
    code, out, _ = run(capsys, "detect", scan, "--mask", mask, "-o", tmp_path / "out", "--model", "bright",
                       "--modality", "gre", "--device", "cpu", "--progress", "json")
    assert code == 0, out
    result = json.loads((tmp_path / "out" / "scan_T2star_desc-cmb_findings.json").read_text())
    kept, removed = sorted(result["candidates"], key=lambda item: item["status"])
    np.testing.assert_allclose(kept["ras_mm"], (-LESION[0], -LESION[1], LESION[2]), atol=1e-3)
    assert kept["volume_mm3"] == pytest.approx(7) and kept["probability"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert kept["detector_probability"] == pytest.approx(1 / (1 + np.exp(8 - 20 * 0.7)), abs=1e-2)
    assert removed["removed_by"] == "step3_cleanup: volume"
    assert result["provenance"]["model_name"] == "bright"


def test_list_show_verify_remove(capsys, tmp_path, models):
    write_bright_finder(tmp_path)
    assert run(capsys, "models", "import", tmp_path / "bright_cdisc_student_model.pth",
               tmp_path / "bright_cdet_model_weights.pth", "--name", "mine")[0] == 0
    code, out, _ = run(capsys, "models", "list")
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert code == 0 and str(models) in out
    assert lines["mine"][1:3] == ["yours", "reference"] and "26.4 MB" in " ".join(lines["mine"])
    assert lines[DEFAULT_MODEL][1:4] == ["bundled", "microbleeds", "Apache-2.0"]
    assert lines["brain-mask"][1:3] == ["bundled", "BrainMaskNetwork"]
    code, out, _ = run(capsys, "models", "show", "mine")
    assert code == 0 and "licence: not stated by the authors" in out and f"folder: {models / 'mine'}" in out
    assert "  balanced:\n" in out and "      threshold: 0.2\n" in out and "max_diameter_mm: none" in out
    code, out, _ = run(capsys, "models", "verify")
    assert code == 0 and {line.split(":")[0] for line in out.splitlines()} == {
        DEFAULT_MODEL, "brain-mask", "region-map", "mine"}
    code, out, _ = run(capsys, "models", "remove", "mine")
    assert code == 0 and not list(models.iterdir())


def test_a_trained_model_is_copied_under_its_name_if_it_is_undamaged(capsys, tmp_path, models):
    trained = tmp_path / "site-a"
    points = {"balanced": {}, "sensitive": {}}
    export_model(trained, Detector(2, 4), Student(2), Calibration(0.5, 0.2, -1.0), points, {})
    code, out, _ = run(capsys, "models", "import", trained, "--name", "ours")
    assert code == 0 and "--model ours" in out
    assert load_model("ours").calibration == Calibration(0.5, 0.2, -1.0)
    assert ("ours", "ours (GRE, SWI, QSM)") in detection_models()
    assert run(capsys, "models", "import", trained, "--name", "ours")[0] == 2
    (trained / "student.pt").write_bytes(b"damaged")
    code, _, err = run(capsys, "models", "import", trained, "--name", "other")
    assert code == 2 and "SHA-256" in err and not (models / "other").exists()


def test_an_import_takes_no_file_from_elsewhere_and_writes_none_there(capsys, tmp_path, models):
    trained = tmp_path / "site-a"
    export_model(trained, Detector(2, 4), Student(2), Calibration(), {"balanced": {}, "sensitive": {}}, {})
    valid = json.loads((trained / "model.json").read_text())
    (tmp_path / "student.pt").write_bytes((trained / "student.pt").read_bytes())
    for name in ("../student.pt", str(trained / "student.pt"), "", "..", "a\0b"):
        card = json.loads(json.dumps(valid))
        card["files"]["student"]["file"] = name
        (trained / "model.json").write_text(json.dumps(card))
        code, _, err = run(capsys, "models", "import", trained, "--name", "other")
        assert code == 2 and "model.json does not name a weights file beside it" in err
    card = json.loads(json.dumps(valid))
    card["files"]["more"] = {"file": "../../../etc/hostname", "sha256": "0"}
    (trained / "model.json").write_text(json.dumps(card))
    assert run(capsys, "models", "import", trained, "--name", "ours")[0] == 0
    assert sorted(path.name for path in (models / "ours").iterdir()) == ["detector.pt", "model.json", "student.pt"]
    assert run(capsys, "models", "import", trained, "--name", "")[0] == 2


def test_verify_tells_damage_and_goes_on(capsys, tmp_path, models):
    for name in ("one", "two"):
        (models / name).mkdir(parents=True)
    (models / "one" / "model.json").write_text("{")
    (models / "two" / "model.json").write_text(json.dumps({"kind": "detection", "files": {}}))
    shutil.copytree(resource_path("Models/region-map"), models / "three")
    (models / "three" / "atlas.npz").write_bytes(b"damaged")
    code, out, _ = run(capsys, "models", "verify")
    told = dict(line.split(": ", 1) for line in out.splitlines())
    assert code == 2 and told[DEFAULT_MODEL] == "undamaged, loads"
    assert "atlas.npz is missing or damaged" in told["three"]
    assert "not JSON" in told["one"] and "not a complete card" in told["two"]
    assert run(capsys, "models", "verify", DEFAULT_MODEL)[0] == 0
    assert "damaged card" in run(capsys, "models", "list")[1]


@pytest.mark.parametrize("arguments, problem", [
    (["show", "nothing"], "There is no model nothing"), (["verify", "nothing"], "There is no model nothing"),
    (["remove", "nothing"], "There is no model nothing"), (["remove", DEFAULT_MODEL], "came with the software"),
    (["import", "nothing"], "nothing does not exist"),
])
def test_refusals_are_one_sentence_and_bad_input(capsys, arguments, problem):
    code, out, err = run(capsys, "models", *arguments)
    assert code == 2 and not out and err.startswith("error: ") and problem in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["models"], ["models", "show"], ["models", "import"], ["models", "nonsense"]])
def test_a_wrong_command_line_ends_with_2(arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
