import json
from pathlib import Path

import numpy as np
import pytest
import torch
from microbleeds.assemble import make_findings
from microbleeds.errors import InputError, SettingsError
from microbleeds.geometry import ras_to_voxel, voxel_to_ras
from microbleeds.outputs import result_from_json, result_to_json
from microbleeds.pipeline import detect
from microbleeds.read_write import Scan
from microbleeds.settings import CandidateSettings, CleanupSettings, PrepareSettings, Settings
from microbleeds.step1_candidates import Candidate
from microbleeds.volume import Volume
from microbleeds.weights import Model
from torch import nn

BALANCED = Settings(prepare=PrepareSettings(correct_bias=False), candidates=CandidateSettings(threshold=0.3))


class Brightness(nn.Module):
    """A detector or student whose probability is the image, of a patch that of its inner part."""

    def __init__(self, patch):
        super().__init__()
        self.patch = patch

    def forward(self, x):
        value = x[:, 0, 11:14, 11:14, 12].amax((1, 2)) if self.patch else x[:, 0]
        value = torch.logit(value.clamp(1e-4, 1 - 1e-4))
        return torch.stack([torch.zeros_like(value), value], dim=1)


@pytest.fixture
def model():
    return Model("fake", "0" * 64, Brightness(False), Brightness(True), {"balanced": BALANCED})


def scene(affine, shape, lesions=(), radius_mm=2.0):
    """A scan of an ellipsoid brain with dark balls of growing depth, its mask, and their centres in RAS."""
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    brain = (((points - (np.array(shape) - 1) / 2) / (0.45 * np.array(shape))) ** 2).sum(axis=-1) <= 1
    data = np.where(brain, 1000, 0).astype(np.float32)
    for number, lesion in enumerate(lesions):
        distance_mm = np.linalg.norm((points - lesion) @ affine[:3, :3].T, axis=-1)
        data[distance_mm <= radius_mm] = 400 - 100 * number
    volume = Volume(data, affine)
    scan = Scan(volume, Path("scan_T2star.nii.gz"), "scan_T2star", "1" * 64, ("Slices are thick.",), {}, False)
    return scan, volume.with_data(brain), [voxel_to_ras(volume, np.array(lesion)) for lesion in lesions]


@pytest.mark.parametrize("spacing, shape, lesions", [
    ((0.6, 0.5, 2.0), (60, 70, 24), [(25, 30, 10), (36, 40, 14)]),
    ((2.0, 0.6, 0.5), (24, 60, 70), [(10, 25, 30), (14, 36, 40)]),
    ((0.25, 0.25, 1.5), (120, 130, 26), [(50, 60, 12), (75, 70, 15)]),
    ((1.4, 1.3, 3.0), (40, 42, 20), [(16, 20, 9), (25, 23, 12)])])
def test_balls_are_found_at_their_place_on_oblique_left_handed_grids(draw_affine, model, spacing, shape, lesions):
    affine = draw_affine(np.random.default_rng(7), True, spacing)
    scan, brain, centres = scene(affine, shape, lesions, radius_mm=2.2)
    detection = detect(scan, model, mask=brain, device="cpu")
    findings = detection.result.findings
    assert [f.id for f in findings] == [1, 2] and findings[0].probability > findings[1].probability
    assert detection.labels.same_grid(scan.volume) and detection.labels.data.dtype == np.int32
    for finding, centre, depth in zip(findings, centres[::-1], (300, 400), strict=True):
        off = ras_to_voxel(scan.volume, finding.position_ras) - ras_to_voxel(scan.volume, centre)
        assert np.abs(off).max() < 0.6
        assert finding.extrema.minimum == depth
        low, high = finding.box_ras
        assert all(a <= b <= c for a, b, c in zip(low, finding.position_ras, high, strict=True))
        here = np.argwhere(detection.labels.data == finding.id)
        np.testing.assert_allclose(here.mean(axis=0), ras_to_voxel(scan.volume, centre), atol=0.6)
        painted_mm3 = len(here) * scan.volume.voxel_volume_mm3
        assert painted_mm3 == pytest.approx(finding.volume_mm3, rel=0.35)


def test_labels_are_the_region_itself_where_nothing_is_resampled(draw_affine, model):
    affine = draw_affine(np.random.default_rng(3), True, (2.5, 0.6, 0.6))
    scan, brain, _ = scene(affine, (20, 60, 60), [(10, 30, 28)])
    detection = detect(scan, model, mask=brain, device="cpu")
    np.testing.assert_array_equal(detection.labels.data == 1, scan.volume.data == 400)
    finding = detection.result.findings[0]
    assert finding.volume_mm3 == pytest.approx((scan.volume.data == 400).sum() * scan.volume.voxel_volume_mm3)


def test_a_clean_scan_has_an_empty_result(model):
    scan, brain, _ = scene(np.diag([0.8, 0.8, 2, 1]), (40, 44, 16))
    detection = detect(scan, model, mask=brain, device="cpu")
    assert detection.result.candidates == () and not detection.labels.data.any()


