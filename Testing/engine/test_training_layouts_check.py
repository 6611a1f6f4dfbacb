"""Every fault of a data set is told with the files that have it, and all of them at once."""

import gzip
import json

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.read_write import write_image
from microbleeds.training import check_data_set as module
from microbleeds.training.check_data_set import check_data_set
from microbleeds.training.layouts import find_labelled_scans
from microbleeds.volume import Volume

SHAPE, GRID = (24, 20, 8), np.diag([1.0, 1, 3, 1])


def write_pair(folder, name, seed=None, marked=np.s_[3:5, 4:6, 2:4], label_affine=GRID, label_shape=SHAPE, image=None):
    """Write ``name.nii.gz`` and its label map ``name_dseg.nii.gz``; return the image."""
    rng = np.random.default_rng(sum(map(ord, name)) if seed is None else seed)
    image = Volume(rng.normal(500, 20, SHAPE).astype(np.float32), GRID) if image is None else image
    label = np.zeros(label_shape, np.int32)
    if marked is not None:
        label[marked] = 1
    write_image(folder / f"{name}.nii.gz", image)
    write_image(folder / f"{name}_dseg.nii.gz", Volume(label, label_affine))
    return image


def refusal(folder, **options):
    """Return what is said against a data set."""
    with pytest.raises(InputError) as refused:
        check_data_set(find_labelled_scans(folder, **options))
    return str(refused.value)


def listed(said, reason):
    """Return the entries under a reason."""
    lines = said.splitlines()
    start = next(number for number, line in enumerate(lines) if reason in line)
    entries = []
    for line in lines[start + 1:]:
        if not line.startswith("  "):
            break
        entries.append(line.strip())
    return entries


def test_a_sound_data_set_passes(tmp_path):
    for name in ("a", "b"):
        write_pair(tmp_path, name)
    check_data_set(find_labelled_scans(tmp_path))


def test_missing_halves_of_pairs(tmp_path):
    for name in ("a", "b", "c"):
        write_pair(tmp_path, name)
    (tmp_path / "a.nii.gz").unlink()
    (tmp_path / "b_dseg.nii.gz").unlink()
    said = refusal(tmp_path)
    image, = listed(said, module.NO_IMAGE)
    label, = listed(said, module.NO_LABEL)
    assert "a_dseg.nii.gz (no " in image and "/b.nii.gz (no " in label and "c.nii.gz" not in said


@pytest.mark.parametrize("pair", [("images", "labels"), ("imagesTr", "labelsTr")])
def test_missing_halves_in_two_folders(tmp_path, pair):
    volume = write_pair(tmp_path / "made", "x")
    write_image(tmp_path / "set" / pair[0] / "only_image.nii.gz", volume)
    write_image(tmp_path / "set" / pair[1] / "only_label.nii.gz", volume)
    said = refusal(tmp_path / "set")
    assert listed(said, module.NO_IMAGE) == [f"{pair[1]}/only_label.nii.gz (no {pair[0]}/only_label.nii.gz)"]
    assert listed(said, module.NO_LABEL) == [f"{pair[0]}/only_image.nii.gz (no {pair[1]}/only_image.nii.gz)"]


def test_other_grids_by_shape_and_by_place(tmp_path):
    write_pair(tmp_path, "shape", label_shape=(24, 20, 7))
    moved = GRID.copy()
    moved[0, 3] = 2
    write_pair(tmp_path, "place", label_affine=moved)
    write_pair(tmp_path, "sound")
    write_image(tmp_path / "sound_desc-brain_mask.nii.gz", Volume(np.ones((9, 9, 9), np.int16), GRID))
    names = [entry.split("/")[-1] for entry in listed(refusal(tmp_path), module.OTHER_GRID)]
    assert names == ["place_dseg.nii.gz", "shape_dseg.nii.gz", "sound_desc-brain_mask.nii.gz"]


def test_empty_labels_need_the_word_of_the_user(tmp_path):
    write_pair(tmp_path, "bled")
    write_pair(tmp_path, "empty", marked=None)
    assert [entry.split("/")[-1] for entry in listed(refusal(tmp_path), module.EMPTY)] == ["empty_dseg.nii.gz"]
    check_data_set(find_labelled_scans(tmp_path, clean_scans=True))


