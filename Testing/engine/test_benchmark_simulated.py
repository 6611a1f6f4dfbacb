"""The benchmark's command on a hand-made set with known answers: the simulator and the model are not run."""

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.evaluation.matching import Counts, near
from microbleeds.evaluation.metrics import FrocPoint, ScoredCandidates
from microbleeds.findings import KEPT, REMOVED, DetectionResult, Extrema, Finding, Provenance
from microbleeds.outputs import write_result
from microbleeds.read_write import read_labels, scan_stem, write_image, write_label_map, write_text
from microbleeds.simulation.shapes import MICROBLEED, VEIN
from microbleeds.volume import Volume

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))
import simulated
from benchmark_calibration import label
from benchmark_goals import judge_goals
from benchmark_scores import score_calibrations, score_case, score_group, score_groups
from benchmark_set import HARD, STANDARD, VERSION, all_cases, choose
from benchmark_steps import CLEAN_UP, DETECTOR, STUDENT
from benchmark_tables import best_sensitivity, tables

SHAPE = (40, 40, 12)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
BLEED, HIDDEN, VEIN_AT, NOWHERE = (10, 10, 6), (30, 10, 6), (10, 30, 6), (30, 30, 6)
BESIDE_BLEED, BESIDE_HIDDEN = (13, 10, 6), (30, 13, 6)
EDGE, UNLIKELY = "step3_cleanup: edge", "step2_classify: probability"
CASES = choose(all_cases(), limit=3)
WITH = [case for case in CASES if case.bleeds]
HEADER = "id\tkind\tR_mm\tA_mm\tS_mm\tsource_diameter_mm\tvisible_diameter_mm\tvisible\tsusceptibility_ppm\tregion\n"


def cubes(*centres, numbers=None):
    data = np.zeros(SHAPE, np.int32)
    for number, centre in zip(numbers or range(1, len(centres) + 1), centres, strict=True):
        data[tuple(slice(c - 1, c + 2) for c in centre)] = number
    return Volume(data, AFFINE)


def write_case(folder, case):
    """Write a vein, and in a case with bleeds one that can be seen and one that cannot."""
    image = folder / case.image
    image.parent.mkdir(parents=True)
    rows = [(1, VEIN, VEIN_AT, 2.0, 1)]
    if case.bleeds:
        rows += [(2, MICROBLEED, BLEED, 4.0, 1), (3, MICROBLEED, HIDDEN, "", 0)]
    write_text(image.with_name(f"{scan_stem(image)}_desc-truth.tsv"), HEADER + "".join(
        f"{number}\t{kind}\t{at[0]}\t{at[1]}\t{2 * at[2]}\t2\t{diameter}\t{visible}\t0.5\tleft putamen, deep\n"
        for number, kind, at, diameter, visible in rows))
    write_image(image, Volume(np.random.default_rng(0).normal(500, 50, SHAPE).astype(np.float32), AFFINE))
    write_label_map(folder / case.brain, Volume(np.ones(SHAPE, np.uint8), AFFINE))
    for name, shown in (("cmb", rows[1:2]), ("all", rows[:2])):
        truth = cubes(*(row[2] for row in shown), numbers=[row[0] for row in shown])
        write_label_map(image.with_name(f"{scan_stem(image)}_desc-{name}_truth.nii.gz"), truth)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    work = tmp_path_factory.mktemp("benchmark")
    for case in CASES:
        write_case(work / f"set-{VERSION}", case)
    return work


def predict(folder, *, with_bleeds=(), clean=(), ending=".nii.gz"):
    folder.mkdir()
    for case in CASES:
        write_label_map(folder / f"{scan_stem(case.image)}{ending}", cubes(*(with_bleeds if case.bleeds else clean)))
    return folder


def finding(number, at, probability, removed_by=None):
    position = (float(at[0]), float(at[1]), 2.0 * at[2])
    return Finding(number, position, probability, probability, 54.0, 4.7, (position, position),
                   Extrema(0.0, 1.0, position, position), REMOVED if removed_by else KEPT, removed_by)


