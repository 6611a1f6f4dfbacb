"""Leaving a modality out: what the training gets to see, and the rows of the table."""

import argparse
import json
import sys
from pathlib import Path

import pytest
from benchmark_phantoms import write_simulated_case
from microbleeds.cli import _parser
from microbleeds.errors import InputError
from microbleeds.model_folders import CARD
from microbleeds.training.layouts import find_labelled_scans

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))
import leave_modality_out
from benchmark_set import VERSION

SUFFIXES = {"gre": "T2starw", "swi": "swi", "qsm": "Chimap"}


@pytest.fixture
def data(tmp_path):
    """One data set per role, with one case of each modality."""
    for role in ("training", "validation"):
        for number, suffix in enumerate(SUFFIXES.values(), 1):
            write_simulated_case(tmp_path / role, f"sub-{number}", suffix, head=f"{role}.nii.gz")
    return tmp_path


def test_a_case_of_several_modalities_is_taken_apart(tmp_path):
    for suffix in SUFFIXES.values():
        image = write_simulated_case(tmp_path / suffix, "sub-1", suffix)
        for file in image.parent.iterdir():
            target = tmp_path / "all" / "sub-1" / "anat" / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    (tmp_path / "all" / "sub-1" / "anat" / "sub-1_part-phase_T2starw.nii.gz").write_bytes(b"")
    sets = leave_modality_out.split_by_modality(tmp_path / "all", tmp_path / "sets", "training")
    for modality, folder in sets.items():
        scan, = find_labelled_scans(folder)
        assert (scan.modality, scan.subject) == (modality, "h.nii.gz")
        assert all(path.is_file() for path in (scan.image, scan.truth, scan.brain, *scan.maps))
        assert len(list(folder.glob("sub-1/anat/*"))) == 7


def test_a_data_set_without_a_modality_is_refused(tmp_path):
    write_simulated_case(tmp_path / "set", "sub-1")
    with pytest.raises(InputError, match="has no scans of swi, qsm"):
        leave_modality_out.split_by_modality(tmp_path / "set", tmp_path / "sets", "training")


def group(name, sensitivity):
    rates = {"sensitivity": sensitivity, "precision": 0.5, "f1": 0.5}
    points = [{"threshold": threshold, "sensitivity": value, "precision": None, "false_positives_per_scan": wrong,
               "false_positives_per_scan_with_lesions": None, "false_positives_per_scan_without_lesions": None}
              for threshold, value, wrong in ((0.2, 0.95, 2.5), (0.5, 0.85, 1.5))]
    return {"name": name, "froc": {"final": points}, "intervals": {
        "sensitivity": [0.6, 0.9], "precision": None, "false_positives_per_scan": [0.5, 2.0]},
        "summary": {"scans": 30, "counts": {"lesions": 120}, "pooled": rates, "false_positives": {
            "per_scan": 1.25, "clean_scans": 10, "clean_scans_kept_clean": 7}}}


class FakeEngine:
    """Stands for training and benchmark; notes what each was asked for."""

    def __init__(self):
        self.trained, self.measured = [], []

    def train(self, command, *arguments):
        self.trained.append([command, *map(str, arguments)])
        # the real command line takes it
        _parser().parse_args(self.trained[-1])
        output = Path(arguments[arguments.index("-o") + 1])
        output.mkdir(parents=True)
        (output / CARD).write_text("{}")

    def benchmark(self, arguments):
        model, modality, work = (arguments[arguments.index(name) + 1] for name in ("--model", "--modality", "--work"))
        self.measured.append((Path(model).name, modality))
        path = Path(work) / f"results-{VERSION}" / f"{Path(model).name}-bbbbbbbb-balanced-part.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        groups = [group(f"standard, {modality}", 0.8), group(f"hard, {modality}", 0.7), group("standard, thin", 0.1)]
        path.write_text(json.dumps({"groups": groups}))
        return 0


@pytest.fixture
def fake(monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(leave_modality_out, "run_command", engine.train)
    monkeypatch.setattr(leave_modality_out.simulated, "main", engine.benchmark)
    monkeypatch.setattr("microbleeds.weights.load_model",
                        lambda name: argparse.Namespace(name=Path(name).name, sha256="b" * 64))
    return engine


def run(data, *more):
    return leave_modality_out.main([
        "--training", str(data / "training"), "--validation", str(data / "validation"), "--work", str(data / "work"),
        "--benchmark", str(data / "benchmark"), "--all-modalities", "full", "--detector-steps", "7", *more])


def test_each_modality_is_left_out_and_measured(data, fake, capsys):
    assert run(data) == 0
    assert [command[0] for command in fake.trained] == ["train"] * 3
    for command, left_out in zip(fake.trained, SUFFIXES, strict=True):
        between = [command[command.index(a) + 1:command.index(b)] for a, b in (("--data", "--held-out"),
                                                                               ("--held-out", "-o"))]
        for role, folders in zip(("training", "validation"), between, strict=True):
            scans = [scan for folder in folders for scan in find_labelled_scans(Path(folder))]
            assert {scan.modality for scan in scans} == set(SUFFIXES) - {left_out}
            assert {scan.subject for scan in scans} == {f"{role}.nii.gz"}
        assert command[-4:-2] == ["--detector-steps", "7"]
    assert fake.measured == [pair for name in SUFFIXES for pair in ((f"without-{name}", name), ("full", name))]
    out = capsys.readouterr().out
    assert ("| standard, gre | swi, qsm | 30 (10) | 120 | 0.80 [0.60, 0.90] | 1.25 [0.50, 2.00] | 7 of 10 | 0.85 |"
            in out)
    assert out.count("| all | 30 (10)") == 6 and "thin" not in out
    assert (data / "work" / "leave_modality_out.md").read_text(encoding="utf-8") in out


def test_models_that_are_there_are_not_trained_again(data, fake):
    assert run(data, "--modality", "swi") == 0 and len(fake.trained) == 1
    assert run(data) == 0 and len(fake.trained) == 3


def test_trainings_share_the_prepared_scans(data, fake):
    assert run(data, "--modality", "swi") == 0
    (data / "work" / "cases" / "one").mkdir()
    assert (data / "work" / "without-swi-work" / "cases" / "one").is_dir()
