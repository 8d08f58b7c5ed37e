"""The targets: their energies against values worked out by hand, their samples, constants and regions against independent quadrature."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from ardae_rl.tasks.energy.config import TargetName
from ardae_rl.tasks.energy.potentials import BINS, HALF_WIDTH, PlanarTarget, soft_box, target

PLANAR = ["potential_1", "potential_2", "potential_3", "potential_4"]
BOX_LENGTH = 12 + math.sqrt(math.pi)  # integral of exp(-relu(|t| - 6)^2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def log_sum(*terms: float) -> float:
    return math.log(sum(math.exp(term) for term in terms))


def test_every_name_that_settings_allow_is_a_target() -> None:
    for name in get_args(TargetName):
        assert target(name).sample(3, generator()).shape == (3, target(name).dim)
    with pytest.raises(ValueError, match=r"target must be one of potential_1, .*mixture_32d, got 'potential_5'"):
        target("potential_5")


@pytest.mark.parametrize(
    ("name", "point", "energy"),
    [
        ("potential_1", (2.0, 0.0), -log_sum(0, -0.5 * (4 / 0.6) ** 2)),
        ("potential_1", (0.0, -3.0), 0.5 * (1 / 0.4) ** 2 - log_sum(-0.5 * (2 / 0.6) ** 2, -0.5 * (2 / 0.6) ** 2)),
        ("potential_2", (1.0, 1.4), 0.5),  # the ridge is at sin(pi / 2) = 1
        ("potential_2", (7.0, -1.0), 1.0),  # on the ridge, one beyond the box
        ("potential_3", (1.0, 1.0), -log_sum(0, -0.5 * (3 / 0.35) ** 2)),  # the other branch is 3 below
        ("potential_3", (1.0, -2.0), -log_sum(-0.5 * (3 / 0.35) ** 2, 0)),
        ("potential_4", (1.0, 1.0), -log_sum(0, -0.5 * (1.5 / 0.35) ** 2)),  # half of 3 sigmoid
        ("potential_4", (-5.0, -1.0), -log_sum(0, -0.5 * (3 / (1 + math.exp(20)) / 0.35) ** 2)),
    ],
)
def test_energies_are_those_worked_out_by_hand(name: str, point: tuple[float, float], energy: float, float64: None) -> None:
    assert float(target(name).energy(torch.tensor([point]))) == pytest.approx(energy, abs=1e-9)


def test_the_soft_box_starts_at_six_and_is_even(float64: None) -> None:
    x = torch.tensor([[6.0, -6.0], [7.0, 0.0], [-7.0, 8.0]])
    torch.testing.assert_close(soft_box(x), torch.tensor([0.0, 1.0, 5.0]))


@pytest.mark.parametrize("name", get_args(TargetName))
def test_gradients_of_the_energy_are_those_of_finite_differences(name: str, float64: None) -> None:
    law = target(name)
    x = law.sample(4, generator(3)).double().requires_grad_()
    assert torch.autograd.gradcheck(law.energy, x, eps=1e-6, atol=1e-5)


def inner_moments(law: PlanarTarget, power: tuple[int, int]) -> float:
    """E[x1^a x2^b] Z by Gauss-Legendre in x2 on short panels inside scipy's adaptive quadrature in x1."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    panels = np.linspace(-9.5, 9.5, 77)
    heights = np.concatenate([(b - a) / 2 * nodes + (a + b) / 2 for a, b in pairwise(panels)])
    masses = np.tile(weights * (panels[1] - panels[0]) / 2, len(panels) - 1)

    def along(first: float) -> float:
        points = torch.stack([torch.full((len(heights),), first, dtype=torch.float64), torch.from_numpy(heights)], -1)
        density = torch.exp(-law.energy(points)).numpy()
        return float((masses * density * heights ** power[1]).sum() * first ** power[0])

    return quad(along, -9.5, 9.5, limit=400, epsabs=1e-9, epsrel=1e-9, points=[-6.0, 0.0, 6.0])[0]


@pytest.mark.parametrize("name", PLANAR)
def test_normaliser_and_moments_of_samples_agree_with_quadrature(name: str) -> None:
    law = target(name)
    assert isinstance(law, PlanarTarget)
    z = inner_moments(law, (0, 0))
    assert law.log_z == pytest.approx(math.log(z), abs=1e-6)
    x = law.sample(400_000, generator(1)).double()
    for power in ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2)):
        products = x[:, 0] ** power[0] * x[:, 1] ** power[1]
        truth = inner_moments(law, power) / z
        assert abs(float(products.mean()) - truth) < 4 * float(products.std()) / len(x) ** 0.5, power