def write_findings(image, folder, found, threshold=0.5):
    """Write the result of a run; `found` has place, probability and perhaps what removed it."""
    findings = tuple(finding(number, *candidate) for number, candidate in enumerate(found, 1))
    kept = [(at, item.id) for (at, *_), item in zip(found, findings, strict=True) if item.status == KEPT]
    provenance = Provenance(image.name, hashlib.sha256(image.read_bytes()).hexdigest(), "gre", "", "m", "1" * 64,
                            "balanced", SHAPE, (1, 1, 2), {"classify": {"threshold": threshold}} if threshold else {},
                            {}, {"prepare": 1.5, "classify": 0.5})
    write_result(DetectionResult(findings, provenance),
                 cubes(*(at for at, _ in kept), numbers=[number for _, number in kept]),
                 Volume(np.zeros(SHAPE, np.float32), AFFINE), scan_stem(image), folder, "")


def detect(made, folder, *, with_bleeds, clean=(), threshold=0.5):
    for case in CASES:
        write_findings(made / f"set-{VERSION}" / case.image, folder, with_bleeds if case.bleeds else clean, threshold)
    return folder


def scores_of(made, folder):
    return [score_case(case, made / f"set-{VERSION}", folder) for case in CASES]


@pytest.mark.parametrize("ending", [".nii.gz", "_desc-cmb_dseg.nii.gz"])
def test_perfect_predictions(made, tmp_path, ending):
    groups, splits = score_groups(scores_of(made, predict(tmp_path / "p", with_bleeds=[BLEED], ending=ending)))
    assert [group.name for group in groups] == [
        f"{tier}, {name}" for tier in (STANDARD, HARD) for name in ("gre", "swi", "qsm", "all")]
    for group in (*groups, *splits):
        assert group.summary.pooled.sensitivity == group.summary.pooled.f1 == 1.0
        wrong = group.summary.false_positives
        assert wrong.per_scan == 0 and wrong.clean_scans_kept_clean == wrong.clean_scans
        assert group.intervals.sensitivity == (1.0, 1.0) and group.froc == {} and group.median_seconds is None
    assert groups[3].summary.scans == 9 and groups[3].summary.false_positives.clean_scans == 3


def test_empty_predictions(made, tmp_path):
    group = score_group("all", scores_of(made, predict(tmp_path / "p")))
    assert (group.summary.pooled.sensitivity, group.summary.pooled.precision) == (0.0, None)
    assert (group.summary.counts.lesions, group.summary.false_positives.per_scan) == (len(WITH), 0)


def test_false_positives_are_put_down_to_what_they_lie_on(made, tmp_path):
    group = score_group("all", scores_of(made, predict(tmp_path / "p", with_bleeds=[BLEED, VEIN_AT, HIDDEN],
                                                       clean=[NOWHERE])))
    causes = {item.cause: item for item in group.causes}
    assert (causes[VEIN].visible, causes[VEIN].fooled, causes[VEIN].false_positives) == (18, 12, 12)
    assert causes["brain tissue"].false_positives == 6
    wrong = group.summary.false_positives
    assert (wrong.per_scan, wrong.per_scan_with_lesions, wrong.per_scan_without_lesions) == (1.0, 1.0, 1.0)
    assert (wrong.clean_scans, wrong.clean_scans_kept_clean, group.spared) == (6, 0, 12)
    assert group.summary.pooled.precision == pytest.approx(12 / 30)
    assert group.found_by_diameter == {"3 to 5 mm": (12, 12)} and group.found_by_region == {"deep": (12, 12)}


def run(made, *arguments, monkeypatch):
    monkeypatch.setattr(simulated, "make_data_set", lambda *plan: None)
    return simulated.main(["--work", str(made), "--jobs", "1", "--limit", "3", *map(str, arguments)])


