"""The reference's recipe for the benchmark: its defects are what they are said to be, its repairs repair them."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from microbleeds.errors import InputError
from microbleeds.model_folders import read_card
from microbleeds.read_write import write_image
from microbleeds.reference_tiling import reference_probability_map
from microbleeds.training.labelled_scans import LabelledScan, truth_of_lesions
from microbleeds.volume import Volume
from microbleeds.weights import load_model
from scipy import ndimage
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))
import reference_recipe as recipe
import reference_recipe_cases as cases_file
import reference_recipe_patches as patches_file
import reference_recipe_training as training
from reference_recipe_cases import Case, Places
from reference_recipe_training import Stage, Teacher

BOTH = pytest.mark.parametrize("repaired", [False, True], ids=["as it is", "repaired"])
SHAPE = (60, 40, 30)


def drawn_case(name="a", modality="gre", seed=0):
    """Return a case with two bright lesions of 3³ voxels and a bright cube that is none."""
    rng = np.random.default_rng(seed)
    image, lesions = rng.uniform(0.2, 0.4, SHAPE), np.zeros(SHAPE, bool)
    brain = np.ones(SHAPE, bool)
    brain[:6] = False
    for centre, is_lesion in (((20, 18, 10), True), ((30, 8, 20), True), ((15, 28, 22), False)):
        where = tuple(slice(middle - 1, middle + 2) for middle in centre)
        image[where], lesions[where] = 0.9, is_lesion
    images = np.stack([image * brain, rng.uniform(0, 0.1, SHAPE)]).astype(np.float16)
    return Case(name, modality, "0" * 64, images, brain, cases_file.without_rim(brain), lesions)


def teacher(repaired):
    torch.manual_seed(0)
    return Teacher(recipe.ReferenceDetector(), repaired)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_teacher_has_the_sizes_of_the_reference():
    made = teacher(repaired=True)
    assert count(made.segmentor) == 3_433_611
    assert count(made.head) == 1_939_554
    assert count(made.student()) == 3_139_371


def test_the_student_begins_as_the_teacher():
    made, images = teacher(repaired=True).eval(), torch.rand(2, 2, 24, 24, 24)
    with torch.no_grad():
        voxels, patches = made(images)
        assert torch.equal(voxels, made.segmentor(images))
        assert torch.allclose(made.classes(images), patches)
        assert torch.allclose(made.student().eval()(images), patches)


def voxel_gradient(loss):
    """Return |gradient| (12, 12, 12) of a voxel loss at even logits, with a lesion of one voxel at (6, 6, 6)."""
    lesions = torch.zeros(1, 12, 12, 12, dtype=torch.uint8)
    lesions[0, 6, 6, 6] = 1
    logits = torch.zeros(1, 2, 12, 12, 12, requires_grad=True)
    loss(logits, lesions).backward()
    return logits.grad[0, 1].abs()


def test_the_references_weight_is_a_scalar():
    gradient = voxel_gradient(training.their_voxel_loss)
    elsewhere = gradient.flatten()[torch.arange(12**3) != 6 * 144 + 6 * 12 + 6]
    assert torch.allclose(elsewhere, elsewhere[0], rtol=1e-4)
    # a background voxel beside the lesion or far away: the weight map has no say
    repaired = voxel_gradient(lambda logits, lesions: training._of_voxels(logits, lesions, True))
    assert repaired[6, 6, 7] > 1.2 * repaired[0, 0, 0]
    assert repaired[6, 6, 6] > 9 * repaired[0, 0, 0]


def test_the_references_loss_is_that_of_the_smoothed_map():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 2, 10, 10, 10, generator=generator)
    lesions = (torch.rand(2, 10, 10, 10, generator=generator) > 0.9).to(torch.uint8)
    # over the axis of the batch too, as its code does
    weights = 10 * ndimage.gaussian_filter(lesions.numpy().astype(float), 1.2)
    probability, truth = logits.softmax(1)[:, 1], lesions.float()
    dice = 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    expected = dice + (functional.cross_entropy(logits, lesions.long()) * torch.from_numpy(weights)).mean()
    assert training.their_voxel_loss(logits, lesions).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_students_losses_have_the_weights_of_the_notes():
    logits, classes = torch.randn(8, 2, generator=torch.Generator().manual_seed(2)), torch.arange(1, 9) % 2
    entropy = functional.cross_entropy(logits, classes)
    own = training.their_student_loss(logits, logits, classes)
    assert own.item() == pytest.approx((training._dice(logits, classes) + 50.6 * entropy).item(), rel=1e-5)
    even = training.their_student_loss(logits, torch.zeros(8, 2), classes)
    soft = functional.kl_div((logits / 4).log_softmax(1), torch.full((8, 2), 0.5), reduction="batchmean")
    assert (even - own).item() == pytest.approx(6.4 * soft.item(), rel=1e-3)


def test_soft_labels_say_almost_nothing_unless_repaired():
    images = 50 * torch.rand(6, 2, 24, 24, 24, generator=torch.Generator().manual_seed(3))
    spread = {}
    for repaired in (False, True):
        made = teacher(repaired).eval()
        with torch.no_grad():
            made.head["fc3"].weight *= 1000
            soft = (made.classes(images) / training.TEMPERATURE).softmax(1)
        spread[repaired] = (soft - 0.5).abs().max().item()
    assert spread[False] <= 0.0622
    assert spread[True] > 0.3


@BOTH
def test_only_the_repaired_teachers_head_is_trained(repaired, tmp_path):
    made = teacher(repaired)
    before = {name: value.clone() for name, value in made.named_parameters()}
    batch = patches_file.grid_batch([drawn_case()], np.array([[0, 8, 6, 0], [0, 0, 0, 6]]), np.random.default_rng(0),
                                    repaired, tile=24)
    training.fit(made, made if repaired else made.segmentor, lambda step: batch, training.teacher_loss(repaired),
                 Stage("teacher", 1, 1, 0, "", tmp_path, "cpu"))
    still = {name for name, value in made.named_parameters() if torch.equal(value, before[name])}
    # a bias before a normalisation has no gradient but that of rounding
    still = {name for name in still if not name.endswith("bias")}
    assert still == (set() if repaired else {name for name in before if name.startswith("head.")} - {
        name for name in before if name.endswith("bias")})


@BOTH
def test_the_teacher_only_tells_the_student(repaired):
    made = teacher(repaired)
    loss = training.student_loss(made, repaired)
    assert not made.segmentor.training and made.head.training is not repaired
    student = made.student().train()
    images, lesions, classes = torch.rand(2, 2, 24, 24, 24), torch.zeros(2, 24, 24, 24), torch.tensor([1, 0])
    loss(student, images, lesions, classes).backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in made.parameters())


def test_a_shift_blanks_the_wrong_axis_unless_repaired():
    patch = np.random.default_rng(4).uniform(0.1, 1, (3, 10, 8, 6))
    right = patches_file.shift(patch, np.array([3, 0]), repaired=True)
    assert np.array_equal(right[:, 3:], patch[:, :-3]) and not right[:, :3].any()
    wrong = patches_file.shift(patch, np.array([3, 0]), repaired=False)
    assert np.array_equal(wrong[:, :3, 3:], patch[:, -3:, 3:]), "what came round is still there"
    assert not wrong[:, :, :3].any(), "a valid border is gone"
    back = patches_file.shift(patch, np.array([0, -2]), repaired=True)
    assert np.array_equal(back[:, :, :-2], patch[:, :, 2:]) and not back[:, :, -2:].any()


def test_variations_keep_the_range_and_move_lesions_with_the_image():
    patch = np.zeros((3, 24, 24, 24), np.float32)
    patch[0], patch[:, 12, 12, 12] = 0.3, 1
    seen = [patches_file.vary(patch, np.random.default_rng(seed), repaired=True) for seed in range(200)]
    assert 20 < sum(varied is patch for varied in seen) < 70
    for varied in seen:
        assert varied[0].min() >= 0 and varied[0].max() <= 1
        assert varied[2].sum() == 1 and np.array_equal(varied[1], varied[2])


def test_the_rim_of_a_lesion_is_a_negative_unless_repaired():
    lesions, found = np.zeros((2, 30, 30, 30), bool)
    lesions[9:12, 9:12, 9:12] = found[8:13, 8:13, 8:13] = found[20:23, 20:23, 24:27] = True
    assert cases_file.false_centres(found, lesions, repaired=False).tolist() == [[10, 10, 10], [21, 21, 25]]
    assert cases_file.false_centres(found, lesions, repaired=True).tolist() == [[21, 21, 25]]
    assert cases_file.false_centres(lesions, lesions, repaired=False).shape == (0, 3)


class Watched(nn.Module):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images.numpy().copy())
        return torch.zeros(len(images), 2, *images.shape[2:])


def test_training_sees_the_tiles_of_detection(monkeypatch):
    monkeypatch.setattr(patches_file, "vary", lambda patch, rng, repaired: patch)
    rng, shape = np.random.default_rng(5), (70, 60, 30)
    brain = np.zeros(shape, bool)
    brain[5:60, 4:] = True
    images = (rng.uniform(0, 1, (2, *shape)) * brain).astype(np.float16)
    case = Case("a", "gre", "", images, brain, cases_file.without_rim(brain), brain)
    network = Watched()
    reference_probability_map(network, list(images.astype(np.float32)), brain, "cpu", lambda fraction: None)
    places = cases_file.grid_places([case], 48).positives
    mine = patches_file.grid_batch([case], places, rng, False, tile=48)[0].numpy()
    detected = np.concatenate(network.seen)
    assert sorted(patch.tobytes() for patch in np.ascontiguousarray(mine)) == \
        sorted(patch.tobytes() for patch in np.ascontiguousarray(detected))


def test_an_epoch_has_every_positive_once_and_as_many_negatives():
    places = Places(np.arange(24).reshape(6, 4), 100 + np.arange(80).reshape(20, 4))
    steps = [patches_file.pairs_of_step(places, step, 2, seed=7) for step in range(6)]
    for epoch in (steps[:3], steps[3:]):
        chosen = np.concatenate(epoch)
        assert sorted(chosen[::2, 0]) == sorted(places.positives[:, 0])
        assert len(set(chosen[1::2, 0])) == 6 and chosen[1::2].min() >= 100
    assert not np.array_equal(steps[0], steps[3])


def test_cases_are_mined_within_the_budget_and_modalities_in_turn():
    cases = [replace(drawn_case(str(number)), modality=modality)
             for number, modality in enumerate(["gre"] * 10 + ["swi", "qsm"])]
    chosen = cases_file.choose_for_mining(cases, 6, seed=0)
    assert [cases[number].modality for number in chosen] == ["gre", "swi", "qsm"]
    assert len(cases_file.choose_for_mining(cases, 0, seed=0)) == 1
    assert len(cases_file.choose_for_mining(cases, 100, seed=0)) == 12


def test_an_interrupted_stage_ends_as_an_uninterrupted_one(tmp_path):
    def batch(step):
        return (torch.from_numpy(np.random.default_rng(step).normal(size=(2, 2, 4, 4, 4)).astype(np.float32)),)

    def trained(folder, *stops):
        for steps in stops:
            torch.manual_seed(0)
            network = nn.Conv3d(2, 1, 3)
            folder.mkdir(exist_ok=True)
            training.fit(network, network, batch, lambda net, images: net(images).float().square().mean(),
                         Stage("s", steps, 3, 0, "data", folder, "cpu"))
        return network.weight
    assert torch.equal(trained(tmp_path / "a", 2, 5), trained(tmp_path / "b", 5))
    with pytest.raises(InputError, match="s.pt is of a training with"):
        trained(tmp_path / "a", 4)
    (tmp_path / "a" / "s.pt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="s.pt is damaged"):
        trained(tmp_path / "a", 5)


def test_a_case_is_prepared_once_as_at_detection(tmp_path, monkeypatch):
    shape, affine = (40, 44, 20), np.diag([1.0, 1.0, 2.0, 1.0])
    data = np.random.default_rng(6).normal(500, 10, shape).astype(np.float32)
    lesions = np.zeros(shape, np.int32)
    lesions[10:13, 20:23, 8:11], lesions[:2, :2, :2] = 1, 2
    data[lesions > 0] = 50
    brain = np.zeros(shape, bool)
    brain[4:36, 4:40, 2:18] = True
    monkeypatch.setattr(cases_file, "find_brain", lambda volume: volume.with_data(brain))
    write_image(tmp_path / "scan.nii.gz", Volume(data, affine))
    (tmp_path / "truth").write_text("drawn")
    scan = LabelledScan("scan", "s", tmp_path / "scan.nii.gz", "gre", None, tmp_path / "truth", "drawn",
                        lambda scan, volume: truth_of_lesions(lesions))
    cases_file.prepare_case(scan, tmp_path / "cases")
    case = cases_file.load_case(tmp_path / "cases" / "scan")
    assert case.lesions.shape == (32, 36, 16)
    assert case.lesions.sum() == 27, "the one outside the mask is not taught"
    assert case.images[0][case.lesions].min() > 0.8 > case.images[0][case.core & ~case.lesions].max()
    assert case.images[0][~case.brain].max(initial=0) == 0
    monkeypatch.setattr(cases_file, "read_scan", None)
    cases_file.prepare_case(scan, tmp_path / "cases")


@BOTH
def test_the_whole_recipe_ends_in_a_model_that_can_be_used(repaired, tmp_path, monkeypatch, capsys):
    drawn = [drawn_case("a"), drawn_case("b", "swi", 1)]
    monkeypatch.setattr(recipe, "find_labelled_scans", lambda folder: drawn)
    monkeypatch.setattr(recipe, "prepare_cases", lambda scans, folder, jobs, tell: tuple(scans))
    monkeypatch.setattr(recipe, "reference_probability_map",
                        lambda network, channels, *others: (channels[0] > 0.8).astype(np.float32))
    monkeypatch.setattr(recipe, "DETECTOR_TILE", 16)
    monkeypatch.setattr(recipe, "_PLANS", {
        "detector": recipe._Plan(1, 1, partial(patches_file.grid_batch, tile=16)),
        "teacher": recipe._Plan(2, 1, partial(patches_file.grid_batch, tile=24)),
        "student": recipe._Plan(3, 1, patches_file.centred_batch)})
    command = ["--data", "set", "--work", str(tmp_path / "work"), "--steps-detector", "1", "--steps-teacher", "1",
               "--steps-student", "1", *(["--fixed"] if repaired else [])]
    assert recipe.main([*command, "--out", str(tmp_path / "first")]) == 0
    model, card = load_model(tmp_path / "first"), read_card(tmp_path / "first")
    assert model.architecture == "reference"
    assert model.settings("balanced").candidates.threshold == 0.2
    assert model.settings("balanced").classify.threshold == 0.5
    assert set(card["recipe"]["deviations"]) == set(recipe.deviations(recipe.Recipe()))
    assert ("repairs" in card["recipe"]) is repaired
    assert card["patches"]["student"] == {"positive": 4, "negative": 2}
    # all stages are done: the same command makes the same model
    assert recipe.main([*command, "--out", str(tmp_path / "second")]) == 0
    assert load_model(tmp_path / "second").sha256 == model.sha256
    assert recipe.main([*command, "--out", str(tmp_path / "second")]) == recipe.BAD_INPUT
    assert "holds a model already" in capsys.readouterr().err


def test_without_a_lesion_nothing_is_trained(tmp_path):
    case = drawn_case()
    empty = replace(case, lesions=np.zeros(SHAPE, bool))
    with pytest.raises(InputError, match="no positive patch for the detector"):
        recipe.train(recipe.Run([empty], recipe.Recipe(), tmp_path, "cpu"))