@pytest.mark.parametrize(("name", "width"), [("potential_2", 0.4), ("potential_3", 0.35 + 0.35), ("potential_4", 0.4 + 0.35)])
def test_the_normaliser_of_a_ridge_is_its_length_times_its_width(name: str, width: float) -> None:
    """Potentials 2 to 4 are Gaussians in x2 for every x1, inside the box: Z = sqrt(2 pi) width x (12 + sqrt(pi)), but for the box in x2."""
    assert target(name).log_z == pytest.approx(math.log(math.sqrt(2 * math.pi) * width * BOX_LENGTH), abs=1e-5)


def test_shares_of_regions_are_known_where_symmetry_or_closed_forms_give_them() -> None:
    half_tail = 3 + math.sqrt(math.pi) / 2
    torch.testing.assert_close(target("potential_1").regions, torch.tensor([0.5, 0.5]), atol=1e-5, rtol=0)
    quarters = torch.tensor([half_tail, 3.0, 3.0, half_tail]) / BOX_LENGTH
    torch.testing.assert_close(target("potential_2").regions, quarters, atol=2e-3, rtol=0)
    left = (6 + math.sqrt(math.pi) / 2 + 0.1) / BOX_LENGTH
    assert float(target("potential_3").regions[0]) == pytest.approx(left, abs=2e-3)
    _, lower, upper = target("potential_4").regions.tolist()
    assert upper / lower == pytest.approx(0.4 / 0.35, abs=0.01)


@pytest.mark.parametrize("name", get_args(TargetName))
def test_exact_samples_fill_the_regions_by_their_shares(name: str) -> None:
    law, count = target(name), 100_000
    held = torch.bincount(law.region(law.sample(count, generator(2))), minlength=len(law.regions)) / count
    deviation = (law.regions * (1 - law.regions) / count).sqrt()
    assert float(law.regions.sum()) == pytest.approx(1, abs=1e-5)
    assert (held - law.regions).abs().div(deviation).max() < 4.5


@pytest.mark.parametrize("name", ["funnel_10d", "mixture_32d"])
def test_laws_in_more_dimensions_are_normalised_and_drawn_from_their_energy(name: str) -> None:
    """Importance sampling from a wide Gaussian is hopeless in 32 dimensions; Stein's identity E[x . grad U] = D is not."""
    law = target(name)
    x = law.sample(200_000, generator(4)).double().requires_grad_()
    products = (x * torch.autograd.grad(law.energy(x).sum(), x)[0]).sum(-1).detach()
    assert abs(float(products.mean()) - law.dim) < 4 * float(products.std()) / len(x) ** 0.5


def test_the_funnel_is_the_product_of_its_conditionals(float64: None) -> None:
    x = target("funnel_10d").sample(50, generator(5)).double()
    v = x[:, :1]
    log_v = torch.distributions.Normal(0.0, 1.5).log_prob(v).sum(-1)
    log_rest = torch.distributions.Normal(0.0, (0.5 * v).exp()).log_prob(x[:, 1:]).sum(-1)
    torch.testing.assert_close(-target("funnel_10d").energy(x), log_v + log_rest)


def test_the_mixture_is_the_average_of_its_parts(float64: None) -> None:
    law = target("mixture_32d")
    means = law.means.double()  # type: ignore[attr-defined]
    torch.testing.assert_close(means @ means.T, 25 * torch.eye(8), atol=1e-5, rtol=0)
    x = law.sample(50, generator(6)).double()
    parts = torch.distributions.MultivariateNormal(means, torch.eye(32)).log_prob(x.unsqueeze(1))
    torch.testing.assert_close(-law.energy(x), parts.logsumexp(-1) - math.log(8))


def test_exact_samples_have_no_divergence() -> None:
    law = target("potential_3")
    assert isinstance(law, PlanarTarget)
    assert abs(law.divergence(law.sample(400_000, generator(7)))) < 5e-3


@pytest.mark.parametrize(
    ("change", "divergence"),
    [
        (lambda x: x[x[:, 0] > 0], math.log(2)),  # half of the law missing
        (
            lambda x: torch.cat([x[x[:, 0] > 0][:60_000], x[x[:, 0] < 0][:20_000]]),
            math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25),
        ),
    ],
)
def test_divergence_of_a_reweighted_law_is_that_of_the_weights(change: Callable[[Tensor], Tensor], divergence: float) -> None:
    """KL of a law that has the right shape within each half, but other masses."""
    law = target("potential_1")
    assert isinstance(law, PlanarTarget)
    assert law.divergence(change(law.sample(200_000, generator(8)))) == pytest.approx(divergence, abs=0.01)


def test_points_beyond_the_grid_count_as_at_its_edge() -> None:
    law = target("potential_2")
    assert isinstance(law, PlanarTarget)
    edge, beyond = torch.tensor([[0.0, HALF_WIDTH - 0.01]]), torch.tensor([[0.0, 3 * HALF_WIDTH]])
    assert law.divergence(beyond.expand(10, 2)) == law.divergence(edge.expand(10, 2)) > 100
    assert pytest.approx(0.08) == HALF_WIDTH * 2 / BINS
