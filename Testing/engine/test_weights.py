import hashlib
import json

import pytest
import torch
from microbleeds.errors import ModelError, SettingsError
from microbleeds.networks import Detector, Student
from microbleeds.settings import Settings
from microbleeds.weights import load_model, read_checked_state


def save(folder, name, state):
    torch.save(state, folder / name)
    return {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}


def half(network):
    return {name: value.half() if value.is_floating_point() else value
            for name, value in network.state_dict().items()}


@pytest.fixture
def model_folder(tmp_path):
    torch.manual_seed(1)
    card = {"kind": "detection", "name": "small", "title": "Small",
            "files": {"detector": save(tmp_path, "detector.pt", half(Detector(2))),
                      "student": save(tmp_path, "student.pt", Student(2).state_dict())},
            "networks": {"detector": {"width": 2}, "student": {"width": 2}},
            "operating_points": {"balanced": {"candidates": {"threshold": 0.3}}, "sensitive": {}}}
    (tmp_path / "model.json").write_text(json.dumps(card))
    return tmp_path


def change_card(folder, change):
    card = json.loads((folder / "model.json").read_text())
    change(card)
    (folder / "model.json").write_text(json.dumps(card))


def test_a_model_loads_in_eval_mode_as_float32(model_folder):
    model = load_model(model_folder)
    assert model.name == "small" and not model.detector.training and not model.student.training
    assert all(p.dtype == torch.float32 for p in [*model.detector.parameters(), *model.student.parameters()])
    content = (model_folder / "detector.pt").read_bytes() + (model_folder / "student.pt").read_bytes()
    assert model.sha256 == hashlib.sha256(content).hexdigest()
    assert model.settings("balanced").candidates.threshold == 0.3 and model.settings("sensitive") == Settings()
    assert model.detector(torch.zeros(1, 2, 8, 8, 4)).shape == (1, 2, 8, 8, 4)


def test_an_unknown_operating_point_is_refused(model_folder):
    with pytest.raises(SettingsError, match="no operating point 'best'.*balanced, sensitive"):
        load_model(model_folder).settings("best")


def test_a_damaged_file_is_never_unpickled(model_folder, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("loaded"))
    path = model_folder / "student.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match="detector.pt|student.pt.*SHA-256"):
        read_checked_state(model_folder, json.loads((model_folder / "model.json").read_text())["files"]["student"])


@pytest.mark.parametrize("change", [
    lambda card: card.pop("files"),
    lambda card: card["files"].pop("student"),
    lambda card: card["files"]["student"].pop("sha256"),
    lambda card: card["networks"]["student"].update(width="wide"),
    lambda card: card["networks"]["student"].update(width=3),
    lambda card: card["networks"]["student"].update(width=-1),
    lambda card: card["networks"]["student"].update(width=10**30),
    lambda card: card["networks"]["detector"].update(classes=10**9),
    lambda card: card.update(calibration={"student": "nan"}),
    lambda card: card["operating_points"].update(balanced={"candidates": {"threshold": 7}}),
    lambda card: card["operating_points"].update(balanced={"cleaning": {}}),
    lambda card: card.update(operating_points=[]),
    lambda card: card.update(kind="brain-mask"),
    lambda card: card.update(architecture="other"),
    lambda card: card.update(architecture="reference"),
    lambda card: card.update(architecture=["reference"]),
    lambda card: card["files"]["student"].update(file="missing.pt"),
    lambda card: card["files"].update(student=card["files"]["detector"]),
])
def test_a_wrong_card_is_one_clear_sentence(model_folder, change):
    change_card(model_folder, change)
    with pytest.raises(ModelError) as caught:
        load_model(model_folder)
    message = str(caught.value)
    assert str(model_folder) in message and message.endswith(".") and "\n" not in message and ";" in message


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_a_file_without_weights_is_told(model_folder, content):
    (model_folder / "student.pt").write_bytes(content)
    change_card(model_folder, lambda card: card["files"]["student"].update(
        sha256=hashlib.sha256(content).hexdigest()))
    with pytest.raises(ModelError, match="student.pt does not hold network weights"):
        load_model(model_folder)


def test_a_list_is_not_a_state_dict(model_folder):
    entry = save(model_folder, "student.pt", [torch.zeros(3)])
    change_card(model_folder, lambda card: card["files"].update(student=entry))
    with pytest.raises(ModelError, match="does not hold network weights"):
        load_model(model_folder)


def test_missing_models_are_told(tmp_path):
    with pytest.raises(ModelError, match="has no model.json"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="There is no model nothing"):
        load_model("nothing")
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        load_model(tmp_path)
