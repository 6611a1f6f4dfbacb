import numpy as np
import pytest
from microbleeds.reference_symmetry import reference_symmetry
from scipy import ndimage


def slow(image):
    """Vote pixel by pixel for dark centres of (i, j) whole-number gradients: the reference, radius 2 and 3, alpha 2."""
    gradients = np.trunc(np.stack(np.gradient(image)))
    total = np.zeros(image.shape)
    for n in (2, 3):
        votes, strengths = np.zeros(np.add(image.shape, 6)), np.zeros(np.add(image.shape, 6))
        for i, j in np.ndindex(*image.shape):
            g = gradients[:, i, j]
            norm = np.hypot(*g)
            if norm > 0:
                step = np.round(g // norm * n).astype(int)
                votes[i - step[0] + 3, j - step[1] + 3] -= 1
                strengths[i - step[0] + 3, j - step[1] + 3] -= norm
        if votes.any():
            symmetry = (np.abs(votes) / np.abs(votes).max()) ** 2 * np.abs(strengths) / np.abs(strengths).max()
            total += ndimage.gaussian_filter(symmetry, 0.1 * n)[3:-3, 3:-3]
    return total


def test_it_is_what_the_reference_votes():
    rng = np.random.default_rng(5)
    image = np.rint(ndimage.gaussian_filter(rng.normal(0, 1, (21, 26, 3)), 1.5) * 3000)
    image *= 1000 / np.abs(image).max()
    expected = np.stack([slow(image[..., k]) for k in range(3)], axis=-1)
    expected = (expected - expected.min()) / np.ptp(expected)
    np.testing.assert_allclose(reference_symmetry(-image), expected, atol=1e-5)


def test_a_dark_disc_is_marked_in_units_of_any_size():
    i, j = np.indices((31, 31))
    disc = ndimage.gaussian_filter(np.where(np.hypot(i - 15, j - 14) <= 2.5, 1.0, 0.0), 0.7)
    darkness = np.stack([disc, np.zeros_like(disc)], axis=-1)
    result = reference_symmetry(darkness)
    peak = np.unravel_index(result.argmax(), result.shape)
    assert peak[2] == 0 and np.hypot(peak[0] - 15, peak[1] - 14) <= 3
    assert result.min() == 0 and result.max() == 1 and not result[..., 1].any()
    np.testing.assert_array_equal(reference_symmetry(darkness * 2**-20), result)


@pytest.mark.parametrize("shape", [(5, 6, 2), (1, 9, 3), (9, 1, 1)])
def test_nothing_is_marked_where_there_is_no_gradient(shape):
    assert not reference_symmetry(np.full(shape, -700.0)).any()
    assert not reference_symmetry(np.zeros(shape)).any()
