"""The benchmark's command on a hand-made set with known answers: the simulator and the model are not run."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from microbleeds.evaluation.metrics import FrocPoint
from microbleeds.findings import DetectionResult, Extrema, Finding, Provenance
from microbleeds.outputs import write_result
from microbleeds.read_write import scan_stem, write_image, write_label_map, write_text
from microbleeds.simulation.shapes import MICROBLEED, VEIN
from microbleeds.volume import Volume
from microbleeds.weights import DEFAULT_MODEL

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))
import simulated
from benchmark_scores import score_case, score_group, score_groups
from benchmark_set import HARD, STANDARD, VERSION, all_cases, choose
from benchmark_tables import best_sensitivity

SHAPE = (40, 40, 12)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
BLEED, HIDDEN, VEIN_AT, NOWHERE = (10, 10, 6), (30, 10, 6), (10, 30, 6), (30, 30, 6)
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
    content = json.loads((made / f"results-{VERSION}" / "other-part.json").read_text())
    assert (content["benchmark"]["version"], content["benchmark"]["cases"]) == (VERSION, 18)
    assert content["measured"]["name"] == "Other" and "--" not in content["measured"]["predictions"]
    assert content["groups"][0]["summary"]["pooled"]["precision"] == 0.5
    assert content["cases"][0]["false_positives"][0]["cause"] == VEIN
    assert (made / f"results-{VERSION}" / "other-part.md").read_text() in out


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
            found = [(BLEED, 0.9), (VEIN_AT, 0.6)]
            volume = Volume(np.zeros(SHAPE, np.float32), AFFINE)
            findings = tuple(self.finding(number, at, score) for number, (at, score) in enumerate(found, 1))
            digest = hashlib.sha256(image.read_bytes()).hexdigest()
            provenance = Provenance(image.name, digest, "gre", "", "m", "1" * 64, "balanced", SHAPE, (1, 1, 2), {}, {},
                                    {"prepare": 1.5, "classify": 0.5})
            write_result(DetectionResult(findings, provenance), cubes(BLEED, VEIN_AT), volume, scan_stem(image), folder,
                         "")

    @staticmethod
    def finding(number, at, score):
        position = (float(at[0]), float(at[1]), 2.0 * at[2])
        return Finding(number, position, score, score, 54.0, 4.7, (position, position),
                       Extrema(0.0, 1.0, position, position))


def test_command_with_a_model(made, monkeypatch, capsys):
    fake = FakeDetection()
    monkeypatch.setattr(simulated.subprocess, "run", fake)
    assert run(made, "--modality", "gre", monkeypatch=monkeypatch) == 0
    assert len(fake.asked[0]) == 6
    content = json.loads(next((made / f"results-{VERSION}").glob(f"{DEFAULT_MODEL}-*.json")).read_text())
    group = content["groups"][0]
    assert group["median_seconds"] == 2.0 and len(content["measured"]["model_sha256"]) == 64
    # the clean scan has both, and both are false there; from 0.65 on the vein is gone
    points = {point["threshold"]: point for point in group["froc"]["final"]}
    assert (points[0.9]["sensitivity"], points[0.9]["false_positives_per_scan"]) == (1.0, pytest.approx(1 / 3))
    assert (points[0.5]["sensitivity"], points[0.5]["false_positives_per_scan"]) == (1.0, pytest.approx(4 / 3))
    assert "## FROC, final" in capsys.readouterr().out
    assert run(made, "--modality", "gre", monkeypatch=monkeypatch) == 0 and len(fake.asked) == 1


def test_images_made_again_are_detected_in_again(made, monkeypatch):
    fake = FakeDetection()
    monkeypatch.setattr(simulated.subprocess, "run", fake)
    assert run(made, "--modality", "gre", "--again", monkeypatch=monkeypatch) == 0 and len(fake.asked[0]) == 6
    image = made / f"set-{VERSION}" / CASES[0].image
    write_image(image, Volume(np.ones(SHAPE, np.float32), AFFINE))
    assert run(made, "--modality", "gre", monkeypatch=monkeypatch) == 0
    assert fake.asked[1:] == [[image.name]]


def test_a_failed_detection_is_told(made, monkeypatch, capsys):
    monkeypatch.setattr(simulated.subprocess, "run", lambda *command, **options: None)
    assert run(made, "--modality", "qsm", monkeypatch=monkeypatch) == 2
    assert "The detection failed on 6 of 6 images, sub-qsm01_Chimap.nii.gz" in capsys.readouterr().err


def test_best_sensitivity_of_a_curve():
    curve = [FrocPoint(threshold, tpr, None, wrong, None, None)
             for threshold, tpr, wrong in ((0.2, 0.9, 6.0), (0.5, 0.7, 2.0), (0.6, 0.7, 1.5), (0.8, 0.2, 0.1))]
    assert [best_sensitivity(curve, limit) for limit in (0.05, 0.1, 1.9, 2.0, 100)] == [None, 0.2, 0.7, 0.7, 0.9]
