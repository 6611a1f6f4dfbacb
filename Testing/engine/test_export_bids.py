import errno
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.export.bids import bids_label, bids_name, write_bids_derivative
from microbleeds.export.cohort_table import held_lock
from microbleeds.export.tables import finding_rows, read_finding_table
from microbleeds.read_write import read_labels, write_image
from microbleeds.review_files import ACCEPTED
from test_export_tables import COMMENTS, make_case

VALIDATOR = os.environ.get("BIDS_VALIDATOR") or shutil.which("bids-validator-deno")
OLD_VALIDATOR = os.environ.get("BIDS_VALIDATOR_OLD") or shutil.which("bids-validator")
PROVENANCE = {"model_name": "default", "model_sha256": "ab" * 32}
FILE = re.compile(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?(_task-[A-Za-z0-9]+)?(_acq-[A-Za-z0-9]+)?(_ce-[A-Za-z0-9]+)?"
                  r"(_rec-[A-Za-z0-9]+)?(_run-\d+)?(_echo-\d+)?(_part-(mag|phase|real|imag))?(_chunk-\d+)?"
                  r"_desc-[A-Za-z0-9]+_(mask\.nii\.gz|mask\.json|dseg\.nii\.gz|dseg\.json|dseg\.tsv)")


def scan_case(stem="sub-01_ses-b_T2starw", reader="Zoë Łuk", comments=COMMENTS[:5], **changes):
    return make_case(comments, stem=stem, scan_name=f"{stem}.nii.gz", reader=reader, provenance=PROVENANCE, **changes)


def make_raw(folder, *stems):
    """Make a small data set of scans, valid by itself."""
    for stem in stems:
        name = bids_name(stem)
        path = folder / name.folder / f"{stem}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, make_case().image)
        path.with_name(f"{stem}.json").write_text(json.dumps({"EchoTime": 0.0201, "MagneticFieldStrength": 3}))
    (folder / "dataset_description.json").write_text(json.dumps(
        {"Name": "small", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0", "Authors": ["A", "B"],
         "DatasetDOI": "doi:10.1/x"}))
    (folder / "README").write_text("A small data set of noise. " * 10)
    subjects = sorted({f"sub-{bids_name(stem).subject}" for stem in stems})
    (folder / "participants.tsv").write_text("\n".join(["participant_id", *subjects]) + "\n")
    return folder


def json_of(path):
    return json.loads(path.read_text(encoding="utf-8"))


def names_in(folder):
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


def check_data_set(folder):
    """Check the names and the keys that BIDS wants of a derivative."""
    description = json_of(folder / "dataset_description.json")
    assert description["DatasetType"] == "derivative" and description["Name"]
    assert re.fullmatch(r"1\.\d+\.\d+", description["BIDSVersion"])
    assert all(isinstance(entry["Name"], str) for entry in description["GeneratedBy"])
    assert "Research tool - not for clinical use" in (folder / "README").read_text(encoding="utf-8")
    told = [line.split("\t")[0] for line in (folder / "descriptions.tsv").read_text(encoding="utf-8").splitlines()]
    assert told[0] == "desc_id" and len(set(told)) == len(told)
    images = 0
    for file in (file for file in folder.rglob("*") if file.is_file() and file.parent != folder):
        assert FILE.fullmatch(file.name), file.name
        entities = dict(part.split("-") for part in file.name.split("_")[:-1])
        parents = [f"sub-{entities['sub']}", *([f"ses-{entities['ses']}"] if "ses" in entities else []), "anat"]
        assert list(file.relative_to(folder).parts[:-1]) == parents
        assert f"desc-{entities['desc']}" in told
        if file.name.endswith(".nii.gz"):
            images += 1
            words = json_of(file.with_name(file.name.replace(".nii.gz", ".json")))
            assert words["SpatialReference"] and "not for clinical use" in words["Description"]
            assert words.get("Type") == ("Lesion" if "_mask" in file.name else None)
        if file.suffix == ".tsv":
            header, *lines = file.read_text(encoding="utf-8").split("\n")[:-1]
            columns = header.split("\t")
            assert columns[:2] == ["index", "name"]
            words = json_of(file.with_suffix(".json"))
            assert all(words[column]["Description"] for column in columns)
            assert all(len(line.split("\t")) == len(columns) and all(line.split("\t")) for line in lines)
    assert images


