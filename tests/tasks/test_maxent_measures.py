"""Penalties without bias, entropies that are right."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from ardae_rl.tasks.maxent.entropy import neighbour_entropy
from ardae_rl.tasks.maxent.penalty import matched, penalty_weight, squared_expectation, squared_mean

pytestmark = pytest.mark.usefixtures("float64")


def test_the_unbiased_square_is_the_mean_over_pairs_of_different_samples() -> None:
    r = torch.randn(3, 6, 4)
    pairs = [(r[:, i] * r[:, j]).sum(-1) for i, j in itertools.permutations(range(6), 2)]
    torch.testing.assert_close(squared_expectation(r), torch.stack(pairs).mean(0))


def test_the_batch_square_is_too_large_by_the_variance_of_the_mean() -> None:
    """Constraint mean = (1, 0), covariance diag(4, 1), eight samples: 1 exactly, and 1 + 5 / 8."""
    r = torch.randn(40_000, 8, 2) * torch.tensor([2.0, 1.0]) + torch.tensor([1.0, 0.0])
    for square, expected in ((squared_expectation, 1.0), (squared_mean, 1.0 + 5 / 8)):
        values = square(r)
        assert abs(values.mean() - expected) < 4.5 * values.std() / len(values) ** 0.5


def test_the_gradient_of_the_unbiased_square_has_no_bias_either() -> None:
    """x = s z, constraint E x^2 = 1, hence d/ds (s^2 - 1)^2 = 4 s (s^2 - 1); the batch estimate pulls s down by another 8 s^3 / N."""
    count, s = 4, 1.5
    for square, expected in ((squared_expectation, 4 * s * (s**2 - 1)), (squared_mean, 4 * s * (s**2 - 1) + 8 * s**3 / count)):
        scale = torch.full((200_000, 1, 1), s, requires_grad=True)
        x = scale * torch.randn(200_000, count, 1)
        square(x.square() - 1).sum().backward()
        assert scale.grad is not None
        gradients = scale.grad.flatten()
        assert abs(gradients.mean() - expected) < 4.5 * gradients.std() / len(gradients) ** 0.5


def test_matched_noise_has_exact_moments_and_is_still_normal() -> None:
    z = torch.randn(50, 400, 3)
    moved = matched(z)
    torch.testing.assert_close(moved.mean(1), torch.zeros(50, 3), atol=1e-12, rtol=0)
    torch.testing.assert_close(moved.mT @ moved / 400, torch.eye(3).expand(50, 3, 3))
    assert (moved - z).square().mean() < 0.03  # of order D / N
    assert scipy.stats.kstest(moved.flatten().numpy(), "norm").pvalue > 1e-3


def test_with_matched_noise_the_covariance_of_a_linear_sampler_is_known_without_error() -> None:
    a = torch.randn(2, 3, 3, requires_grad=True)
    x = matched(torch.randn(2, 20, 3)) @ a.mT
    residuals = (x.unsqueeze(-1) * x.unsqueeze(-2) - torch.eye(3)).flatten(2)
    (gradient,) = torch.autograd.grad(squared_mean(residuals).sum(), a, retain_graph=True)
    exact = (a @ a.mT - torch.eye(3)).square().sum((1, 2))
    torch.testing.assert_close(squared_mean(residuals), exact)
    torch.testing.assert_close(gradient, torch.autograd.grad(exact.sum(), a)[0])


def test_the_penalty_grows_geometrically_and_then_stays() -> None:
    weights = [penalty_weight(step, start=0.01, end=100.0, ramp_steps=100) for step in (0, 25, 50, 100, 200)]
    assert weights == pytest.approx([0.01, 0.1, 1.0, 100.0, 100.0])
    assert penalty_weight(0, start=0.01, end=100.0, ramp_steps=0) == 100.0


@pytest.mark.parametrize(
    ("law", "tolerance"),
    [
        (scipy.stats.norm(3, 2), 0.03),
        (scipy.stats.laplace(scale=0.5), 0.04),
        (scipy.stats.uniform(0, 1), 0.03),
        (scipy.stats.expon(scale=2), 0.04),
    ],
)
def test_the_entropy_by_nearest_neighbours_is_the_law_s(law: scipy.stats.rv_continuous, tolerance: float) -> None:
    """Tolerances: four standard errors of the mean of -log p and of digamma(4)'s logarithm, 20,000 samples."""
    x = law.rvs((20_000, 1), random_state=0)
    assert abs(neighbour_entropy(x) - law.entropy()) < tolerance


def test_the_entropy_by_nearest_neighbours_moves_with_affine_maps_exactly() -> None:
    generator = np.random.default_rng(0)
    x, mix = generator.normal(size=(500, 3)), generator.normal(size=(3, 3))
    difference = neighbour_entropy(x @ mix + 7) - neighbour_entropy(x)
    assert difference == pytest.approx(np.linalg.slogdet(mix)[1], abs=1e-9)


def test_in_three_dimensions_it_is_close_for_a_correlated_gaussian() -> None:
    law = scipy.stats.multivariate_normal(np.zeros(3), [[4.0, 1.9, 0], [1.9, 1.0, 0], [0, 0, 0.01]])
    assert abs(neighbour_entropy(law.rvs(10_000, random_state=0)) - law.entropy()) < 0.08
