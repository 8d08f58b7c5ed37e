"""The truth that estimates are measured against is itself checked: against its own density, quadrature and its own samples."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ardae_rl.tasks.score_error.laws import LAWS, Banana, ConditionalMixture, Mixture, Ring, SwissRoll

pytestmark = pytest.mark.usefixtures("float64")

UNCONDITIONAL = ["mixture_1d", "ring", "banana", "grid"]
CONDITIONAL = ["gaussian_4d", "gaussian_4d_3_decades", "mixture_4d", "gaussian_17d", "mixture_17d"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def double(law: Any) -> Any:
    if isinstance(law, Mixture):
        law.means, law.covariances = law.means.double(), law.covariances.double()
    return law.double() if isinstance(law, torch.nn.Module) else law


@pytest.mark.parametrize("name", UNCONDITIONAL + CONDITIONAL)
def test_the_score_is_the_gradient_of_the_log_density(name: str) -> None:
    law = double(LAWS[name](0))
    context = law.contexts(3, generator())
    x = law.draw(context, 20, generator()).double().requires_grad_()
    gradient = torch.autograd.grad(law.log_density(x, context).sum(), x)[0]
    torch.testing.assert_close(law.score(x, context), gradient)


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_the_density_integrates_to_one(name: str) -> None:
    law = double(LAWS[name](0))
    axis = torch.linspace(-7, 7, 1401 if law.dim == 1 else 1001)
    grid = torch.cartesian_prod(*[axis] * law.dim).view(1, -1, law.dim)
    mass = law.log_density(grid).exp().sum() * (14 / (len(axis) - 1)) ** law.dim
    assert abs(float(mass) - 1) < 1e-3


@pytest.mark.parametrize("name", UNCONDITIONAL + CONDITIONAL)
def test_samples_follow_the_density(name: str) -> None:
    """E[score] = 0 and E[x^T (score)] = -D for samples of the law itself: both fail if sampler and density differ in place or scale."""
    law = double(LAWS[name](0))
    context = law.contexts(1, generator(1))
    x = law.draw(context, 200_000, generator(2)).double()
    score = law.score(x, context)[0]
    assert (score.mean(0).abs() < 5 * score.std(0) / len(score) ** 0.5).all()
    centred = x[0] - x[0].mean(0)
    stein = (centred * score).sum(-1)
    assert abs(stein.mean() + law.dim) < 5 * stein.std() / len(stein) ** 0.5


def quadrature_blurred_score(law: Mixture, x: Tensor, sigma: float) -> Tensor:
    """f*(x; sigma) = -E_u[p(x - sigma u) u] / (sigma E_u[p(x - sigma u)]) on a fine grid of u."""
    u = torch.linspace(-9, 9, 18_001)
    weight = law.log_density((x[:, None] - sigma * u).view(1, -1, 1)).exp().view(len(x), -1) * (-0.5 * u.square()).exp()
    return -(weight * u).sum(1) / (sigma * weight.sum(1))


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0])
def test_the_optimum_of_ardae_in_closed_form_is_that_of_quadrature(sigma: float) -> None:
    law = double(LAWS["mixture_1d"](0))
    x = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(
        law.score(x.view(1, -1, 1), sigma=sigma)[0, :, 0], quadrature_blurred_score(law, x, sigma), rtol=1e-8, atol=1e-8
    )


def test_the_optimum_approaches_the_score_at_second_order() -> None:
    """||f*(.; sigma) - score|| ~ sigma^2: the slope of the logarithms, from both sides."""
    law = double(LAWS["mixture_1d"](0))
    x = law.draw(None, 2000, generator()).double()
    sigmas = torch.tensor([0.02, 0.04, 0.08])
    errors = torch.stack([(law.score(x, sigma=float(s)) - law.score(x)).norm(dim=-1).mean() for s in sigmas])
    slopes = errors.log().diff() / sigmas.log().diff()
    assert ((slopes > 1.9) & (slopes < 2.05)).all()


def test_far_blur_tends_to_the_score_of_one_gaussian() -> None:
    """f*(x; sigma) over the score of N(E[X], sigma^2 I) tends to 1."""
    law = double(LAWS["mixture_1d"](0))
    x = torch.tensor([-3.0, -0.5, 0.7, 4.0]).view(1, -1, 1)
    ratios = [law.score(x, sigma=sigma) / (-x / sigma**2) for sigma in (30.0, 300.0)]
    torch.testing.assert_close(ratios[1], torch.ones_like(x), rtol=1e-3, atol=0)
    assert ((ratios[0] - 1).abs() > (ratios[1] - 1).abs()).all()


@pytest.mark.parametrize("law", [Ring(), LAWS["grid"](0)])
def test_blurring_the_law_is_blurring_its_samples(law: Ring | Mixture) -> None:
    """Tweedie: E[u | x + sigma u] = -sigma f*, so the residual of f* at noisy samples is uncorrelated with any function of them."""
    sigma, draws = 0.2, 100_000
    law = double(law)
    u = torch.randn(1, draws, 2)
    noisy = law.draw(None, draws, generator()).double() + sigma * u
    residual = u + sigma * law.score(noisy, sigma=sigma)
    for probe in (noisy, noisy.sin(), noisy.square()):
        product = (residual * probe)[0]
        assert (product.mean(0).abs() < 5 * product.std(0) / draws**0.5).all()


def test_three_decades_of_scale_are_three_decades() -> None:
    law = LAWS["gaussian_4d_3_decades"](0)
    spread = law.draw(law.contexts(2000, generator()), 64, generator()).std(1).mean(-1)
    low, high = torch.quantile(spread, torch.tensor([0.02, 0.98], dtype=spread.dtype))
    assert 1e2 < high / low < 1e4
    narrow = LAWS["gaussian_4d"](0)
    spread = narrow.draw(narrow.contexts(2000, generator()), 64, generator()).std(1).mean(-1)
    assert torch.quantile(spread, 0.98) / torch.quantile(spread, 0.02) < 20


def test_a_turned_law_is_the_law_of_turned_contexts() -> None:
    law = ConditionalMixture(3, components=2)
    context, angle = law.contexts(5, generator()), 0.7
    law.double()
    context = context.double()
    first, second = context.chunk(2, -1)
    turned = torch.cat([math.cos(angle) * first - math.sin(angle) * second, math.sin(angle) * first + math.cos(angle) * second], -1)
    x = torch.randn(5, 4, 3)
    still = law.score(x, turned)
    law.phase = angle
    torch.testing.assert_close(law.score(x, context), still)
    torch.testing.assert_close(turned.norm(dim=-1), context.norm(dim=-1))


def test_mixtures_have_separate_modes() -> None:
    law = ConditionalMixture(4, components=3).double()
    means, factors = law.parts(law.contexts(200, generator()).double())
    gaps = torch.linalg.solve_triangular(factors[:, 0], (means[:, 0] - means[:, 1]).unsqueeze(-1), upper=False).norm(dim=(1, 2))
    assert float(gaps.median()) > 2


def test_the_swiss_roll_is_drawn_from_the_generator_it_is_given() -> None:
    first, again, other = (SwissRoll().draw(None, 50, generator(seed)) for seed in (0, 0, 1))
    assert first.shape == (1, 50, 2) and torch.equal(first, again) and not torch.equal(first, other)


def test_the_banana_is_bent() -> None:
    x = Banana().draw(None, 50_000, generator())[0]
    curvature = torch.cov(torch.stack([x[:, 0].square(), x[:, 1]]))[0, 1] / x[:, 0].square().var()
    assert 0.45 < float(curvature) < 0.55
