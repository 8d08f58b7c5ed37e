"""The amortised covariance: a likelihood with its maximum in the right place, exact coordinates, and a head start for Gaussians."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ardae_rl.score import ARDAE, Frame, whitening_frame
from ardae_rl.score.body import ScoreBody
from ardae_rl.score.networks import GaussianResidual, PotentialNet, ResidualNet
from ardae_rl.score.whitening import Whitener, Whitening

pytestmark = pytest.mark.usefixtures("float64")


def random_whitener(context_dim: int = 3, dim: int = 3) -> Whitener:
    whitener = Whitener(dim, context_dim, width=16)
    with torch.no_grad():
        for parameter in whitener.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return whitener


def outer(dim: int = 3) -> Frame:
    """Coordinates of x' that turn, stretch and shift x."""
    return whitening_frame(2 + torch.randn(1, 20, dim) @ torch.randn(dim, dim))


def plain(dim: int = 3) -> Frame:
    return Frame(torch.zeros(1, 1, dim), torch.ones(1, 1, 1), None, torch.eye(dim).unsqueeze(0))


def covariance(whitening: Whitening) -> Tensor:
    """(P^T P)^-1 from its definition."""
    p = whitening.log_diagonal.exp().diag_embed() @ (torch.eye(whitening.mean.shape[-1]) + whitening.lower)
    inverse = torch.linalg.inv(p)
    return inverse @ inverse.mT


def test_the_likelihood_is_that_of_the_normal_distribution() -> None:
    whitening = random_whitener()(torch.randn(4, 3), plain(), centred=False)
    x = torch.randn(4, 10, 3)
    law = torch.distributions.MultivariateNormal(whitening.mean[:, None], covariance(whitening)[:, None])
    expected = -law.log_prob(x).mean() / 3 - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(whitening.negative_log_likelihood(x), expected)


def test_the_frame_whitens() -> None:
    whitening = random_whitener()(torch.randn(4, 3), plain(), centred=False)
    frame = whitening.frame()
    assert frame.matrix is not None
    torch.testing.assert_close(torch.linalg.det(frame.matrix), torch.ones(4))
    p = frame.matrix / frame.scale
    torch.testing.assert_close(p @ covariance(whitening) @ p.mT, torch.eye(3).expand(4, 3, 3))
    assert not frame.standardise(whitening.mean[:, None]).any()


def test_score_is_the_gradient_of_the_log_density_in_whitened_coordinates() -> None:
    frame = random_whitener()(torch.randn(4, 3), outer(), centred=False).frame()
    assert frame.centre.grad_fn is None and frame.scale.grad_fn is None
    x = torch.randn(4, 5, 3, requires_grad=True)
    log_density = frame.log_density(-frame.standardise(x).pow(4).sum(-1))
    torch.testing.assert_close(frame.score(-4 * frame.standardise(x).pow(3)), torch.autograd.grad(log_density.sum(), x)[0])


def test_a_known_centre_replaces_the_learned_mean() -> None:
    whitener, context, centre = random_whitener(), torch.randn(4, 3), torch.randn(4, 3)
    around = replace(outer(), centre=centre.unsqueeze(1))
    whitening = whitener(context, around, centred=True)
    assert not whitening.mean.any()
    torch.testing.assert_close(whitening.frame().centre, centre.unsqueeze(1))
    assert torch.equal(whitening.lower, whitener(context, around, centred=False).lower)


def test_outer_coordinates_are_gone_through_on_the_way() -> None:
    """Its mean and covariance are those of x', its frame is one of x."""
    whitener, context, x = random_whitener(), torch.randn(4, 3), torch.randn(4, 9, 3)
    outside, inside = outer(), whitener(context, plain(), centred=False)
    whitening = whitener(context, outside, centred=False)
    torch.testing.assert_close(whitening.negative_log_likelihood(x), inside.negative_log_likelihood(outside.standardise(x)))
    torch.testing.assert_close(whitening.frame().standardise(x), inside.frame().standardise(outside.standardise(x)))


def test_it_starts_at_the_outer_coordinates() -> None:
    x, outside = torch.randn(5, 7, 3), outer()
    whitening = Whitener(3, 2, width=8)(torch.randn(5, 2), outside, centred=False)
    torch.testing.assert_close(whitening.frame().standardise(x), outside.standardise(x))


def test_it_learns_mean_and_covariance() -> None:
    """Two-sided: the estimate of each entry lies within its sampling error, which is not zero."""
    mean, factor = torch.tensor([1.0, -2.0]), torch.tensor([[0.3, 0.0], [0.5, 0.2]])
    whitener = Whitener(2, 2, width=16)
    optimiser = torch.optim.Adam(whitener.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 400)
    for _ in range(400):
        x = mean + torch.randn(16, 32, 2) @ factor.mT
        optimiser.zero_grad()
        whitener(torch.randn(16, 2), plain(2), centred=False).negative_log_likelihood(x).backward()
        optimiser.step()
        schedule.step()
    learned = whitener(torch.zeros(1, 2), plain(2), centred=False)
    torch.testing.assert_close(learned.mean[0], mean, rtol=0, atol=0.05)
    torch.testing.assert_close(covariance(learned)[0], factor @ factor.mT, rtol=0.1, atol=0.01)