def test_provenance_and_progress(model):
    scan, brain, _ = scene(np.diag([0.8, 0.8, 2, 1]), (40, 44, 16), [(20, 22, 8)])
    told = []
    result = detect(scan, model, mask=brain, device="cpu", progress=lambda *event: told.append(event)).result
    made = result.provenance
    assert made.input_name == "scan_T2star.nii.gz" and made.modality == "gre" and made.warnings[0] == scan.warnings[0]
    assert list(made.seconds) == ["brain", "prepare", "candidates", "classify", "cleanup", "regions"]
    assert Settings.from_json(made.parameters) == BALANCED
    assert result_from_json(json.loads(json.dumps(result_to_json(result)))) == result
    fractions = [fraction for _, _, fraction in told]
    assert fractions == sorted(fractions) and 0 == fractions[0] and fractions[-1] <= 1
    assert list(dict.fromkeys(step for step, _, _ in told)) == ["prepare", "candidates", "classify", "cleanup"]


def test_cleanup_comes_before_the_probability(draw_affine):
    volume = Volume(np.ones((20, 20, 10), np.float32), draw_affine(np.random.default_rng(1), True, (1, 1, 3)))
    candidates = [Candidate((float(n), 0.0, 0.0), 0.5, np.array([[n, 4, 4]]), probability)
                  for n, probability in enumerate((0.2, 0.9, 0.3, 0.8, 0.8))]
    findings, labels = make_findings(candidates, (None, None, "volume", "edge", None), 0.5, volume, volume)
    assert [(f.position_ras[0], f.removed_by) for f in findings] == [
        (1, None), (3, "step3_cleanup: edge"), (4, None), (2, "step3_cleanup: volume"),
        (0, "step2_classify: probability")]
    assert [f.id for f in findings] == [1, 2, 3, 4, 5]
    assert labels.data[1, 4, 4] == 1 and labels.data[4, 4, 4] == 3 and (labels.data > 0).sum() == 2
    _, labels = make_findings(candidates, (None, None, "volume", "edge", None), 0.5, volume, volume, True)
    assert labels.data[0, 4, 4] == 5 and (labels.data > 0).sum() == 3


def test_a_finding_knows_how_far_the_edge_of_the_brain_is(draw_affine):
    affine = draw_affine(np.random.default_rng(2), True, (0.8, 0.8, 2.0))
    brain = np.zeros((60, 60, 30), bool)
    brain[10:50, 10:50, 5:25] = True
    scan, brain = Volume(np.ones(brain.shape, np.float32), affine), Volume(brain, affine)
    # the faces of the box lie half a voxel beyond its last voxels
    expected = {(12, 30, 15): 2.5 * 0.8, (30, 30, 7): 2.5 * 2.0, (30, 30, 15): None, (5, 30, 15): 0.0}
    candidates = [Candidate(tuple(voxel_to_ras(brain, voxel).tolist()), 0.9, np.array([voxel]), 0.9)
                  for voxel in expected]
    findings, _ = make_findings(candidates, [None] * len(candidates), 0.5, scan, brain)
    told = {tuple(np.rint(ras_to_voxel(brain, f.position_ras)).astype(int).tolist()): f.edge_mm for f in findings}
    assert told == {voxel: pytest.approx(distance) for voxel, distance in expected.items()}


@pytest.mark.parametrize("spacing_mm", [2.0, 3.0])
def test_every_kept_finding_owns_a_voxel_on_a_coarse_scan(spacing_mm):
    scan = Volume(np.zeros((12, 12, 6), np.float32), np.diag([spacing_mm, spacing_mm, 4, 1]))
    working = Volume(np.zeros((24, 24, 6), np.float32), np.array([[1.0, 0, 0, 0.4], [0, 1, 0, 0.4], [0, 0, 4, 0],
                                                                 [0, 0, 0, 1]]))
    voxels = [np.array([[i, j, 2]]) for i in range(1, 20, 2) for j in range(1, 20, 2)]
    candidates = [Candidate(tuple(voxel_to_ras(working, v[0]).tolist()), 0.9, v, 0.9) for v in voxels]
    findings, labels = make_findings(candidates, [None] * len(voxels), 0.5, scan, working)
    assert set(np.unique(labels.data)) == {0, *(f.id for f in findings)}
    first = {f.id: f for f in findings}[labels.data[tuple(np.argwhere(labels.data)[0])]]
    assert np.abs(voxel_to_ras(scan, np.argwhere(labels.data)[0]) - first.position_ras).max() <= spacing_mm


def test_refusals_name_the_file_or_the_setting(model):
    scan, brain, _ = scene(np.diag([0.8, 0.8, 2, 1]), (40, 44, 16))
    with pytest.raises(InputError, match="scan_T2star.nii.gz: .*mask is empty"):
        detect(scan, model, mask=brain.with_data(np.zeros(brain.shape, bool)), device="cpu")
    with pytest.raises(SettingsError, match="modality"):
        detect(scan, model, mask=brain, modality="ct", device="cpu")
    with pytest.raises(SettingsError, match="operating point"):
        detect(scan, model, mask=brain, operating_point="best", device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="graphics card"):
            detect(scan, model, mask=brain, device="cuda")


def test_a_removed_candidate_is_reported_but_not_painted():
    strict = Settings(prepare=BALANCED.prepare, candidates=BALANCED.candidates,
                      cleanup=CleanupSettings(min_volume_mm3=500.0))
    model = Model("fake", "0" * 64, Brightness(False), Brightness(True), {"balanced": strict})
    scan, brain, _ = scene(np.diag([0.8, 0.8, 2, 1]), (40, 44, 16), [(20, 22, 8)])
    detection = detect(scan, model, mask=brain, device="cpu")
    assert [c.removed_by for c in detection.result.candidates] == ["step3_cleanup: volume"]
    assert detection.result.findings == () and not detection.labels.data.any()
