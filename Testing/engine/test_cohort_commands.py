"""``cmbdetect cohort`` from its arguments to its files, with the fake detector in this very process."""

import json
import sys

import pytest
from cohort_phantoms import Here, bids_tree, fake_modules, wanted_of
from microbleeds import cli
from microbleeds.cohort.failures import read_failures


class Child(Here):
    """Stands for the child process; knows what it was made with and asked for."""

    made, described = [], []

    def __init__(self, memory_gb=None):
        self.made.append(memory_gb)

    def call(self, function, job):
        self.described.append(job)
        return wanted_of(job.model or "m1", job.operating_point)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command on a tree of two participants; returns exit code, output and errors."""
    for name, module in fake_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("microbleeds.cohort.child.Child", Child)
    Child.made.clear(), Child.described.clear()
    bids_tree(tmp_path / "in", ["a", "b"])

    def call(*arguments, level="participant"):
        code = cli.main(["cohort", str(tmp_path / "in"), str(tmp_path / "out"), level, *arguments])
        return code, *capsys.readouterr()
    return call


def test_participants_then_group(run, tmp_path):
    code, out, err = run("--progress", "none")
    assert code == 0 and out.endswith("2 scans: 0 were done before, 2 are done now, 0 failed.\n") and err == ""
    code, out, _ = run(level="group")
    assert code == 0 and f"The cohort is in {tmp_path / 'out' / 'cohort.html'}" in out
    assert {"cohort.html", "cohort.tsv", "regions.tsv", "histogram.tsv"} <= {
        path.name for path in (tmp_path / "out").iterdir()}
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative" and description["DatasetLinks"]["raw"].endswith("/in")


def test_labels_and_settings_reach_the_scans(run, tmp_path):
    code, out, _ = run("--participant_label", "sub-b", "--operating-point", "sensitive", "--memory-limit", "3")
    assert code == 0 and "1 scan: 0 were done before, 1 are done now" in out and Child.made == [None, 3.0]
    assert Child.described[0].operating_point == "sensitive"
    assert [path.name for path in (tmp_path / "out").glob("sub-*")] == ["sub-b"]


def test_a_bad_scan_decides_the_exit_code(run, tmp_path):
    (tmp_path / "in" / "sub-a" / "anat" / "sub-a_T2starw.nii.gz").write_bytes(b"nothing")
    code, out, err = run()
    assert code == 2 and f"1 failed (see {tmp_path / 'out' / 'failures.tsv'})" in out
    assert "sub-a_T2starw.nii.gz: error: sub-a_T2starw.nii.gz is not an image" in err
    assert len(read_failures(tmp_path / "out")) == 1


def test_programs_get_json_lines(run):
    code, out, _ = run("--progress", "json")
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["event"] for one in told] == ["result", "progress", "result", "progress", "done"]
    assert told[-2]["fraction"] == 1 and told[-1]["exit_code"] == code == 0


@pytest.mark.parametrize(("arguments", "told"), [
    (("--participant-label", "z"), "has no scan of participant z"),
    (("--workers", "0"), "--workers must be above 0"),
    (("--scheduler", "tcp://x:1", "--threads", "2"), "give them to the workers of the scheduler")])
def test_wrong_arguments_are_told_in_a_sentence(run, tmp_path, arguments, told):
    code, out, err = run(*arguments)
    assert code == 2 and told in err and out == "" and not (tmp_path / "out").exists()


def test_a_group_before_its_participants_is_told(run, tmp_path):
    code, _, err = run(level="group")
    assert code == 2 and "run the participant level first" in err


def test_without_dask_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = run("--workers", "2")
    assert code == 2 and "pip install cmbdetection[cohort]" in err
