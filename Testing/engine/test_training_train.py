"""`cmbdetect train` and `crossvalidate` from data set to model folder on a few small scans, interrupted and refused."""

import csv
import json
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from microbleeds import cli, training_commands
from microbleeds.calibration import Calibration
from microbleeds.model_folders import read_card
from microbleeds.networks import Detector, Student
from microbleeds.read_write import write_image
from microbleeds.training import crossvalidate, finetune, fit, stages, train
from microbleeds.training.cases import load_case
from microbleeds.training.export import export_model
from microbleeds.training.scoring import load_scores
from microbleeds.weights import load_model
from training_sets import drawn_scan, write_scan, write_set

STEPS = ("--width", 2, "--detector-steps", 1, "--refine-steps", 1, "--teacher-steps", 3, "--student-steps", 1,
         "--jobs", 1, "--device", "cpu", "--progress", "json")
SMALL = {"shape": (28, 26, 10), "bleeds": 2, "dark_shadows": 1, "radius_mm": 1.8}


def run(capsys, command, *arguments):
    """Run a command; return its exit code and what it wrote, one dict per line."""
    code = cli.main([command, *map(str, arguments)])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def error_of(events):
    return next(event for event in events if event["event"] == "error")


@pytest.fixture(autouse=True, scope="module")
def small_batches():
    """Batches and patches of a size that a test can wait for."""
    given = training_commands._settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_commands, "_settings",
                      # not smaller: oneDNN's bfloat16 weight gradients on 2x2x2 features hold what was in memory
                      # (torch 2.13)
                      lambda *options: replace(given(*options), detector_batch=2, detector_patch=(24, 24, 12),
                                               classifier_batch=2))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two sets of scans: three subjects, of whom one came twice, and two others."""
    root = tmp_path_factory.mktemp("data")
    write_set(root / "own", ["sub-01_ses-1", "sub-01_ses-2", "sub-02", "sub-03"], **SMALL)
    write_set(root / "other", ["sub-11", "sub-12"], seed=1, **SMALL)
    return root


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A model and its work folder, trained without interruption."""
    folder = tmp_path_factory.mktemp("trained")
    assert cli.main([str(part) for part in ("train", "--data", data / "own", "--held-out", data / "other", "-o",
                                            folder / "tiny", *STEPS)]) == 0
    return folder


def states(folder):
    model = load_model(folder)
    return {f"{part}.{name}": value for part in ("detector", "student")
            for name, value in getattr(model, part).state_dict().items()}


def test_train_writes_a_model_that_detect_takes(data, trained, tmp_path, capsys):
    card = read_card(trained / "tiny")
    about = card["training"]
    assert about["subjects"] == ["sub-01", "sub-02", "sub-03"] and about["held_out_subjects"] == ["sub-11", "sub-12"]
    assert about["scans"] == 4 and about["settings"]["width"] == 2
    figures = card["held_out_figures"]
    assert (figures["scans"], figures["microbleeds"]) == (2, 4)
    assert {"detector", "student, balanced", "clean-up, balanced", "student, sensitive", "clean-up, sensitive"} <= set(
        figures)
    points = card["operating_points"]
    assert points["sensitive"]["classify"]["threshold"] <= points["balanced"]["classify"]["threshold"]
    image = data / "other" / "images" / "sub-11.nii.gz"
    code, events = run(capsys, "detect", image, "--model", trained / "tiny", "--mask",
                       image.with_name("sub-11_brain_mask.nii.gz"), "-o", tmp_path / "results", "--progress", "json",
                       "--operating-point", "sensitive", "--device", "cpu")
    assert code == 0 and any(event["event"] == "result" for event in events)
    found = json.loads((tmp_path / "results" / "sub-11_desc-cmb_findings.json").read_text(encoding="utf-8"))
    assert "tiny" in json.dumps(found)


