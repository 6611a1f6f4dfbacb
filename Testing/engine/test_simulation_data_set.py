"""A data set: same seed, same bytes; resumed; refused when the settings differ; and the command that makes it."""

import hashlib
import json
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds import cli
from microbleeds.errors import SettingsError
from microbleeds.progress import Plain
from microbleeds.simulation.anatomy import CAUDATE, class_map
from microbleeds.simulation.data_set import make_data_set, plan_cases
from microbleeds.simulation.simulate import R2STAR
from microbleeds.simulation.subject import SubjectSettings
from microbleeds.simulation.truth import Row
from simulation_phantoms import toy_labels, write_labels

SETTINGS = ("--seed", "3", "--bleeds", "4", "--matrix", "36", "44", "8", "--in-plane", "2.2", "--slice", "4",
            "--brain-only", "--echo-times", "10", "20", "30", "--progress", "none")


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return write_labels(tmp_path_factory.mktemp("labels") / "toy.nii.gz", toy_labels())


@pytest.fixture
def simulate(labels, capsys):
    """Run ``cmbdetect simulate`` and return its exit code and what it said on standard error."""
    def run(folder, *arguments, base=SETTINGS):
        code = cli.main(["simulate", "-o", str(folder), "--labels", str(labels), "--jobs", "1", *base, *arguments])
        return code, capsys.readouterr().err
    return run


@pytest.fixture(scope="module")
def made(labels, tmp_path_factory):
    """Two cases in all kinds of image, made in one process."""
    folder = tmp_path_factory.mktemp("made")
    assert cli.main(["simulate", "-o", str(folder), "--labels", str(labels), "-n", "2", "--jobs", "1", *SETTINGS]) == 0
    return folder


def digests(folder):
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_processes(made, labels, tmp_path):
    arguments = ["simulate", "-o", str(tmp_path), "--labels", str(labels), "-n", "2", "--jobs", "2", *SETTINGS]
    assert cli.main(arguments) == 0
    assert digests(tmp_path) == digests(made)


def test_an_interrupted_run_goes_on_and_leaves_what_is_there(made, simulate, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(made, folder)
    shutil.rmtree(folder / "sub-0002")
    (folder / ".sub-0002.part" / "anat").mkdir(parents=True)
    (folder / ".sub-0002.part" / "anat" / "half_written.nii.gz").write_bytes(b"half")
    (folder / "manifest.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (folder / "sub-0001").rglob("*")}
    assert simulate(folder, "-n", "2")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "sub-0001").rglob("*")} == before
    assert digests(folder) == digests(made)


