"""The commands export and report, from the files of a review to the files of each form."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from microbleeds import export_commands, regions, review_log
from microbleeds.cli import main
from microbleeds.errors import InputError
from microbleeds.export import formats
from microbleeds.findings import DetectionResult
from microbleeds.geometry import voxel_to_ras
from microbleeds.read_write import files_sha256, write_image, write_label_map, write_text
from microbleeds.review_files import ACCEPTED, REJECTED
from microbleeds.review_log import Event, ReviewState
from microbleeds.review_sidecar import Sidecar, sidecar_text
from microbleeds.volume import Volume
from report_phantoms import case
from review_phantoms import detection

AT = "2026-11-24T09:00:00+00:00"


@pytest.fixture
def scan(tmp_path, draw_affine):
    """A reviewed scan: one accepted in the left occipital lobe, one rejected."""
    rng = np.random.default_rng(4)
    volume = Volume(rng.normal(300, 20, (40, 44, 18)).astype(np.float32), draw_affine(rng, True, (0.9, 0.9, 2.0)))
    image = tmp_path / "sub-07_T2starw.nii.gz"
    write_image(image, volume)
    labels = np.zeros(volume.shape, np.int32)
    labels[9:12, 11:14, 5:8], labels[19:22, 14:17, 8:11] = 1, 2
    write_label_map(tmp_path / "sub-07_T2starw_desc-cmb_dseg.nii.gz", volume.with_data(labels))
    found = detection(voxel_to_ras(volume, np.array([[10, 12, 6], [20, 15, 9]])))
    mapped = Volume(np.full((20, 22, 18), regions.OCCIPITAL, np.uint8), volume.affine @ np.diag([2, 2, 1, 1]))
    value = review_log.detection_value(DetectionResult(found.candidates, found.provenance, mapped), ReviewState())
    events = (Event(AT, "", "detected", 0, value), Event(AT, "A", "verdict", 1, ACCEPTED, 2.5),
              Event(AT, "A", "verdict", 2, REJECTED, 1.0))
    write_text(tmp_path / "sub-07_T2starw_desc-cmb_review.json", sidecar_text(
        Sidecar(events, image.name, files_sha256([image]), "cd" * 32, "A", 0.5, 1)))
    return image


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_help_names_the_forms_that_there_are():
    assert tuple(export_commands.FORMATS) == formats.FORMATS


def test_report_says_where_the_microbleed_lies(scan, tmp_path, capsys):
    code, out, _ = run(capsys, "report", scan, "-o", tmp_path / "out", "--progress", "none")
    page = tmp_path / "out" / "sub-07_T2starw_desc-cmb_reading.html"
    assert code == 0 and str(page) in out
    text = page.read_text(encoding="utf-8")
    assert "strictly lobar" in text and "occipital" in text and "not for clinical use" in text


def test_every_form_at_once(scan, tmp_path, capsys):
    names = [name for name in formats.FORMATS if name != "dicom"]
    out = tmp_path / "out"
    code, _, err = run(capsys, "export", scan, "-o", out, "--cohort-table", out / "cohort.csv", "--progress", "none",
                       "--formats", *names)
    assert code == 0, err
    with open(out / "cmb_findings.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["verdict"], row["region"], row["category"]) for row in rows] == [
        ("accepted", "occipital", "lobar"), ("rejected", "occipital", "lobar")]
    for name in ("sub-07_T2starw_desc-cmb_reading.pdf", "sub-07_T2starw_desc-cmb.seg.nrrd", "cohort.csv",
                 "bids/dataset_description.json", "training/splits.json",
                 "nnUNet_raw/Dataset501_Microbleeds/dataset.json"):
        assert (out / name).exists(), name
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code, _, err = run(capsys, "export", scan, "-o", out, "--formats", "tables", "--progress", "none")
    assert code == 2 and "cmb_findings" in err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("wish, named", [
    (("--formats", "page", "labels"), r"desc-cmb_reading\.html, sub-07_T2starw_desc-cmb_labels\.nii\.gz exist already"),
    (("--formats", "tables"), r"cmb_findings\.csv, .*cmb_subjects\.tsv exist already"),
    (("--formats", "bids"), r"desc-A_mask\.nii\.gz, .* exist already"),
    (("--formats", "training"), r"training/README\.txt exists already"),
    (("--formats", "nnunet"), r"Dataset501_Microbleeds/README\.txt exists already"),
    (("--cohort-table", "cohort.csv"), r"cohort\.csv has a row of 07, sub-07_T2starw\.nii\.gz by A already")])
def test_what_is_there_is_told_before_anything_is_written(scan, tmp_path, capsys, monkeypatch, wish, named):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "export", scan, "-o", "out", "--progress", "none", *wish)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    formats_too = ("points", *wish[1:]) if wish[0] == "--formats" else ("points",)
    rest = () if wish[0] == "--formats" else wish
    code, _, err = run(capsys, "export", scan, "-o", "out", "--progress", "none", "--formats", *formats_too, *rest)
    assert code == 2 and re.search(named, err) and err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert run(capsys, "export", scan, "-o", "out", "--progress", "none", "--overwrite", "--formats", *formats_too,
               *rest)[0] == 0


def test_two_scans_of_one_name_are_refused_before_anything_is_written(scan, tmp_path, capsys):
    again = tmp_path / "again"
    again.mkdir()
    for path in tmp_path.glob("sub-07*"):
        shutil.copy(path, again)
    code, _, err = run(capsys, "export", scan, again / scan.name, "-o", tmp_path / "out", "--progress", "none",
                       "--formats", "tables", "points")
    assert code == 2 and "would both write sub-07_T2starw_desc-cmb_points.fcsv" in err
    assert not list((tmp_path / "out").iterdir())


def test_a_form_asked_for_twice_is_written_once(scan, tmp_path, capsys):
    folder = tmp_path / "out"
    code, out, _ = run(capsys, "export", scan, "-o", folder, "--formats", "points", "labels", "points", "--progress",
                       "none")
    assert code == 0 and out == (f"points: {folder / 'sub-07_T2starw_desc-cmb_points.mrk.json'}\n"
                                 f"label map: {folder / 'sub-07_T2starw_desc-cmb_labels.nii.gz'}\n")


def test_a_missing_package_is_told_before_anything_is_written(scan, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("microbleeds.export.pdf._HAS_REPORTLAB", False)
    code, _, err = run(capsys, "export", scan, "-o", tmp_path / "out", "--formats", "page", "pdf", "--progress", "none")
    assert code == 2 and "reportlab" in err
    assert not list((tmp_path / "out").iterdir())


def test_json_lines_for_the_panel(scan, tmp_path, capsys):
    _, out, _ = run(capsys, "export", scan, "-o", tmp_path / "out", "--formats", "labels", "--progress", "json")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events][-2:] == ["result", "done"]
    assert events[-2]["files"]["labels"].endswith("_desc-cmb_labels.nii.gz")
    assert all(0 <= event["fraction"] <= 1 for event in events if event["event"] == "progress")


@pytest.mark.parametrize("arguments, said", [
    ((), "Nothing is asked for"), (("--formats", "dicom"), "is not a DICOM series"),
    (("--formats", "page", "--baseline", "none.nii.gz"), "none.nii.gz does not exist"),
    (("--formats", "page", "--review", "none.json"), "none.json cannot be opened")])
def test_what_cannot_be_done_is_one_sentence(scan, tmp_path, capsys, arguments, said):
    code, _, err = run(capsys, "export", scan, "-o", tmp_path / "out", "--progress", "none", *arguments)
    assert code == 2 and said in err and err.count("\n") == 1


@pytest.mark.parametrize("names, said", [(("page", "dicom"), "is not a DICOM series"),
                                         (("tables", "nnunet"), r"sub-X1\.nii\.gz is gre, b is swi")])
def test_formats_that_the_scans_do_not_fit_are_told_before_anything_is_written(tmp_path, names, said):
    acquisition = replace(case().acquisition, modality="swi")
    cases = [case(), case(scan_name="b", stem="b", acquisition=acquisition)]
    with pytest.raises(InputError, match=said):
        formats.export_cases(cases, [tmp_path / "a.nii.gz"] * 2, formats.Wish(names, tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_scan_without_anything_is_told(scan, tmp_path, capsys):
    for path in tmp_path.glob("*_desc-cmb_*"):
        path.unlink()
    code, _, err = run(capsys, "report", scan, "-o", tmp_path / "out", "--progress", "none")
    assert code == 2 and "has no review and no result of a detection" in err and "--results" in err
