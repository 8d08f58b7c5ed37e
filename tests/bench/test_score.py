"""The Gaussian task's truth is the truth, and its errors are errors."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from ardae_rl.bench import score
from ardae_rl.score import ARDAE


def test_score_and_density_are_those_of_the_multivariate_normal() -> None:
    torch.manual_seed(0)
    task = score.GaussianTask(seed=1).double()
    state, noise = torch.randn(5, 8, dtype=torch.float64), torch.randn(5, 3, 4, dtype=torch.float64)
    x = task.draw(state, noise).requires_grad_(True)
    mean, factor = task.law(state)
    truth = MultivariateNormal(mean.unsqueeze(1), scale_tril=factor.unsqueeze(1)).log_prob(x)
    torch.testing.assert_close(task.log_density(state, noise), truth)
    torch.testing.assert_close(task.score(state, noise), torch.autograd.grad(truth.sum(), x)[0])


def test_the_spread_differs_between_states() -> None:
    torch.manual_seed(0)
    _, factor = score.GaussianTask(seed=0).law(torch.randn(200, 8))
    spread = factor.diagonal(dim1=1, dim2=2)
    assert (spread.amax(0) / spread.amin(0)).min() > 3


def test_a_score_of_zero_has_relative_error_one() -> None:
    torch.manual_seed(0)
    estimator = ARDAE(4, 8)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.zero_()
    assert score.evaluate(estimator, score.GaussianTask(seed=0)).score == pytest.approx(1.0)


def test_a_little_training_beats_no_training() -> None:
    untrained, trained = (score.measure("per_context", seed=0, steps=steps) for steps in (0, 150))
    assert trained.score < untrained.score
    assert trained.log_density < untrained.log_density
