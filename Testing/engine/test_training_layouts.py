"""Labelled data sets in every layout: what is found, who the subject is, and which voxels are what."""

import json

import numpy as np
import pytest
from microbleeds.errors import InputError, SettingsError
from microbleeds.geometry import voxel_to_ras
from microbleeds.progress import Plain
from microbleeds.read_write import read_scan, write_image, write_json, write_label_map
from microbleeds.simulation.data_set import make_data_set, plan_cases, write_truth
from microbleeds.simulation.subject import SubjectSettings
from microbleeds.simulation.truth import Row, Truth
from microbleeds.subject_names import subject_of
from microbleeds.training.check_data_set import check_data_set
from microbleeds.training.labelled_scans import (
    IGNORED,
    MICROBLEED,
    MIMIC,
    TISSUE,
    VESSEL,
    read_truth,
)
from microbleeds.training.layouts import find_labelled_scans
from microbleeds.volume import Volume
from scipy.io import savemat
from simulation_phantoms import toy_labels, write_labels

SHAPE = (24, 20, 8)
LAS = np.array([[-1.0, 0, 0, 11], [0, 1.5, 0, -14], [0, 0, 3, -9], [0, 0, 0, 1]])
"""First axis runs to the left, as in VALDO."""


def noise(shape=SHAPE, affine=LAS, seed=0):
    """Return an image in which nothing is a microbleed."""
    return Volume(np.random.default_rng(seed).normal(500, 20, shape).astype(np.float32), affine)


def label_map(volume, *boxes):
    """Return a map of boxes ``(value, slices)``."""
    data = np.zeros(volume.shape, np.int32)
    for value, box in boxes:
        data[box] = value
    return volume.with_data(data)


def reversed_slices(volume):
    """Return the same grid with its last axis reversed, as Slicer saves left-handed images."""
    flip = np.diag([1.0, 1, -1, 1])
    flip[2, 3] = volume.shape[2] - 1
    return Volume(np.ascontiguousarray(volume.data[:, :, ::-1]), volume.affine @ flip)


def only(folder, layout="auto", **options):
    """Return the only scan of a data set and its truth."""
    scan, = find_labelled_scans(folder, layout, **options)
    return scan, read_truth(scan, read_scan(scan.image).volume)


A, B = np.s_[3:5, 4:6, 2:4], np.s_[15:18, 12:14, 5:6]


@pytest.mark.parametrize(("image", "label"), [
    ("images/scan.nii.gz", "labels/scan.nii.gz"), ("images/scan.nrrd", "labels/scan_seg.nii.gz"),
    ("imagesTr/scan_0000.nii.gz", "labelsTr/scan.nii.gz"), ("scan.nii.gz", "scan_dseg.nii.gz"),
    ("scan.mha", "scan_CMB.nii.gz"), ("deep/er/scan.nii.gz", "deep/er/scan_mask.nii.gz")])
def test_plain_folders_are_recognised_and_one_value_is_split(tmp_path, image, label):
    volume = noise()
    for path, content in ((image, volume), (label, label_map(volume, (255, A), (255, B)))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / path, content)
    scan, truth = only(tmp_path)
    assert (scan.layout, scan.modality, scan.subject, scan.brain) == ("folders", "auto", "scan", None)
    assert set(np.unique(truth.lesions)) == {0, 1, 2}
    assert (truth.lesions[A] == truth.lesions[3, 4, 2]).all() and (truth.lesions[B] == truth.lesions[15, 12, 5]).all()
    assert np.array_equal(truth.classes == MICROBLEED, truth.lesions > 0) and not truth.kinds_known
    assert (truth.lesions > 0).sum() == 8 + 6 and set(np.unique(truth.classes)) == {TISSUE, MICROBLEED}


def test_numbered_maps_keep_their_numbers_when_lesions_touch(tmp_path):
    volume = noise()
    write_image(tmp_path / "s.nii.gz", volume)
    write_label_map(tmp_path / "s_dseg.nii.gz", label_map(volume, (70001, A), (9, np.s_[5:7, 4:6, 2:4])))
    _, truth = only(tmp_path)
    assert (truth.lesions[A] == 70001).all() and (truth.lesions[5:7, 4:6, 2:4] == 9).all()


