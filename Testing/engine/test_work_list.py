"""The work list: which cases a source holds, how far each one is, which comes next, and what was detected already."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds import review_log
from microbleeds.errors import InputError
from microbleeds.outputs import FILE_NAMES, result_to_json
from microbleeds.read_write import files_sha256, read_scan, write_text
from microbleeds.review_files import ACCEPTED, REJECTED, UNDECIDED
from microbleeds.review_log import Event, ReviewState
from microbleeds.review_sidecar import Sidecar, sidecar_places, sidecar_text
from microbleeds.work_list import (
    DONE,
    FAILED,
    IN_PROGRESS,
    OPEN,
    Case,
    CaseState,
    case_folder,
    coming,
    find_cases,
    next_open,
    progress_by_reader,
    result_files,
    results_folder,
    sidecar_of,
    state_of,
)
from review_phantoms import detection

AT = "2026-11-23T12:00:00+00:00"


def made(folder, *names):
    """Make files of these names that are no real images, which the list does not look at."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def names_of(source):
    return [case.name for case in find_cases(source)]


def table(folder, text, encoding="utf-8"):
    path = folder / "list.tsv"
    path.write_bytes(text.encode(encoding))
    return path


# Folders

def test_a_folder_gives_its_images_sorted_without_label_maps_and_results(tmp_path):
    made(tmp_path, "b/Müller 出血.nii.gz", "a.NRRD", "b/c/x.mha", "z.nii", "h.mhd", "h.raw", "notes.txt",
         "a_dseg.nii.gz", "a_mask.nrrd", "a_Label.nrrd", "a-label.nrrd", "a_seg.nii", "a.seg.nrrd", "a_truth.nii.gz",
         "a_desc-cmb_dseg.nii.gz", "a_desc-cmb_review.json", "a_desc-brain_T1w.nii.gz", ".hidden/y.nii", "._z.nii",
         "derivatives/CMBDetection/a/a.nii.gz", "b/derivatives/q.nii.gz")
    cases = find_cases(tmp_path)
    assert [case.name for case in cases] == ["a", "Müller 出血", "x", "h", "z"]
    assert cases[0] == Case("a", tmp_path / "a.NRRD", "auto") and cases[2].image == tmp_path / "b" / "c" / "x.mha"


def test_paths_are_absolute(tmp_path, monkeypatch):
    made(tmp_path, "data/a.nii")
    monkeypatch.chdir(tmp_path)
    assert find_cases(Path("data")) == (Case("a", tmp_path / "data" / "a.nii"),)


def test_names_that_two_files_share_become_paths(tmp_path):
    made(tmp_path, "1/S.nii.gz", "2/s.nii.gz", "2/t.nii.gz", "3/U.nii", "3/U.nrrd")
    assert names_of(tmp_path) == ["1/S.nii.gz", "2/s.nii.gz", "t", "3/U.nii", "3/U.nrrd"]


def test_a_folder_named_like_an_image_is_entered(tmp_path):
    made(tmp_path, "scan.nii/a.nii")
    assert names_of(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["empty", "labels"])
def test_a_folder_without_cases_is_refused(name, tmp_path):
    (tmp_path / "empty").mkdir()
    made(tmp_path, "labels/a_mask.nii.gz")
    with pytest.raises(InputError, match=f"{name} holds no images .*TSV"):
        find_cases(tmp_path / name)


def test_what_is_neither_folder_nor_table_is_refused(tmp_path):
    made(tmp_path, "a.nii")
    with pytest.raises(InputError, match="a.nii is neither a folder nor a table"):
        find_cases(tmp_path / "a.nii")
    with pytest.raises(InputError, match="none does not exist"):
        find_cases(tmp_path / "none")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    made(tmp_path, "a.nii", "secret/b.nii")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"secret cannot be read \(Permission denied\)"):
        find_cases(tmp_path)


def test_links_neither_loop_nor_repeat(tmp_path):
    data, elsewhere = made(tmp_path / "data", "sub/a.nii"), made(tmp_path / "elsewhere", "b.nii")
    try:
        for link, target in (("0", data / "sub"), ("sub/up", data), ("sub/top", tmp_path), ("there", elsewhere),
                             ("self", data / "self"), ("gone.nii", data / "none")):
            (data / link).symlink_to(target)
        (elsewhere / "back").symlink_to(data)
        (data / "linked.nii").symlink_to(elsewhere / "b.nii")
    except OSError:
        pytest.skip("this user may not make links")
    assert [case.image.relative_to(data).as_posix() for case in find_cases(data)] == ["linked.nii", "sub/a.nii",
                                                                                      "there/b.nii"]


