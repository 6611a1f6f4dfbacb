"""Verdicts on a drawn image with known answers, each made with one microbleed, one vein and one hidden microbleed."""

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.evaluation.by_kind import AGAIN, BRAIN, CAUSES, OUTSIDE, count_causes, count_found, judge
from microbleeds.evaluation.drawn_truth import Drawn, DrawnTruth, read_drawn_table, read_drawn_truth
from microbleeds.evaluation.matching import Counts
from microbleeds.evaluation.metrics import ScoredCandidates, froc
from microbleeds.read_write import write_image, write_label_map, write_text
from microbleeds.simulation.shapes import CALCIFICATION, MICROBLEED, VEIN
from microbleeds.volume import Volume

SHAPE = (40, 40, 12)
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])
BLEED, HIDDEN, VEIN_AT, CALCIUM = (10, 10, 3), (30, 10, 3), (10, 30, 3), (30, 30, 3)
DRAWN = (Drawn(1, MICROBLEED, (10, 10, 9), True, 4.0, "left putamen, deep"),
         Drawn(2, MICROBLEED, (30, 10, 9), False, None, "right cortex, lobar"),
         Drawn(3, VEIN, (10, 30, 9), True, 2.0, "left cortex, lobar"),
         Drawn(4, CALCIFICATION, (30, 30, 9), True, 3.0, "right cortex, lobar"))


def cubes(*centres, numbers=None):
    data = np.zeros(SHAPE, np.int32)
    for number, centre in zip(numbers or range(1, len(centres) + 1), centres, strict=True):
        data[tuple(slice(c - 1, c + 2) for c in centre)] = number
    return Volume(data, AFFINE)


@pytest.fixture
def truth():
    brain = np.zeros(SHAPE, bool)
    brain[3:, 3:] = True
    vein = cubes(BLEED, VEIN_AT, CALCIUM, numbers=(1, 3, 4)).data.copy()
    vein[10, 24:36, 3] = 3
    return DrawnTruth(DRAWN, cubes(BLEED), Volume(vein, AFFINE), Volume(brain, AFFINE))


def causes(*centres, truth):
    return [item.cause for item in judge(cubes(*centres), truth).false_positives]


def test_perfect_and_empty_predictions(truth):
    perfect = judge(cubes(BLEED), truth)
    assert (perfect.counts, perfect.found, perfect.false_positives) == (Counts(1, 1, 1, 1), (1,), ())
    assert judge(cubes(), truth).counts == Counts(1, 0, 0, 0)


@pytest.mark.parametrize(("centre", "cause"), [
    (VEIN_AT, VEIN), ((12, 30, 3), VEIN), ((15, 30, 3), VEIN), ((16, 30, 3), BRAIN), ((10, 30, 6), VEIN),
    ((10, 30, 7), BRAIN), ((31, 30, 4), CALCIFICATION), ((20, 20, 8), BRAIN), ((1, 20, 8), OUTSIDE),
    ((14, 14, 3), AGAIN)])
def test_what_a_false_positive_is_put_down_to(truth, centre, cause):
    assert causes(centre, truth=truth) == [cause]


def test_the_larger_share_of_the_voxels_decides(truth):
    data = np.zeros(SHAPE, np.int32)
    data[9:30, 30, 3] = 1
    verdict = judge(Volume(data, AFFINE), truth)
    assert [(item.cause, item.id) for item in verdict.false_positives] == [(VEIN, 3)]
    data[29:32, 29:32, 3] = 1
    assert [item.id for item in judge(Volume(data, AFFINE), truth).false_positives] == [4]


def test_one_hit_and_one_again(truth):
    verdict = judge(cubes(BLEED, (10, 13, 3)), truth)
    assert verdict.counts == Counts(1, 1, 2, 1)
    assert [item.cause for item in verdict.false_positives] == [AGAIN]


def test_a_hidden_microbleed_is_neither_hit_nor_false_positive(truth):
    verdict = judge(cubes(BLEED, HIDDEN), truth)
    assert (verdict.counts, verdict.spared, verdict.false_positives) == (Counts(1, 1, 1, 1), 1, ())