@pytest.mark.parametrize("other", [("--bleeds", "5"), ("--seed", "4"), ("--slice", "5"), ("--modality", "gre")])
def test_other_settings_in_the_same_folder_are_refused(made, simulate, other):
    before = digests(made)
    code, said = simulate(made, "-n", "2", *other)
    assert code == 2
    assert "sub-0001 was made with other settings" in said and len(said.strip().splitlines()) == 1
    assert digests(made) == before


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_damaged_case_is_not_overwritten(made, simulate, content, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(made, folder)
    drawn = folder / "sub-0002" / "anat" / "sub-0002_desc-drawn.json"
    drawn.unlink()
    if content:
        drawn.write_text(content, encoding="utf-8")
    code, said = simulate(folder, "-n", "2")
    assert code == 2 and "sub-0002 was made with other settings" in said and "remove it" in said
    assert not list(folder.glob(".sub-*"))


def test_the_manifest_lists_every_file_of_the_cases(made):
    manifest = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
    listed = {name: value for case in manifest["cases"] for name, value in case["sha256"].items()}
    assert listed == {name: value for name, value in digests(made).items() if name.startswith("sub-")}
    assert [case["plan"]["name"] for case in manifest["cases"]] == ["sub-0001", "sub-0002"]
    assert not [name for name in digests(made) if ".part" in name]
    people = (made / "participants.tsv").read_text(encoding="utf-8").splitlines()
    assert len(people) == 3 and all(line.split("\t")[2] == "4" for line in people[1:])


def read(path):
    image = sitk.ReadImage(str(path))
    return image, sitk.GetArrayFromImage(image).T


def test_truth_table_label_maps_and_what_was_drawn_agree(made):
    folder = made / "sub-0001" / "anat"
    drawn = json.loads((folder / "sub-0001_desc-drawn.json").read_text(encoding="utf-8"))
    images = [path for path in folder.glob("*.nii.gz") if "truth" not in path.name and "mask" not in path.name]
    assert len(images) == 6
    grid, brain = read(folder / "sub-0001_desc-brain_mask.nii.gz")
    for kind in ("T2starw", "swi", "Chimap"):
        lines = [line.split("\t") for line in
                 (folder / f"sub-0001_{kind}_desc-truth.tsv").read_text(encoding="utf-8").splitlines()]
        assert lines[0] == [field.name for field in fields(Row)]
        rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        assert [(int(row["id"]), row["kind"]) for row in rows] == [
            (thing["id"], thing["kind"]) for thing in drawn["things"]]
        image, everything = read(folder / f"sub-0001_{kind}_desc-all_truth.nii.gz")
        _, bleeds = read(folder / f"sub-0001_{kind}_desc-cmb_truth.nii.gz")
        assert image.GetDirection() == grid.GetDirection() and everything.shape == brain.shape == (36, 44, 8)
        visible = {int(row["id"]) for row in rows if row["visible"] == "1"}
        assert set(np.unique(everything)) - {0} == visible
        assert set(np.unique(bleeds)) - {0} == {number for number in visible if number <= 4}


def test_magnitudes_are_whole_numbers_around_500_and_sidecars_say_simulated(made):
    folder = made / "sub-0002" / "anat"
    _, brain = read(folder / "sub-0002_desc-brain_mask.nii.gz")
    image, magnitude = read(folder / "sub-0002_T2starw.nii.gz")
    assert image.GetPixelID() == sitk.sitkInt16
    assert np.median(magnitude[brain > 0]) == pytest.approx(500, abs=2)
    np.testing.assert_allclose(image.GetSpacing()[:2], 2.2, atol=1e-5)
    sidecar = json.loads((folder / "sub-0002_T2starw.json").read_text(encoding="utf-8"))
    assert sidecar["Simulated"] is True and sidecar["EchoTime"] == 0.03 and sidecar["SliceThickness"] == 4
    _, phase = read(folder / "sub-0002_part-phase_T2starw.nii.gz")
    assert -4096 <= phase.min() < -2000 and 2000 < phase.max() <= 4096


def test_a_plan_depends_on_its_number_alone(labels):
    few, many = (plan_cases(count, 7, [labels], "swi", SubjectSettings()) for count in (2, 5))
    assert many[:2] == few
    assert len({plan.protocol for plan in many}) == 5 and len({plan.seed for plan in many}) == 5


WRONG = {
    "negative echo time": (("--echo-times", "-5"), "Echo times of -5 ms"),
    "unsorted echo times": (("--echo-times", "20", "10"), "Echo times of 20, 10 ms"),
    "thin slices": (("--slice", "0.1"), "slice thickness of 0.1 mm"),
    "coarse voxels": (("--in-plane", "9"), "in-plane voxel size of 9 mm"),
    "no field": (("--field", "0"), "field strength of 0 T"),
    "noise only": (("--snr", "0.1"), "signal-to-noise ratio of 0.1"),
    "no noise at all": (("--snr", "inf"), "signal-to-noise ratio of inf"),
    "matrix": (("--matrix", "0", "10", "10"), "matrix of 0, 10, 10"),
    "gap": (("--gap", "-1"), "gap between slices of -1 mm"),
    "motion": (("--motion", "99"), "motion of 99 mm"),
    "bleeds": (("--bleeds", "1000"), "1000 microbleeds"),
    "prevalence": (("--prevalence", "2"), "prevalence of 2"),
    "mimics": (("--mimics", "-1"), "mimics of -1"),
    "count": (("-n", "0"), "0 cases"),
    "seed": (("--seed", "-1"), "seed of -1"),
    "labels": (("--labels", "nowhere.nii.gz"), "nowhere.nii.gz does not exist"),
    "R2* of one echo": (("--echo-times", "20"), "R2* cannot be measured with a single echo"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_options_are_one_clear_sentence_and_exit_code_2(simulate, name, tmp_path):
    arguments, message = WRONG[name]
    code, said = simulate(tmp_path / "out", *arguments)
    assert code == 2
    assert message in said and said.startswith("error: ") and len(said.strip().splitlines()) == 1
    assert not list(tmp_path.glob("out/sub-*")) and not list(tmp_path.glob("out/.sub-*"))


def test_an_error_in_a_process_is_the_same_sentence(labels, tmp_path):
    plans = plan_cases(2, 1, [labels], "gre", SubjectSettings(bleeds=1))
    plans = [replace(plan, images=(R2STAR,)) for plan in plans]
    with pytest.raises(SettingsError, match="^R2. cannot be measured with a single echo; give two or more echo times"):
        make_data_set(plans, tmp_path, 2, Plain())


def test_a_label_map_without_a_structure_is_named(simulate, tmp_path):
    holey = toy_labels()
    holey[class_map(holey) == CAUDATE] = 2
    path = write_labels(tmp_path / "holey.nii.gz", holey)
    code, said = simulate(tmp_path / "out", "--labels", str(path))
    assert code == 2 and "holey.nii.gz has no caudate" in said and len(said.strip().splitlines()) == 1
    assert not list(tmp_path.glob("out/sub-*"))


def test_one_modality_writes_its_image_only(simulate, tmp_path):
    code, _ = simulate(tmp_path, "--modality", "swi", base=tuple(
        text for text in SETTINGS if text not in ("--echo-times", "10", "20", "30")))
    assert code == 0
    names = {path.name for path in (tmp_path / "sub-0001" / "anat").iterdir()}
    assert "sub-0001_swi.nii.gz" in names and not any("T2starw" in name or "Chimap" in name for name in names)
