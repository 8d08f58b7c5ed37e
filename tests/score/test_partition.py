"""Importance-sampled log Z against quadrature, and its error against theory, on both sides."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ardae_rl.score import LogPartition, log_partition
from ardae_rl.score.body import ScoreBody
from ardae_rl.score.networks import PotentialNet
from ardae_rl.score.partition import proposal

pytestmark = pytest.mark.usefixtures("float64")

Potential = Callable[[Tensor], Tensor]


def log_integral(potential: Potential, dim: int, *, half_width: float = 12.0, step: float = 0.05) -> Tensor:
    """log of the integral of exp(potential) over a box, (B,), by the trapezoidal rule."""
    axis = torch.arange(-half_width, half_width + step / 2, step)
    points = torch.cartesian_prod(*[axis] * dim).view(1, -1, dim)
    return potential(points).logsumexp(-1) + dim * math.log(step)


def log_z_standard_error(estimate: LogPartition, count: int) -> Tensor:
    """Delta method: var(log Z) = (N / ESS - 1) / N."""
    return ((count / estimate.effective_sample_size - 1) / count).clamp_min(1e-12).sqrt()


def two_bumps(x: Tensor) -> Tensor:
    return torch.logaddexp(-2 * (x - 1).square().sum(-1), -(x + 1.5).square().sum(-1))


def ring(x: Tensor) -> Tensor:
    return -2 * (x.norm(dim=-1) - 2).square() + 3.0


def random_network(dim: int) -> Potential:
    """A random potential network inside a Gaussian well, without which its integral need not exist."""
    torch.manual_seed(1)
    net = PotentialNet(ScoreBody(dim, 0, layers=3, context_layers=0, input_layers=1, width=16, activation="silu"), 16)
    return lambda x: net.potential(x, None).detach() - 0.5 * x.square().sum(-1)


POTENTIALS = {"two bumps": lambda dim: two_bumps, "ring": lambda dim: ring, "random network": random_network}


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", POTENTIALS)
def test_log_z_is_the_integral(name: str, dim: int) -> None:
    potential = POTENTIALS[name](dim)
    estimate = log_partition(potential, torch.randn(1, 40_000, dim), 2.0)
    error = float(estimate.log_z - log_integral(potential, dim))
    assert abs(error) < 4 * float(log_z_standard_error(estimate, 40_000)) < 0.1


def test_each_context_has_its_own_log_z() -> None:
    precision = torch.tensor([0.5, 1.0, 4.0])[:, None]
    estimate = log_partition(lambda x: -0.5 * precision * x.square().sum(-1), torch.randn(3, 40_000, 2), 1.5)
    exact = math.log(2 * math.pi) - precision.squeeze(1).log()
    assert ((estimate.log_z - exact).abs() < 4 * log_z_standard_error(estimate, 40_000)).all()


@pytest.mark.parametrize("dim", [1, 3])
def test_the_proposal_itself_is_estimated_without_error(dim: int) -> None:
    estimate = log_partition(lambda x: 0.7 - 0.5 * (x / 1.3).square().sum(-1), torch.randn(2, 10, dim), 1.3)
    exact = 0.7 + dim * (0.5 * math.log(2 * math.pi) + math.log(1.3))
    torch.testing.assert_close(estimate.log_z, torch.full((2,), exact))
    torch.testing.assert_close(estimate.effective_sample_size, torch.full((2,), 10.0))
    torch.testing.assert_close(estimate.standard_error, torch.zeros(2), rtol=0, atol=1e-7)


def test_spread_of_the_estimate_is_that_of_theory() -> None:
    """Target N(0, 1), proposal N(0, s^2): E[w^2] / E[w]^2 = s^2 / sqrt(2 s^2 - 1), so Z / Z* has mean 1 and (that - 1) / N as variance."""
    repeats, count, std = 4000, 200, 1.5
    estimate = log_partition(lambda x: -0.5 * x.square().sum(-1), torch.randn(repeats, count, 1), std)
    ratio = (estimate.log_z - 0.5 * math.log(2 * math.pi)).exp()
    second_moment = std**2 / math.sqrt(2 * std**2 - 1)
    variance = (second_moment - 1) / count
    assert abs(ratio.mean() - 1) < 4 * math.sqrt(variance / repeats)
    assert abs(ratio.var() - variance) < 4 * (ratio - 1).square().std() / math.sqrt(repeats)
    assert abs(estimate.effective_sample_size.mean() / count - 1 / second_moment) < 0.01
    assert abs(estimate.standard_error.mean() / math.sqrt(variance) - 1) < 0.02
    assert abs(estimate.standard_error.mean() / estimate.log_z.std() - 1) < 0.06, "of log Z itself, too"


def test_one_dominating_draw_counts_as_one() -> None:
    estimate = log_partition(lambda x: torch.arange(5.0).mul(1000).expand(x.shape[:-1]), torch.randn(2, 5, 1), 1.0)
    assert estimate.log_z.isfinite().all()
    torch.testing.assert_close(estimate.effective_sample_size, torch.ones(2))
    torch.testing.assert_close(estimate.standard_error, torch.full((2,), math.sqrt(1 - 1 / 5)))


# Student's t


@pytest.mark.parametrize(("dim", "dof", "std"), [(1, 3, 1.0), (2, 1, 0.7), (3, 4, 1.5)])
def test_the_draws_of_a_t_proposal_have_the_density_that_it_says(dim: int, dof: int, std: float) -> None:
    """Against torch's own in each direction, and integrated in one dimension."""
    draws, log_density = proposal(torch.randn(1, 200_000, dim + dof), std, dof=dof)
    along = draws[0] @ torch.nn.functional.normalize(torch.randn(dim), dim=0)
    ours, theirs = along.sort().values, torch.distributions.StudentT(float(dof), scale=std).sample((200_000,)).sort().values
    quantiles = torch.tensor([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98]) * 200_000
    spread = torch.distributions.StudentT(float(dof), scale=std).log_prob(theirs[quantiles.long()]).exp()
    levels = quantiles / 200_000
    assert ((ours - theirs)[quantiles.long()].abs() < 5 * (2 * levels * (1 - levels) / 200_000).sqrt() / spread).all()
    distance = draws.norm(dim=-1, keepdim=True)
    radial = torch.distributions.FisherSnedecor(torch.tensor(float(dim)), torch.tensor(float(dof)))
    ratio = distance.squeeze(-1).square() / (dim * std**2)  # F-distributed; back to the density at a point by the area of the sphere
    area = math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2) + (dim - 1) * distance.squeeze(-1).log()
    expected = radial.log_prob(ratio) + (2 * distance.squeeze(-1) / (dim * std**2)).log() - area
    torch.testing.assert_close(log_density, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dim", [1, 6, 17])
def test_a_t_potential_is_normalised_exactly_by_its_proposal_and_products_within_the_error(dim: int) -> None:
    dof = 3
    own = lambda x: -0.5 * (dof + dim) * (x.square().sum(-1) / dof).log1p()  # noqa: E731
    exact = math.lgamma(dof / 2) - math.lgamma((dof + dim) / 2) + 0.5 * dim * math.log(dof * math.pi)
    estimate = log_partition(own, torch.randn(2, 7, dim + dof), 1.0, dof=dof)
    torch.testing.assert_close(estimate.log_z, torch.full((2,), exact))
    count = 400_000
    logistic = lambda x: (-x - 2 * torch.nn.functional.softplus(-x)).sum(-1)  # noqa: E731  of integral 1, whatever dim
    estimate = log_partition(logistic, torch.randn(1, count, dim + dof), 1.8, dof=dof)
    assert abs(float(estimate.log_z)) < 4 * float(estimate.standard_error) < 0.2


def test_under_heavy_tails_a_gaussian_proposal_is_blind_and_a_t_is_not() -> None:
    """Of Student's t with 3 degrees of freedom, as nearly always seen: what lies beyond the reach of the draws is missing."""
    own = lambda x: -2 * (x.square().sum(-1) / 3).log1p()  # noqa: E731
    exact = math.lgamma(1.5) - math.lgamma(2) + 0.5 * math.log(3 * math.pi)
    gaussian = log_partition(own, torch.randn(50, 1000, 1), 0.8).log_z
    student = log_partition(own, torch.randn(50, 1000, 4), 0.8, dof=3).log_z
    assert float((gaussian - exact).median()) < -0.03 and abs(float((student - exact).median())) < 0.01
