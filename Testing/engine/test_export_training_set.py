"""The training set: what a scan teaches, the split by subject, names and codes; a folder that is whole or absent."""

import csv
import errno
import hashlib
import json
import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from microbleeds.errors import InputError, SettingsError
from microbleeds.export import training_set
from microbleeds.export.training_set import (
    FRACTIONS,
    IGNORE,
    MICROBLEED,
    MIMIC,
    PARTS,
    label_case,
    name_cases,
    new_folder,
    split_subjects,
    write_training_set,
)
from microbleeds.geometry import voxel_to_ras
from microbleeds.read_write import read_labels, read_scan, write_image, write_label_map
from microbleeds.review_files import Review, ReviewedFinding, read_review, write_review
from microbleeds.reviewed_case import Acquisition, CaseFinding, ReviewedCase
from microbleeds.training.check_data_set import check_data_set
from microbleeds.training.labelled_scans import IGNORED, TISSUE, VESSEL, read_truth
from microbleeds.training.labelled_scans import MICROBLEED as LEARNED_MICROBLEED
from microbleeds.training.labelled_scans import MIMIC as LEARNED_MIMIC
from microbleeds.training.layouts import find_labelled_scans
from microbleeds.volume import Volume

SHAPE = (44, 40, 12)
BOXES = {1: np.s_[5:8, 5:8, 3:5], 2: np.s_[15:18, 5:8, 3:5], 3: np.s_[25:28, 5:8, 3:5], 4: np.s_[35:38, 5:8, 3:5],
         8: np.s_[5:8, 30:33, 3:5]}
SPOT = np.s_[23:26, 23:26, 6:8]
"""Dark, without voxels in the label map."""
COMMENT = 'He said "nein",\tthen\nmöglich 可能 \\n'
COLLAPSED = {TISSUE: 0, LEARNED_MICROBLEED: MICROBLEED, VESSEL: MIMIC, LEARNED_MIMIC: MIMIC, IGNORED: IGNORE}


def finding(grid, number, verdict, voxel, **more):
    place = tuple(voxel_to_ras(grid, np.array(voxel, float)).tolist())
    return CaseFinding(number, place, 3.0, 14.0, None if more.get("added_by_reader") else 0.7, verdict,
                       reader="Dr. Öz", **more)


def make_case(stem="sub-01_T2star", seed=0, affine=None, subject=None, bright=False, **more):
    """Return a case with a finding of each kind, and the place 9 that a reader has added on a dark spot."""
    affine = np.array([[-0.9, 0, 0, 18], [0, 0.9, 0, -17], [0, 0, 2, -10], [0, 0, 0, 1]]) if affine is None else affine
    data = np.random.default_rng(seed).normal(500, 10, SHAPE).astype(np.float32)
    data[SPOT] = 900 if bright else 100
    image = Volume(data, affine)
    labels = np.zeros(SHAPE, np.int32)
    for number, box in BOXES.items():
        labels[box] = number
    findings = (finding(image, 1, "accepted", (6, 6, 3), certainty="possible", comment=COMMENT),
                finding(image, 2, "rejected", (16, 6, 3), mimic_kind="vessel"),
                finding(image, 3, "rejected", (26, 6, 3)), finding(image, 4, "undecided", (36, 6, 3)),
                finding(image, 9, "accepted", (24, 24, 7), added_by_reader=True))
    subject = subject if subject is not None else stem.split("_")[0].removeprefix("sub-")
    case = ReviewedCase(subject, "", stem, f"{stem}.nii.gz", f"{stem}{seed}", image, image.with_data(labels),
                        Acquisition("qsm" if bright else "gre", 3.0, 20.0, (0.9, 0.9, 2.0)), findings, "Dr. Öz",
                        "2026-01-02T03:04:05+01:00", True, True)
    return replace(case, **more)


def clean(case):
    """Return the case without any finding."""
    return replace(case, findings=(), labels=case.labels.with_data(np.zeros(SHAPE, np.int32)))