def test_one_class_only(tmp_path):
    write_pair(tmp_path, "a", marked=None)
    write_pair(tmp_path, "b", marked=None)
    said = refusal(tmp_path, clean_scans=True)
    assert module.ONE_CLASS in said and module.EMPTY not in said
    write_pair(tmp_path, "full", marked=np.s_[:])
    assert "full_dseg.nii.gz" in listed(refusal(tmp_path, clean_scans=True), module.FULL)[0]


def test_the_same_name_twice(tmp_path):
    for folder, seed in (("one", 1), ("two", 2)):
        write_pair(tmp_path / folder, "scan", seed)
    entry, = listed(refusal(tmp_path), module.SAME_NAME)
    assert "one/scan.nii.gz" in entry and "two/scan.nii.gz" in entry


def test_the_same_image_under_two_names_formats_and_headers(tmp_path):
    image = write_pair(tmp_path, "first")
    other = GRID.copy()
    other[:3, 3] = 5
    write_pair(tmp_path, "second", image=Volume(image.data, other), label_affine=other)
    (tmp_path / "second.nii").write_bytes(gzip.decompress((tmp_path / "second.nii.gz").read_bytes()))
    (tmp_path / "second.nii.gz").unlink()
    write_pair(tmp_path, "third")
    entry, = listed(refusal(tmp_path), module.SAME_IMAGE)
    assert "first.nii.gz" in entry and "second.nii " in entry and "third" not in entry


def test_files_that_cannot_be_read(tmp_path):
    for name in ("cut_image", "cut_label", "both", "sound"):
        write_pair(tmp_path, name)
    for name in ("cut_image.nii.gz", "cut_label_dseg.nii.gz", "both.nii.gz", "both_dseg.nii.gz"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:len(content) // 2])
    names = [entry.split(":")[0].split("/")[-1] for entry in listed(refusal(tmp_path), module.UNREADABLE)]
    assert sorted(names) == ["both.nii.gz", "both_dseg.nii.gz", "cut_image.nii.gz", "cut_label_dseg.nii.gz"]


def test_everything_is_told_at_once_and_long_lists_are_counted(tmp_path):
    image = write_pair(tmp_path, "sound")
    for number in range(13):
        write_image(tmp_path / f"bare{number:02d}.nii.gz", image.with_data(image.data + number + 1))
    write_pair(tmp_path, "shape", label_shape=(5, 5, 5))
    write_pair(tmp_path, "copy", image=image)
    said = refusal(tmp_path)
    entries = listed(said, module.NO_LABEL)
    assert f"13 × {module.NO_LABEL}" in said and len(entries) == 11 and entries[-1] == "and 3 more"
    assert listed(said, module.OTHER_GRID) and listed(said, module.SAME_IMAGE)


def test_a_simulated_case_without_its_description_has_no_subject(tmp_path):
    anatomical = tmp_path / "sub-0001" / "anat"
    image = write_pair(anatomical, "sub-0001_swi")
    (anatomical / "sub-0001_swi_dseg.nii.gz").unlink()
    write_image(anatomical / "sub-0001_desc-brain_mask.nii.gz", image.with_data(np.ones(SHAPE, np.int16)))
    for name in ("cmb", "all"):
        write_image(anatomical / f"sub-0001_swi_desc-{name}_truth.nii.gz", image.with_data(np.zeros(SHAPE, np.int16)))
    (anatomical / "sub-0001_swi_desc-truth.tsv").write_text("id\tkind\n")
    (anatomical / "sub-0001_desc-drawn.json").write_text(json.dumps({"plan": None}))
    said = refusal(tmp_path)
    assert listed(said, module.NO_SUBJECT) == ["anat/sub-0001_swi.nii.gz"]
    assert "sub-0001_swi_desc-truth.tsv has no column" in said
    (anatomical / "sub-0001_swi_desc-all_truth.nii.gz").unlink()
    assert listed(refusal(tmp_path), module.NO_FILE) == ["anat/sub-0001_swi_desc-all_truth.nii.gz"]
