"""Penalties without bias, entropies that are right."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

from ardae_rl.tasks.maxent.entropy import neighbour_entropy
from ardae_rl.tasks.maxent.penalty import Multipliers, penalty_weight, squared_expectation, squared_mean
from ardae_rl.tasks.maxent.problems import AbsoluteMoment, GaussianMoments

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


def gaussian_descent(variance: float, weight: float, rate: float) -> float:
    """x of -1/2 log x + <mu, x - v> + weight (x - v)^2, minimised over log x by gradient descent, mu moved by Newton's step."""
    problem = GaussianMoments(torch.zeros(1, 1), torch.full((1, 1, 1), variance))
    multipliers, log_x = Multipliers(problem), torch.zeros(1, requires_grad=True)
    for _ in range(800):
        expectations = {"c1": torch.zeros(1, 1), "c2": log_x.exp().view(1, 1) - variance}
        loss = multipliers.price(expectations) + weight * squared_mean(expectations["c2"].unsqueeze(1)) - 0.5 * log_x
        (gradient,) = torch.autograd.grad(loss.sum(), log_x)
        expectations = {name: value.detach() for name, value in expectations.items()}
        samples = (0.5 * log_x.detach()).exp() * torch.tensor([[[-1.0], [1.0]]])
        with torch.no_grad():
            log_x -= 0.15 * gradient.clamp(-1, 1)
        if rate:
            multipliers.move(expectations, samples, rate)
    return float(log_x.detach().exp())


def test_a_penalty_alone_leaves_room_and_multipliers_leave_none() -> None:
    variance, weight = 0.03, 5.0
    room = 0.5 * (variance + math.sqrt(variance**2 + 1 / weight))
    assert room > 7 * variance
    assert gaussian_descent(variance, weight, rate=0.0) == pytest.approx(room, rel=1e-6)
    assert gaussian_descent(variance, weight, rate=0.02) == pytest.approx(variance, rel=1e-4)


def test_newton_s_step_is_the_inverse_jacobian_of_the_expectations() -> None:
    """For a Gaussian exp(-<mu, x x^T>), covariance (2 mu)^-1: a small step of mu by s changes E x x^T by -c where s is the step of c."""
    a = torch.randn(1, 400, 2) @ torch.tensor([[2.0, 0.5], [0.0, 0.3]])
    a = a - a.mean(1, keepdim=True)
    covariance = a.mT @ a / 400
    problem, small = GaussianMoments(torch.zeros(1, 2), torch.eye(2).unsqueeze(0)), 1e-6
    wanted = torch.randn(1, 2, 2)
    wanted = wanted + wanted.mT
    step = problem.newton_step({"c1": torch.ones(1, 2), "c2": wanted.flatten(1)}, a)
    precision = covariance.inverse()
    moved = (precision + 2 * small * step["c2"].view(1, 2, 2)).inverse()
    torch.testing.assert_close((covariance - moved) / small, wanted, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(step["c1"], precision.sum(-1))
    line = AbsoluteMoment(torch.tensor([2.0]))
    x = torch.tensor([[[1.0], [-3.0], [5.0]]])
    torch.testing.assert_close(line.newton_step({"c1": torch.tensor([[8.0]])}, x)["c1"], torch.tensor([[2.0]]))  # |x| has variance 4


def test_a_step_that_is_not_finite_moves_no_multiplier() -> None:
    multipliers = Multipliers(AbsoluteMoment(torch.ones(2)))
    multipliers.move({"c1": torch.tensor([[float("nan")], [1.0]])}, torch.tensor([[[1.0], [3.0]], [[1.0], [3.0]]]), 0.5)
    assert multipliers.values["c1"].tolist() == [[0.0], [0.25]]


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
