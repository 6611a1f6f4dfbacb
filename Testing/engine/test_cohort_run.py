"""The participant level with a fake detector: what is done, what is done again, and what is left alone."""

import math
import os
import sys
from pathlib import Path

import pytest
from cohort_phantoms import Silent, bids_tree, calls_of, fake_modules, run_cohort, wanted_of
from microbleeds.cohort.failures import read_failures
from microbleeds.cohort.records import DONE, FAILED, RESULT_FILES, read_record
from microbleeds.cohort.run import prepare_output
from microbleeds.errors import InputError
from microbleeds.outputs import read_result
from microbleeds.review_files import FILE_NAME


@pytest.fixture(autouse=True)
def fake_detector(monkeypatch):
    for name, module in fake_modules().items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def folders(tmp_path):
    return bids_tree(tmp_path / "in", ["a", "b", "c"]), tmp_path / "out"


def contents(folder, but=()):
    """Return the bytes of every result file by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("sub-*/**/*"))
            if path.is_file() and not path.name.endswith(but)}


def image_of(source, name):
    return source / f"sub-{name}" / "anat" / f"sub-{name}_T2starw.nii.gz"


def place_of(output, name):
    return output / f"sub-{name}" / "anat"


def test_every_scan_gets_its_files_and_a_record(folders):
    source, output = folders
    summary = run_cohort(source, output)
    assert (summary.done, summary.failed, summary.exit_code) == (3, 0, 0)
    for name in "abc":
        place, stem = place_of(output, name), f"sub-{name}_T2starw"
        assert all((place / file.format(stem)).is_file() for file in RESULT_FILES)
        record = read_record(place, stem)
        assert record.status == DONE and record.fingerprint == wanted_of()
        assert record.inputs[f"{stem}.nii.gz"].sha256 == read_result(
            place / f"{stem}_desc-cmb_findings.json").provenance.input_sha256
        # an ellipsoid of 0.8 of the grid, in voxels of 2 mm³
        assert record.figures["brain_ml"] == pytest.approx(0.8**3 * math.pi / 6 * 31 * 27 * 7 * 2e-3, rel=0.05)
        assert record.figures["simulated"] and record.acquisition["field_strength_t"] == 3
    assert read_failures(output) == []


def test_a_rerun_does_nothing(folders):
    source, output = folders
    run_cohort(source, output)
    before, stamps = contents(output), {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    calls_of(output)
    summary = run_cohort(source, output, engine=None)
    assert (len(summary.plan.done), summary.done) == (3, 0) and calls_of(output) == []
    assert contents(output) == before and {path: path.stat().st_mtime_ns for path in output.rglob("*")} == stamps


def test_only_wanted_participants_are_done(folders):
    source, output = folders
    run_cohort(source, output, labels=["b"])
    assert calls_of(output) == ["sub-b"]
    run_cohort(source, output)
    assert calls_of(output) == ["sub-a", "sub-c"]


def test_changed_bytes_are_seen_even_of_the_same_size_and_time(folders):
    source, output = folders
    run_cohort(source, output)
    calls_of(output)
    image = image_of(source, "b")
    told, content = image.stat(), bytearray(image.read_bytes())
    content[5] ^= 1  # in the time stamp of gzip, which no reader cares for
    image.write_bytes(content)
    os.utime(image, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert image.stat().st_size == told.st_size
    run_cohort(source, output)
    assert calls_of(output) == ["sub-b"]


def test_a_file_that_was_only_touched_or_copied_is_not_stale(folders):
    source, output = folders
    run_cohort(source, output)
    calls_of(output)
    os.utime(image_of(source, "a"))
    for file in place_of(output, "c").iterdir():
        os.utime(file)
    run_cohort(source, output)
    assert calls_of(output) == []


def test_a_changed_sidecar_is_a_changed_input(folders):
    source, output = folders
    run_cohort(source, output)
    calls_of(output)
    image_of(source, "c").with_name("sub-c_T2starw.json").write_text("{}")
    run_cohort(source, output)
    assert calls_of(output) == ["sub-c"]
    assert not read_record(place_of(output, "c"), "sub-c_T2starw").figures["simulated"]


@pytest.mark.parametrize("wanted", [wanted_of(model="m2"), wanted_of(operating_point="sensitive")])
def test_another_model_or_setting_makes_all_stale(folders, wanted):
    source, output = folders
    run_cohort(source, output)
    calls_of(output)
    run_cohort(source, output, wanted=wanted)
    assert calls_of(output) == ["sub-a", "sub-b", "sub-c"]
    result = read_result(place_of(output, "a") / "sub-a_T2starw_desc-cmb_findings.json")
    assert (result.provenance.model_name, result.provenance.operating_point) == (
        wanted["model"]["name"], wanted["settings"]["operating_point"])
    run_cohort(source, output, wanted=wanted)
    assert calls_of(output) == []


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: os.truncate(path, 10)])
def test_spoilt_results_are_made_again(folders, spoil):
    source, output = folders
    run_cohort(source, output)
    before = contents(output, but=("_run.json",))
    calls_of(output)
    spoil(place_of(output, "a") / "sub-a_T2starw_desc-cmb_dseg.nii.gz")
    run_cohort(source, output)
    assert calls_of(output) == ["sub-a"] and contents(output, but=("_run.json",)) == before


def test_a_bad_scan_is_a_row_until_it_is_mended(folders):
    source, output = folders
    image = image_of(source, "b")
    content = image.read_bytes()
    image.write_bytes(content[:len(content) // 2])
    reporter = Silent()
    summary = run_cohort(source, output, reporter=reporter)
    assert (summary.done, summary.failed, summary.exit_code) == (2, 1, 2)
    row, = read_failures(output)
    assert (row["participant"], row["scan"], row["kind"]) == ("b", "sub-b/anat/sub-b_T2starw", "input")
    assert row["reason"].startswith("sub-b_T2starw.nii.gz is not an image or is damaged") and row["reason"][-1] == "."
    assert reporter.errors == [("sub-b_T2starw.nii.gz", "input", row["reason"])]
    calls_of(output)
    assert run_cohort(source, output, engine=None).exit_code == 2 and calls_of(output) == []
    image.write_bytes(content)
    assert run_cohort(source, output).exit_code == 0
    assert calls_of(output) == ["sub-b"] and read_failures(output) == []


@pytest.mark.parametrize("name, exit_code, kind, reason", [
    ("wrong", 1, "internal", "a mistake of ours"), ("nogpu", 2, "settings", "No graphics card"),
    ("stale", 2, "input", "Input/output error")])
def test_a_failure_of_the_machine_or_ours_is_tried_again(tmp_path, name, exit_code, kind, reason):
    source, output = bids_tree(tmp_path / "in", ["a", name]), tmp_path / "out"
    for _ in range(2):
        assert run_cohort(source, output).exit_code == exit_code
    assert calls_of(output) == ["sub-a", f"sub-{name}", f"sub-{name}"]
    row, = read_failures(output)
    assert row["kind"] == kind and reason in row["reason"]


def test_rows_of_scans_that_are_gone_go_and_those_of_others_stay(folders):
    source, output = folders
    for name in "ab":
        image_of(source, name).write_bytes(b"nothing")
    run_cohort(source, output)
    run_cohort(source, output, labels=["c"])
    assert [row["participant"] for row in read_failures(output)] == ["a", "b"]
    image_of(source, "a").unlink()
    run_cohort(source, output, labels=["c"])
    assert [row["participant"] for row in read_failures(output)] == ["b"]


def test_results_of_a_former_input_do_not_stay_when_the_new_one_fails(folders):
    source, output = folders
    run_cohort(source, output)
    image_of(source, "b").write_bytes(b"nothing")
    run_cohort(source, output)
    assert [path.name for path in place_of(output, "b").iterdir()] == ["sub-b_T2starw_desc-cmb_run.json"]
    assert read_record(place_of(output, "b"), "sub-b_T2starw").status == FAILED


def test_what_a_reader_has_done_is_never_written_over(folders):
    source, output = folders
    run_cohort(source, output)
    review = place_of(output, "a") / FILE_NAME.format("sub-a_T2starw")
    review.write_text("{}")
    labels = place_of(output, "a") / "sub-a_T2starw_desc-cmb_dseg.nii.gz"
    labels.write_bytes(b"the reader's")
    calls_of(output)
    run_cohort(source, output)
    assert calls_of(output) == []
    before = contents(place_of(output, "a").parents[1])
    run_cohort(source, output, wanted=wanted_of("m2"))
    assert labels.read_bytes() == b"the reader's" and review.exists()
    assert {name: before[name] for name in before if "sub-a/" in name} == {
        name: data for name, data in contents(output).items() if "sub-a/" in name}
    row, = read_failures(output)
    assert "has been reviewed" in row["reason"] and row["participant"] == "a"


def test_an_output_that_is_something_else_is_refused(folders):
    source, output = folders
    with pytest.raises(InputError, match="holds the scans"):
        prepare_output(source, source)
    output.mkdir()
    (output / "thesis.docx").write_text("")
    with pytest.raises(InputError, match="neither empty nor"):
        prepare_output(output, source)
    (output / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "other"}]}')
    with pytest.raises(InputError, match="another program"):
        prepare_output(output, source)