def test_a_scan_becomes_a_mask_a_label_map_and_a_table(tmp_path):
    raw = make_raw(tmp_path / "raw", "sub-01_ses-b_T2starw")
    case = scan_case(comments=COMMENTS)
    mask, = write_bids_derivative(raw / "derivatives" / "cmb", [case])
    anat = raw / "derivatives" / "cmb" / "sub-01" / "ses-b" / "anat"
    assert mask == anat / "sub-01_ses-b_desc-ZoeLuk_mask.nii.gz"
    stem = "sub-01_ses-b_desc-ZoeLuk_"
    assert names_in(anat) == [f"{stem}{end}" for end in ("dseg.json", "dseg.nii.gz", "dseg.tsv", "mask.json",
                                                         "mask.nii.gz")]
    check_data_set(raw / "derivatives" / "cmb")
    accepted = [finding.id for finding in case.findings if finding.verdict == ACCEPTED]
    read, labels = read_labels(mask), read_labels(anat / f"{stem}dseg.nii.gz")
    assert read.same_grid(case.image, 1e-3) and (read.data == np.isin(case.labels.data, accepted)).all()
    assert labels.same_grid(case.image, 1e-3) and (labels.data == case.labels.data).all()
    assert read_finding_table(anat / f"{stem}dseg.tsv") == finding_rows(case)
    lines = (anat / f"{stem}dseg.tsv").read_text(encoding="utf-8").split("\n")
    assert [line.split("\t")[:2] for line in lines[1:3]] == [["1", "CMB-1"], ["2", "CMB-2"]]
    words = json_of(anat / f"{stem}mask.json")
    uri = "bids:raw:sub-01/ses-b/anat/sub-01_ses-b_T2starw.nii.gz"
    assert (words["Sources"], words["SpatialReference"]) == ([uri], uri)
    assert (words["Reader"], words["Reviewed"], words["Simulated"]) == ("Zoë Łuk", "finished", False)
    assert words["EchoTime"] == pytest.approx(0.0201)
    assert (words["MagneticFieldStrength"], words["Model"]) == (3.0, "default")


def test_the_data_set_says_by_what_and_of_what_it_was_made(tmp_path):
    raw = make_raw(tmp_path / "raw", "sub-01_ses-b_T2starw")
    folder = raw / "derivatives" / "cmb"
    write_bids_derivative(folder, [scan_case()])
    description = json_of(folder / "dataset_description.json")
    own, model = description["GeneratedBy"]
    assert own["Name"] == "CMBDetection" and own["Version"] and "not for clinical use" in own["Description"]
    assert (model["Name"], model["Version"]) == ("Model default", "ab" * 32)
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert (folder / description["DatasetLinks"]["raw"]).samefile(raw)
    assert description["SourceDatasets"] == [{"URL": "bids:raw:", "DOI": "doi:10.1/x"}]
    (folder / "dataset_description.json").write_text(json.dumps({**description, "Authors": ["Me"], "Name": "Mine"}))
    (folder / "README").write_text("my words")
    newer = replace(scan_case(reader="Bo"), provenance={"model_name": "new", "model_sha256": "cd"})
    write_bids_derivative(folder, [newer])
    description = json_of(folder / "dataset_description.json")
    assert [entry["Name"] for entry in description["GeneratedBy"]] == ["CMBDetection", "Model default", "Model new"]
    assert (description["Authors"], description["Name"]) == (["Me"], "Mine")
    assert (folder / "README").read_text() == "my words"


def test_two_readers_lie_side_by_side_under_valid_labels(tmp_path):
    names = ["Dr. Jürgen Groß-Łuk", "山田 太郎", "鈴木", "a b", "A.B.", "", "ÅSE"]
    cases = [scan_case(reader=name) for name in names]
    masks = write_bids_derivative(tmp_path / "d", [*cases, scan_case(is_reviewed=False, is_finished=False, reader="")],
                                  include_unreviewed=True)
    check_data_set(tmp_path / "d")
    descs = [mask.name.split("_")[2].removeprefix("desc-") for mask in masks]
    assert len({desc.lower() for desc in descs}) == 8
    assert [descs[number] for number in (0, 3, 5, 6, 7)] == ["DrJuergenGrossLuk", "AB", "unnamed", "AaSE", "unreviewed"]
    assert re.fullmatch("AB[0-9a-f]{6}", descs[4]) and re.fullmatch("x[0-9a-f]{6}", descs[1]) and descs[1] != descs[2]
    assert [json_of(mask.with_name(mask.name.replace(".nii.gz", ".json"))).get("Reader", "") for mask in masks] == [
        *names, ""]
    assert json_of(tmp_path / "d" / masks[7].relative_to(tmp_path / "d").with_name(
        masks[7].name.replace(".nii.gz", ".json")))["Reviewed"] == "unreviewed"
    again = write_bids_derivative(tmp_path / "d", cases[::-1], overwrite=True)
    assert again[::-1] == masks[:7]
    rows = [line.split("\t") for line in (tmp_path / "d" / "descriptions.tsv").read_text(encoding="utf-8").splitlines()]
    assert {row[2] for row in rows[1:]} == {*filter(None, names), "n/a"} and len(rows) == 9