def cohort(count, first_seed=0):
    """Return one case per subject; every second one is clean."""
    cases = [make_case(f"sub-{number:02d}_T2star", first_seed + number) for number in range(1, count + 1)]
    return [clean(case) if number % 2 else case for number, case in enumerate(cases)]


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


# What a scan teaches

def test_verdicts_become_classes():
    case = make_case()
    labels = label_case(case)
    for number, expected in ((1, MICROBLEED), (2, MIMIC), (3, MIMIC), (4, IGNORE), (8, IGNORE)):
        assert (labels.classes[BOXES[number]] == expected).all() and (labels.instances[BOXES[number]] == number).all()
    assert np.array_equal(labels.instances == 9, case.image.data < 200)
    assert np.array_equal(labels.classes == MICROBLEED, np.isin(labels.instances, (1, 9)))
    assert (labels.classes > 0).sum() == 5 * 18 + 18 and labels.covered == ()


def test_a_microbleed_comes_before_a_mimic_on_the_same_voxels():
    case = make_case()
    data = case.image.data.copy()
    data[14:17, 6, 4] = 50
    point = finding(case.image, 9, "accepted", (16, 6, 4), added_by_reader=True)
    labels = label_case(replace(case, image=case.image.with_data(data), findings=(*case.findings[:4], point)))
    assert np.array_equal(labels.instances == 9, data == 50) and (labels.classes[data == 50] == MICROBLEED).all()
    assert (labels.classes[BOXES[2]] == MIMIC).sum() == 18 - 2


def test_a_finding_that_loses_all_its_voxels_is_told_and_not_trained_on(tmp_path):
    case = make_case()
    twice = [finding(case.image, 5, "rejected", (24, 24, 7), mimic_kind="vessel"), case.findings[-1]]
    case = replace(case, findings=(*case.findings[:4], *twice))
    assert label_case(case).covered == (5,)
    write_training_set([case], tmp_path / "set")
    content = json.loads((tmp_path / "set/train/sub-01_T2star_desc-cmb_review.json").read_text("utf-8"))
    assert content["covered_findings"] == [5] and [one["id"] for one in content["findings"]] == [1, 2, 3, 4, 9]
    assert_taken_as_it_is(tmp_path / "set")


def test_added_points_are_bright_on_qsm():
    case = make_case(bright=True)
    assert np.array_equal(label_case(case).instances == 9, case.image.data > 800)


def test_a_point_outside_the_scan_is_refused():
    case = make_case()
    with pytest.raises(InputError, match=r"Finding 7 of sub-01_T2star.nii.gz at .* lies outside the scan"):
        label_case(replace(case, findings=(finding(case.image, 7, "accepted", (90, 0, 0)),)))


# The folder as the trainer reads it

def assert_taken_as_it_is(folder):
    """Assert that the set passes the trainer's check, and that the trainer sees the classes of the class maps."""
    scans = find_labelled_scans(folder)
    check_data_set(scans)
    for scan in scans:
        assert scan.layout == "reviews"
        volume = read_scan(scan.image).volume
        truth = read_truth(scan, volume)
        stem = scan.image.name.removesuffix(".nii.gz")
        classes = read_labels(scan.image.with_name(f"{stem}_seg-classes_desc-cmb_dseg.nii.gz"))
        instances = read_labels(scan.image.with_name(f"{stem}_desc-cmb_dseg.nii.gz"))
        seen = np.vectorize(COLLAPSED.get)(truth.classes)
        assert classes.same_grid(volume) and np.array_equal(classes.data, seen)
        assert np.array_equal(truth.lesions, np.where(classes.data == MICROBLEED, instances.data, 0))
    return scans