def test_a_training_leaves_curves_that_can_be_read(trained):
    work = trained / "tiny-work"
    for name, steps in (("1-detector", 1), ("2-detector-refined", 1), ("3-teacher", 3), ("4-student", 1)):
        with open(work / f"{name}.csv", newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        assert int(lines[-1]["step"]) == steps and float(lines[-1]["loss"]) > 0
        assert torch.load(work / f"{name}.pt", weights_only=True)["step"] == steps
    for name in ("froc.svg", "reliability.svg"):
        assert ElementTree.parse(work / name).getroot().tag.endswith("svg")
    assert [one.subject for one in load_scores(work / "held-out.json")] == ["sub-11", "sub-12"]


def test_a_second_run_takes_everything_from_the_work_folder(data, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stages, "detector_loss", lambda *tensors: pytest.fail("trained again"))
    # the same files at another place are the same data
    moved = shutil.copytree(data / "own", tmp_path / "own")
    code, events = run(capsys, "train", "--data", moved, "--held-out", data / "other", "-o", tmp_path / "again",
                       "--work", trained / "tiny-work", *STEPS)
    assert code == 0 and events[-1] == {"event": "done", "exit_code": 0}
    assert all(torch.equal(value, states(trained / "tiny")[name]) for name, value in states(tmp_path / "again").items())
    assert {event["step"] for event in events if event["event"] == "progress"} == {
        "0-prepare", "candidates-1", "candidates-2", "scoring"}


def test_a_model_that_is_there_already_is_not_trained_over(data, trained, capsys):
    code, events = run(capsys, "train", "--data", data / "own", "-o", trained / "tiny", *STEPS)
    assert code == 2 and "tiny holds a model already" in error_of(events)["message"]


def test_an_interrupted_training_ends_with_the_same_weights(data, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fit, "_SAVE_EVERY", 1)
    real, calls = stages.teacher_loss, []

    def interrupted(*tensors):
        calls.append(tensors)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*tensors)

    arguments = ("train", "--data", data / "own", "--held-out", data / "other", "-o", tmp_path / "tiny", *STEPS)
    with monkeypatch.context() as patch:
        patch.setattr(stages, "teacher_loss", interrupted)
        code, events = run(capsys, *arguments)
        assert code == 130 and events[-1] == {"event": "done", "exit_code": 130}
    assert not (tmp_path / "tiny").exists()
    spent = tmp_path / "tiny-work" / "spent.json"
    assert json.loads(spent.read_text())["seconds"] > 0
    spent.write_text('{"seconds": 5400}')
    code, _ = run(capsys, *arguments)
    assert code == 0
    minutes = read_card(tmp_path / "tiny")["training"]["minutes"]
    assert 90 <= minutes < 100 and json.loads(spent.read_text())["seconds"] == pytest.approx(60 * minutes, abs=40)
    teacher, other = (torch.load(folder / "tiny-work" / "3-teacher.pt", weights_only=True)["network"]
                      for folder in (trained, tmp_path))
    assert all(torch.equal(value, other[name]) for name, value in teacher.items())
    whole = states(trained / "tiny")
    assert all(torch.equal(value, whole[name]) for name, value in states(tmp_path / "tiny").items())
    assert read_card(tmp_path / "tiny")["files"] == read_card(trained / "tiny")["files"]


@pytest.fixture
def no_training(monkeypatch):
    """Fails the test if anything is prepared or trained."""
    for module in (train, crossvalidate):
        monkeypatch.setattr(module, "train_networks", lambda *arguments: pytest.fail("trained"))
    monkeypatch.setattr(train, "prepare_cases", lambda *arguments: pytest.fail("prepared"))


def refused(capsys, *arguments):
    code, events = run(capsys, *arguments)
    assert code == 2 and error_of(events)["kind"] in ("input", "settings")
    return error_of(events)["message"]


@pytest.mark.usefixtures("no_training")
def test_a_subject_on_both_sides_is_refused(data, tmp_path, capsys):
    write_scan(tmp_path / "more", "sub-01_ses-9", drawn_scan(77))
    message = refused(capsys, "train", "--data", data / "own", "--held-out", data / "other", tmp_path / "more", "-o",
                      tmp_path / "out", *STEPS)
    assert "share 1 subject: sub-01;" in message
    assert not (tmp_path / "out-work").exists() and not (tmp_path / "out").exists()


def test_thresholds_need_a_microbleed(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "train_networks", lambda *arguments: pytest.fail("trained"))
    write_set(tmp_path / "clean", ["sub-21"], seed=3, **(SMALL | {"bleeds": 0}))
    message = refused(capsys, "train", "--data", data / "own", "--held-out", tmp_path / "clean", "--clean-scans", "-o",
                      tmp_path / "out", *STEPS)
    assert message.startswith("No held-out case shows a microbleed")


@pytest.mark.usefixtures("no_training")
def test_the_folder_one_is_in_has_a_name_too(data, tmp_path, capsys, monkeypatch):
    write_scan(tmp_path / "more", "sub-01_ses-9", drawn_scan(77))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    refused(capsys, "train", "--data", data / "own", "--held-out", tmp_path / "more", "-o", ".", *STEPS)


