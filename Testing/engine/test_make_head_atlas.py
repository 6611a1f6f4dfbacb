"""The atlas of heads: what is counted in one head, and how counts become the file."""

import sys
from itertools import product

import numpy as np
import pytest
from microbleeds.head_atlas import FIRST_MM, LEVELS, SHAPE, SPACING_MM, TISSUES
from microbleeds.regions import REGIONS
from microbleeds.simulation.anatomy import carried_anatomies, read_anatomy
from microbleeds.training import make_head_atlas
from microbleeds.training.make_head_atlas import packed, pairs_of

PAIRS = list(product(TISSUES, REGIONS))
EVERY_MM = 2


def test_structures_are_counted_where_they_lie_in_mni_space():
    counted = pairs_of(read_anatomy(carried_anatomies()[0]))
    assert counted.shape[1:] == tuple(2 * side - 1 for side in SHAPE) and set(np.unique(counted)) == {0, 1}
    assert counted.sum(axis=0).max() == 1

    def middle(tissue, region):
        return FIRST_MM + EVERY_MM * np.argwhere(counted[PAIRS.index((tissue, region))]).mean(axis=0)

    assert np.allclose(middle("nucleus", "thalamus"), (0, -18, 8), atol=5)
    assert np.allclose(middle("brainstem", "brainstem"), (0, -29, -31), atol=7)
    assert middle("white matter", "occipital")[1] < -70 < 0 < middle("white matter", "frontal")[1]
    assert not counted[PAIRS.index(("cerebellar cortex", "frontal"))].any()


def test_shares_are_smoothed_and_made_symmetric_and_rare_pairs_are_left_out():
    counts = np.zeros((len(PAIRS), *(2 * side - 1 for side in SHAPE)), np.uint16)
    large, rare = PAIRS.index(("white matter", "frontal")), PAIRS.index(("cortex", "insula"))
    # right of the midline, in all of four heads
    counts[large, 50:70, 40:60, 30:50] = 4
    # 8 mm³ a voxel, and 300 mm³ are the least
    counts[rare, 60:63, 40:44, 40:43] = 4
    atlas = packed(counts, heads=4)
    assert atlas["tissues"].tolist() == [TISSUES.index("white matter")]
    assert atlas["regions"].tolist() == [REGIONS.index("frontal") + 1]
    assert atlas["shares"].shape == (1, SHAPE[0] // 2 + 1, *SHAPE[1:]) and atlas["shares"].dtype == np.uint8
    # on either side it is there in half of the cases
    assert atlas["shares"].max() == round(LEVELS / 2)
    there = FIRST_MM + SPACING_MM * np.argwhere(atlas["shares"][0] > LEVELS / 4)
    box = FIRST_MM + EVERY_MM * np.array([[80 - 69, 40, 30], [80 - 50, 59, 49]])
    assert (there.min(axis=0) >= box[0] - 2).all() and (there.max(axis=0) <= box[1] + 2).all()


def test_a_folder_with_too_few_heads_is_refused(tmp_path, monkeypatch):
    (tmp_path / "training_seg_01.nii.gz").touch()
    monkeypatch.setattr(sys, "argv", ["make_head_atlas", "--labels", str(tmp_path), "-o", str(tmp_path / "atlas.npz")])
    with pytest.raises(SystemExit, match="holds 1 label maps .* at least 6 are needed"):
        make_head_atlas.main()
    assert not (tmp_path / "atlas.npz").exists()
