"""Regions by anatomy: tissues of phantoms with known intensities, and the rule of 10 mm."""

import numpy as np
import pytest
from microbleeds import regions
from microbleeds.head_atlas import TISSUES, VENTRICLE, WHITE_MATTER, read_atlas
from microbleeds.region_anatomy import combined
from microbleeds.region_map import MODEL
from microbleeds.resources import resource_path
from microbleeds.tissue_mixture import tissue_probabilities


@pytest.mark.parametrize("means", [(10, 5, 7), (2, 9, 5), (-0.03, 0.05, 0.0)])
def test_tissues_are_found_whatever_their_contrast(means):
    rng = np.random.default_rng(2)
    true = rng.integers(0, 3, 6000)
    spread = 0.1 * np.ptp(means)
    values = np.array(means)[true] + rng.normal(0, spread, len(true))
    prior = np.full((3, len(true)), 0.25)
    prior[true, np.arange(len(true))] = 0.5
    found = tissue_probabilities(values, prior)
    assert np.allclose(found.sum(axis=0), 1, atol=1e-5)
    assert np.mean(found.argmax(axis=0) == true) > 0.97


def test_one_value_everywhere_leaves_the_prior():
    prior = np.array([[0.2] * 5, [0.6] * 5])
    found = tissue_probabilities(np.full(5, 3.0), prior)
    assert np.allclose(found.argmax(axis=0), 1) and np.isfinite(found).all()


@pytest.fixture(scope="module")
def white():
    """White matter that frontal and deep white matter share evenly: atlas, pairs and tissues of four places."""
    atlas = read_atlas(resource_path(MODEL))
    pairs, tissues = np.zeros((len(atlas.tissues), 4), np.float32), np.zeros((len(TISSUES), 4), np.float32)
    pairs[(atlas.tissues == WHITE_MATTER) & np.isin(atlas.regions, (regions.FRONTAL, regions.DEEP_WHITE_MATTER))] = 0.5
    tissues[WHITE_MATTER] = 1
    return atlas, pairs, tissues


def test_white_matter_is_deep_within_ten_millimetres_of_a_ventricle(white):
    logs = combined(*white, np.array([3.0, 9.0, 13.0, np.inf]))
    found = logs.argmax(axis=0) + 1
    assert found.tolist() == [regions.DEEP_WHITE_MATTER] * 2 + [regions.FRONTAL] * 2
    assert np.allclose(np.exp(logs).sum(axis=0), 1, atol=0.06)


def test_a_place_in_fluid_gets_the_region_of_the_tissue_beside_it(white):
    atlas, pairs, tissues = white
    wet = tissues.copy()
    wet[WHITE_MATTER], wet[VENTRICLE] = 0.1, 0.9
    assert (combined(atlas, pairs, wet, np.full(4, 3.0)).argmax(axis=0) + 1 == regions.DEEP_WHITE_MATTER).all()