@pytest.mark.parametrize("left_handed", [False, True])
def test_an_oblique_scan_comes_back_voxel_for_voxel_and_is_trained_on_as_it_is(tmp_path, draw_affine, left_handed):
    affine = draw_affine(np.random.default_rng(3), left_handed=left_handed, spacing=(0.9, 0.9, 2.0))
    case = make_case(affine=affine)
    assert write_training_set([case, make_case("sub-02_T2star", 1)], tmp_path / "set") == tmp_path / "set"
    scans = {scan.subject: scan for scan in assert_taken_as_it_is(tmp_path / "set")}
    assert set(scans) == {"sub-01", "sub-02"} and scans["sub-01"].modality == "gre"
    read = read_scan(scans["sub-01"].image)
    assert read.volume.same_grid(case.image) and np.array_equal(read.volume.data, case.image.data)
    assert (np.linalg.det(read.volume.affine[:3, :3]) < 0) == (np.linalg.det(affine[:3, :3]) < 0)
    assert read.metadata == {"echo_time_ms": 20.0, "field_strength_t": 3.0} and not read.simulated
    review = read_review(scans["sub-01"].truth)
    assert [(one.id, one.verdict, one.mimic_kind, one.certainty, one.comment) for one in review.findings] == \
        [(one.id, one.verdict, one.mimic_kind, one.certainty, one.comment) for one in case.findings]
    assert np.abs(np.array([one.position_ras for one in review.findings])
                  - [one.position_ras for one in case.findings]).max() < 1e-9
    assert review.findings[0].comment == COMMENT and review.input_sha256 == read.sha256


def test_the_truth_is_that_of_the_reviewed_case_itself(tmp_path):
    # the same case as the review module leaves it, whose points the trainer grows
    case = make_case()
    (tmp_path / "review").mkdir()
    write_image(tmp_path / "review" / "sub-01_T2star.nii.gz", case.image)
    write_label_map(tmp_path / "review" / "sub-01_T2star_desc-cmb_dseg.nii.gz", case.labels)
    write_review(tmp_path / "review" / "sub-01_T2star_desc-cmb_review.json", Review(
        "sub-01_T2star.nii.gz", "", "gre", "", tuple(ReviewedFinding(
            one.id, one.position_ras, one.diameter_mm, one.verdict, one.added_by_reader, one.mimic_kind)
            for one in case.findings)))
    write_training_set([case], tmp_path / "set")
    before, after = (read_truth(find_labelled_scans(tmp_path / place)[0], case.image) for place in ("review", "set"))
    assert np.array_equal(before.classes, after.classes) and np.array_equal(before.lesions, after.lesions)


def test_the_findings_file_says_who_and_what(tmp_path):
    write_training_set([make_case(simulated=True)], tmp_path / "set")
    content = json.loads((tmp_path / "set/train/sub-01_T2star_desc-cmb_review.json").read_text("utf-8"))
    assert content["note"] == "Research tool - not for clinical use" and content["reviewed"] == "finished"
    assert content["split"] == "train" and content["subject"] == "sub-01" and content["simulated"] is True
    assert [(one["class"], one["reader"]) for one in content["findings"]] == [
        ("microbleed", "Dr. Öz"), ("mimic", "Dr. Öz"), ("mimic", "Dr. Öz"), ("ignore", "Dr. Öz"),
        ("microbleed", "Dr. Öz")]
    assert content["findings"][1]["mimic_kind"] == "vessel" and content["findings"][4]["probability"] is None
    assert read_scan(tmp_path / "set/train/sub-01_T2star.nii.gz").simulated
    assert "not for clinical use" in (tmp_path / "set/README.txt").read_text("utf-8")
    for line in (tmp_path / "set/sha256sums.txt").read_text("utf-8").splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((tmp_path / "set" / name).read_bytes()).hexdigest() == digest