@pytest.mark.parametrize("stem, folder, name, qualifier", [
    ("sub-07_T2starw", "sub-07/anat", "sub-07", ""),
    ("sub-07_ses-2_run-1_acq-swi_echo-3_part-mag_T2starw", "sub-07/ses-2/anat",
     "sub-07_ses-2_acq-swi_run-1_echo-3_part-mag", ""),
    ("sub-07_ses-2_Chimap", "sub-07/ses-2/anat", "sub-07_ses-2", "Chimap"),
    ("sub-07_space-orig_desc-brain_swi", "sub-07/anat", "sub-07", "OrigBrainSwi"),
    ("sub-0 7_ses-a.b_T2*", "sub-07/ses-ab/anat", "sub-07_ses-ab", "T2"),
    ("Müller 3_swi", "sub-Mueller3swi/anat", "sub-Mueller3swi", ""),
    ("IM-0001", "sub-IM0001/anat", "sub-IM0001", "")])
def test_names_follow_those_of_the_scans(stem, folder, name, qualifier):
    made = bids_name(stem)
    assert (made.folder.as_posix(), made.stem, made.qualifier) == (folder, name, qualifier)


def test_scans_of_one_session_do_not_collide(tmp_path):
    masks = write_bids_derivative(tmp_path / "d", [scan_case("sub-1_T2starw"), scan_case("sub-1_swi"),
                                                   scan_case("sub-1_echo-2_T2starw"),
                                                   scan_case("sub-1_echo-1_T2starw")])
    assert [mask.name for mask in masks] == [f"sub-1_{name}_mask.nii.gz" for name in (
        "desc-ZoeLuk", "desc-ZoeLukSwi", "echo-2_desc-ZoeLuk", "echo-1_desc-ZoeLuk")]
    check_data_set(tmp_path / "d")


@pytest.mark.parametrize("first, second", [("scan 1", "scan_1"), ("sub-1_T2starw", "1"), ("x" * 70, "x" * 71)])
def test_two_subjects_are_never_made_one(tmp_path, first, second):
    told = re.escape(f"{second}.nii.gz and {first}.nii.gz would both be sub-")
    with pytest.raises(InputError, match=told):
        write_bids_derivative(tmp_path / "d", [scan_case(first), scan_case(second)])
    assert not any(tmp_path.rglob("*.nii.gz"))
    write_bids_derivative(tmp_path / "d", [scan_case(first)])
    with pytest.raises(InputError, match=told):
        write_bids_derivative(tmp_path / "d", [scan_case(second, reader="Bo")], overwrite=True)
    write_bids_derivative(tmp_path / "d", [scan_case(first, reader="Bo")])


def test_two_scans_of_one_name_are_told(tmp_path):
    with pytest.raises(InputError, match="sub-1_a_T2starw.nii.gz and sub-1_A_T2starw.nii.gz would both be sub-1"):
        write_bids_derivative(tmp_path / "d", [scan_case("sub-1_a_T2starw"), scan_case("sub-1_A_T2starw")])
    write_bids_derivative(tmp_path / "d", [scan_case("sub-1_a_T2starw")])
    with pytest.raises(InputError, match="is that of another scan, sub-1_a_T2starw.nii.gz; rename sub-1_A_T2starw"):
        write_bids_derivative(tmp_path / "d", [scan_case("sub-1_A_T2starw")], overwrite=True)


def test_targets_that_are_refused(tmp_path):
    folder = tmp_path / "d"
    with pytest.raises(InputError, match="is not reviewed; review it first"):
        write_bids_derivative(folder, [scan_case(is_reviewed=False, is_finished=False)])
    assert not folder.exists()
    write_bids_derivative(folder, [scan_case()])
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match=r"ZoeLuk_mask\.nii\.gz, .* exist already; choose another folder, or ask"):
        write_bids_derivative(folder, [scan_case("sub-2_T2starw"), scan_case(comments=())])
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    write_bids_derivative(folder, [scan_case(comments=())], overwrite=True)
    assert read_finding_table(next(folder.rglob("*_dseg.tsv"))) == []
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").write_text("mine")
    with pytest.raises(InputError, match="is neither empty nor a data set of CMBDetection; choose another folder"):
        write_bids_derivative(tmp_path / "other", [scan_case()])
    with pytest.raises(InputError, match="is a data set of another program; choose another folder"):
        write_bids_derivative(make_raw(tmp_path / "raw", "sub-01_T2starw"), [scan_case()])
    assert names_in(tmp_path / "other") == ["thesis.doc"]


