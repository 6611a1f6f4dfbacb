"""Training: patches, a few real steps of every stage on a drawn case, resuming, and the exported model."""

import numpy as np
import pytest
import torch
from microbleeds.networks import Detector, Student, Teacher
from microbleeds.step1_candidates import Candidate
from microbleeds.training.cases import Case
from microbleeds.training.export import export_model
from microbleeds.training.fit import fit
from microbleeds.training.losses import voxel_loss
from microbleeds.training.operating_points import choose_operating_points
from microbleeds.training.sampling import Variation, cut, sites_of, vary
from microbleeds.training.train_models import classifier_batch, detector_batch, mine, student_loss_from, teacher_loss
from microbleeds.weights import load_model


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.05, (60, 60, 24))
    truth = np.zeros(image.shape, np.int16)
    for number, (i, j, k) in enumerate([(20, 20, 10), (40, 30, 12)], 1):
        truth[i - 1:i + 2, j - 1:j + 2, k - 1:k + 2] = number
    image += 0.5 * (truth > 0)
    symmetry = np.abs(rng.normal(0, 0.01, image.shape)) + 0.2 * (truth > 0)
    return Case("case", "subject", "gre", np.array([1.0, 1.0, 2.0]), image.astype(np.float16),
                symmetry.astype(np.float16), np.ones(image.shape, bool), truth)


def test_a_patch_is_cut_around_its_centre_and_padded_with_zeros(case):
    images, truth = cut(case, np.array([20, 20, 10]), (8, 8, 4))
    assert truth[4, 4, 2] and truth.sum() == 27
    images, _ = cut(case, np.array([0, 0, 0]), (8, 8, 4))
    assert not images[:, :4].any()
    assert images[0, 4, 4, 2] == case.image[0, 0, 0]


def test_a_variation_moves_image_and_truth_together(case):
    images, truth = cut(case, np.array([21, 19, 10]), (16, 16, 8))
    turned, mask = vary(images, truth, Variation((True, False, True), True, 0.5, 0.0), np.random.default_rng(0))
    assert turned[0][mask].mean() == pytest.approx(0.5 * images[0][truth].mean(), rel=1e-3)


def test_no_negative_lies_near_a_lesion(case):
    here = [Candidate((20.0, 20.0, 20.0), 0.9, np.zeros((1, 3), int)), Candidate((23.0, 20.0, 20.0), 0.9, None),
            Candidate((50.0, 50.0, 30.0), 0.9, None)]
    mined = mine(case, tuple(here))
    assert len(mined.positives) == 2
    np.testing.assert_allclose(mined.negatives, [[50, 50, 15]])


def test_every_parameter_of_every_stage_moves(case, tmp_path):
    sites = [sites_of(case, np.random.default_rng(0))]
    negatives = mine(case, ())
    mined = [type(negatives)(negatives.positives, np.array([[50.0, 50.0, 12.0]]))]
    teacher = Teacher(2)
    stages = {"detector": (Detector(2), detector_batch([case], sites), lambda n, i, t: voxel_loss(n(i), t)),
              "teacher": (teacher, classifier_batch([case], mined), teacher_loss),
              "student": (Student(2), classifier_batch([case], mined), student_loss_from(teacher))}
    for stage, (network, batch, loss) in stages.items():
        before = {name: value.clone() for name, value in network.named_parameters()}
        fit(network, batch, loss, steps=2, seed=0, folder=tmp_path, stage=stage)
        still = [name for name, value in network.named_parameters() if torch.equal(value, before[name])]
        assert not still, f"{stage}: {still}"


def test_a_finished_stage_is_taken_from_its_checkpoint(case, tmp_path):
    batch = detector_batch([case], [sites_of(case, np.random.default_rng(0))])

    def train():
        torch.manual_seed(0)
        return fit(Detector(2), batch, lambda n, i, t: voxel_loss(n(i), t), steps=1, seed=0, folder=tmp_path, stage="d")

    first, second = train().state_dict(), train().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_exported_model_loads_and_carries_its_operating_points(case, tmp_path):
    networks = {"detector": Detector(2).eval(), "teacher": Teacher(2).eval(), "student": Student(2).eval()}
    points, figures = choose_operating_points([case], networks, "cpu")
    export_model(tmp_path / "tiny", networks, 2, points, figures, {"seed": 1})
    model = load_model(tmp_path / "tiny")
    assert model.settings("balanced").classify.threshold >= model.settings("sensitive").classify.threshold
    assert figures["lesions"] == 2