def test_values_that_are_kinds_of_microbleeds_are_split_into_lesions(tmp_path):
    volume = noise()
    write_image(tmp_path / "s.nii.gz", volume)
    # 1 definite, twice; 2 possible, once beside a definite one and once alone
    beside, alone = np.s_[5:7, 4:6, 2:4], np.s_[9:10, 1:2, 6:7]
    write_label_map(tmp_path / "s_dseg.nii.gz", label_map(volume, (1, A), (2, beside), (1, B), (2, alone)))
    _, truth = only(tmp_path)
    numbers = [set(np.unique(truth.lesions[box]).tolist()) for box in (A, beside, B, alone)]
    assert all(len(own) == 1 for own in numbers) and len(set.union(*numbers)) == 4
    assert (truth.lesions > 0).sum() == 8 + 8 + 6 + 1


@pytest.mark.parametrize("name", ["CMB", "microbleed"])
def test_what_nnunet_calls_ignore_is_ignored_whatever_the_microbleeds_are_called(tmp_path, name):
    volume = noise()
    write_image(tmp_path / "imagesTr/a_0000.nii.gz", volume)
    write_image(tmp_path / "labelsTr/a.nii.gz", label_map(volume, (1, A), (2, B)))
    listing = tmp_path / "dataset.json"
    listing.write_text(json.dumps({"labels": {"background": 0, name: 1, "ignore": 2}}))
    _, truth = only(tmp_path)
    assert (truth.classes[A] == MICROBLEED).all() and (truth.classes[B] == IGNORED).all()
    assert np.array_equal(truth.lesions > 0, truth.classes == MICROBLEED)
    listing.write_text(json.dumps({"labels": {"background": 0, "CMB": 1, "siderosis": 2}}))
    with pytest.raises(InputError, match=r"dataset\.json lists labels of several kinds \(CMB, siderosis\)"):
        only(tmp_path)


def test_nnunets_first_version_lists_the_same_the_other_way_round(tmp_path):
    volume = noise()
    write_image(tmp_path / "imagesTr/a_0000.nii.gz", volume)
    write_image(tmp_path / "labelsTr/a.nii.gz", label_map(volume, (1, A), (2, B)))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "microbleed", "2": "mimic"}}))
    _, truth = only(tmp_path)
    assert (truth.classes[A] == MICROBLEED).all() and (truth.classes[B] == MIMIC).all() and truth.lesions.max() == 1


@pytest.mark.parametrize(("labels", "sentence"), [
    ({"background": 0, "microbleed": [1, 2]}, r"dataset\.json gives the label microbleed as \[1, 2\], not as one"),
    ({"background": 0, "mimic": 1}, r"dataset\.json lists no label of microbleeds, only mimic"),
    ({"background": 0, "ignore": 1}, r"dataset\.json lists no label of microbleeds, only ignore")])
def test_nothing_is_learned_as_a_microbleed_that_is_not_called_one(tmp_path, labels, sentence):
    volume = noise()
    write_image(tmp_path / "imagesTr/a_0000.nii.gz", volume)
    write_image(tmp_path / "labelsTr/a.nii.gz", label_map(volume, (1, A)))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(InputError, match=sentence):
        only(tmp_path)


def test_maps_in_another_axis_order_come_back_on_the_grid_of_the_image(tmp_path):
    volume = noise()
    write_image(tmp_path / "s.nii.gz", volume)
    write_image(tmp_path / "s_dseg.nii.gz", reversed_slices(label_map(volume, (1, A))))
    _, truth = only(tmp_path)
    assert truth.lesions.shape == SHAPE and (truth.lesions[A] == 1).all() and truth.lesions.sum() == 8


def test_nothing_is_marked_where_a_map_has_no_number(tmp_path):
    volume = noise()
    marks = label_map(volume, (1, A)).data.astype(np.float32)
    marks[B] = np.nan
    write_image(tmp_path / "s.nii.gz", volume)
    write_image(tmp_path / "s_dseg.nii.gz", volume.with_data(marks))
    _, truth = only(tmp_path)
    assert (truth.lesions[A] == 1).all() and truth.lesions.sum() == 8


