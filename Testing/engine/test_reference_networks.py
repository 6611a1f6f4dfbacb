import pytest
import reference_definitions as definitions
import torch
from microbleeds.reference_networks import ReferenceDetector, ReferenceStudent

NETWORKS = {
    "detector": (ReferenceDetector, definitions.DETECTOR_SHAPES, definitions.detector, (48, 48, 48), 78, 3_433_611),
    "student": (ReferenceStudent, definitions.STUDENT_SHAPES, definitions.student, (24, 24, 24), 85, 3_139_371)}


@pytest.mark.parametrize("part", NETWORKS)
def test_keys_shapes_and_number_of_parameters_are_the_published_ones(part):
    network, shapes, _, _, entries, parameters = NETWORKS[part]
    made = network()
    assert {key: tuple(value.shape) for key, value in made.state_dict().items()} == shapes
    assert len(shapes) == entries and sum(value.numel() for value in made.parameters()) == parameters


@pytest.mark.parametrize("part", NETWORKS)
def test_outputs_agree_with_the_reference_on_random_weights(part):
    network, shapes, oracle, patch, _, _ = NETWORKS[part]
    state = definitions.random_state(shapes, seed=1)
    made = network().eval()
    made.load_state_dict(state)
    image = torch.rand((2 if part == "student" else 1, 2, *patch), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        ours, theirs = made(image), oracle(state, image)
    assert ours.shape == theirs.shape and theirs.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-5


def test_the_detector_takes_other_sizes_than_its_patch():
    network = ReferenceDetector().eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 2, 12, 10, 6)).shape == (1, 2, 12, 10, 6)
