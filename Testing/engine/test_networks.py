"""Network shapes, and that initialising one network from another takes every weight meant to be taken."""

import torch
from microbleeds import networks
from microbleeds.networks import MICROBLEED, PATCH, TILE_MULTIPLES, Detector, Student, Teacher, microbleed_logit


def test_the_detector_answers_per_voxel():
    assert Detector(4)(torch.zeros(2, 2, 24, 16, 8)).shape == (2, 2, 24, 16, 8)
    assert Detector(4, classes=4)(torch.zeros(1, 2, *TILE_MULTIPLES).repeat(2, 1, 1, 1, 1)).shape == (2, 4, 8, 8, 4)


def test_some_slices_at_a_time_give_what_all_at_once_give(monkeypatch):
    torch.manual_seed(0)
    detector, image = Detector(4, classes=4).eval(), torch.randn(1, 2, 24, 16, 20)
    with torch.inference_mode():
        parts = []
        for slices in (1, 7, 16, 100):
            monkeypatch.setattr(networks, "_SLICES_AT_A_TIME", slices)
            parts.append(detector(image))
    assert all(torch.allclose(part, parts[-1], rtol=0, atol=1e-5) for part in parts)
    assert parts[-1].std() > 0.01


def test_normalisation_sees_all_slices_while_it_learns():
    torch.manual_seed(0)
    detector = Detector(4)
    image = torch.cat([torch.randn(2, 2, 8, 8, 16), 5 * torch.randn(2, 2, 8, 8, 16)], dim=-1)
    detector(image)
    norm = next(part for part in detector.segmentor.levels[0].join if isinstance(part, torch.nn.BatchNorm3d))
    assert norm.num_batches_tracked == 1


def test_the_probability_of_a_microbleed_is_that_of_the_softmax():
    logits = torch.randn(5, 4, 3, 3, 3)
    torch.testing.assert_close(microbleed_logit(logits).sigmoid(), logits.softmax(1)[:, MICROBLEED])


def test_student_and_teacher_answer_per_patch():
    patches = torch.zeros(3, 2, PATCH, PATCH, PATCH)
    assert Student(4)(patches).shape == (3, 2)
    voxels, classes = Teacher(4)(patches)
    assert voxels.shape == (3, 2, PATCH, PATCH, PATCH)
    assert classes.shape == (3, 2)


def test_the_teacher_takes_all_of_the_detector_and_adds_only_the_classifier():
    missing, unexpected = Teacher(4).load_state_dict(Detector(4).state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"classifier"}