def test_maps_that_are_no_label_maps_are_refused(tmp_path):
    volume = noise()
    write_image(tmp_path / "s.nii.gz", volume)
    write_image(tmp_path / "s_dseg.nii.gz", volume.with_data(np.full(SHAPE, 0.3, np.float32)))
    with pytest.raises(InputError, match=r"s_dseg.nii.gz holds values that are negative or not whole"):
        only(tmp_path)


def test_nnunet_takes_the_first_channel_and_numbered_cases_stay_apart(tmp_path):
    volume = noise()
    for name in ("a_0000", "a_0001", "b_0000"):
        write_image(tmp_path / f"imagesTr/{name}.nii.gz", volume)
    for name in ("a", "b"):
        write_image(tmp_path / f"labelsTr/{name}.nii.gz", label_map(volume, (1, A)))
    found = find_labelled_scans(tmp_path)
    assert [(scan.image.name, scan.truth.name, scan.subject) for scan in found] == [
        ("a_0000.nii.gz", "a.nii.gz", "a"), ("b_0000.nii.gz", "b.nii.gz", "b")]
    (tmp_path / "labelsTr/b.nii.gz").unlink()
    assert [scan.truth.name for scan in find_labelled_scans(tmp_path)] == ["a.nii.gz", "b.nii.gz"]
    other = tmp_path / "other"
    for name in ("case_0001", "case_0002"):
        write_image(other / f"images/{name}.nii.gz", volume)
        write_image(other / f"labels/{name}.nii.gz", label_map(volume, (1, A)))
    write_image(other / "images/case_0000.nii.gz", volume)
    assert [scan.truth.name for scan in find_labelled_scans(other)] == [f"case_000{n}.nii.gz" for n in (0, 1, 2)]
    (other / "labels/case_0001.nii.gz").unlink()
    assert [scan.truth.exists() for scan in find_labelled_scans(other)] == [False, False, True]


def test_brain_masks_beside_images_are_neither_images_nor_labels(tmp_path):
    volume = noise()
    write_image(tmp_path / "s.nii.gz", volume)
    write_image(tmp_path / "s_mask.nii.gz", label_map(volume, (1, A)))
    write_image(tmp_path / "s_desc-brain_mask.nii.gz", label_map(volume, (1, np.s_[2:-2, 2:-2])))
    scan, _ = only(tmp_path)
    assert scan.brain == tmp_path / "s_desc-brain_mask.nii.gz" and scan.truth.name == "s_mask.nii.gz"


def test_subjects_are_told_by_names_and_folders(tmp_path):
    assert [subject_of(name) for name in ("sub-07_ses-1_swi", "x_sub-A1_T2", "resub-3", "scan 7")] == [
        "sub-07", "sub-A1", "resub-3", "scan 7"]
    volume = noise()
    for name in ("sub-1/ses-1/first", "sub-1/ses-2/second", "sub-2_ses-1"):
        write_image(tmp_path / f"{name}.nii.gz", volume)
        write_image(tmp_path / f"{name}_seg.nii.gz", label_map(volume, (1, A)))
    assert {scan.name: scan.subject for scan in find_labelled_scans(tmp_path)} == {
        "first": "sub-1", "second": "sub-1", "sub-2_ses-1": "sub-2"}


@pytest.fixture
def drawn():
    """Return an image of what was drawn into it: truth maps and table."""
    volume = noise(affine=np.diag([1.0, 1, 1, 1]), shape=(40, 30, 20))
    boxes = {1: np.s_[3:6, 3:6, 3:6], 3: np.s_[10:30, 20, 10], 4: np.s_[33:36, 3:6, 3:6], 5: np.s_[0:40, 25:30, 0:3],
             7: np.s_[18:22, 8:11, 8:11]}
    microbleeds = label_map(volume, (1, boxes[1]))
    everything = label_map(volume, *boxes.items())
    rows = [Row(number, kind, *place, diameter, 3.0 if number in boxes else None, number in boxes, 0.3, "nowhere")
            for number, kind, place, diameter in (
                (1, "microbleed", (4.0, 4, 4), 3.0), (2, "microbleed", (20.0, 10, 10), 5.0), (3, "vein", (20.0, 20, 10),
                 1), (4, "calcification", (34.0, 4, 4), 3), (5, "motion ghost", (0.0, 0, 0), 0),
                (6, "microbleed", (30.0, 27, 1), 0.4), (7, "air interface", (20.0, 9, 9), 4))]
    return volume, Truth(microbleeds, everything, tuple(rows))


