"""The naive energy fit computes what the library computes: same weights and same noise give the same numbers and gradients."""

import pytest
import torch
from torch import Tensor

from ardae_rl.entropy import ScoreEntropy
from ardae_rl.samplers import ImplicitSampler
from ardae_rl.score import ScoreEstimator
from ardae_rl.tasks.energy.potentials import target
from ardae_rl.tasks.energy.task import EnergyTask
from benchmark.energy import TARGET, build
from benchmark.naive_energy import NaiveEnergy, NaiveEnergyConfig

SMALL = NaiveEnergyConfig(noise_dim=4, width=8, layers=2, batch_size=5, sigmas_per_sample=3, fits_per_step=2)
Pair = tuple[NaiveEnergy, EnergyTask]


def estimator_of(task: EnergyTask) -> ScoreEstimator:
    assert isinstance(task.entropy, ScoreEntropy)
    return task.entropy.estimator


@pytest.fixture
def pair(float64: None) -> Pair:
    """Both of the same small size with the same weights."""
    naive, task = NaiveEnergy(SMALL, target(TARGET).energy), build(SMALL, 0, compiled=False, autocast=False)
    sampler, network = task.sampler, estimator_of(task).network
    assert isinstance(sampler, ImplicitSampler)
    body = network.body
    ours = [sampler.from_noise, *sampler.head, sampler.out, *body.joint, network.out]
    theirs = [naive.sampler[0], naive.sampler[2], naive.sampler[4], naive.score[2], naive.score[4]]
    with torch.no_grad():
        for mine, other in zip(ours, theirs, strict=True):
            other.weight.copy_(mine.weight), other.bias.copy_(mine.bias)  # type: ignore[operator]
        first = torch.cat([body.from_input.weight, body.from_sigma.unsqueeze(-1)], -1)
        naive.score[0].weight.copy_(first), naive.score[0].bias.copy_(body.bias)  # type: ignore[operator]
    return naive, task


def test_score_losses_and_their_gradients_agree(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    naive, task = pair
    x, rows = torch.randn(5, 2), 5 * SMALL.sigmas_per_sample
    sigma, u = torch.randn(rows, 1), torch.randn(rows, 2)
    estimator = estimator_of(task)
    drawn = {(1, rows, 1): sigma.unsqueeze(0), (1, rows, 2): u.unsqueeze(0)}
    ours = estimator.losses(x, centre=torch.zeros(1, 2), normal=lambda *shape: drawn[shape])["score"]
    monkeypatch.setattr(torch, "randn", lambda *shape: sigma if shape == (rows, 1) else u)
    theirs = naive.denoising_loss(x)
    torch.testing.assert_close(ours, theirs)
    (ours + theirs).backward()
    torch.testing.assert_close(estimator.network.body.joint[0].weight.grad, naive.score[2].weight.grad)


def test_gradients_of_the_sampler_agree(pair: Pair) -> None:
    naive, task = pair
    noise = torch.randn(5, 4)
    x, entropy, _ = task.entropy.draw_with_entropy(task.sampler, None, noise, task._normal)
    ours = _gradients(0.3 * task.target.energy(x).mean() - entropy, list(task.sampler.parameters()))
    theirs = _gradients(naive.sampler_loss(noise, 0.3), list(naive.sampler.parameters()))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_a_step_of_either_is_as_many_steps_of_the_same_optimisers(pair: Pair) -> None:
    naive, task = pair
    naive.step(alpha=0.5)
    task.step()
    ours = [task.optimisers[name].optimiser for name in ("sampler", "score")]
    for mine, other in zip(ours, (naive.sampler_optimiser, naive.score_optimiser), strict=True):
        (group,), (same) = mine.param_groups, other.param_groups[0]
        assert all(group[name] == same[name] for name in ("lr", "betas", "eps", "weight_decay"))
        taken = [{int(state["step"]) for state in each.state.values()} for each in (mine, other)]
        assert taken[0] == taken[1] == {1 if mine is ours[0] else SMALL.fits_per_step}


def _gradients(loss: Tensor, parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, parameters))
