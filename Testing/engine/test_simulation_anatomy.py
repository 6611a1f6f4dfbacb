"""Label maps, what they become, and many brains from one of them."""

from dataclasses import replace

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.simulation import anatomy
from microbleeds.simulation.anatomy import (
    Anatomy,
    carried_anatomies,
    class_at,
    find_label_maps,
    read_anatomy,
)
from microbleeds.simulation.deformation import Deformation, deform, draw_deformation
from simulation_phantoms import toy_anatomy, toy_labels, write_labels

STILL = Deformation(False, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 1)


@pytest.fixture(scope="module")
def head():
    return toy_anatomy()


def shares(anatomy_):
    """Return the volume of each class, mm³."""
    counts = np.bincount(anatomy_.classes.data.ravel(), minlength=len(anatomy.CLASS_NAMES))
    return counts * anatomy_.classes.voxel_volume_mm3


def test_labels_without_a_class_of_their_own_leave_no_hole():
    classes = anatomy.class_map(np.array([0, 2, 25, 57, 511, 999, 1003, 2999, 3001, 4999, 12345]))
    assert classes.tolist() == [0, anatomy.WHITE, anatomy.WHITE, anatomy.WHITE, anatomy.SKULL, anatomy.SCALP,
                                anatomy.CORTEX, anatomy.CORTEX, anatomy.WHITE, anatomy.WHITE, anatomy.WHITE]


def test_the_carried_label_maps_can_be_used():
    paths = carried_anatomies()
    assert len(paths) >= 2
    assert read_anatomy(paths[0]).brain.sum() * 1e-3 > 900


def test_a_label_map_is_read_along_ras(head, tmp_path):
    path = write_labels(tmp_path / "toy.nii.gz", toy_labels())
    read = read_anatomy(path)
    assert np.array_equal(read.classes.data, head.classes.data)
    np.testing.assert_allclose(read.classes.affine[:3, :3], np.eye(3) * 2, atol=1e-6)


@pytest.mark.parametrize("codes, name", [((11, 50), "caudate"), ((8, 47), "cerebellar cortex"), ((16,), "brainstem")])
def test_a_missing_structure_is_named_with_its_file(codes, name, tmp_path):
    labels = toy_labels()
    labels[np.isin(labels, codes)] = 2
    path = write_labels(tmp_path / "partial.nii.gz", labels)
    with pytest.raises(InputError, match=rf"partial\.nii\.gz has no {name} \({codes[0]}"):
        read_anatomy(path)


def test_coarse_or_absent_label_maps_are_refused_by_name(tmp_path):
    path = write_labels(tmp_path / "coarse.nii.gz", toy_labels()[::2, ::2, ::2], 4.0)
    with pytest.raises(InputError, match=r"coarse\.nii\.gz has voxels of 4 mm"):
        read_anatomy(path)
    with pytest.raises(InputError, match="nowhere does not exist"):
        find_label_maps(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no images"):
        find_label_maps(tmp_path / "empty")
    assert find_label_maps(tmp_path) == (path,)


def test_what_lies_outside_the_map_is_air(head):
    assert class_at(head, np.array([[500.0, 0, 0], [-24, 4, 4]])).tolist() == [anatomy.AIR, anatomy.PUTAMEN]


def test_without_deformation_the_head_stays_itself(head):
    same = deform(head, STILL)
    np.testing.assert_allclose(same.classes.spacing, 1)
    present = shares(head) > 2000
    np.testing.assert_allclose(shares(same)[present][1:], shares(head)[present][1:], rtol=0.03)


@pytest.mark.parametrize("seed", range(6))
def test_drawn_heads_keep_all_structures_and_about_their_size(head, seed):
    rng = np.random.default_rng(seed)
    drawn = deform(head, draw_deformation(rng, rng.uniform(45, 90)))
    assert set(np.unique(head.classes.data)) == set(np.unique(drawn.classes.data))
    brain = [shares(own)[anatomy.WHITE:anatomy.SKULL].sum() for own in (head, drawn)]
    assert 0.75 < brain[1] / brain[0] < 1.3
    middle = np.argwhere(drawn.brain).mean(0) + drawn.classes.affine[:3, 3]
    assert np.abs(middle).max() < 4


def test_a_mirrored_head_is_the_mirror_image(head):
    labels = toy_labels()
    labels[np.isin(labels, (11, 12))] = 2
    one_sided = Anatomy("one-sided", head.classes.with_data(anatomy.class_map(labels)))
    plain, mirrored = (deform(one_sided, replace(STILL, mirrored=own)) for own in (False, True))
    assert plain.classes.shape == mirrored.classes.shape
    # half a voxel of the label map is a voxel of the result
    assert (plain.classes.data == mirrored.classes.data[::-1]).mean() > 0.95
    for own, side in ((plain, 1), (mirrored, -1)):
        caudate = np.argwhere(own.classes.data == anatomy.CAUDATE)[:, 0] + own.classes.affine[0, 3]
        assert (np.sign(caudate) == side).all()


def test_ventricles_and_sulci_widen_as_asked(head):
    ventricles = [shares(deform(head, replace(STILL, ventricles_mm=size)))[anatomy.VENTRICLE]
                  for size in (-1, 0, 1, 4)]
    assert ventricles == sorted(set(ventricles)) and ventricles[-1] > 1.3 * ventricles[1]
    wide = deform(head, replace(STILL, ventricles_mm=3.0))
    assert shares(wide)[[anatomy.CAUDATE, anatomy.THALAMUS]].min() > 500
    fluid = [shares(deform(head, replace(STILL, sulci_mm=size)))[anatomy.CSF] for size in (-0.2, 0, 0.2, 1.0)]
    assert fluid == sorted(set(fluid))


def test_a_larger_scale_is_a_larger_head_and_a_warp_changes_its_shape(head):
    plain = deform(head, STILL)
    larger = deform(head, replace(STILL, scale=(1.1, 1.0, 1.0)))
    assert shares(larger)[1:].sum() == pytest.approx(1.1 * shares(plain)[1:].sum(), rel=0.01)
    warped = deform(head, replace(STILL, warp_mm=1.5))
    changed = (warped.classes.data != plain.classes.data).mean()
    assert 0.02 < changed < 0.3
    again, other = (deform(head, replace(STILL, warp_mm=1.5, seed=seed)) for seed in (1, 2))
    assert np.array_equal(again.classes.data, warped.classes.data)
    assert not np.array_equal(other.classes.data, warped.classes.data)


def test_ventricles_of_the_old_are_wider_on_average():
    means = [np.mean([draw_deformation(np.random.default_rng(seed), age).ventricles_mm for seed in range(200)])
             for age in (50, 85)]
    assert means[1] > means[0] + 1
