import numpy as np
import pytest
import torch
from microbleeds.coarse_network import CoarseNetwork
from microbleeds.training.coarse_training import CoarsePlan, train_coarse

SHAPE = (8, 8, 8)


def new():
    return CoarseNetwork((2, 4))


def loss_of(network, step):
    """Half of the image is bright and to be found; what torch draws decides which part of it counts."""
    if step == 3:
        return None
    image = torch.from_numpy(np.random.default_rng(step).normal(0, 0.1, SHAPE).astype(np.float32))
    image[4:] += 1
    target = torch.zeros(SHAPE)
    target[4:] = 1
    counts = torch.rand(SHAPE) < 0.8
    logits = network(image[None, None])[0, 0]
    return torch.nn.functional.binary_cross_entropy_with_logits(logits[counts], target[counts])


def trained(folder, steps, **changes):
    folder.mkdir(exist_ok=True)
    plan = CoarsePlan(**{"seed": 1, "steps": steps, "averaging": 0.9, "save_every": 2, "validate_every": 99, **changes})
    return train_coarse(new, loss_of, lambda average: {}, plan, folder)


def test_a_training_that_was_killed_ends_with_the_same_weights(tmp_path, capsys):
    class Killed(Exception):
        pass

    def dies(network, step):
        if step == 5:
            raise Killed
        return loss_of(network, step)

    whole = trained(tmp_path / "whole", 8)
    (tmp_path / "cut").mkdir()
    with pytest.raises(Killed):
        train_coarse(new, dies, lambda average: {}, CoarsePlan(1, 8, 0.9, 2, 100), tmp_path / "cut")
    torch.manual_seed(99)
    again = trained(tmp_path / "cut", 8)
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), again.parameters(), strict=True))
    assert "step 8/8" in capsys.readouterr().out


def test_it_learns_and_another_seed_gives_other_weights(tmp_path):
    network, other = trained(tmp_path / "a", 400, save_every=200), trained(tmp_path / "b", 2, seed=2)
    assert not network.training
    with torch.no_grad():
        assert loss_of(network, 1000) < 0.5 * loss_of(new(), 1000)
    assert not torch.equal(next(network.parameters()), next(other.parameters()))


def test_the_averaged_weights_are_validated(tmp_path, capsys):
    trained(tmp_path / "a", 4, validate_every=2)
    assert capsys.readouterr().out.count("validation {}") == 2