@pytest.mark.parametrize("calls", [0, 1, 4, 6, 8])
def test_a_full_disk_leaves_whole_scans_and_what_was_there(tmp_path, monkeypatch, calls):
    folder, replaced, left = tmp_path / "d", os.replace, [0]
    write_bids_derivative(folder, [scan_case(comments=COMMENTS)])
    before = {file: file.read_bytes() for file in (folder / "sub-01").rglob("*") if file.is_file()}

    def full(source, target):
        # the moves out of the staging folder: root files first, then those of the scan
        if os.path.dirname(target) in (str(folder), str(folder / "sub-01" / "ses-b" / "anat")):
            left[0] += 1
            if left[0] == calls + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
        return replaced(source, target)

    monkeypatch.setattr(os, "replace", full)
    if calls < 8:
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
            write_bids_derivative(folder, [scan_case(comments=("new",))], overwrite=True)
        monkeypatch.undo()
        assert {file: file.read_bytes() for file in (folder / "sub-01").rglob("*") if file.is_file()} == before
    else:
        write_bids_derivative(folder, [scan_case(comments=("new",))], overwrite=True)
    assert not list(folder.glob("*.lock"))
    check_data_set(folder)


def test_two_programs_do_not_write_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("microbleeds.export.bids._LOCK_WAIT_S", 0.05)
    with held_lock(tmp_path / "dataset_description.json", 1), pytest.raises(InputError, match="is being written by"):
        write_bids_derivative(tmp_path, [scan_case()])
    assert write_bids_derivative(tmp_path, [scan_case()])


@pytest.mark.parametrize("text, label", [("Anna", "Anna"), ("Øre Æ ß", "OereAess"), ("e\u0301é", "ee"),
                                         ("a-b_c.d", "abcd"), ("ü", "ue"), ("u\u0308", "ue"), ("x" * 99, "x" * 60)])
def test_labels(text, label):
    assert bids_label(text) == label


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    """Make scans with a derivative in them, and a derivative that lies alone."""
    folder = tmp_path_factory.mktemp("bids")
    stems = ("sub-01_ses-b_T2starw", "sub-02_ses-b_acq-swi_run-1_T2starw")
    raw = make_raw(folder / "raw", *stems)
    cases = [scan_case(stems[0], comments=COMMENTS), scan_case(stems[1], comments=()),
             scan_case(stems[0], reader="山田"),
             scan_case(stems[1], is_reviewed=False, is_finished=False, reader="", simulated=True)]
    write_bids_derivative(raw / "derivatives" / "cmb", cases, include_unreviewed=True)
    write_bids_derivative(folder / "alone", [*cases[:2], scan_case("Müller 3_swi")])
    return folder


def complaints(program, *arguments):
    child = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    content = json.loads(child.stdout[child.stdout.index("{"):])
    results = [content, *content.get("derivativesSummary", {}).values()]
    found = [issue for result in results for issue in result["issues"]["issues"]]
    assert all(result["summary"]["totalFiles"] for result in results)
    return [issue for issue in found if issue["severity"] == "error"], found


@pytest.mark.skipif(VALIDATOR is None, reason="the official validator (pip install bids-validator-deno, or "
                                              "BIDS_VALIDATOR=its path) is not installed")
def test_the_official_validator_has_no_complaint(data_sets, tmp_path):
    for folder in (data_sets / "raw" / "derivatives" / "cmb", data_sets / "alone"):
        errors, issues = complaints(VALIDATOR, folder, "--format", "json")
        assert errors == [], errors
        assert {issue["code"] for issue in issues} <= {"TOO_FEW_AUTHORS", "SIDECAR_KEY_RECOMMENDED"}
    assert complaints(VALIDATOR, data_sets / "raw", "--format", "json", "-r")[0] == []
    shutil.copytree(data_sets / "alone", tmp_path / "broken")
    table = next((tmp_path / "broken").rglob("*_dseg.tsv"))
    table.rename(table.with_name(table.name.replace("_dseg", "_findings")))
    assert complaints(VALIDATOR, tmp_path / "broken", "--format", "json")[0]


@pytest.mark.skipif(OLD_VALIDATOR is None, reason="the former official validator (npm install bids-validator, or "
                                                  "BIDS_VALIDATOR_OLD=its path) is not installed")
def test_the_former_validator_accepts_scans_with_the_derivative_in_them(data_sets):
    child = subprocess.run([OLD_VALIDATOR, data_sets / "raw", "--json"], capture_output=True, text=True, timeout=120)
    assert json.loads(child.stdout)["issues"]["errors"] == []
