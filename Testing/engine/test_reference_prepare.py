import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.geometry import canonical_axes, voxel_to_ras
from microbleeds.reference_prepare import prepare_as_reference
from microbleeds.settings import PrepareSettings
from microbleeds.volume import Volume

PLAIN = PrepareSettings(correct_bias=False)


def phantom(affine, shape=(30, 34, 12), lesion=(13, 18, 6), value=300.0):
    """An ellipsoid brain between 900 and 1000 in air, one voxel of another value in it; and its mask."""
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    brain = (((points - (np.array(shape) - 1) / 2) / (0.4 * np.array(shape))) ** 2).sum(axis=-1) <= 1
    data = np.where(brain, np.random.default_rng(1).uniform(900, 1000, shape), 50).astype(np.float32)
    data[lesion] = value
    return Volume(data, affine), Volume(brain, affine)


@pytest.mark.parametrize("left_handed", [False, True])
def test_intensities_are_one_minus_share_of_the_largest(draw_affine, left_handed):
    scan, brain = phantom(draw_affine(np.random.default_rng(4), left_handed, (0.8, 0.8, 3)))
    prepared = prepare_as_reference(scan, brain, "swi", PLAIN)
    image = prepared.image
    assert image.same_grid(prepared.symmetry) and image.same_grid(prepared.brain) and image.data.dtype == np.float32
    place = np.unravel_index(image.data.argmax(), image.shape)
    largest = scan.data[brain.data].max()
    assert image.data[place] == pytest.approx(1 - 300 / largest)
    np.testing.assert_allclose(voxel_to_ras(image, place), voxel_to_ras(scan, (13, 18, 6)), atol=1e-3)
    assert image.data[prepared.brain.data].min() == 0 and not image.data[~prepared.brain.data].any()
    assert not prepared.symmetry.data[~prepared.brain.data].any() and prepared.symmetry.data.max() > 0.1


def test_grid_is_the_brains_box_towards_left_anterior_superior(draw_affine):
    rng = np.random.default_rng(8)
    for _ in range(6):
        scan, brain = phantom(draw_affine(rng, bool(rng.integers(2)), (0.8, 0.9, 3)))
        prepared = prepare_as_reference(scan, brain, "gre", PLAIN)
        order, flips = canonical_axes(prepared.image.affine)
        assert order == (0, 1, 2) and flips == (True, False, False)
        assert sorted(prepared.image.spacing) == pytest.approx([0.8, 0.9, 3])
        for axis in range(3):
            faces = prepared.brain.data.any(axis=tuple({0, 1, 2} - {axis}))
            assert faces[0] and faces[-1]
        assert prepared.brain.data.sum() == brain.data.sum()


def test_qsm_is_not_inverted_and_bright_centres_are_symmetric():
    i, j, k = np.indices((31, 31, 9))
    ball = np.exp(-((i - 16) ** 2 + (j - 14) ** 2 + (k - 4) ** 2) / 6)
    scan = Volume((0.3 * ball - 0.02).astype(np.float32), np.diag([1, 1, 2, 1.0]))
    brain = scan.with_data(np.ones(scan.shape, bool))
    bright = prepare_as_reference(scan, brain, "qsm", PLAIN)
    assert bright.image.data.max() == 1 and bright.image.data.min() == 0
    assert np.unravel_index(bright.image.data.argmax(), scan.shape) == (14, 14, 4)
    dark = prepare_as_reference(scan.with_data(1 - ball.astype(np.float32)), brain, "gre", PLAIN)
    for prepared in (bright, dark):
        place = np.unravel_index(prepared.symmetry.data.argmax(), scan.shape)
        assert np.abs(np.subtract(place, (14, 14, 4))).max() <= 3


def test_bias_is_corrected_where_it_is_asked_for():
    i, j, k = np.indices((60, 60, 20))
    field = 1 + 0.5 * i / 60
    scan = Volume((800 * field).astype(np.float32), np.diag([2, 2, 4, 1.0]))
    brain = scan.with_data((np.hypot(i - 30, j - 30) < 25) & (k > 1) & (k < 18))
    told = []
    image = prepare_as_reference(scan, brain, "gre", PrepareSettings(), lambda *event: told.append(event)).image
    assert image.data[30:].max() < 0.12
    assert [message for message, _ in told] == ["Bias field", "Intensities", "Radial symmetry"]


def test_refusals(draw_affine):
    scan, brain = phantom(np.diag([1, 1, 3, 1.0]))
    with pytest.raises(InputError, match="no voxel with signal"):
        prepare_as_reference(scan.with_data(np.zeros(scan.shape, np.float32)), brain, "gre", PLAIN)
    with pytest.raises(ValueError, match="grid"):
        prepare_as_reference(scan, Volume(brain.data, np.diag([1, 1, 2, 1.0])), "gre", PLAIN)
    with pytest.raises(ValueError, match="empty"):
        prepare_as_reference(scan, brain.with_data(np.zeros(brain.shape, bool)), "gre", PLAIN)