@pytest.mark.usefixtures("no_training")
def test_the_same_image_under_another_name_is_refused(data, tmp_path, capsys):
    write_scan(tmp_path / "more", "sub-99", drawn_scan(2, **SMALL))
    message = refused(capsys, "train", "--data", data / "own", "--held-out", tmp_path / "more", "-o", tmp_path / "out",
                      *STEPS)
    assert "same image twice" in message and "sub-99" in message and "sub-02" in message


@pytest.mark.usefixtures("no_training")
def test_a_work_folder_of_something_else_is_refused(data, trained, tmp_path, capsys):
    work = ("--work", trained / "tiny-work")
    for arguments in (("train", "--data", data / "own", "--held-out", data / "other", *STEPS, "--seed", 2),
                      ("train", "--data", data / "other", *STEPS),
                      ("crossvalidate", "--data", data / "own", data / "other", *STEPS, "--folds", 2)):
        message = refused(capsys, *arguments, "-o", tmp_path / "out", *work)
        assert "tiny-work was begun with other data or settings" in message


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("part", ["labels", "images"])
def test_a_work_folder_does_not_go_on_with_files_that_changed(data, trained, tmp_path, capsys, part):
    copied = shutil.copytree(data / "own", tmp_path / "own")
    arguments = ("train", "--data", copied, "--held-out", data / "other", "-o", tmp_path / "out", "--work",
                 trained / "tiny-work", *STEPS)
    other = drawn_scan(60, **SMALL)
    write_image(copied / part / "sub-02.nii.gz", other.image if part == "images" else other.labels)
    assert "tiny-work was begun with other data or settings" in refused(capsys, *arguments)


def test_a_work_folder_of_another_models_adaptation_is_refused(data, trained, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "prepare_cases", interrupted)
    export_model(tmp_path / "second", Detector(2), Student(2), Calibration(), {"balanced": {}, "sensitive": {}}, {})
    arguments = ("--data", data / "own", "-o", tmp_path / "out", "--device", "cpu", "--progress", "json")
    assert run(capsys, "finetune", "--from", trained / "tiny", *arguments)[0] == 130
    assert "begun with other data" in refused(capsys, "finetune", "--from", tmp_path / "second", *arguments)


@pytest.mark.usefixtures("no_training")
def test_a_work_folder_that_learned_from_all_does_not_go_on_with_a_part_held_out(data, trained, tmp_path, capsys):
    message = refused(capsys, "train", "--data", data / "own", "-o", tmp_path / "out", "--work", trained / "tiny-work",
                      *STEPS)
    assert "tiny-work was begun with other data or settings" in message


def test_a_single_subject_is_not_enough_to_adapt_a_model_to(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "prepare_cases", lambda *arguments: pytest.fail("prepared"))
    write_scan(tmp_path / "one", "sub-01", drawn_scan(3))
    message = refused(capsys, "finetune", "--from", trained / "tiny", "--data", tmp_path / "one", "-o",
                      tmp_path / "out", "--device", "cpu", "--progress", "json")
    assert "have 1 subject, but 2 are needed" in message and not (tmp_path / "out-work").exists()


def test_an_adapted_model_is_tested_on_other_subjects_alone(data, trained, tmp_path, capsys, monkeypatch):
    model = ("finetune", "--from", trained / "tiny", "--device", "cpu", "--progress", "json", "-o", tmp_path / "out",
             "--detector-steps", 2, "--student-steps", 2)
    write_scan(tmp_path / "more", "sub-01_ses-9", drawn_scan(77))
    message = refused(capsys, *model, "--data", data / "own", "--held-out", tmp_path / "more")
    assert "share 1 subject: sub-01;" in message and not (tmp_path / "out-work").exists()
    judged = {}

    def judge(before, after, *others):
        judged.update(before={one.subject for one in before}, after={one.subject for one in after})
        return {"accepted": False, "before": 0.5, "after": 0.4, "sure": 0.1}

    monkeypatch.setattr(finetune, "judge", judge)
    code, _ = run(capsys, *model, "--data", data / "own", "--held-out", data / "other")
    assert code == 0 and judged["before"] == judged["after"] == {"sub-11", "sub-12"}
    verdict = json.loads((tmp_path / "out-work" / "adaptation.json").read_text())
    assert verdict["training_scans"] == 4 and verdict["held_out_scans"] == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_training")