def test_unreviewed_scans_are_refused_or_marked_and_ignored(tmp_path):
    case = make_case()
    bare = replace(case, is_reviewed=False, is_finished=False, reader="", reviewed_at="", findings=tuple(
        replace(one, verdict="undecided", certainty="", mimic_kind="", comment="") for one in case.findings[:4]))
    with pytest.raises(InputError, match="sub-01_T2star.nii.gz is not reviewed"):
        write_training_set([bare, make_case("sub-02_a", 1)], tmp_path / "set")
    assert not (tmp_path / "set").exists()
    write_training_set([bare, make_case("sub-02_a", 1)], tmp_path / "set", include_unreviewed=True)
    path, = (tmp_path / "set").rglob("sub-01_T2star_desc-cmb_review.json")
    assert json.loads(path.read_text("utf-8"))["reviewed"] == "unreviewed"
    classes = read_labels(path.with_name("sub-01_T2star_seg-classes_desc-cmb_dseg.nii.gz"))
    assert set(np.unique(classes.data)) == {0, IGNORE}
    assert_taken_as_it_is(tmp_path / "set")


# The split

@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 10, 20, 47])
def test_parts_have_their_sizes_and_their_share_of_microbleeds(count):
    bleeding = {f"s{number}": number % 3 == 0 for number in range(count)}
    for seed in range(20):
        parts = split_subjects(bleeding, FRACTIONS, seed)
        sizes = Counter(parts.values())
        assert set(parts) == set(bleeding)
        if count >= 3:
            assert all(sizes[part] >= 1 and abs(sizes[part] - share * count) <= 1.1
                       for part, share in zip(PARTS, FRACTIONS, strict=True))
        with_bleeds = Counter(part for name, part in parts.items() if bleeding[name])
        assert all(abs(with_bleeds[part] - sizes[part] * sum(bleeding.values()) / count) <= 1.001 for part in PARTS)
    assert dict(Counter(split_subjects(bleeding, FRACTIONS, 1).values())) == {
        1: {"train": 1}, 2: {"train": 1, "validation": 1}, 3: dict.fromkeys(PARTS, 1),
        4: {"train": 2, "validation": 1, "test": 1}, 5: {"train": 3, "validation": 1, "test": 1},
        10: {"train": 7, "validation": 2, "test": 1}, 20: {"train": 14, "validation": 3, "test": 3},
        47: {"train": 33, "validation": 7, "test": 7}}[count]


def test_the_split_depends_on_the_seed_alone():
    bleeding = {f"s{number}": number % 2 == 0 for number in range(30)}
    shuffled = dict(sorted(bleeding.items(), key=lambda item: hash(item[0])))
    assert split_subjects(bleeding, FRACTIONS, 4) == split_subjects(shuffled, FRACTIONS, 4)
    assert len({tuple(split_subjects(bleeding, FRACTIONS, seed).items()) for seed in range(20)}) > 15
    assert set(split_subjects(bleeding, (1, 0, 0), 4).values()) == {"train"}
    assert Counter(split_subjects(bleeding, (0.5, 0, 0.5), 4).values()) == {"train": 15, "test": 15}


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (0, 0.5, 0.5), (1.2, -0.2, 0), (0.5, 0.5), (np.nan, 0, 1)])
def test_fractions_that_are_none_are_refused(fractions):
    with pytest.raises(SettingsError, match="no split"):
        split_subjects({"a": True}, fractions, 1)


def test_all_scans_of_a_subject_are_together_and_the_split_is_written(tmp_path):
    names = [f"sub-{number:02d}_ses-{session}_T2star" for number in range(1, 6) for session in "ab"]
    cases = [clean(make_case(name, seed)) if seed % 3 else make_case(name, seed) for seed, name in enumerate(names)]
    write_training_set(cases[::-1], tmp_path / "set", seed=5)
    split = json.loads((tmp_path / "set/splits.json").read_text("utf-8"))
    assert split["seed"] == 5 and split["fractions"] == {"train": 0.7, "validation": 0.15, "test": 0.15}
    assert sorted(split["subjects"]) == [f"sub-{number:02d}" for number in range(1, 6)]
    assert set(split["subjects"].values()) == set(PARTS)
    for scan in find_labelled_scans(tmp_path / "set"):
        assert scan.image.parent.name == split["subjects"][scan.subject] == split["scans"][scan.name]
    write_training_set(cases, tmp_path / "again", seed=5)
    assert contents(tmp_path / "set") == contents(tmp_path / "again")