def test_implanted_scans_have_the_classes_of_what_was_drawn(tmp_path, drawn):
    volume, truth = drawn
    write_image(tmp_path / "scan.nii.gz", volume)
    write_truth(tmp_path, "scan", truth)
    write_label_map(tmp_path / "scan_desc-brain_mask.nii.gz", volume.with_data(np.ones(volume.shape, np.int32)))
    write_json(tmp_path / "scan.json", {"source": {"name": "sub-5_old.nii"}, "settings": {"modality": "qsm"}})
    scan, read = only(tmp_path)
    assert (scan.layout, scan.subject, scan.modality) == ("implanted", "sub-5", "qsm")
    write_json(tmp_path / "scan.json", {"subject": "sub-7", "source": {"name": "old.nii"}})
    assert only(tmp_path)[0].subject == "sub-7"
    assert not read.kinds_known
    assert np.array_equal(read.lesions, truth.microbleeds.data) and (read.classes[3:6, 3:6, 3:6] == MICROBLEED).all()
    assert (read.classes[10:30, 20, 10] == VESSEL).all() and (read.classes[33:36, 3:6, 3:6] == MIMIC).all()
    # around the invisible ones: 2.5 + 1 mm, and at least 2 mm also over a ghost; what can be seen there stays
    places = np.argwhere(np.ones(volume.shape))
    near = np.linalg.norm(places - [20, 10, 10], axis=1).reshape(volume.shape) <= 3.5
    tiny = np.linalg.norm(places - [30, 27, 1], axis=1).reshape(volume.shape) <= 2
    seen = truth.everything.data == 7
    assert (read.classes[seen] == MIMIC).all()
    assert np.array_equal(read.classes == IGNORED, (near & ~seen) | tiny)
    assert (read.classes[0:20, 25:30, 0:3] == TISSUE).all()


def test_a_simulated_data_set_is_read_and_its_subject_is_the_label_map(tmp_path):
    labels = write_labels(tmp_path / "toy.nii.gz", toy_labels())
    settings = SubjectSettings(bleeds=8, whole_head=False)
    plans = plan_cases(1, 5, [labels], "qsm", settings, matrix=(36, 44, 16), in_plane_mm=2.2, slice_mm=3.0)
    make_data_set(plans, tmp_path / "set", 1, Plain())
    scan, truth = only(tmp_path / "set")
    assert (scan.layout, scan.name, scan.subject, scan.modality) == (
        "simulated", "sub-0001_Chimap", "toy.nii.gz", "qsm")
    assert truth.kinds_known and truth.lesions.any()
    assert np.array_equal(truth.classes == MICROBLEED, truth.lesions > 0)
    rows = (line.split("\t") for line in
            (scan.image.parent / "sub-0001_Chimap_desc-truth.tsv").read_text().splitlines()[1:])
    seen = {int(row[0]) for row in rows if row[1] == "microbleed" and row[7] == "1"}
    assert set(np.unique(truth.lesions)) - {0} == seen
    check_data_set([scan])


def test_valdo_masks_are_cut_at_a_half_with_nan_outside(tmp_path):
    volume = noise()
    mask = np.full(SHAPE, np.nan, np.float32)
    mask[2:-2, 2:-2] = 0
    mask[A], mask[B] = 0.9, 1
    mask[10, 10, 4] = 0.4
    image = volume.data.copy()
    image[:2] = np.nan
    for subject, marks in (("sub-101", mask), ("sub-201", np.where(np.isnan(mask), mask, 0))):
        stem = f"Task2/{subject}/{subject}_space-T2S"
        (tmp_path / stem).parent.mkdir(parents=True)
        write_image(tmp_path / f"{stem}_desc-masked_T2S.nii.gz", volume.with_data(image + len(subject) * (marks == 0)))
        write_image(tmp_path / f"{stem}_desc-masked_T1.nii.gz", volume)
        write_image(tmp_path / f"{stem}_CMB.nii.gz", volume.with_data(marks))
    bled, clean = find_labelled_scans(tmp_path)
    assert (bled.layout, bled.subject, bled.modality, clean.subject) == ("valdo", "sub-101", "gre", "sub-201")
    scan = read_scan(bled.image).volume
    truth = read_truth(bled, scan)
    assert set(np.unique(truth.lesions)) == {0, 1, 2} and (truth.lesions > 0).sum() == 8 + 6
    assert (truth.lesions[A] > 0).all() and not read_truth(clean, scan).lesions.any()