def test_command_with_the_maps_of_another_program(made, tmp_path, monkeypatch, capsys):
    folder = predict(tmp_path / "other", with_bleeds=[BLEED, VEIN_AT])
    assert run(made, "--predictions", folder, "--name", "Other", monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "# Other, 18 of 126 cases" in out and "FROC" not in out
    assert "| standard, gre | 3 (1) | 2 | 1.00 [1.00, 1.00] | 0.67 [0.00, 1.00] | 1.00 / 0.00 | 1 of 1 |" in out
    assert "| vein | 2; 2 of 3 |" in out
    content = json.loads((made / f"results-{VERSION}" / "other-part.json").read_text(encoding="utf-8"))
    assert (content["benchmark"]["version"], content["benchmark"]["cases"]) == (VERSION, 18)
    assert content["measured"]["name"] == "Other" and "--" not in content["measured"]["predictions"]
    assert content["groups"][0]["summary"]["pooled"]["precision"] == 0.5
    assert content["cases"][0]["false_positives"][0]["cause"] == VEIN
    assert (made / f"results-{VERSION}" / "other-part.md").read_text(encoding="utf-8") in out


def test_a_case_without_a_map_is_an_error(made, tmp_path, monkeypatch, capsys):
    folder = predict(tmp_path / "p")
    (folder / "sub-gre01_T2starw.nii.gz").unlink()
    assert run(made, "--predictions", folder, monkeypatch=monkeypatch) == 2
    assert "has neither sub-gre01_T2starw_desc-cmb_dseg.nii.gz nor sub-gre01_T2starw.nii.gz" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--predictions", "nowhere"), "nowhere is not a folder"), (("--model", "no-such-model"), "There is no model")])
def test_a_wrong_name_is_told_before_the_set_is_made(made, monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr(simulated, "make_data_set", lambda *plan: pytest.fail("the set is being made"))
    assert simulated.main(["--work", str(made), *arguments]) == 2
    assert sentence in capsys.readouterr().err


class FakeDetection:
    """Stands for the child process: finds the bleed surely, the vein less so, and notes what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, command, env, check):
        images = command[command.index("detect") + 1:command.index("-o")]
        folder = Path(command[command.index("-o") + 1])
        self.asked.append([Path(image).name for image in images])
        for image in map(Path, images):
            write_findings(image, folder, [(BLEED, 0.9), (VEIN_AT, 0.6)])


@pytest.fixture
def model(monkeypatch):
    """A model that needs no weights."""
    made = SimpleNamespace(name="drawn", sha256="2" * 64, settings=lambda point: None)
    monkeypatch.setattr("microbleeds.weights.load_model", lambda name: made)
    return made


def test_command_with_a_model(made, model, monkeypatch, capsys):
    fake = FakeDetection()
    monkeypatch.setattr(simulated.subprocess, "run", fake)
    assert run(made, "--modality", "gre", monkeypatch=monkeypatch) == 0
    assert len(fake.asked[0]) == 6
    content = json.loads(next((made / f"results-{VERSION}").glob(f"{model.name}-*.json")).read_text(encoding="utf-8"))
    group = content["groups"][0]
    assert group["median_seconds"] == 2.0 and len(content["measured"]["model_sha256"]) == 64
    # the clean scan has both, and both are false there; from 0.65 on the vein is gone
    points = {point["threshold"]: point for point in group["froc"]["final"]}
    assert (points[0.9]["sensitivity"], points[0.9]["false_positives_per_scan"]) == (1.0, pytest.approx(1 / 3))
    assert (points[0.5]["sensitivity"], points[0.5]["false_positives_per_scan"]) == (1.0, pytest.approx(4 / 3))
    # of 6 scans, 4 have the bleed (.9): ECE (4 x .1 + 2 x .9 over their bin, so |.9 - 4/6|; and .6) halved
    assert content["calibration"][0]["ece"] == pytest.approx(((0.9 - 4 / 6) + 0.6) / 2)
    assert content["cases"][0]["steps"][STUDENT] == {"lesions": 1, "found": 1, "predictions": 2, "correct": 1}
    out = capsys.readouterr().out
    assert "## FROC, final" in out and "| gre | ECE ≤ 0.03 | 0.417 [" in out
    names = [path.name.split("-balanced-part-")[1] for path in sorted((made / f"results-{VERSION}").glob("*.svg"))]
    assert names == ["froc-hard.svg", "froc-standard.svg", "reliability.svg"]
    assert run(made, "--modality", "gre", monkeypatch=monkeypatch) == 0 and len(fake.asked) == 1


def test_images_made_again_are_detected_in_again(made, model, monkeypatch):
    fake = FakeDetection()
    monkeypatch.setattr(simulated.subprocess, "run", fake)
    assert run(made, "--modality", "gre", "--again", monkeypatch=monkeypatch) == 0 and len(fake.asked[0]) == 6
    image = made / f"set-{VERSION}" / CASES[0].image
    write_image(image, Volume(np.ones(SHAPE, np.float32), AFFINE))
    assert run(made, "--modality", "gre", monkeypatch=monkeypatch) == 0
    assert fake.asked[1:] == [[image.name]]


def test_a_failed_detection_is_told(made, model, monkeypatch, capsys):
    monkeypatch.setattr(simulated.subprocess, "run", lambda *command, **options: None)
    assert run(made, "--modality", "qsm", monkeypatch=monkeypatch) == 2
    assert "The detection failed on 6 of 6 images, sub-qsm01_Chimap.nii.gz" in capsys.readouterr().err


def test_best_sensitivity_of_a_curve():
    curve = [FrocPoint(threshold, tpr, None, wrong, None, None)
             for threshold, tpr, wrong in ((0.2, 0.9, 6.0), (0.5, 0.7, 2.0), (0.6, 0.7, 1.5), (0.8, 0.2, 0.1))]
    assert [best_sensitivity(curve, limit) for limit in (0.05, 0.1, 1.9, 2.0, 100)] == [None, 0.2, 0.7, 0.7, 0.9]


def test_steps_one_by_one(made, tmp_path):
    # the hidden one is spared; where both would remove a candidate, the clean-up is named, so the student keeps .7 only
    folder = detect(made, tmp_path / "p", clean=[(NOWHERE, 0.3, EDGE)], with_bleeds=[
        (BLEED, 0.9), (HIDDEN, 0.8), (BESIDE_BLEED, 0.75, EDGE), (NOWHERE, 0.7, EDGE), (VEIN_AT, 0.5),
        (BESIDE_HIDDEN, 0.2, UNLIKELY), (NOWHERE, 0.1, EDGE)])
    scores = scores_of(made, folder)
    assert scores[0].case.bleeds and scores[0].steps == {
        DETECTOR: Counts(1, 1, 5, 1), STUDENT: Counts(1, 1, 4, 1), CLEAN_UP: Counts(1, 1, 2, 1)}
    group = score_group("all", scores)
    figures = {step: (score.summary.pooled.sensitivity, score.summary.false_positives.per_scan,
                      score.summary.pooled.precision) for step, score in group.steps.items()}
    assert figures == {DETECTOR: (1.0, pytest.approx((12 * 4 + 6) / 18), 12 / 66),
                       STUDENT: (1.0, pytest.approx(12 * 3 / 18), 12 / 48),
                       CLEAN_UP: (1.0, pytest.approx(12 / 18), 0.5)}
    assert (group.steps[CLEAN_UP].summary, group.steps[CLEAN_UP].intervals) == (group.summary, group.intervals)
    low, high = group.steps[DETECTOR].intervals.false_positives_per_scan
    assert 1 < low < 3 < high < 4


def test_findings_that_touch_are_two_in_a_numbered_map_and_one_in_a_binary_one(made, tmp_path):
    folder = detect(made, tmp_path / "p", with_bleeds=[(BLEED, 0.9), (BESIDE_BLEED, 0.8)])
    first = scores_of(made, folder)[0]
    assert first.steps == dict.fromkeys((DETECTOR, STUDENT, CLEAN_UP), Counts(1, 1, 2, 1))
    stem = scan_stem(CASES[0].image)
    (folder / f"{stem}_desc-cmb_findings.json").unlink()
    labels = read_labels(folder / f"{stem}_desc-cmb_dseg.nii.gz")
    write_label_map(folder / f"{stem}_desc-cmb_dseg.nii.gz", labels.with_data((labels.data > 0).astype(np.int32)))
    assert scores_of(made, folder)[0].verdict.counts == Counts(1, 1, 1, 1)


def test_steps_where_the_student_loses_a_bleed(made, tmp_path):
    folder = detect(made, tmp_path / "p", with_bleeds=[(BLEED, 0.6, UNLIKELY)], threshold=0.63)
    steps = score_group("all", scores_of(made, folder)).steps
    assert [steps[step].summary.pooled.sensitivity for step in (DETECTOR, STUDENT, CLEAN_UP)] == [1.0, 0.0, 0.0]


def test_steps_need_the_findings_of_every_scan(made, tmp_path):
    folder = detect(made, tmp_path / "p", with_bleeds=[(BLEED, 0.9)])
    (folder / f"{scan_stem(CASES[0].image)}_desc-cmb_findings.json").unlink()
    scores = scores_of(made, folder)
    groups, splits = score_groups(scores)
    assert groups[0].steps == {} and groups[1].steps.keys() == {DETECTOR, STUDENT, CLEAN_UP}
    assert score_calibrations(scores) == ()
    text = tables("T", groups, splits, ())
    assert "## Goals" in text and "ECE" not in text and "## Steps" not in text and "## Calibration" not in text


def test_findings_without_their_threshold_are_an_error(made, tmp_path):
    folder = detect(made, tmp_path / "p", with_bleeds=[(BLEED, 0.9)], threshold=None)
    with pytest.raises(InputError, match="sub-gre01_T2starw.nii.gz does not tell the threshold"):
        scores_of(made, folder)


def test_calibration_counts_what_the_clean_up_leaves(made, tmp_path):
    folder = detect(made, tmp_path / "p", clean=[(NOWHERE, 0.35, UNLIKELY), (VEIN_AT, 0.95, EDGE)], with_bleeds=[
        (BLEED, 0.9), (VEIN_AT, 0.6), (BESIDE_BLEED, 0.4, UNLIKELY), (NOWHERE, 0.2, UNLIKELY),
        (BESIDE_HIDDEN, 0.15, UNLIKELY), (NOWHERE, 0.05, EDGE)])
    *by_modality, pooled = score_calibrations(scores_of(made, folder))
    assert [score.name for score in by_modality] == ["gre", "swi", "qsm"] and pooled.name == "all"
    assert (pooled.candidates, pooled.true, pooled.again) == (12 * 4 + 6, 24, 12)
    assert pooled.ece == pytest.approx((12 * (0.1 + 0.6 + 0.6 + 0.2) + 6 * 0.35) / 54)
    assert pooled.ece_one_to_one == pytest.approx((12 * (0.1 + 0.6 + 0.4 + 0.2) + 6 * 0.35) / 54)
    assert pooled.interval[0] < pooled.ece < pooled.interval[1]
    assert by_modality[0].candidates == 18 and by_modality[0].ece == pytest.approx(pooled.ece)
    shares = {item.low: (item.count, item.share_true) for item in pooled.bins if item.count}
    assert shares == {0.2: (12, 0.0), 0.3: (6, 0.0), 0.4: (12, 1.0), 0.6: (12, 0.0), 0.9: (12, 1.0)}


@pytest.mark.parametrize(("x_mm", "hidden_mm", "true"), [
    (4.9, 99, True), (5.1, 99, False), (4.9, 6, True), (5.1, 6, None)])
def test_what_lies_near_a_lesion_is_true_and_near_a_hidden_one_left_out(x_mm, hidden_mm, true):
    labelled = label(ScoredCandidates(np.array([[0.0, 0, 0], [x_mm, 0, 0]]), np.array([0.8, 0.3]),
                                      np.array([[0.0, 0, 0]]), near([[0.0, 0, 0], [x_mm, 0, 0]],
                                                                    [[hidden_mm, 0.0, 0]])))
    assert labelled.true.tolist() == [True] + ([] if true is None else [true])
    assert labelled.again.tolist() == [False] + ([] if true is None else [true])
    assert labelled.probabilities.tolist() == [0.8] + ([] if true is None else [0.3])


def test_two_candidates_between_two_lesions_are_both_partners():
    labelled = label(ScoredCandidates(np.array([[0.0, 0, 0], [2.0, 0, 0]]), np.array([0.8, 0.3]),
                                      np.array([[0.0, 0, 0], [4.0, 0, 0]])))
    assert labelled.true.all() and not labelled.again.any()


def goals_of(made, folder):
    scores = scores_of(made, folder)
    groups, splits = score_groups(scores)
    calibrations = score_calibrations(scores)
    return judge_goals(groups, calibrations), tables("T", groups, splits, calibrations)


def test_goals_that_are_met(made, tmp_path):
    folder = detect(made, tmp_path / "p", with_bleeds=[(BLEED, 0.99), (NOWHERE, 0.01, UNLIKELY)])
    goals, text = goals_of(made, folder)
    assert [goal.group for goal in goals] == ["standard, gre", "standard, swi", "standard, qsm"] * 2 + [
        "hard, gre", "hard, swi", "hard, qsm", "all"]
    assert all(goal.met for goal in goals)
    assert "TPR ≥ 0.93 at FP per scan ≤ 1 | 1.000 [1.000, 1.000] at 0.000 [0.000, 0.000] | yes |" in text
    assert "| all | ECE ≤ 0.03 | 0.010 [0.010, 0.010] | yes |" in text


def test_goals_have_their_own_limits(made, tmp_path):
    # 4/3 FP per scan: too many for the standard tier, few enough for the hard one; ECE .04
    folder = detect(made, tmp_path / "p", with_bleeds=[(BLEED, 0.96), (NOWHERE, 0.6), (VEIN_AT, 0.6)])
    met = [goal.met for goal in goals_of(made, folder)[0]]
    assert met == [False] * 3 + [True] * 3 + [True] * 3 + [False]
    folder = detect(made, tmp_path / "clean", with_bleeds=[(BLEED, 0.96)], clean=[(NOWHERE, 0.6)])
    goals, text = goals_of(made, folder)
    assert [goal.met for goal in goals] == [True] * 3 + [False] * 3 + [True] * 3 + [False]
    assert goals[3].measures[0].value == 0.0
    folder = detect(made, tmp_path / "missed", with_bleeds=[(VEIN_AT, 0.6)])
    assert [goal.met for goal in goals_of(made, folder)[0]] == [False] * 3 + [True] * 3 + [False] * 4


def test_a_goal_without_clean_scans_is_not_measured(made, tmp_path):
    folder = detect(made, tmp_path / "p", with_bleeds=[(BLEED, 0.99)])
    scores = [score for score in scores_of(made, folder) if score.case.bleeds]
    groups, splits = score_groups(scores)
    goals = judge_goals(groups, ())
    assert [goal.met for goal in goals] == [True] * 3 + [None] * 3 + [True] * 3
    assert "| standard, gre | share of scans without microbleeds that have no FP ≥ 0.9 | – | not measured |" in tables(
        "T", groups, splits, ())


def test_figures_draw_each_modality_and_all(made, tmp_path, capsys):
    folder = detect(made, tmp_path / "drawn", with_bleeds=[(BLEED, 0.9), (VEIN_AT, 0.6)])
    scores = scores_of(made, folder)
    simulated.report(simulated.Measured("Drawn", folder, {}), scores, len(CASES), tmp_path / "results")
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"drawn.md", "drawn.json", *(f"drawn-{name}.svg" for name in (
        "froc-standard", "froc-hard", "reliability", "reliability-gre", "reliability-swi", "reliability-qsm"))}
    assert "drawn-froc-standard.svg" in capsys.readouterr().out
    root = ElementTree.parse(tmp_path / "results" / "drawn-froc-standard.svg").getroot()
    titles = [item.text for item in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "Drawn: simulated benchmark, standard tier" in titles and {"gre", "swi", "qsm", "pooled"} <= set(titles)
