"""Model folders: what is written loads, is the network that was trained, and is never half there."""

import json

import numpy as np
import pytest
import torch
from microbleeds.calibration import Calibration
from microbleeds.errors import InputError
from microbleeds.model_folders import read_card
from microbleeds.networks import Detector, Student
from microbleeds.settings import CandidateSettings, ClassifySettings, CleanupSettings
from microbleeds.training import export
from microbleeds.training.export import export_model, write_weights
from microbleeds.weights import load_model

CALIBRATION = Calibration(0.8, 0.3, -1.25)
POINTS = {"balanced": {"candidates": {"threshold": 0.15}, "classify": {"threshold": 0.61}},
          "sensitive": {"candidates": {"threshold": 0.15}, "classify": {"threshold": 0.2}}}


def used(network, shape, seed=0):
    """Return a network whose running statistics are no longer those of a new one."""
    torch.manual_seed(seed)
    with torch.no_grad():
        network.train()(torch.randn(4, 2, *shape) * 0.3)
    return network.eval()


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(1)
    return used(Detector(3, classes=4), (16, 16, 8)), used(Student(3), (24, 24, 24))


def write(folder, networks, **about):
    export_model(folder, *networks, CALIBRATION, POINTS, about)


def test_what_is_exported_loads_with_its_settings(tmp_path, networks):
    write(tmp_path / "mine", networks, training={"scans": 7})
    model = load_model(tmp_path / "mine")
    assert (model.name, model.calibration, set(model.operating_points)) == ("mine", CALIBRATION, set(POINTS))
    for name, threshold in (("balanced", 0.61), ("sensitive", 0.2)):
        settings = model.settings(name)
        assert settings.classify == ClassifySettings(threshold=threshold)
        assert settings.candidates == CandidateSettings(threshold=0.15) and settings.cleanup == CleanupSettings()
    assert model.detector.segmentor.out.out_channels == 4
    card = read_card(tmp_path / "mine")
    assert card["kind"] == "detection" and card["training"] == {"scans": 7}
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["detector.pt", "model.json", "student.pt"]


def test_a_detector_without_classes_of_mimics_loads_too(tmp_path):
    write(tmp_path / "two", (Detector(2, classes=2), Student(2)))
    assert load_model(tmp_path / "two").detector.segmentor.out.out_channels == 2


def test_half_precision_changes_the_outputs_little(tmp_path, networks):
    write(tmp_path / "mine", networks)
    model = load_model(tmp_path / "mine")
    images = {"detector": torch.randn(2, 2, 16, 16, 8) * 0.3, "student": torch.randn(2, 2, 24, 24, 24) * 0.3}
    for own, (name, image) in zip(networks, images.items(), strict=True):
        with torch.inference_mode():
            exact, stored = own(image), getattr(model, name)(image)
        assert not torch.equal(exact, stored)
        assert (exact - stored).abs().max() < 0.01 * exact.std() + 1e-3
    sizes = {path.stem: path.stat().st_size for path in (tmp_path / "mine").glob("*.pt")}
    for own, name in zip(networks, images, strict=True):
        numbers = sum(value.numel() for value in own.state_dict().values())
        assert sizes[name] < 2.2 * numbers + 60_000


def test_the_networks_that_were_exported_stay_as_they_are(tmp_path, networks):
    before = {name: value.clone() for name, value in networks[0].state_dict().items()}
    write(tmp_path / "mine", networks)
    assert all(torch.equal(value, before[name]) and value.dtype == before[name].dtype
               for name, value in networks[0].state_dict().items())


def test_the_same_networks_give_the_same_files(tmp_path, networks):
    entries = [write_weights(tmp_path / f"{name}.pt", networks[0]) for name in ("one", "other")]
    assert entries[0]["sha256"] == entries[1]["sha256"]


def test_a_model_is_never_overwritten(tmp_path, networks):
    write(tmp_path / "mine", networks)
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    with pytest.raises(InputError, match="mine holds a model already"):
        write(tmp_path / "mine", (Detector(2), Student(2)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before


@pytest.mark.parametrize(("function", "call"), [("write_weights", 1), ("write_weights", 2), ("write_json", 1)])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_half_a_model_is_never_left(tmp_path, networks, monkeypatch, function, call, error):
    real, calls = getattr(export, function), []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise error
        return real(*arguments)

    monkeypatch.setattr(export, function, failing)
    with pytest.raises(type(error)):
        write(tmp_path / "mine", networks)
    assert not list((tmp_path / "mine").rglob("*"))
    monkeypatch.undo()
    write(tmp_path / "mine", networks)
    assert load_model(tmp_path / "mine").name == "mine"


def test_figures_that_json_does_not_have_are_refused_before_anything_is_left(tmp_path, networks):
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "mine", networks, held_out_figures={"tpr": float("nan")})
    assert not list((tmp_path / "mine").rglob("*"))


def test_the_card_is_plain_json_with_whole_numbers_and_names(tmp_path, networks):
    write(tmp_path / "mine", networks, held_out_figures={"tpr": 0.5, "fp_95": [0.1, 0.2]})
    card = json.loads((tmp_path / "mine" / "model.json").read_text(encoding="utf-8"))
    assert card["networks"] == {"detector": {"width": 3, "classes": 4}, "student": {"width": 3}}
    assert card["calibration"] == {"student": 0.8, "detector": 0.3, "offset": -1.25}
    assert np.array_equal(card["held_out_figures"]["fp_95"], [0.1, 0.2])