# BIDS

def test_a_bids_tree_gives_what_microbleeds_are_read_on(tmp_path):
    wanted = ["sub-01/anat/sub-01_T2starw.nii.gz", "sub-01/anat/sub-01_part-mag_GRE.nii.gz",
              "sub-02/ses-1/anat/sub-02_ses-1_T2star.nii", "sub-02/ses-1/swi/sub-02_ses-1_swi.nii.gz",
              "sub-02/ses-2/qsm/sub-02_ses-2_Chimap.nii.gz"]
    made(tmp_path, "dataset_description.json", *wanted, "sub-01/anat/sub-01_T1w.nii.gz", "T2starw.nii",
         "sub-01/anat/sub-01_part-phase_T2starw.nii.gz", "sub-01/anat/sub-01_part-imag_GRE.nii.gz",
         "sub-01/anat/sub-01_desc-brain_mask.nii.gz", "sub-01/anat/sub-01_T2starw_desc-cmb_dseg.nii.gz",
         "sub-01/anat/sub-01_minIP.nii.gz", "sub-01/anat/sub-01_T2starw.json", "sub-01/func/sub-01_T2starw.nii.gz",
         "sourcedata/sub-01/anat/sub-01_T2starw.nii.gz", "code/sub-09/anat/sub-09_T2starw.nii.gz",
         "derivatives/x/sub-01/anat/sub-01_T2starw.nii.gz", "sub-03/sourcedata/anat/sub-03_T2starw.nii.gz")
    cases = find_cases(tmp_path)
    assert sorted(case.image.relative_to(tmp_path).as_posix() for case in cases) == sorted(wanted)
    assert {case.modality for case in cases} == {"auto"} and cases[-1].name == "sub-02_ses-2_Chimap"


