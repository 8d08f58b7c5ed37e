"""The adversarial score at the optimum of its classifier, and on the way there."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.score import AdversarialScore
from ardae_rl.score.networks import GaussianResidual

pytestmark = pytest.mark.usefixtures("float64")


class LogRatio(nn.Module):
    """log N(x; 0, diag v) - log N(x; 0, I) up to a constant, its gradient, and a constant shift and a tilt to perturb it by."""

    def __init__(self, variance: Tensor, shift: float = 0.0, tilt: float = 0.0) -> None:
        super().__init__()
        self.variance, self.shift, self.tilt = variance, shift, tilt
        self.out = nn.Linear(1, 1)  # what GaussianResidual sets to zero at the start

    def potential(self, x: Tensor, context: Tensor | None = None, sigma: Tensor | None = None) -> Tensor:
        log_ratio = -0.5 * (x.square() * (1 / self.variance - 1) + self.variance.log()).sum(-1)
        return (1 + self.tilt) * log_ratio + self.shift

    def forward(self, x: Tensor, context: Tensor | None = None, sigma: Tensor | None = None) -> Tensor:
        return (1 + self.tilt) * -x * (1 / self.variance - 1)


def estimator_with(network: nn.Module, dim: int) -> AdversarialScore:
    estimator = AdversarialScore(dim, width=4, layers=1)
    estimator.network = GaussianResidual(network)  # type: ignore[arg-type]
    return estimator


def test_at_the_optimum_it_is_the_score() -> None:
    """The samples' moments about a centre that is given, here the origin, so that the coordinates are the samples' own."""
    std = torch.tensor([0.5, 2.0])
    estimator = AdversarialScore(2, width=4, layers=1)
    x = torch.randn(1, 4000, 2) * std + 3
    frame = estimator.frame(x)
    torch.testing.assert_close(frame.centre[0, 0], x[0].mean(0))
    torch.testing.assert_close(frame.standardise(x)[0].std(0), torch.ones(2))
    points = torch.randn(1, 10, 2)
    # T = 0 is the optimum for a Gaussian of the samples' own moments
    expected = -(points - x.mean(1, keepdim=True)) / x.var(1, keepdim=True)
    torch.testing.assert_close(estimator.score(points, frame=frame), expected)
    log_density = torch.distributions.Normal(x.mean(1, keepdim=True), x.std(1, keepdim=True)).log_prob(points).sum(-1)
    difference = estimator.log_density(points, frame=frame) - log_density
    torch.testing.assert_close(difference, torch.full_like(difference, float(torch.tensor(2 * torch.pi).log())))


def test_the_log_ratio_minimises_the_loss() -> None:
    """By quadrature in one dimension: x ~ N(0, v) against u ~ N(0, 1); T* has no slope in any direction tried, and curves upwards."""
    variance = torch.tensor([0.4])
    grid = torch.linspace(-8, 8, 20_001).unsqueeze(-1)
    step = float(grid[1] - grid[0])
    x_density = torch.distributions.Normal(0.0, variance.sqrt()).log_prob(grid).exp().squeeze(-1)
    u_density = torch.distributions.Normal(0.0, 1.0).log_prob(grid).exp().squeeze(-1)

    def loss(shift: float, tilt: float) -> float:
        value = LogRatio(variance, shift, tilt).potential(grid)
        return float((x_density * functional.softplus(-value) + u_density * functional.softplus(value)).sum() * step)

    for direction in ((0.1, 0.0), (0.0, 0.1)):
        up, down = loss(*direction), loss(*(-part for part in direction))
        assert abs(up - down) / 0.2 < 5e-3 < (up + down - 2 * loss(0, 0)) / 0.01


def test_the_loss_is_that_of_the_classifier() -> None:
    """Against the same integral, with samples: coordinates make x of unit variance, so contrast and samples agree and T* = 0."""
    torch.manual_seed(0)
    x = 3 * torch.randn(1, 50_000, 1)
    at_optimum = AdversarialScore(1, width=4, layers=1).loss(x).item()
    assert at_optimum == pytest.approx(2 * float(torch.tensor(2.0).log()), abs=1e-9)
    for shift in (0.5, -0.5):
        shifted = estimator_with(LogRatio(torch.ones(1), shift), 1)
        expected = float(functional.softplus(torch.tensor(-shift)) + functional.softplus(torch.tensor(shift)))
        assert float(shifted.loss(x)) == pytest.approx(expected, abs=1e-9)


def test_it_learns_a_score_that_is_not_gaussian() -> None:
    """Two modes: much of the distance from the Gaussian of the same moments to the truth is made up."""
    torch.manual_seed(0)

    def draw(count: int) -> Tensor:
        return (2 * torch.randint(2, (1, count, 1)) - 1) + 0.5 * torch.randn(1, count, 1)

    def truth(x: Tensor) -> Tensor:
        return (torch.tanh(x / 0.25) - x) / 0.25

    estimator = AdversarialScore(1, width=32, layers=2, activation="softplus")
    fit = torch.optim.Adam(estimator.parameters(), lr=3e-3)
    test = draw(2000)
    errors = []
    for _ in range(2):
        score = estimator.score(test, frame=estimator.frame(draw(20_000))).detach()
        errors.append(float((score - truth(test)).norm() / truth(test).norm()))
        for _ in range(600 if len(errors) == 1 else 0):
            fit.zero_grad()
            estimator.loss(draw(512)).backward()
            fit.step()
    assert errors[0] > 0.8 and 0.05 < errors[1] < 0.45