def cuhk(folder, volume, points, count=None, dtype=np.uint8):
    """Write the first case of a set as that of CUHK; the points count voxels from 1 on."""
    (folder / "nii").mkdir(parents=True)
    (folder / "ground_truth").mkdir()
    write_image(folder / "nii/01.nii", volume)
    savemat(folder / "ground_truth/01.mat", {"cen": np.array(points, dtype), "gt_num": len(points) if count is None
                                             else count})


def test_cuhk_points_count_from_one_in_eight_bits(tmp_path):
    volume = noise(shape=(256, 230, 6), affine=np.diag([-0.45, 0.45, 1, 1.0]))
    data = volume.data.copy()
    data[253:256, 219:222, 2] = 100
    data[0, 0, 0] = 100
    cuhk(tmp_path, volume.with_data(data), [(255, 221, 3), (1, 1, 1), (1, 1, 1)])
    scan, truth = only(tmp_path)
    assert (scan.layout, scan.subject, scan.modality) == ("cuhk", "01", "swi")
    assert set(np.unique(truth.lesions)) == {0, 1, 2}
    assert np.array_equal(truth.lesions > 0, data == 100)


def test_a_cuhk_point_of_zero_does_not_wrap_around_to_the_last_voxel(tmp_path):
    cuhk(tmp_path, noise(shape=(256, 20, 6)), [(0, 3, 3)])
    with pytest.raises(InputError, match="01.mat has points outside"):
        only(tmp_path)


@pytest.mark.parametrize(("points", "count", "sentence"), [
    ([(3, 3, 3)], 2, "01.mat lists 1 points and says that there are 2"), ([(25, 3, 3)], 1, "01.mat has points outside"),
    ([(1, 2, 3, 4)], 1, "01.mat is not a table of points")])
def test_cuhk_tables_that_cannot_be_right_are_refused(tmp_path, points, count, sentence):
    cuhk(tmp_path, noise(), points, count)
    with pytest.raises(InputError, match=sentence):
        only(tmp_path)


def test_a_cuhk_scan_without_points_is_clean(tmp_path):
    cuhk(tmp_path, noise(), np.zeros((0, 3)))
    scan, truth = only(tmp_path)
    assert scan.clean_allowed and not truth.lesions.any()


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        find_labelled_scans(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no labelled scans in a layout that is known"):
        find_labelled_scans(tmp_path)
    with pytest.raises(InputError, match="holds no scans in the layout 'cuhk'"):
        find_labelled_scans(tmp_path, "cuhk")
    with pytest.raises(SettingsError, match="no layout 'dicom'; choose one of auto, simulated"):
        find_labelled_scans(tmp_path, "dicom")


def test_a_mixed_folder_is_refused_unless_the_layout_is_named(tmp_path):
    cuhk(tmp_path, noise(), [(3, 3, 3)])
    (tmp_path / "x_desc-cmb_review.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match=r"looks like several layouts \(reviews, cuhk\)"):
        find_labelled_scans(tmp_path)
    assert find_labelled_scans(tmp_path, "cuhk")[0].name == "01"


def test_places_are_world_coordinates_on_flipped_axes(tmp_path):
    """The point of a table in the voxels of a left-handed scan stays where it is."""
    volume = noise()
    data = volume.data.copy()
    data[20, 5, 3] = 50
    cuhk(tmp_path, volume.with_data(data), [(21, 6, 4)])
    scan, truth = only(tmp_path)
    found = voxel_to_ras(read_scan(scan.image).volume, np.argwhere(truth.lesions)[0])
    assert np.allclose(found, [11 - 20, -14 + 1.5 * 5, -9 + 3 * 3])
