"""nnU-Net v2: names and places of files, labels, folds without shared subjects; what it cannot take is refused."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from microbleeds.errors import InputError, SettingsError
from microbleeds.export.nnunet import folds_of, identifier_of, write_nnunet
from microbleeds.export.training_set import FRACTIONS, IGNORE, MICROBLEED, MIMIC, label_case, name_cases
from microbleeds.read_write import read_labels, read_scan
from microbleeds.subject_names import subject_of
from microbleeds.training import labelled_scans
from microbleeds.training.layouts_folders import find_in_folders
from test_export_training_set import clean, cohort, contents, files_in, make_case


def read_json(path):
    return json.loads(path.read_text("utf-8"))


def identifiers(folder, place, ending):
    return sorted(path.name.removesuffix(ending) for path in (folder / place).glob("*"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A data set of 8 subjects with two scans each, and its cases by identifier."""
    cases = [make_case(f"sub-{number:02d}_ses-{session}_T2star", 2 * number + session) for number in range(1, 9)
             for session in (0, 1)]
    cases = [clean(case) if index % 3 == 0 else case for index, case in enumerate(cases)]
    folder = write_nnunet(cases, tmp_path_factory.mktemp("raw"), 42, "Microbleeds", seed=2)
    return folder, {case.stem: case for case in cases}


def test_files_lie_where_nnunet_looks_for_them(dataset):
    folder, cases = dataset
    assert folder.name == "Dataset042_Microbleeds"
    training, test = identifiers(folder, "imagesTr", "_0000.nii.gz"), identifiers(folder, "imagesTs", "_0000.nii.gz")
    assert training == identifiers(folder, "labelsTr", ".nii.gz") and test == identifiers(folder, "labelsTs", ".nii.gz")
    assert sorted(training + test) == sorted(cases) and len(test) == 2
    described = read_json(folder / "dataset.json")
    assert described["channel_names"] == {"0": "T2starGRE"} and described["file_ending"] == ".nii.gz"
    assert described["labels"] == {"background": 0, "microbleed": 1, "mimic": 2, "ignore": 3}
    assert described["numTraining"] == len(training) == 14
    readme = (folder / "README.txt").read_text("utf-8")
    for part in ("Research tool - not for clinical use", "-d 42", "nnUNet_preprocessed/Dataset042_Microbleeds",
                 "16 scans, of which 0 unreviewed and 0 simulated"):
        assert part in readme


def test_images_and_labels_are_those_of_the_cases(dataset):
    folder, cases = dataset
    for place in ("Tr", "Ts"):
        for image in (folder / f"images{place}").glob("*"):
            identifier = image.name.removesuffix("_0000.nii.gz")
            read, labels = read_scan(image).volume, read_labels(folder / f"labels{place}" / f"{identifier}.nii.gz")
            assert read.same_grid(cases[identifier].image) and labels.same_grid(read)
            assert np.array_equal(read.data, cases[identifier].image.data)
            assert np.array_equal(labels.data, label_case(cases[identifier]).classes)
            assert set(np.unique(labels.data)) in ({0}, {0, MICROBLEED, MIMIC, IGNORE})


def test_an_oblique_left_handed_scan_keeps_its_grid(tmp_path, draw_affine):
    case = make_case(affine=draw_affine(np.random.default_rng(5), left_handed=True, spacing=(0.9, 0.9, 2.0)))
    folder = write_nnunet([case], tmp_path, 501, "One")
    image, = (folder / "imagesTr").glob("*")
    label, = (folder / "labelsTr").glob("*")
    read = read_scan(image).volume
    assert read.same_grid(case.image) and np.array_equal(read.data, case.image.data)
    assert read_labels(label).same_grid(case.image)
    # one subject cannot be split; nnU-Net is told to train on all of it
    assert not (folder / "splits_final.json").exists() and read_json(folder / "dataset.json")["numTraining"] == 1


def test_folds_share_no_subject_and_validate_on_each_once(dataset):
    folder, _ = dataset
    folds, split = read_json(folder / "splits_final.json"), read_json(folder / "splits.json")
    training = identifiers(folder, "imagesTr", "_0000.nii.gz")
    assert len(folds) == 5
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == training and fold["val"] and fold["train"]
        assert not {subject_of(name) for name in fold["train"]} & {subject_of(name) for name in fold["val"]}
    assert sorted(name for fold in folds for name in fold["val"]) == training
    assert {subject_of(name) for name in folds[0]["val"]} == \
        {subject for subject, part in split["subjects"].items() if part == "validation"}
    assert {subject_of(name) for name in identifiers(folder, "imagesTs", "_0000.nii.gz")} == \
        {subject for subject, part in split["subjects"].items() if part == "test"}