def test_data_that_cannot_be_split_is_refused_before_any_training(data, tmp_path, capsys):
    out = ("-o", tmp_path / "out", *STEPS)
    write_scan(tmp_path / "one", "sub-01", drawn_scan(3))
    assert "1 subject" in refused(capsys, "train", "--data", tmp_path / "one", *out)
    assert "2 or more" in refused(capsys, "crossvalidate", "--data", data / "own", "--folds", 0, *out)
    assert "but 4 are needed" in refused(capsys, "crossvalidate", "--data", data / "own", "--folds", 4, *out)
    # two folds of the three subjects leave one fold a single subject for training and thresholds
    assert "but 4 are needed" in refused(capsys, "crossvalidate", "--data", data / "own", "--folds", 2, *out)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("option", "value"), [("--width", 0), ("--detector-steps", 0), ("--seed", -1)])
def test_settings_out_of_range_are_one_sentence(data, tmp_path, capsys, option, value):
    message = refused(capsys, "train", "--data", data / "own", "-o", tmp_path / "out", *STEPS, option, value)
    assert option.strip("-").replace("-", "_") in message and "\n" not in message


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """A cross-validation of four subjects, of whom one came twice, with two folds."""
    root = tmp_path_factory.mktemp("validated")
    write_set(root / "set", ["sub-01_ses-1", "sub-01_ses-2", "sub-02", "sub-03", "sub-04"], seed=2, **SMALL)
    assert cli.main([str(part) for part in ("crossvalidate", "--data", root / "set", "--folds", 2, "-o", root / "out",
                                            *STEPS)]) == 0
    return root


def test_crossvalidation_tests_every_subject_once_and_never_trains_on_it(validated):
    work, tested = validated / "out-work", []
    for fold in (1, 2):
        folder = work / f"fold-{fold}"
        test, held_out = ({one.name for one in load_scores(folder / name)} for name in ("test.json", "held-out.json"))
        trained_on = {path.stem for path in (folder / "candidates-1").iterdir()}
        sides = [{load_case(work / "cases" / name).subject for name in names} for names in (test, held_out, trained_on)]
        assert all(sides) and sum(map(len, sides)) == len(set().union(*sides)) == 4
        assert test | held_out | trained_on == {path.name for path in (work / "cases").iterdir()}
        tested += sorted(sides[0])
    assert sorted(tested) == ["sub-01", "sub-02", "sub-03", "sub-04"]


def test_crossvalidation_writes_per_fold_and_pooled_figures(validated):
    figures = json.loads((validated / "out" / "crossvalidation.json").read_text(encoding="utf-8"))
    with open(validated / "out" / "crossvalidation.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["fold"], row["step"]) for row in rows] == [
        (fold, step) for fold in ("1", "2", "pooled") for step in ("detector", "student", "clean-up")]
    assert [int(row["scans"]) for row in rows[::3]] == [*(fold["scans"] for fold in figures["folds"]), 5]
    for row, part in zip(rows[::3], [*figures["folds"], figures["pooled"]], strict=True):
        own = part["detector"]
        assert float(row["tpr"]) == own["tpr"] and float(row["fp_per_scan"]) == own["fp_per_scan"]
        assert [float(row["fp_low"]), float(row["fp_high"])] == own["fp_95"]
    scans = np.array([fold["scans"] for fold in figures["folds"]])
    for step in crossvalidate.STEPS:
        by_fold = np.array([fold[step]["fp_per_scan"] for fold in figures["folds"]])
        assert figures["pooled"][step]["fp_per_scan"] == pytest.approx((by_fold * scans).sum() / 5, abs=2e-3)
        # all scans have two microbleeds
        found = np.array([fold[step]["tpr"] for fold in figures["folds"]])
        assert figures["pooled"][step]["tpr"] == pytest.approx((found * scans).sum() / 5, abs=2e-3)
    assert figures["settings"]["width"] == 2
    text = (validated / "out" / "froc.svg").read_text(encoding="utf-8")
    assert all(name in text for name in ("fold 1", "fold 2", "pooled", "2-fold cross-validation"))


def test_a_second_crossvalidation_takes_the_scores_and_another_number_of_folds_is_refused(
        validated, capsys, monkeypatch):
    monkeypatch.setattr(crossvalidate, "train_networks", lambda *arguments: pytest.fail("trained"))
    arguments = ("crossvalidate", "--data", validated / "set", "-o", validated / "again", "--work",
                 validated / "out-work", *STEPS)
    code, _ = run(capsys, *arguments, "--folds", 2)
    assert code == 0
    for name in ("crossvalidation.json", "crossvalidation.tsv", "froc.svg"):
        assert (validated / "again" / name).read_bytes() == (validated / "out" / name).read_bytes()
    # fold 1 of three is not fold 1 of two: its networks have seen subjects that would be tested
    assert "begun with other data or settings" in refused(capsys, *arguments, "--folds", 3)
