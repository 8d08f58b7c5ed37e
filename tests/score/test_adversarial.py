"""The adversarial score at the optimum of its classifier, and on the way there."""

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.score import AdversarialScore
from ardae_rl.score.networks import GaussianResidual
from ardae_rl.score.standardise import Frame, whitening_frame

pytestmark = pytest.mark.usefixtures("float64")


class LogRatio(nn.Module):
    """log N(x; 0, v I) - log N(x; 0, I), the context is v (B, 1), perturbed by a constant shift and a tilt."""

    def __init__(self, shift: float, tilt: float) -> None:
        super().__init__()
        self.shift, self.tilt = shift, tilt
        self.out = nn.Linear(1, 1)  # what GaussianResidual sets to zero at the start

    def potential(self, x: Tensor, context: Tensor, sigma: Tensor | None = None) -> Tensor:
        log_ratio = -0.5 * (x.square() * (1 / context.unsqueeze(1) - 1) + context.unsqueeze(1).log()).sum(-1)
        return (1 + self.tilt) * log_ratio + self.shift


def quantiles(count: int) -> Tensor:
    """Of N(0, 1), (count, 1): means over them are integrals."""
    return torch.special.ndtri((torch.arange(count) + 0.5) / count).unsqueeze(-1)


def test_without_a_discriminator_it_is_the_score_of_the_gaussian_of_the_coordinates() -> None:
    """T starts at 0, the optimum for a Gaussian whose moments the coordinates have."""
    x, points = torch.randn(1, 4000, 2) @ torch.tensor([[0.5, 0.3], [0.0, 2.0]]) + 3, torch.randn(1, 10, 2)
    estimator, frame = AdversarialScore(2, width=4, layers=1, whitener_width=4), whitening_frame(x)
    law = torch.distributions.MultivariateNormal(x[0].mean(0), torch.cov(x[0].T, correction=0))
    expected = -(points - law.mean) @ law.precision_matrix
    torch.testing.assert_close(estimator.score(points, frame=frame), expected, rtol=1e-6, atol=1e-6)
    difference = estimator.log_density(points, frame=frame) - law.log_prob(points)
    torch.testing.assert_close(difference, torch.full_like(difference, float(torch.tensor(2 * torch.pi).log())))


def test_the_contrast_is_students_t() -> None:
    """|u|^2 / nu is a quotient of independent chi-squares, so that nu / (nu + |u|^2) ~ Beta(nu / 2, D / 2)."""
    estimator = AdversarialScore(2, student_dof=5, width=4, layers=1, whitener_width=4)
    u = estimator._contrast(torch.empty(20, 1000, 2), lambda *shape: torch.randn(shape))
    shares, law = 5 / (5 + u.square().sum(-1)), torch.distributions.Beta(2.5, 1.0)
    assert float((shares.mean() - law.mean).abs()) < 4 * float(law.stddev) / u[..., 0].numel() ** 0.5
    assert float((u.sum(-1) > 0).double().mean()) == pytest.approx(0.5, abs=0.02)


def test_compared_with_students_t_it_starts_from_that_score_and_learns_a_gaussian() -> None:
    """Three degrees of freedom, as far from a Gaussian as the test needs: most of the distance is made up."""
    torch.manual_seed(0)
    estimator = AdversarialScore(1, student_dof=3, width=32, layers=2, activation="softplus", whitener_width=4)
    fit = torch.optim.Adam(estimator.parameters(), lr=1e-2)
    test = torch.randn(1, 4000, 1)
    start = estimator.score(test, frame=whitening_frame(test)).detach()
    x = (test - test.mean()) / test.std(correction=0)
    torch.testing.assert_close(start, -4 * x / (3 + x.square()) / test.std(correction=0))
    for _ in range(300):
        fit.zero_grad()
        estimator.loss(torch.randn(1, 2048, 1)).backward()
        fit.step()
    learned = estimator.score(test, frame=estimator.frame(test)).detach()
    before, after = (float((score + test).norm() / test.norm()) for score in (start, learned))
    assert after < 0.5 * before


def test_a_fraction_of_a_degree_of_freedom_is_refused() -> None:
    with pytest.raises(ValueError, match=r"whole number or null, got 2\.5"):
        AdversarialScore(1, student_dof=2.5)


@pytest.mark.parametrize("direction", [(0.1, 0.0), (0.0, 0.1)])
def test_the_log_ratio_minimises_the_loss(direction: tuple[float, float]) -> None:
    """Two contexts, x ~ N(b, S^2 v) in given coordinates (x - b) / S, by quadrature: no slope in any direction tried, and curved upwards.

    With samples and contrast exchanged, -T* is the minimiser: the slope along the tilt is then not small.
    """
    variance, centre, scale = torch.tensor([[0.4], [1.7]]), torch.tensor([3.0, -1.0]).view(2, 1, 1), torch.tensor([0.5, 2.0]).view(2, 1, 1)
    frame, unit = Frame(centre, scale, torch.ones_like(scale), torch.ones_like(scale)), quantiles(2000).expand(2, -1, -1)
    x = centre + scale * variance.sqrt().unsqueeze(-1) * unit

    def loss(shift: float, tilt: float) -> float:
        estimator = AdversarialScore(1, 1, width=4, layers=1, whitener_width=4)
        estimator.network = GaussianResidual(LogRatio(shift, tilt))  # type: ignore[arg-type]
        return float(estimator.losses(x, variance, frame=frame, normal=lambda *shape: unit)["score"])

    up, down = loss(*direction), loss(*(-part for part in direction))
    assert abs(up - down) / 0.2 < 1e-3 < (up + down - 2 * loss(0, 0)) / 0.01


def test_a_few_samples_per_context_are_enough_for_a_gaussian() -> None:
    """32 samples each of N(c, 1/4 I), fresh points: the Gaussian with the samples' own moments is off by more."""
    torch.manual_seed(0)
    estimator = AdversarialScore(2, 2, width=16, layers=1, context_layers=1, activation="softplus", whitener_width=32)
    fit = torch.optim.Adam(estimator.parameters(), lr=3e-3)
    for _ in range(300):
        context = torch.randn(64, 2)
        fit.zero_grad()
        estimator.loss(context.unsqueeze(1) + 0.5 * torch.randn(64, 32, 2), context).backward()
        fit.step()
    context = torch.randn(64, 2)
    samples, fresh = (context.unsqueeze(1) + 0.5 * torch.randn(64, 32, 2) for _ in range(2))
    truth = (context.unsqueeze(1) - fresh) / 0.25
    own = (samples.mean(1, keepdim=True) - fresh) / samples.var(1, keepdim=True)
    error, of_own_moments = (
        float((score - truth).norm() / truth.norm())
        for score in (estimator.score(fresh, context, frame=estimator.frame(samples, context=context)).detach(), own)
    )
    assert error < 0.2 < of_own_moments


def test_it_learns_a_score_that_is_not_gaussian() -> None:
    """Two modes: much of the distance from the Gaussian of the same moments to the truth is made up."""
    torch.manual_seed(0)

    def draw(count: int) -> Tensor:
        return (2 * torch.randint(2, (1, count, 1)) - 1) + 0.5 * torch.randn(1, count, 1)

    def truth(x: Tensor) -> Tensor:
        return (torch.tanh(x / 0.25) - x) / 0.25

    estimator = AdversarialScore(1, width=32, layers=2, activation="softplus", whitener_width=4)
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
