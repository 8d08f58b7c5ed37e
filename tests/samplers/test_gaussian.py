"""The Gaussian policy: its density is that of its samples."""

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.samplers import GaussianSampler

pytestmark = pytest.mark.usefixtures("float64")


def make(dim: int = 2) -> GaussianSampler:
    return GaussianSampler(3, dim, width=16)


def test_log_prob_is_that_of_an_independent_normal() -> None:
    sampler, context, x = make(), torch.randn(5, 3), torch.randn(5, 7, 2)
    mean, log_std = sampler.parameters_of(context)
    exact = torch.distributions.Normal(mean[:, None], log_std.exp()[:, None]).log_prob(x).sum(-1)
    torch.testing.assert_close(sampler.log_prob(context, x), exact)


def test_density_integrates_to_one() -> None:
    sampler, context = make(1), torch.randn(4, 3)
    grid = torch.arange(-20, 20, 0.01).view(1, -1, 1).expand(4, -1, 1)
    torch.testing.assert_close(sampler.log_prob(context, grid).exp().sum(1) * 0.01, torch.ones(4), rtol=1e-9, atol=0)


def test_draw_with_log_prob_is_draw_and_log_prob() -> None:
    sampler, context, noise = make(), torch.randn(5, 3), torch.randn(5, 7, 2)
    x, log_prob = sampler.draw_with_log_prob(context, noise)
    assert torch.equal(x, sampler.draw(context, noise))
    torch.testing.assert_close(log_prob, sampler.log_prob(context, x))


def test_gradient_of_log_prob_is_that_through_the_samples_too() -> None:
    """draw_with_log_prob differentiates log p(g(eps; theta); theta), both where x sits and what the density is."""
    sampler, context, noise = make(), torch.randn(5, 3), torch.randn(5, 7, 2)
    parameters = list(sampler.parameters())
    ours = torch.autograd.grad(sampler.draw_with_log_prob(context, noise)[1].sum(), parameters)
    exact = torch.autograd.grad(sampler.log_prob(context, sampler.draw(context, noise)).sum(), parameters)
    torch.testing.assert_close(ours, exact)


def test_samples_have_the_stated_moments() -> None:
    sampler, context, count = make(), torch.randn(2, 3), 40_000
    x = sampler.draw(context, torch.randn(2, count, 2))
    mean, log_std = sampler.parameters_of(context)
    std = log_std.exp()
    assert ((x.mean(1) - mean).abs() < 4 * std / count**0.5).all()
    assert ((x.var(1) - std**2).abs() < 4 * std**2 * (2 / count) ** 0.5).all()


def test_centre_is_the_draw_at_zero_noise() -> None:
    sampler, context = make(), torch.randn(5, 3)
    assert torch.equal(sampler.centre(context), sampler.draw(context, torch.zeros(5, 1, 2)).squeeze(1))


@pytest.mark.parametrize(("bias", "clamped"), [(-100.0, -3.0), (100.0, 1.0)])
def test_log_std_is_clamped(bias: float, clamped: float) -> None:
    sampler = GaussianSampler(3, 2, width=16, log_std_min=-3.0, log_std_max=1.0)
    last = sampler.body.layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.constant_(last.bias, bias)
    assert (sampler.parameters_of(torch.randn(5, 3))[1] == clamped).all()


@pytest.mark.parametrize("hidden_layers", [1, 2, 3])
def test_hidden_layers_count_rectified_layers(hidden_layers: int) -> None:
    sampler = GaussianSampler(3, 2, width=16, hidden_layers=hidden_layers)
    linear = [layer for layer in sampler.body.layers if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(16, 3)] + [(16, 16)] * (hidden_layers - 1) + [(4, 16)]
    context = torch.randn(5, 3)
    torch.testing.assert_close(torch.cat(sampler.parameters_of(context), -1), naive(linear, context))


def naive(layers: list[nn.Linear], x: Tensor) -> Tensor:
    for layer in layers[:-1]:
        x = (x @ layer.weight.t() + layer.bias).clamp(min=0)
    return x @ layers[-1].weight.t() + layers[-1].bias