@pytest.mark.parametrize(("count", "fractions", "folds"), [
    (1, FRACTIONS, 0), (2, FRACTIONS, 2), (3, FRACTIONS, 2), (4, FRACTIONS, 3), (5, FRACTIONS, 4), (6, FRACTIONS, 5),
    (20, FRACTIONS, 5), (4, (1, 0, 0), 4), (7, (1, 0, 0), 5), (2, (0.5, 0, 0.5), 0)])
def test_small_sets_get_as_many_folds_as_subjects_allow(count, fractions, folds):
    cases = [make_case(f"sub-{number:02d}_a", number) for number in range(count)]
    found = folds_of(name_cases(cases, 1, fractions, False, False))
    assert len(found) == folds
    for fold in found:
        assert fold["train"] and fold["val"] and not set(fold["train"]) & set(fold["val"])


def test_a_name_like_nnunets_own_files_is_changed(tmp_path):
    named = name_cases([make_case("sub-1_T2_seg"), make_case("sub-2_T2", 1)], 1, FRACTIONS, False, False)
    assert [identifier_of(one) for one in named] == ["sub-1_T2_seg-scan", "sub-2_T2"]


def test_codes_go_into_every_file(tmp_path):
    cases = [replace(case, scan_sha256=f"{index}") for index, case in enumerate(
        make_case(f"{name}_T2", seed) for seed, name in enumerate(("Meier", "Adam", "Zorn")))]
    folder = write_nnunet(cases, tmp_path / "raw", 7, "Coded", key_file=tmp_path / "key.tsv")
    everything = "".join(files_in(folder)).encode() + b"".join(contents(folder).values())
    assert not any(name in everything for name in (b"Meier", b"Adam", b"Zorn"))
    assert all(name in (tmp_path / "key.tsv").read_bytes() for name in (b"Meier", b"Adam", b"Zorn"))
    assert [name.startswith("sub-00") for name in identifiers(folder, "imagesTr", "_0000.nii.gz")] == [True, True]


def test_what_nnunet_cannot_take_is_refused(tmp_path):
    mixed = [make_case("sub-1_a"), make_case("sub-2_b", 1, bright=True)]
    with pytest.raises(InputError, match="sub-1_a.nii.gz is gre, sub-2_b.nii.gz is qsm.*one data set for each"):
        write_nnunet(mixed, tmp_path, 1, "Mixed")
    for number, name in ((0, "A"), (1000, "A"), (3, "a b"), (3, "")):
        with pytest.raises(SettingsError, match="a number from 1 to 999"):
            write_nnunet([make_case()], tmp_path, number, name)
    with pytest.raises(InputError, match="No cases"):
        write_nnunet([], tmp_path, 1, "None")
    write_nnunet([make_case()], tmp_path, 3, "First")
    with pytest.raises(InputError, match="Dataset003_First has the same number"):
        write_nnunet([make_case()], tmp_path, 3, "Second")
    assert [path.name for path in tmp_path.iterdir()] == ["Dataset003_First"]


def test_it_is_whole_or_not_there(tmp_path, monkeypatch):
    folder = write_nnunet(cohort(3), tmp_path, 9, "Set")
    before = contents(folder)
    with pytest.raises(InputError, match="exists already"):
        write_nnunet(cohort(2), tmp_path, 9, "Set")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(InputError, match="No space left on device"):
            write_nnunet(cohort(2), tmp_path, 9, "Set", overwrite=True)
        with pytest.raises(InputError, match="No space left on device"):
            write_nnunet(cohort(2), tmp_path, 10, "Other")
    assert contents(folder) == before and [path.name for path in tmp_path.iterdir()] == ["Dataset009_Set"]
    write_nnunet(cohort(2), tmp_path, 9, "Set", overwrite=True)
    assert read_json(folder / "dataset.json")["numTraining"] == 2


def test_our_own_training_reads_its_classes(dataset):
    folder, cases = dataset
    scans = find_in_folders(folder, clean_scans=True)
    assert len(scans) == 14
    for scan in scans[:4]:
        stem = scan.image.name.removesuffix("_0000.nii.gz")
        truth, classes = scan.reader(scan, read_scan(scan.image).volume), label_case(cases[stem]).classes
        for ours, theirs in ((MICROBLEED, labelled_scans.MICROBLEED), (MIMIC, labelled_scans.MIMIC),
                             (IGNORE, labelled_scans.IGNORED)):
            assert np.array_equal(classes == ours, truth.classes == theirs)
        assert np.array_equal(truth.lesions > 0, classes == MICROBLEED)