# Names and codes

def test_a_name_that_does_not_tell_the_subject_gets_it(tmp_path):
    cases = [make_case("baseline", 0, subject="P 1"), make_case("followup", 1, subject="P 1"),
             make_case("scan", 2, subject="P1"), make_case("sub-9_x", 3, subject="sub-9"),
             make_case("alone", 4, subject="alone"), make_case("c", 5, subject="患者")]
    named = name_cases(cases, 1, FRACTIONS, False, False)
    by_stem = {one.case.stem: one for one in named}
    assert {one.name for one in named} == {"sub-P1_baseline", "sub-P1_followup", "sub-P1x_scan", "sub-9_x", "alone",
                                           "sub-x_c"}
    assert by_stem["baseline"].subject == by_stem["followup"].subject == "sub-P1"
    assert by_stem["baseline"].part == by_stem["followup"].part
    assert len({one.subject for one in named}) == 5


def test_codes_hide_names_and_the_key_tells_them(tmp_path):
    cases = [make_case(f"{name}^Anna_{session}", seed, subject=name, session=session)
             for seed, (name, session) in enumerate([("Meier", "1"), ("Meier", "2"), ("Adam", "1"), ("Zorn", "1")])]
    key = tmp_path / "key.tsv"
    write_training_set(cases, tmp_path / "set", key_file=key)
    names = {scan.name for scan in assert_taken_as_it_is(tmp_path / "set")}
    rows = list(csv.DictReader(key.open(encoding="utf-8", newline=""), delimiter="\t"))
    assert {row["name"] for row in rows} == names and all(name.startswith("sub-00") for name in names)
    assert sorted((row["subject"], row["stem"], row["scan_sha256"]) for row in rows) == \
        sorted((case.subject, case.stem, case.scan_sha256) for case in cases)
    meier = {row["split_subject"] for row in rows if row["subject"] == "Meier"}
    assert len(meier) == 1 and len({row["split_subject"] for row in rows}) == 3
    everything = "".join(files_in(tmp_path / "set")).encode() + b"".join(contents(tmp_path / "set").values())
    for word in ("Meier", "Adam", "Zorn", "Anna", "nein", "2026-01", cases[0].scan_sha256):
        assert word.encode() not in everything
    # numbers must not follow the alphabet for every seed
    orders = {tuple(sorted((one.subject, one.case.subject) for one in name_cases(cases, seed, FRACTIONS, True, False)))
              for seed in range(8)}
    assert len(orders) > 1


def test_a_key_inside_the_set_or_over_another_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="would lie in the data set"):
        write_training_set([make_case()], tmp_path / "set", key_file=tmp_path / "set" / "key.tsv")
    (tmp_path / "key.tsv").write_text("mine")
    with pytest.raises(InputError, match="key.tsv exists already"):
        write_training_set([make_case()], tmp_path / "set", key_file=tmp_path / "key.tsv")
    assert (tmp_path / "key.tsv").read_text() == "mine" and not (tmp_path / "set").exists()
    write_training_set([make_case()], tmp_path / "set", key_file=tmp_path / "key.tsv", overwrite=True)
    assert (tmp_path / "key.tsv").read_text().startswith("name\t")


@pytest.mark.parametrize(("cases", "sentence"), [
    ([], "No cases"), ([make_case(), make_case(seed=1)], "files of the same name"),
    ([make_case("sub-1_A"), make_case("sub-1_a", 1)], "sub-1_A.nii.gz and sub-1_a.nii.gz would have files of the same"),
    ([make_case("sub-1_a", scan_sha256="f"), make_case("sub-2_b", scan_sha256="f")], "are the same scan")])