def test_froc_spares_them_too(truth):
    positions = np.array([(10.0, 10, 9), (30, 10, 9), (10, 30, 9)])
    scan = ScoredCandidates(positions, np.array([0.9, 0.9, 0.4]), positions[:1], np.array([False, True, False]))
    high, low = froc([scan], (0.5, 0.1))
    assert (high.sensitivity, high.precision, high.false_positives_per_scan) == (1.0, 1.0, 0)
    assert (low.precision, low.false_positives_per_scan) == (0.5, 1)


def test_counts_over_images(truth):
    verdicts = [judge(cubes(VEIN_AT, (10, 25, 3)), truth), judge(cubes(VEIN_AT, (20, 20, 8)), truth),
                judge(cubes(BLEED), truth)]
    counts = {item.cause: item for item in count_causes(verdicts)}
    assert tuple(counts) == CAUSES
    assert (counts[VEIN].visible, counts[VEIN].fooled, counts[VEIN].false_positives) == (3, 2, 3)
    assert (counts[CALCIFICATION].visible, counts[CALCIFICATION].fooled) == (3, 0)
    assert (counts[BRAIN].visible, counts[BRAIN].false_positives) == (None, 1)
    assert sum(item.false_positives for item in counts.values()) == sum(v.counts.false_positives for v in verdicts)
    assert count_found(verdicts, lambda item: item.region.split(", ")[1]) == {"deep": (1, 3)}


def test_a_visible_microbleed_without_voxels_lies_where_it_was_drawn(truth):
    covered = DrawnTruth(truth.drawn, cubes(), truth.everything, truth.brain)
    assert judge(cubes(BLEED), covered).found == (1,)


@pytest.fixture
def folder(tmp_path, truth):
    image = tmp_path / "sub-1_T2starw.nii.gz"
    write_image(image, truth.brain.with_data(np.ones(SHAPE, np.float32)))
    write_label_map(tmp_path / "sub-1_desc-brain_mask.nii.gz", truth.brain.with_data(truth.brain.data.astype(int)))
    write_label_map(tmp_path / "sub-1_T2starw_desc-cmb_truth.nii.gz", truth.microbleeds)
    write_label_map(tmp_path / "sub-1_T2starw_desc-all_truth.nii.gz", truth.everything)
    rows = [("id", "kind", "R_mm", "A_mm", "S_mm", "source_diameter_mm", "visible_diameter_mm", "visible", "region")]
    rows += [(item.id, item.kind, *item.position_ras, 2.0, item.visible_diameter_mm or "", int(item.visible),
              item.region) for item in truth.drawn]
    write_text(tmp_path / "sub-1_T2starw_desc-truth.tsv", "".join("\t".join(map(str, row)) + "\n" for row in rows))
    return image


def read(image, grid):
    return read_drawn_truth(image, image.with_name("sub-1_desc-brain_mask.nii.gz"), grid, image)


def test_reading(folder, truth):
    found = read(folder, truth.brain)
    assert found.drawn == DRAWN
    assert (found.everything.data == truth.everything.data).all() and (found.brain.data == truth.brain.data).all()


def test_maps_follow_the_axes_of_the_prediction(folder, truth):
    flipped = Volume(np.ones(SHAPE), AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0],
                                                        [0, 0, 0, 1]]))
    assert (read(folder, flipped).microbleeds.data == truth.microbleeds.data[::-1]).all()


def test_damaged_truth(folder, truth):
    other = Volume(np.ones((8, 8, 8)), AFFINE)
    with pytest.raises(InputError, match="not on the grid"):
        read(folder, other)
    table = folder.with_name("sub-1_T2starw_desc-truth.tsv")
    text = table.read_text()
    table.write_text("".join(line for line in text.splitlines(True) if not line.startswith("3\t")))
    with pytest.raises(InputError, match="does not list 3"):
        read(folder, truth.brain)
    table.write_text(text.replace("10.0", "left") if "10.0" in text else text.replace("\t10\t", "\tleft\t"))
    with pytest.raises(InputError, match="not a table of what was drawn"):
        read_drawn_table(table)
    table.write_text(text.replace("visible_diameter_mm", "diameter"))
    with pytest.raises(InputError, match="no column visible_diameter_mm"):
        read_drawn_table(table)
    table.unlink()
    with pytest.raises(InputError, match="cannot be opened"):
        read_drawn_table(table)