@pytest.mark.parametrize("form", ["gradient", "residual"])
@pytest.mark.parametrize("sigma", [None, 0.3])
def test_the_residual_starts_at_the_score_of_a_blurred_standard_gaussian(form: str, sigma: float | None) -> None:
    estimator = ARDAE(3, form=form, gaussian_residual=True, width=16, layers=2)  # type: ignore[arg-type]
    x = torch.randn(1, 7, 3)
    level = None if sigma is None else torch.full((1, 7, 1), sigma)
    torch.testing.assert_close(estimator.network(x, None, level), -x / (1 + (sigma or 0) ** 2))


def test_the_residual_can_start_at_the_score_of_students_t() -> None:
    estimator = ARDAE(1, standardisation="per_context", gaussian_residual=True, student_dof=5.0, width=16, layers=2)
    x = torch.linspace(-30, 30, 13, dtype=torch.float64, requires_grad=True).view(1, -1, 1)
    law = torch.distributions.StudentT(5.0, scale=torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(estimator.double().network(x, None), torch.autograd.grad(law.log_prob(x).sum(), x)[0])
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(estimator.network(one, None), -one)  # where |x|^2 = D it is the Gaussian's


@pytest.mark.parametrize("sigma", [None, 0.3])
@pytest.mark.parametrize("student_dof", [None, 8.0])
def test_the_residual_field_is_the_gradient_of_its_potential(sigma: float | None, student_dof: float | None) -> None:
    body = ScoreBody(2, 3, layers=2, context_layers=1, input_layers=0, width=16, activation="softplus")
    network = GaussianResidual(PotentialNet(body, 16), student_dof)
    torch.nn.init.normal_(network.network.out.weight)
    x, context = torch.randn(4, 5, 2, requires_grad=True), torch.randn(4, 3)
    level = None if sigma is None else torch.full((4, 5, 1), sigma)
    gradient = torch.autograd.grad(network.potential(x, context, level).sum(), x)[0]
    torch.testing.assert_close(network(x, context, level), gradient)


def test_the_residual_form_has_no_potential() -> None:
    estimator = ARDAE(2, form="residual", gaussian_residual=True, width=16)
    assert isinstance(estimator.network, GaussianResidual) and isinstance(estimator.network.network, ResidualNet)
    with pytest.raises(ValueError, match="no potential"):
        estimator.log_density(torch.zeros(5, 2))


def test_a_correlated_gaussian_has_its_exact_score_and_density_once_whitened() -> None:
    """With the true covariance in the whitener and nothing learned on top, score and normalised log-density are exact."""
    estimator = ARDAE(3, 3, standardisation="amortised", gaussian_residual=True, width=16, whitener_width=16)
    assert estimator.whitener is not None
    estimator.whitener.load_state_dict(random_whitener().state_dict())
    context, x = torch.randn(4, 3), torch.randn(4, 6, 3)
    whitening = estimator.whitener(context, plain(), centred=False)
    law = torch.distributions.MultivariateNormal(whitening.mean[:, None], covariance(whitening)[:, None])
    residual = torch.linalg.solve(covariance(whitening), (x - whitening.mean[:, None]).mT).mT
    torch.testing.assert_close(estimator.score(x, context), -residual)
    log_z = estimator.log_partition(context, samples=200_000).log_z
    torch.testing.assert_close(estimator.log_density(x, context) - log_z[:, None], law.log_prob(x), rtol=0, atol=0.02)


def test_gaussian_residual_needs_unit_scale() -> None:
    with pytest.raises(ValueError, match="gaussian_residual must be false or null with standardisation 'fixed': it needs"):
        ARDAE(2, standardisation="fixed", gaussian_residual=True)


def test_the_papers_settings_are_one_call_away() -> None:
    estimator = ARDAE.paper(3, 2, width=16)
    assert (estimator.standardisation, estimator.scale, estimator.delta_scale) == ("fixed", 10_000.0, 0.1)
    assert (estimator.antithetic, estimator.sigmas_per_sample, estimator.network.body.sigma_unit) == (False, 1, None)
    assert isinstance(estimator.network, PotentialNet) and 1 + len(estimator.network.body.joint) == 5
    assert ARDAE.paper(3, 2, standardisation="per_context", width=16).standardisation == "per_context"


def test_defaults_whiten_by_a_network_where_there_is_a_context_and_by_the_samples_where_there_is_none() -> None:
    assert (ARDAE(3, 2).standardisation, ARDAE(3).standardisation) == ("amortised", "samples")
    assert ARDAE(3, standardisation="amortised").standardisation == "samples"
    assert isinstance(ARDAE(3, 2).network, GaussianResidual) and isinstance(ARDAE(3).network, PotentialNet)