def test_cases_that_do_not_go_together_are_refused(tmp_path, cases, sentence):
    with pytest.raises(InputError, match=sentence):
        write_training_set(cases, tmp_path / "set")
    assert not (tmp_path / "set").exists()


# Whole or not at all

def test_nothing_is_replaced_without_asking_and_only_what_belongs_to_the_set(tmp_path):
    folder = write_training_set(cohort(4), tmp_path / "set")
    before = contents(folder)
    with pytest.raises(InputError, match=r"README.txt exists already"):
        write_training_set(cohort(3), folder)
    assert contents(folder) == before
    own = folder / "train" / "my notes.txt"
    own.write_text("mine")
    with pytest.raises(InputError, match="my notes.txt does not belong"):
        write_training_set(cohort(3), folder, overwrite=True)
    own.unlink()
    assert contents(folder) == before
    write_training_set(cohort(3), folder, overwrite=True)
    assert {scan.subject for scan in assert_taken_as_it_is(folder)} == {"sub-01", "sub-02", "sub-03"}
    assert not any("sub-04" in name or name.startswith(".") for name in files_in(folder))


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.docx").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"thesis.docx"):
            write_training_set([make_case()], tmp_path / "home", overwrite=overwrite)
    assert files_in(tmp_path / "home") == ["thesis.docx"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        write_training_set([make_case()], tmp_path / "file")
    (tmp_path / "empty").mkdir()
    write_training_set([make_case()], tmp_path / "empty")
    assert_taken_as_it_is(tmp_path / "empty")


def full_after(monkeypatch, count):
    """Let `os.replace` do `count` moves and find the disk full at the next one, once."""
    real, left = os.replace, [count]

    def replace_or_full(source, target):
        left[0] -= 1
        if left[0] == -1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)
    monkeypatch.setattr(os, "replace", replace_or_full)
    return left


def test_a_full_disk_at_any_moment_leaves_the_former_set_or_nothing(tmp_path, monkeypatch):
    folder, key = write_training_set(cohort(1), tmp_path / "set", key_file=tmp_path / "key.tsv"), tmp_path / "key.tsv"
    before, key_before = contents(folder), key.read_bytes()
    moves, failed = 0, 0
    while True:
        with monkeypatch.context() as patch:
            left = full_after(patch, moves)
            try:
                write_training_set(cohort(1, 10), folder, key_file=key, overwrite=True)
            except InputError as error:
                assert "No space left on device" in str(error) and "free space" in str(error)
                failed += 1
            if left[0] >= 0:
                break
        assert contents(folder) == before and key.read_bytes() == key_before
        assert files_in(tmp_path) == ["key.tsv", *(f"set/{name}" for name in before)]
        moves += 1
    assert failed == moves >= 12 and contents(folder) != before
    with monkeypatch.context() as patch:
        full_after(patch, 3)
        with pytest.raises(InputError, match="No space left"):
            write_training_set(cohort(2), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(training_set.tempfile, "mkdtemp", refuse)
    with pytest.raises(InputError, match=r"set \(Permission denied\); free space there"):
        write_training_set([make_case()], tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_former_set_that_cannot_be_put_back_is_kept(tmp_path, monkeypatch):
    folder = tmp_path / "set"
    with new_folder(folder, False) as staging:
        (staging / "a.txt").write_text("former")
    real = os.replace

    def stuck(source, target):
        if os.fspath(source).endswith(os.path.join("new", "a.txt")) or "former" in os.fspath(source):
            raise PermissionError(errno.EACCES, "open elsewhere")
        real(source, target)
    monkeypatch.setattr(os, "replace", stuck)
    with pytest.raises(InputError, match="open elsewhere"), new_folder(folder, True) as staging:
        (staging / "a.txt").write_text("new")
    assert [path.read_text() for path in folder.rglob("a.txt")] == ["former"]