def test_a_bids_tree_without_them_is_refused(tmp_path):
    made(tmp_path, "dataset_description.json", "sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(InputError, match="BIDS tree without images T2starw"):
        find_cases(tmp_path)


# Tables

@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_keeps_its_order(encoding, tmp_path):
    made(tmp_path, "z.nii", "d/Müller.nii.gz", 'd/with "quote".nii', "d/z.nrrd")
    made(tmp_path.parent, "beside.nii")
    path = table(tmp_path, 'Name\timage\tmodality\tage\r\n\tz.nii\tSWI\t70\r\n\r\nErste\td/Müller.nii.gz\tn/a\r\n'
                           '"tab\there"\t"d/with ""quote"".nii"\r\n\t../beside.nii\t\t\r\n\td/z.nrrd\tqsm', encoding)
    assert [(case.name, case.modality) for case in find_cases(path)] == [
        ("z.nii", "swi"), ("Erste", "auto"), ("tab\there", "auto"), ("beside", "auto"), ("d/z.nrrd", "qsm")]
    assert find_cases(path)[3].image == tmp_path.parent / "beside.nii"


@pytest.mark.parametrize(("text", "told"), [
    ("", 'list.tsv has no column "image"'), ("path\na.nii\n", 'list.tsv has no column "image"'),
    ("image,name\na.nii,x\n", 'list.tsv has no column "image"'), ("image\n\n", "list.tsv lists no images"),
    ("image\na.nii\n\nnone.nii\n", "Row 4 of list.tsv: none.nii does not exist"),
    ("image\tname\na.nii\n\tx\n", "Row 3 of list.tsv names no image"),
    ("image\ntext.txt\n", "Row 2 of list.tsv: text.txt is not an image file"),
    ("image\nfolder\n", "Row 2 of list.tsv: folder is not an image file"),
    ("image\na.nii\nb.nii\nfolder/../a.nii\n", "Row 4 of list.tsv has the same image as row 2"),
    ("image\tname\na.nii\tx\nb.nii\tX\n", r"Row 3 of list.tsv has the same name as row 2 \(X\)"),
    ("image\tmodality\na.nii\tT1\n", "Row 2 of list.tsv has the modality 't1'; give one of auto, gre"),
    ('image\tname\na.nii\t"x\n', "list.tsv is not a table of tab-separated values")])
def test_what_is_wrong_in_a_table_is_told_with_its_row(text, told, tmp_path):
    made(tmp_path, "a.nii", "b.nii", "text.txt", "folder/c.nii")
    with pytest.raises(InputError, match=told):
        find_cases(table(tmp_path, text))


def test_a_table_in_another_encoding_or_missing_is_refused(tmp_path):
    with pytest.raises(InputError, match="list.tsv is not UTF-8 text"):
        find_cases(table(tmp_path, "image\nMüller.nii\n", "utf-16"))
    with pytest.raises(InputError, match="none.tsv cannot be opened"):
        find_cases(tmp_path / "none.tsv")


# States

@pytest.fixture
def case(tmp_path):
    made(tmp_path, "Ä.nii.gz")
    return find_cases(tmp_path)[0]


def kept(case, *actions, path=None, **changes):
    """Write the review of a case: a detection of four findings, the fourth improbable, and actions of B."""
    value = review_log.detection_value(detection([(0, 0, 0), (20, 0, 0), (40, 0, 0), (60, 0, 0)], [.9, .8, .7, .1]),
                                       ReviewState())
    events = (Event(AT, "A", "detected", 0, value), *(Event(AT, "B", *action) for action in actions))
    sidecar = replace(Sidecar(events, case.image.name, "ab" * 32, "cd" * 32, "B", 0.5), **changes)
    write_text(path or sidecar_of(case), sidecar_text(sidecar))
    return path or sidecar_of(case)


def test_without_a_review_a_case_is_open_or_failed(case):
    assert state_of(case, None) == state_of(case, sidecar_of(case)) == CaseState()
    assert state_of(case, None, "Too large.") == CaseState(FAILED, problem="Too large.")
    assert state_of(case, sidecar_of(case), "Too large.").status == FAILED


def test_a_detection_alone_leaves_it_open(case):
    assert state_of(case, kept(case)) == CaseState(OPEN, undecided=3)
    assert state_of(case, kept(case), "An earlier run failed.") == CaseState(OPEN, undecided=3)


def test_from_the_first_action_to_the_end(case):
    actions = [("skipped", 1)]
    assert state_of(case, kept(case, *actions)) == CaseState(IN_PROGRESS, "B", undecided=3)
    actions += [("verdict", 1, ACCEPTED), ("verdict", 2, ACCEPTED), ("certainty", 2, "possible"),
                ("verdict", 4, REJECTED)]
    assert state_of(case, kept(case, *actions)) == CaseState(IN_PROGRESS, "B", 2, 1, 1, 1)
    actions += [("finished", 0, True)]
    assert state_of(case, kept(case, *actions)) == CaseState(DONE, "B", 2, 1, 1, 1)
    assert state_of(case, kept(case, *actions, ("verdict", 1, UNDECIDED))).status == IN_PROGRESS
    assert state_of(case, kept(case, *actions, ("undone",))).status == IN_PROGRESS


def test_a_damaged_review_has_failed(case):
    place = kept(case)
    place.write_bytes(place.read_bytes()[:-50])
    state = state_of(case, place)
    assert state.status == FAILED and "Ä_desc-cmb_review.json" in state.problem
    second = sidecar_places(case.image, "0123456789")[1]
    kept(case, ("finished", 0, True), path=second)
    assert state_of(case, place).status == DONE, "the reading has gone on in the file with the digest"


def test_a_review_is_not_shared_by_scans_of_one_stem(tmp_path):
    made(tmp_path, "S.nii.gz", "S.nrrd")
    first, second = find_cases(tmp_path)
    place = kept(first, ("finished", 0, True))
    assert sidecar_of(second) == place == tmp_path / "S_desc-cmb_review.json"
    assert state_of(first, place).status == DONE and state_of(second, place) == CaseState()
    kept(second, ("verdict", 1, ACCEPTED), path=sidecar_places(second.image, "0123456789")[1])
    assert state_of(second, place).status == IN_PROGRESS
    first.image.unlink()
    assert state_of(second, place).status == DONE, "a scan under another name keeps its review"


@pytest.mark.parametrize("name", ["", "MR/3: T2*", "."])
def test_a_review_without_the_name_of_a_file_is_that_of_the_scan_beside_it(name, case):
    assert state_of(case, kept(case, ("finished", 0, True), input_name=name)).status == DONE


# Order

CASES = tuple(Case(name, Path(f"/{name}.nii")) for name in "abcdef")
STATES = {"a": CaseState(IN_PROGRESS), "b": CaseState(DONE, "B"), "c": CaseState(FAILED, problem="x"),
          "d": CaseState(OPEN), "f": CaseState(DONE, "A")}


@pytest.mark.parametrize(("after", "expected"), [("", "a"), ("a", "d"), ("b", "d"), ("d", "e"), ("e", "a"), ("f", "a"),
                                                 ("unknown", "a")])
def test_the_next_open_case_goes_round(after, expected):
    assert next_open(CASES, STATES, after).name == expected


def test_there_is_no_next_case_but_another_one():
    done = {name: CaseState(DONE) for name in "abcde"}
    assert next_open(CASES, done, "f") is None and next_open(CASES, done, "a").name == "f"
    assert next_open((), {}, "a") is None


def test_coming_cases_are_open_ones():
    assert [case.name for case in coming(CASES, STATES, "a", 3)] == ["d", "e"]
    assert [case.name for case in coming(CASES, STATES, "d", 3)] == ["e"]
    assert [case.name for case in coming(CASES, {}, "e", 3)] == ["f", "a", "b"]
    assert coming(CASES, {}, "e", 0) == coming(CASES, {}, "e", -1) == ()


def test_progress_counts_finished_cases_by_reader():
    states = {**STATES, "g": CaseState(DONE, "B"), "h": CaseState(DONE), "i": CaseState(IN_PROGRESS, "A")}
    assert list(progress_by_reader(states).items()) == [("", 1), ("A", 1), ("B", 2)]
    assert progress_by_reader({}) == {}


# Results

def test_results_lie_in_derivatives(tmp_path):
    made(tmp_path, "list.tsv")
    assert results_folder(tmp_path) == results_folder(tmp_path / "list.tsv") == (
        tmp_path / "derivatives" / "CMBDetection")


def test_every_case_has_a_folder_of_its_own(tmp_path):
    names = ["S", "Müller 出血", "1/S.nii.gz", "1_S.nii.gz", "1\\S.nii.gz", "..", "", "a:b", "a?b", "x.", "x" * 300,
             "x" * 299]
    folders = [case_folder(tmp_path, Case(name, tmp_path / "S.nii.gz")) for name in names]
    assert len(set(folders)) == len(names) and {folder.parent for folder in folders} == {tmp_path}
    assert [folder.name for folder in folders[:2]] == names[:2]
    for folder in folders:
        folder.mkdir()
        assert folder.resolve().parent == tmp_path.resolve()


def detected(folder, case, sha256, modality="gre"):
    """Write the files of a detection."""
    result = detection([(0, 0, 0)])
    result = replace(result, provenance=replace(result.provenance, input_sha256=sha256, modality=modality))
    stem = case.image.name.partition(".")[0]
    made(case_folder(folder, case), *(name.format(stem) for name in FILE_NAMES.values()))
    path = case_folder(folder, case) / FILE_NAMES["findings"].format(stem)
    path.write_text(json.dumps(result_to_json(result)), encoding="utf-8")


@pytest.mark.parametrize("name", ["S.nii.gz", "S.mhd"])
def test_results_are_used_only_if_they_are_of_this_image(name, tmp_path):
    image = sitk.GetImageFromArray(np.random.default_rng(1).integers(1, 999, (9, 20, 20)).astype(np.int16))
    sitk.WriteImage(image, str(tmp_path / name))
    case, folder = find_cases(tmp_path)[0], results_folder(tmp_path)
    assert result_files(folder, case) is None
    detected(folder, case, read_scan(case.image).sha256)
    files = result_files(folder, case)
    assert {key: path.name for key, path in files.items()} == {key: value.format("S")
                                                               for key, value in FILE_NAMES.items()}
    assert result_files(folder, replace(case, modality="gre")) == files
    assert result_files(folder, replace(case, modality="qsm")) is None, "it was detected as another modality"
    assert find_cases(tmp_path) == (case,), "results are no cases"
    sitk.WriteImage(image + 1, str(tmp_path / name))
    assert result_files(folder, case) is None, "the image has changed"
    for path in tmp_path.glob("S.*"):
        path.unlink()
    assert result_files(folder, case) is None, "the image is gone"


@pytest.mark.parametrize("key", FILE_NAMES)
def test_half_of_the_results_is_nothing(key, case, tmp_path):
    folder = results_folder(tmp_path)
    detected(folder, case, files_sha256([case.image]))
    assert result_files(folder, case)
    result_files(folder, case)[key].unlink()
    assert result_files(folder, case) is None


def test_damaged_results_are_nothing(case, tmp_path):
    folder = results_folder(tmp_path)
    detected(folder, case, files_sha256([case.image]))
    result_files(folder, case)["findings"].write_text("{", encoding="utf-8")
    assert result_files(folder, case) is None


def test_equal_stems_have_results_of_their_own(tmp_path):
    made(tmp_path, "1/S.nii.gz", "2/S.nii.gz")
    first, second = find_cases(tmp_path)
    detected(results_folder(tmp_path), first, files_sha256([first.image]))
    assert result_files(results_folder(tmp_path), first) and result_files(results_folder(tmp_path), second) is None
