"""The hierarchical sampler and its auxiliary bound, where everything is known: linear means and constant scales."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from ardae_rl.entropy import AuxiliaryEntropy
from ardae_rl.samplers import GaussianSampler, HierarchicalSampler

pytestmark = pytest.mark.usefixtures("float64")

WEIGHT = torch.tensor([[1.2, 0.0], [0.0, -0.7], [0.0, 0.0]], dtype=torch.float64)  # orthogonal columns: the posterior of z is diagonal
OFFSET, STD = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), 0.5
COVARIANCE = WEIGHT @ WEIGHT.T + STD**2 * torch.eye(3, dtype=torch.float64)
POSTERIOR_VARIANCE = 1 / (1 + WEIGHT.square().sum(0) / STD**2)


def set_linear(gaussian: GaussianSampler, weight: Tensor, offset: Tensor, std: Tensor) -> None:
    """mean = weight c + offset, the same std everywhere."""
    (layer,) = gaussian.body.layers
    with torch.no_grad():
        layer.weight.copy_(torch.cat([weight, torch.zeros_like(weight)]))  # type: ignore[operator]
        layer.bias.copy_(torch.cat([offset, std.log()]))  # type: ignore[operator]


def linear_sampler() -> HierarchicalSampler:
    """z ~ N(0, I_2), x | z ~ N(W z + b, 0.5^2 I_3)."""
    sampler = HierarchicalSampler(2, 3, layers=0)
    set_linear(sampler.given_latent, WEIGHT, OFFSET, torch.full((3,), STD))
    return sampler


def posterior(shift: float = 0.0) -> GaussianSampler:
    """p(z | x) of the linear sampler, its mean moved by ``shift`` in every dimension."""
    auxiliary = GaussianSampler(3, 2, hidden_layers=0)
    gain = POSTERIOR_VARIANCE[:, None] * WEIGHT.T / STD**2
    set_linear(auxiliary, gain, -gain @ OFFSET + shift, POSTERIOR_VARIANCE.sqrt())
    return auxiliary


def entropy_bound(sampler: HierarchicalSampler, auxiliary: GaussianSampler, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Samples, and what is below the entropy on average, of each."""
    x, log_prob, _ = AuxiliaryEntropy(auxiliary).draw_with_log_prob(sampler, None, noise, torch.randn)
    return x, -log_prob


def test_samples_have_the_mean_and_covariance_of_the_linear_model() -> None:
    x = linear_sampler().draw(None, torch.randn(200_000, 5)).detach()
    assert ((x.mean(0) - OFFSET).abs() < 5 * (COVARIANCE.diagonal() / len(x)).sqrt()).all()
    torch.testing.assert_close(torch.cov(x.T), COVARIANCE, atol=0.03, rtol=0)


def test_the_joint_density_is_that_of_latent_and_noise() -> None:
    sampler, noise = HierarchicalSampler(2, 3, width=8, layers=2), torch.randn(6, 5)
    x, z, log_joint = sampler.draw_with_joint(noise)
    assert torch.equal(z, noise[:, :2])
    mean, log_std = sampler.given_latent.parameters_of(noise[:, :2])
    given = Normal(mean, log_std.exp()).log_prob(x).sum(-1)
    torch.testing.assert_close(log_joint, given + Normal(0.0, 1.0).log_prob(noise[:, :2]).sum(-1))
    torch.testing.assert_close(x, mean + log_std.exp() * noise[:, 2:])
    torch.testing.assert_close(sampler.draw(None, noise), x)


def test_with_the_true_posterior_the_bound_is_minus_the_log_density_of_every_sample() -> None:
    x, bound = entropy_bound(linear_sampler(), posterior(), torch.randn(50, 5))
    torch.testing.assert_close(bound, -MultivariateNormal(OFFSET, COVARIANCE).log_prob(x))


def test_with_another_posterior_the_bound_is_below_the_entropy_by_their_divergence() -> None:
    """KL(N(m, v) || N(m + t, v)) = sum t^2 / 2 v, the same for every x."""
    shift = 0.3
    entropy = float(MultivariateNormal(OFFSET, COVARIANCE).entropy())
    gap = float((shift**2 / (2 * POSTERIOR_VARIANCE)).sum())
    with torch.no_grad():
        _, bound = entropy_bound(linear_sampler(), posterior(shift), torch.randn(200_000, 5))
    assert gap > 0.3
    assert abs(float(bound.mean()) - (entropy - gap)) < 4 * float(bound.std()) / len(bound) ** 0.5


def test_raising_the_bound_learns_the_posterior_and_nothing_lifts_it_above_the_entropy() -> None:
    sampler, auxiliary = linear_sampler(), GaussianSampler(3, 2, hidden_layers=0)
    climb = torch.optim.Adam(auxiliary.parameters(), lr=0.03)
    for _ in range(400):
        climb.zero_grad()
        (-entropy_bound(sampler, auxiliary, torch.randn(256, 5))[1].mean()).backward()
        climb.step()
    entropy = float(MultivariateNormal(OFFSET, COVARIANCE).entropy())
    with torch.no_grad():
        _, bound = entropy_bound(sampler, auxiliary, torch.randn(200_000, 5))
    assert -0.05 < float(bound.mean()) - entropy < 4 * float(bound.std()) / len(bound) ** 0.5


def test_the_bound_is_raised_in_both_networks() -> None:
    sampler, auxiliary = HierarchicalSampler(2, 3, width=8, layers=1), GaussianSampler(3, 2, hidden_layers=1, width=8)
    entropy_bound(sampler, auxiliary, torch.randn(16, 5))[1].mean().backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for network in (sampler, auxiliary) for parameter in network.parameters()
    )


def test_the_spread_given_the_latent_has_a_floor() -> None:
    sampler = HierarchicalSampler(2, 3, layers=0, log_std_min=-2.0)
    set_linear(sampler.given_latent, WEIGHT, OFFSET, torch.full((3,), 1e-6))
    noise = torch.randn(100_000, 5)
    spread = (sampler.draw(None, noise) - noise[:, :2] @ WEIGHT.T - OFFSET).std(0)
    torch.testing.assert_close(spread, torch.full((3,), math.exp(-2)), rtol=0.02, atol=0)


def test_given_the_latent_it_starts_e_times_narrower_than_a_gaussian_sampler() -> None:
    z = torch.randn(6, 2)
    torch.manual_seed(1)
    _, log_std = GaussianSampler(2, 3, hidden_layers=2, width=8).parameters_of(z)
    torch.manual_seed(1)
    _, narrower = HierarchicalSampler(2, 3, layers=2, width=8).given_latent.parameters_of(z)
    torch.testing.assert_close(narrower, log_std - 1)
