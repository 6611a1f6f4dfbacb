import tracemalloc

import numpy as np
import torch
from microbleeds.calibration import Calibration
from microbleeds.networks import Student
from microbleeds.settings import ClassifySettings
from microbleeds.step0_prepare import Prepared
from microbleeds.step1_candidates import Candidate
from microbleeds.step2_classify import classify, patch
from microbleeds.volume import Volume
from torch import nn


class CentreVoxel(nn.Module):
    """A student whose probability is the image at the centre of the patch; it tells the sizes of its batches.

    Whom it tells is no part of it, because the classifier works with a copy.
    """

    def __init__(self, tell=lambda size: None):
        super().__init__()
        self.tell = tell

    def forward(self, x):
        assert x.shape[1:] == (2, 24, 24, 24)
        self.tell(len(x))
        value = torch.logit(x[:, 0, 12, 12, 12].clamp(1e-6, 1 - 1e-6))
        return torch.stack([torch.zeros_like(value), value], dim=1)


def scene(affine, count):
    rng = np.random.default_rng(5)
    image = Volume(rng.uniform(0, 1, (50, 40, 12)).astype(np.float32), affine)
    prepared = Prepared(image, image.with_data(-image.data), image.with_data(np.ones(image.shape, bool)))
    voxels = rng.integers((0, 0, 0), image.shape, (count, 3))
    positions = voxels @ affine[:3, :3].T + affine[:3, 3]
    candidates = [Candidate(tuple(p.tolist()), 0.5, v[None]) for p, v in zip(positions, voxels, strict=True)]
    return prepared, voxels, candidates


def run(candidates, prepared, student, batch_size):
    return classify(candidates, prepared, student, ClassifySettings(batch_size=batch_size), Calibration(),
                    "cpu", lambda f: None)


def test_each_candidate_gets_the_probability_of_its_own_patch(draw_affine):
    prepared, voxels, candidates = scene(draw_affine(np.random.default_rng(1), True, (0.7, 0.6, 3)), 70)
    batches = []
    result = run(candidates, prepared, CentreVoxel(lambda size: batches.append(size)), 32)
    assert batches == [32, 32, 6]
    np.testing.assert_allclose([c.probability for c in result], prepared.image.data[tuple(voxels.T)], atol=1e-5)
    assert [c.position_ras for c in result] == [c.position_ras for c in candidates]


def test_patches_are_zero_outside_the_grid():
    prepared, _, _ = scene(np.eye(4), 1)
    box = patch(Candidate((0, 0, 0), 0.5, np.zeros((1, 3), int)), prepared)
    assert not box[:, :12].any() and not box[:, :, :12].any() and not box[..., :12].any()
    np.testing.assert_array_equal(box[0, 12:, 12:, 12:], prepared.image.data[:12, :12, :12])
    np.testing.assert_array_equal(box[1], -box[0])


def test_no_candidates_and_two_thousand(draw_affine):
    prepared, _, candidates = scene(np.eye(4), 2000)
    assert run([], prepared, CentreVoxel(), 8) == ()
    tracemalloc.start()
    result = run(candidates, prepared, CentreVoxel(), 64)
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert len(result) == 2000 and peak_mb < 40, "all patches together would be 221 MB"


def test_the_student_is_folded_and_left_as_it_was():
    prepared, _, candidates = scene(np.eye(4), 20)
    patches = torch.from_numpy(np.stack([patch(candidate, prepared) for candidate in candidates]))
    torch.manual_seed(0)
    student = Student(4)
    with torch.no_grad():
        # so that the normalisations have something to do
        for _ in range(20):
            student(patches)
        expected = student.eval()(patches).softmax(1)[:, 1].numpy()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    found = [c.probability for c in run(candidates, prepared, student, 16)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
