import hashlib
import json

import pytest
import reference_definitions as definitions
import torch
from microbleeds.errors import ModelError
from microbleeds.reference_import import OPERATING_POINTS, find_files, import_reference, read_published
from microbleeds.settings import Settings
from microbleeds.weights import DEFAULT_MODEL, load_model

DETECTOR, STUDENT = "x_cdet_model_weights.pth", "x_cdisc_student_model_weights.pth"


@pytest.fixture(scope="module")
def states():
    shapes = {"detector": definitions.DETECTOR_SHAPES, "student": definitions.STUDENT_SHAPES,
              "head": definitions.TEACHER_HEAD_SHAPES}
    return {part: definitions.random_state(shape, seed) for seed, (part, shape) in enumerate(shapes.items())}


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("CMBDETECT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def changed(state, **changes):
    """Return a state dict with entries replaced, by `None` removed."""
    return {key: value for key, value in {**state, **changes}.items() if value is not None}


@pytest.mark.parametrize("detector, student, name", [
    (DETECTOR, STUDENT, "x"), ("Microbleednet_cdet_model.pth", "Microbleednet_cdisc_student_model.pth",
                               "microbleednet"),
    ("cdet_model.pth", "cdisc_student_model.pth", "microbleednet"),
    ("site_a_cdet_model_weights_bestdice.pth", "site_a_cdisc_student_model_beforeES.pth", "site_a")])
@pytest.mark.parametrize("wrap", [
    lambda state: state, lambda state: {"model_state_dict": state, "epoch": 3, "optimizer": {"lr": 1e-3}},
    lambda state: {"model_state_dict": {f"module.{key}": value.double() if value.is_floating_point() else value
                                        for key, value in state.items()}}])
def test_published_files_become_a_model(states, tmp_path, models, detector, student, name, wrap):
    for file, part in ((detector, "detector"), (student, "student")):
        torch.save(wrap(states[part]), tmp_path / file)
    (tmp_path / "x_cdisc_teacher_model_weights.pth").write_bytes(b"not looked at")
    folder = import_reference([tmp_path])
    assert folder == models / name and [path.name for path in models.iterdir()] == [name]
    model = load_model(name)
    assert model.name == name and model.architecture == "reference" and not model.detector.training
    for part, network in (("detector", model.detector), ("student", model.student)):
        for key, value in network.state_dict().items():
            assert torch.equal(value, states[part][key]) and value.dtype in (torch.float32, torch.int64)
    card = json.loads((folder / "model.json").read_text())
    assert card["licence"] == "not stated by the authors" and card["kind"] == "detection"
    assert card["files"]["student"]["sha256"] == hashlib.sha256((folder / "student.pt").read_bytes()).hexdigest()
    assert card["source"]["detector"] == {"file": detector, "sha256": hashlib.sha256(
        (tmp_path / detector).read_bytes()).hexdigest()}


def test_the_operating_points_are_the_references():
    points = {name: Settings.from_json(value) for name, value in OPERATING_POINTS.items()}
    assert [(p.candidates.threshold, p.classify.threshold) for p in points.values()] == [(0.2, 0.5), (0.2, 0.2)]
    for point in points.values():
        assert point.cleanup.min_volume_mm3 == 2.5 and point.cleanup.min_edge_distance_mm == 5


def test_files_of_old_torch_versions_are_read(states, tmp_path):
    path = tmp_path / DETECTOR
    torch.save(states["detector"], path, _use_new_zipfile_serialization=False)
    assert read_published(path, "detector").keys() == states["detector"].keys()


@pytest.mark.parametrize("part, content, problem", [
    ("student", lambda s: s["detector"], "holds the detector or the teacher's segmentor, not the student"),
    ("student", lambda s: s["head"], "holds the teacher's classification head, not the student"),
    ("detector", lambda s: s["student"], "holds the student, not the detector"),
    ("detector", lambda s: changed(s["detector"], **{"up2.up.bias": None}), "1 missing, first up2.up.bias"),
    ("student", lambda s: changed(s["student"], fc4=torch.zeros(2)), "1 unknown, first fc4"),
    ("student", lambda s: changed(s["student"], **{"fc1.weight": torch.zeros(128, 512)}),
     r"fc1.weight is \(128, 512\) and not \(128, 1024\)"),
    ("detector", lambda s: changed(s["detector"], **{"outconv.conv.bias": torch.tensor([0, float("nan")])}),
     "outconv.conv.bias holds numbers that are not finite"),
    ("detector", lambda s: [1, 2], "does not hold the weights of a network"),
    ("detector", lambda s: {}, "does not hold the weights of a network"),
    ("detector", lambda s: {"model_state_dict": {"a": 1}}, "does not hold the weights of a network"),
    ("detector", lambda s: torch.nn.Linear(2, 2), "holds more than weights"),
])
def test_what_is_wrong_with_a_file_is_one_sentence(states, tmp_path, models, part, content, problem):
    torch.save(states["detector"], tmp_path / DETECTOR)
    torch.save(states["student"], tmp_path / STUDENT)
    path = tmp_path / (DETECTOR if part == "detector" else STUDENT)
    torch.save(content(states), path)
    with pytest.raises(ModelError, match=problem) as caught:
        import_reference([tmp_path / DETECTOR, tmp_path / STUDENT])
    message = str(caught.value)
    assert message.startswith(str(path)) and message.endswith(".") and "\n" not in message
    assert not models.exists()


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / DETECTOR).write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(ModelError, match="is damaged"):
        read_published(tmp_path / DETECTOR, "detector")


def touch(folder, *names):
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


def test_both_files_are_found_in_a_folder_or_given_one_by_one(tmp_path):
    paths = touch(tmp_path, DETECTOR, STUDENT, "x_cdisc_teacher_model_weights.pth", "readme.txt", "other.pth",
                  "microbleednet_cdisc_teacher_classification_head_weights.pth")
    expected = {"detector": paths[0], "student": paths[1]}
    assert find_files([tmp_path]) == find_files(paths[:2]) == find_files(paths[1::-1]) == expected


@pytest.mark.parametrize("names, problem", [
    ([], "does not exist"), ([DETECTOR], "no file of the student"), ([STUDENT], "no file of the detector"),
    ([DETECTOR, STUDENT, "x_cdisc_teacher_model_weights.pth"], "is the teacher's, which detection does not use"),
    ([DETECTOR, STUDENT, "weights.pth"], "weights.pth is not named as published weights are"),
    ([DETECTOR, STUDENT, "x_cdet_model.pth"], r"several files of the detector \(x_cdet_model_weights.pth, x_cdet_m"),
])
def test_a_wrong_choice_of_files_is_told(tmp_path, names, problem):
    with pytest.raises(ModelError, match=problem):
        find_files(touch(tmp_path, *names) or [tmp_path / "nothing.pth"])


def test_a_folder_with_two_detectors_is_refused(tmp_path):
    touch(tmp_path, DETECTOR, STUDENT, "x_cdet_model.pth")
    with pytest.raises(ModelError, match="several files of the detector .x_cdet_model.pth, x_cdet_model_weights.pth"):
        find_files([tmp_path])


def test_a_taken_or_wrong_name_is_refused(states, tmp_path, models):
    torch.save(states["detector"], tmp_path / DETECTOR)
    torch.save(states["student"], tmp_path / STUDENT)
    import_reference([tmp_path], "mine")
    with pytest.raises(ModelError, match="mine already"):
        import_reference([tmp_path], "mine")
    with pytest.raises(ModelError, match="already"):
        import_reference([tmp_path], DEFAULT_MODEL)
    assert [path.name for path in models.iterdir()] == ["mine"]
