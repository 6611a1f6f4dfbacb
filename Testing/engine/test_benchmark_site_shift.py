"""The benchmark of adaptation: the simulated reader, the share of the gap, and the order of the steps."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_phantoms import AFFINE, HIDDEN, MISSED, NOWHERE, SEEN, VEIN_AT, place_ras, write_found
from benchmark_phantoms import write_simulated_case as write_case
from microbleeds.cli import _parser
from microbleeds.evaluation.metrics import ScoredCandidates
from microbleeds.model_folders import CARD
from microbleeds.read_write import read_labels, read_scan
from microbleeds.review_files import ACCEPTED, REJECTED, UNDECIDED, read_review
from microbleeds.training.check_data_set import check_data_set
from microbleeds.training.labelled_scans import IGNORED, MICROBLEED, MIMIC, VESSEL, read_truth
from microbleeds.training.layouts import find_labelled_scans

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))
import site_shift
from benchmark_tools import link_or_copy
from sampled_curves import Estimate, curve_of, samples_of, tpr_at
from site_data import PARTS, Site, as_benchmark_case, site_plans
from site_reviews import ADDED, verdicts_of, write_site_review
from site_scores import gap_closed


@pytest.fixture
def reviewed(tmp_path):
    """Return the folder of one review: a hit, a vein, nothing, and something on the bleed that cannot be seen."""
    image = write_case(tmp_path / "set", "sub-1")
    write_found(image, tmp_path / "found", [(SEEN, 0.9), (VEIN_AT, 0.8), (NOWHERE, 0.7), (HIDDEN, 0.6), (MISSED, 0.2)])
    write_site_review(image, image.with_name("sub-1_desc-brain_mask.nii.gz"), tmp_path / "found", tmp_path / "reviews",
                      "gre")
    return tmp_path / "reviews"


def test_the_reader_judges_by_the_truth_and_adds_what_was_missed(reviewed):
    review = read_review(reviewed / "sub-1_T2starw_desc-cmb_review.json")
    assert [(finding.verdict, finding.mimic_kind, finding.added_by_reader) for finding in review.findings] == [
        (ACCEPTED, "", False), (REJECTED, "vessel", False), (REJECTED, "other", False), (UNDECIDED, "", False),
        (ACCEPTED, "", True)]
    assert review.findings[-1].id == 5 and np.allclose(review.findings[-1].position_ras, place_ras(MISSED))
    assert verdicts_of(reviewed) == {ACCEPTED: 1, REJECTED: 2, UNDECIDED: 1, ADDED: 1}


def test_a_review_is_a_case_to_train_on(reviewed):
    scan, = find_labelled_scans(reviewed)
    assert (scan.layout, scan.subject) == ("reviews", "sub-1")
    check_data_set([scan])
    truth = read_truth(scan, read_scan(scan.image).volume)
    for voxel, expected in ((SEEN, MICROBLEED), (MISSED, MICROBLEED), (VEIN_AT, VESSEL), (NOWHERE, MIMIC),
                            (HIDDEN, IGNORED)):
        assert truth.classes[voxel] == expected
    assert (truth.lesions > 0).sum() == 27 + 27


def test_a_link_shows_the_file_and_what_is_there_stays(tmp_path):
    (tmp_path / "a").write_text("one")
    link_or_copy(tmp_path / "a", tmp_path / "b" / "c")
    assert (tmp_path / "b" / "c").read_text() == "one"
    (tmp_path / "d").write_text("two")
    link_or_copy(tmp_path / "d", tmp_path / "b" / "c")
    assert (tmp_path / "b" / "c").read_text() == "one"


def test_the_site_is_the_same_in_all_parts_and_the_scans_differ():
    heads = [Path("a.nii.gz"), Path("b.nii.gz")]
    plans = [plan for part in PARTS for plan in site_plans(Site(slice_mm=5.5, gap_mm=0), part, 4, 1, heads)]
    assert {(plan.protocol.slice_mm, plan.protocol.echo_times_ms, plan.protocol.smoothing_mm) for plan in plans} == {
        (5.5, (58.0,), 0.9)}
    for distinct in ([plan.seed for plan in plans], [plan.name for plan in plans],
                     [plan.protocol.tilt_degrees for plan in plans]):
        assert len(set(distinct)) == 16
    assert [plan.subject.bleeds for plan in plans[-4:]] == [0] * 4 and min(p.subject.bleeds for p in plans[:4]) > 0
    assert as_benchmark_case(plans[0]).image == Path("sub-reviewed001/anat/sub-reviewed001_T2starw.nii.gz")


def scans_of(found, *, scans=30, lesions=4, sure_false=0):
    """Return scans: so many lesions have a probability of .9, as `sure_false` others; three more others have .1."""
    places = np.array([[20.0 * n, 0, 0] for n in range(lesions)]).reshape(-1, 3)
    wrong = np.array([[20.0 * n, 90, 0] for n in range(sure_false + 3)])
    scores = np.array([0.9] * (found + sure_false) + [0.1] * 3)
    return [ScoredCandidates(np.concatenate([places[:found], wrong]), scores, places)] * scans


def test_the_rate_is_that_of_the_best_threshold_with_few_false_positives():
    samples = samples_of(30)
    assert samples.shape[1] == 30 and (samples.sum(axis=1) == 30).all() and (samples[0] == 1).all()
    for found in (0, 1, 3):
        assert (tpr_at(curve_of(scans_of(found), 8), 1, samples) == found / 4).all()
    everyone = np.ones((1, 10))
    for false, expected in ((10, 0.75), (11, 0.0)):
        scans = scans_of(3, scans=9) + scans_of(0, scans=1, lesions=0, sure_false=false)
        assert tpr_at(curve_of(scans, 8), 1, everyone)[0] == expected
    assert np.isnan(tpr_at(curve_of(scans_of(0, scans=2, lesions=0), 8), 1, np.ones((1, 2)))[0])


def test_the_share_of_the_gap():
    values = {name: np.full(101, value) for name, value in (("base", 0.4), ("adapted", 0.6), ("best", 0.8))}
    share = gap_closed(values["base"], values["adapted"], values["best"])
    assert share.value == pytest.approx(0.5) and share.interval == pytest.approx((0.5, 0.5))
    assert gap_closed(values["best"], values["adapted"], values["base"]) == Estimate(None, None)
    unsure = values["best"].copy()
    unsure[50:] = 0.3
    assert gap_closed(values["base"], values["adapted"], unsure) == Estimate(pytest.approx(0.5), None)


class FakeSite:
    """Stands for simulator, detection and training; the base finds one microbleed of two, the others both."""

    def __init__(self, base):
        self.base, self.commands, self.accept = str(base), [], True

    def make(self, plans, folder, jobs, reporter):
        for plan in plans:
            if not (folder / plan.name).exists():
                write_case(folder, plan.name, clean=plan.subject.bleeds == 0)

    def detect(self, images, folder, options):
        for image in images:
            found = [(SEEN, 0.9), (NOWHERE, 0.6)] if options.model == self.base else [(SEEN, 0.9), (MISSED, 0.8)]
            truth = image.with_name(image.name.replace(".nii", "_desc-cmb_truth.nii"))
            write_found(image, folder, found if read_labels(truth).data.any() else [])

    def run(self, command, *arguments):
        self.commands.append((command, *map(str, arguments)))
        # the real command line takes it
        _parser().parse_args(self.commands[-1])
        output = Path(arguments[arguments.index("-o") + 1])
        output.mkdir(parents=True, exist_ok=True)
        if command == "implant":
            for image in arguments[:arguments.index("-o")]:
                shutil.copy(image, output)
            return
        if command == "finetune":
            work = arguments[arguments.index("--work") + 1]
            work.mkdir()
            verdict = {"accepted": self.accept, "before": 0.4, "after": 0.5, "sure": 0.9, "held_out_scans": 6}
            (work / "adaptation.json").write_text(json.dumps(verdict))
        if command == "train" or self.accept:
            (output / CARD).write_text("{}")


class FakeModel:
    def __init__(self, folder):
        self.name, self.sha256 = Path(folder).name, "0" * 64


@pytest.fixture
def site(tmp_path, monkeypatch):
    fake = FakeSite(tmp_path / "base")
    monkeypatch.setattr(site_shift, "make_data_set", fake.make)
    monkeypatch.setattr(site_shift, "detect_missing", fake.detect)
    monkeypatch.setattr(site_shift, "run_command", fake.run)
    monkeypatch.setattr("microbleeds.weights.load_model", FakeModel)
    return fake


def run(site, tmp_path, *more):
    return site_shift.main(["--model", site.base, "--work", str(tmp_path / "work"), "--labels", "a.nii.gz",
                            "--test-labels", "b.nii.gz", "--reviewed", "2", "--test", "3", "--training", "2", "--clean",
                            "2", "--train-options=--width 2", *more])


def test_all_steps_once(site, tmp_path, capsys):
    assert run(site, tmp_path) == 0
    out = capsys.readouterr().out
    assert "| base, as it is | 0.50 [0.50, 0.50] |  |" in out
    assert out.count("| 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] |") == 2
    assert "Reviews: 2 accepted, 2 added, 2 rejected." in out and out.count("not worse in 90% of samples; taken") == 2
    assert [command[0] for command in site.commands] == ["finetune", "implant", "finetune", "train"]
    reviews = site.commands[0][site.commands[0].index("--data") + 1]
    assert len(find_labelled_scans(Path(reviews))) == 2 and site.commands[3][-2:] == ("--width", "2")
    assert run(site, tmp_path) == 0 and len(site.commands) == 4


def test_where_the_guard_says_no_the_base_stays(site, tmp_path, capsys):
    site.accept = False
    assert run(site, tmp_path) == 0 and run(site, tmp_path) == 0
    out = capsys.readouterr().out
    assert len(site.commands) == 4 and "not taken, the old weights stay" in out
    assert "| after 2 reviewed cases | 0.50 [0.50, 0.50] | 0.00 [0.00, 0.00] |" in out


def test_a_head_on_both_sides_is_refused(site, tmp_path, capsys):
    assert run(site, tmp_path, "--labels", "b.nii.gz") == 2
    assert "may be on one side only" in capsys.readouterr().err and not site.commands


def test_the_phantom_lies_on_its_grid():
    assert np.allclose(AFFINE @ [*SEEN, 1], [*place_ras(SEEN), 1])
