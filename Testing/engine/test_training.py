"""Training: patches, mining, a few real steps of every stage on drawn cases, resuming, refusing."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from microbleeds.errors import InputError, SettingsError
from microbleeds.networks import Detector, Student, Teacher
from microbleeds.step1_candidates import Candidate
from microbleeds.training.batches import classifier_batch, detector_batch
from microbleeds.training.fit import Stage, fit
from microbleeds.training.labelled_scans import IGNORED, MICROBLEED
from microbleeds.training.mining import Mined, mine
from microbleeds.training.sampling import cut_patch, lesion_weight, sites_of
from microbleeds.training.stages import (
    DETECTOR,
    STUDENT,
    Place,
    detector_loss,
    distilling_loss,
    label_loss,
    teacher_loss,
    train_networks,
    with_lookalikes,
)
from microbleeds.training.training_settings import TrainingSettings
from torch import nn
from training_phantoms import drawn_case

TINY = TrainingSettings(width=2, detector_steps=2, refine_steps=1, teacher_steps=2, student_steps=2, detector_batch=2,
                        classifier_batch=4)


def silent(stage, fraction, message):
    pass


def stage(folder, name="stage", steps=2):
    return Stage(name, steps, 0, 2e-3, folder, "cpu", silent)


@pytest.fixture
def case():
    return drawn_case()


def test_a_patch_is_cut_around_its_centre_and_padded_with_tissue(case):
    patch = cut_patch(case, np.array([20, 20, 10]), (8, 8, 4))
    assert patch.classes[4, 4, 2] == MICROBLEED and (patch.lesion_weights > 0).sum() == 27
    patch = cut_patch(case, np.array([0, 0, 0]), (8, 8, 4))
    assert not patch.images[:, :4].any()
    assert patch.images[0, 4, 4, 2] == case.images[0, 0, 0, 0]


def test_small_lesions_weigh_more_per_voxel_and_less_in_all():
    small, large = lesion_weight(np.array([10, 300]))
    assert small > large
    assert 10 * small < 300 * large


def test_lookalikes_are_mimics_and_peaks_far_from_lesions(case):
    sites = sites_of(case, np.random.default_rng(0))
    np.testing.assert_allclose(sites.lesions, [[20, 20, 10], [40, 30, 12]])
    assert (np.abs(sites.lookalikes - [12, 45, 12]).max(1) < 0.5).any()
    distances_mm = np.linalg.norm((sites.lookalikes[:, None] - sites.lesions) * case.spacing, axis=2)
    assert distances_mm.min() > 3


def test_where_look_alikes_stand_in_for_false_candidates_none_is_on_an_ignored_region(case):
    # the ignored cube is the strongest peak of the case
    sites = sites_of(case, np.random.default_rng(0))
    negatives = with_lookalikes(Mined(sites.lesions, np.empty((0, 3))), sites).negatives
    unknown = np.argwhere(case.classes == IGNORED)
    assert len(negatives) == 20
    assert np.linalg.norm((negatives[:, None] - unknown) * case.spacing, axis=2).min() > 4


def test_no_negative_lies_near_a_lesion_or_on_an_ignored_region(case):
    here = [Candidate((20.0, 20.0, 20.0), 0.9, np.array([[20, 20, 10]])),
            Candidate((23.0, 20.0, 20.0), 0.9, np.array([[23, 20, 10]])),
            Candidate((50.0, 10.0, 30.0), 0.9, np.array([[50, 10, 15]])),
            Candidate((48.0, 48.0, 32.0), 0.9, np.array([[48, 48, 16]]))]
    mined = mine(case, here)
    np.testing.assert_allclose(mined.negatives, [[50, 10, 15]])
    np.testing.assert_allclose(mined.positives, [[20, 20, 10], [40, 30, 12], [20, 20, 10]])


def test_most_of_a_batch_are_lesions_and_subjects_take_part_alike():
    cases = [drawn_case(f"a{n}", "a", n) for n in range(9)]
    cases.append(replace(drawn_case("b", "b", 9, lesions=[(30, 30, 12)]), kinds_known=False))
    sites = [sites_of(one, np.random.default_rng(0)) for one in cases]
    batch = detector_batch(cases, sites, replace(TINY, detector_batch=300, randomise=False))
    _, classes, _, known, _ = batch(np.random.default_rng(0))
    of_a = float(known.float().mean())
    assert 0.4 < of_a < 0.6 and float((classes == MICROBLEED).flatten(1).any(1).float().mean()) > 0.6
    found = [Mined(np.array([[20.0, 20.0, 10.0]]) if one.subject == "a" else np.array([[30.0, 30.0, 12.0]]),
                   np.array([[50.0, 10.0, 12.0]])) for one in cases]
    *_, labels = classifier_batch(cases, found, replace(TINY, classifier_batch=64))(np.random.default_rng(1))
    assert labels.tolist() == [0, 1] * 32


def test_every_parameter_of_every_stage_moves(case, tmp_path):
    sites = [sites_of(case, np.random.default_rng(0))]
    mined = [Mined(sites[0].lesions, np.array([[50.0, 10.0, 12.0]]))]
    teacher = Teacher(2, 4)
    stages = {"detector": (Detector(2, 4), detector_batch([case], sites, TINY), detector_loss),
              "teacher": (teacher, classifier_batch([case], mined, TINY), teacher_loss),
              "student": (Student(2), classifier_batch([case], mined, TINY), distilling_loss(teacher, 0.4)),
              "student alone": (Student(2), classifier_batch([case], mined, TINY), label_loss)}
    for name, (network, batch, loss) in stages.items():
        before = {name: value.clone() for name, value in network.named_parameters()}
        fit(network, batch, loss, stage(tmp_path, name))
        still = [name for name, value in network.named_parameters() if torch.equal(value, before[name])]
        assert not still, f"{name}: {still}"


def test_the_teacher_stands_still_while_the_student_learns(case, tmp_path):
    sites = sites_of(case, np.random.default_rng(0))
    teacher = Teacher(2, 4).eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    batch = classifier_batch([case], [Mined(sites.lesions, sites.lookalikes)], TINY)
    fit(Student(2), batch, distilling_loss(teacher, 0.4), stage(tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_an_interrupted_training_ends_as_an_uninterrupted_one(case, tmp_path, monkeypatch):
    monkeypatch.setattr("microbleeds.training.fit._SAVE_EVERY", 2)
    batch = detector_batch([case], [sites_of(case, np.random.default_rng(0))], TINY)

    def train(folder, stop_at=None):
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)

        def loss(network, *tensors):
            if stop_at is not None and calls.append(0) is None and len(calls) == stop_at:
                raise KeyboardInterrupt
            return detector_loss(network, *tensors)

        calls = []
        return fit(Detector(2, 4), batch, loss, stage(folder, steps=5)).state_dict()

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", stop_at=4)
    resumed = train(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    steps = [line.split(",")[0] for line in (tmp_path / "cut" / "stage.csv").read_text().split()]
    assert steps == ["step", "2", "4", "5"]


def test_a_checkpoint_of_another_training_is_refused_by_name(case, tmp_path):
    batch = detector_batch([case], [sites_of(case, np.random.default_rng(0))], TINY)
    fit(Detector(2, 4), batch, detector_loss, stage(tmp_path, steps=1))
    with pytest.raises(InputError, match=r"stage\.pt"):
        fit(Detector(3, 4), batch, detector_loss, stage(tmp_path, steps=1))
    with pytest.raises(InputError, match="1 steps, not 3"):
        fit(Detector(2, 4), batch, detector_loss, stage(tmp_path, steps=3))
    (tmp_path / "stage.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"stage\.pt"):
        fit(Detector(2, 4), batch, detector_loss, stage(tmp_path, steps=1))


@pytest.mark.parametrize("kind", ["loss", "weights"])
def test_a_training_that_diverges_ends_and_its_last_sound_checkpoint_stays(tmp_path, kind):
    layer = nn.Linear(1, 1)

    def loss(network, one):
        value = network(one).square().mean()
        if kind == "loss":
            return value * float("nan")
        layer.bias.data.fill_(float("nan"))
        return layer.weight.square().mean()

    (tmp_path / "1-detector.csv").touch()
    with pytest.raises(InputError, match="training of 1-detector diverged.*--learning-rate lower than 0.002"):
        fit(layer, lambda rng: (torch.ones(1, 1),), loss, stage(tmp_path, "1-detector"))
    assert not (tmp_path / "1-detector.pt").exists()


@pytest.mark.parametrize("steps", [2, 9, 10, 11, 14, 15, 20])
def test_any_number_of_steps_is_trained(tmp_path, steps):
    weight = nn.Linear(1, 1)
    before = weight.weight.clone()
    fit(weight, lambda rng: (torch.ones(1, 1),), lambda network, one: network(one).square().mean(),
        stage(tmp_path, steps=steps))
    assert not torch.equal(weight.weight, before)
    assert torch.load(tmp_path / "stage.pt", weights_only=True)["step"] == steps


def test_all_stages_run_and_are_taken_from_their_checkpoints_afterwards(tmp_path):
    cases = [drawn_case("one", "a"), drawn_case("two", "b", 1, kinds_known=False)]
    place = Place(tmp_path, "cpu", silent)
    first = train_networks(cases, TINY, place)
    assert not first.student.training and not first.detector.training
    times = {name: (tmp_path / f"{name}.pt").stat().st_mtime_ns for name in (DETECTOR, STUDENT)}
    second = train_networks(cases, TINY, place)
    assert times == {name: (tmp_path / f"{name}.pt").stat().st_mtime_ns for name in times}
    for one, other in ((first.detector, second.detector), (first.student, second.student)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_cases_without_a_microbleed_are_refused(tmp_path):
    with pytest.raises(InputError, match="microbleed"):
        train_networks([drawn_case(lesions=())], TINY, Place(tmp_path, "cpu", silent))


def test_ignored_regions_do_not_pull(case):
    classes = torch.full((1, 8, 8, 8), IGNORED, dtype=torch.uint8)
    logits = torch.zeros(1, 4, 8, 8, 8, requires_grad=True)
    detector_loss(lambda images: logits, None, classes, torch.zeros(1, 8, 8, 8), torch.tensor([True]),
                  torch.zeros(1, 8, 8, 8, dtype=torch.int32), 0.5).backward()
    assert not logits.grad.any()


@pytest.mark.parametrize("wrong", [{"width": 0}, {"hard_share": 1.5}, {"classifier_batch": 1}, {"held_out": 0.0},
                                   {"held_out": 0.6}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        partial(TrainingSettings, **wrong)()
