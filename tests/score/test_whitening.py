"""The amortised covariance: a likelihood with its maximum in the right place, exact coordinates, and a head start for Gaussians."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ardae_rl.score import ARDAE, AdversarialScore, ScoreEstimator
from ardae_rl.score.networks import GaussianResidual, PotentialNet, ResidualNet, ScoreBody
from ardae_rl.score.whitening import Whitener, Whitening

pytestmark = pytest.mark.usefixtures("float64")


def random_whitener(context_dim: int = 3, dim: int = 3) -> Whitener:
    whitener = Whitener(dim, context_dim, width=16)
    with torch.no_grad():
        for parameter in whitener.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return whitener


def covariance(whitening: Whitening) -> Tensor:
    """(P^T P)^-1 from its definition."""
    p = whitening.log_diagonal.exp().diag_embed() @ (torch.eye(whitening.mean.shape[-1]) + whitening.lower)
    inverse = torch.linalg.inv(p)
    return inverse @ inverse.mT


def test_the_likelihood_is_that_of_the_normal_distribution() -> None:
    whitening = random_whitener()(torch.randn(4, 3), None, 4)
    x = torch.randn(4, 10, 3)
    law = torch.distributions.MultivariateNormal(whitening.mean[:, None], covariance(whitening)[:, None])
    expected = -law.log_prob(x).mean() / 3 - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(whitening.negative_log_likelihood(x), expected)


def test_the_frame_whitens() -> None:
    whitening = random_whitener()(torch.randn(4, 3), None, 4)
    frame = whitening.frame()
    assert frame.matrix is not None
    torch.testing.assert_close(torch.linalg.det(frame.matrix), torch.ones(4))
    p = frame.matrix / frame.scale
    torch.testing.assert_close(p @ covariance(whitening) @ p.mT, torch.eye(3).expand(4, 3, 3))
    assert not frame.standardise(whitening.mean[:, None]).any()


def test_score_is_the_gradient_of_the_log_density_in_whitened_coordinates() -> None:
    frame = random_whitener()(torch.randn(4, 3), None, 4).frame()
    x = torch.randn(4, 5, 3, requires_grad=True)
    log_density = frame.log_density(-frame.standardise(x).pow(4).sum(-1))
    torch.testing.assert_close(frame.score(-4 * frame.standardise(x).pow(3)), torch.autograd.grad(log_density.sum(), x)[0])


def test_a_known_centre_replaces_the_learned_mean() -> None:
    whitener, context, centre = random_whitener(), torch.randn(4, 3), torch.randn(4, 3)
    whitening = whitener(context, centre, 4)
    assert torch.equal(whitening.mean, centre)
    assert torch.equal(whitening.lower, whitener(context, None, 4).lower)


def test_it_starts_at_the_identity() -> None:
    whitening = Whitener(3, 2, width=8)(torch.randn(5, 2), None, 5)
    assert not whitening.mean.any() and not whitening.lower.any() and not whitening.log_diagonal.any()


@pytest.mark.parametrize("context_dim", [0, 2])
def test_it_learns_mean_and_covariance(context_dim: int) -> None:
    """Two-sided: the estimate of each entry lies within its sampling error, which is not zero."""
    mean, factor = torch.tensor([1.0, -2.0]), torch.tensor([[0.3, 0.0], [0.5, 0.2]])
    whitener = Whitener(2, context_dim, width=16)
    optimiser = torch.optim.Adam(whitener.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 400)
    for _ in range(400):
        x = mean + torch.randn(16, 32, 2) @ factor.mT
        context = torch.randn(16, context_dim) if context_dim else None
        optimiser.zero_grad()
        whitener(context, None, 16).negative_log_likelihood(x).backward()
        optimiser.step()
        schedule.step()
    learned = whitener(torch.zeros(1, context_dim) if context_dim else None, None, 1)
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
        estimator.log_density(torch.zeros(5, 2), frame=estimator.frame(torch.randn(5, 2)))


def test_a_correlated_gaussian_has_its_exact_score_and_density_once_whitened() -> None:
    """With the true covariance in the whitener and nothing learned on top, score and normalised log-density are exact."""
    estimator = ARDAE(3, 3, standardisation="amortised", gaussian_residual=True, width=16, whitener_width=16)
    assert estimator.whitener is not None
    estimator.whitener.load_state_dict(random_whitener().state_dict())
    context, x = torch.randn(4, 3), torch.randn(4, 6, 3)
    whitening = estimator.whitener(context, None, 4)
    law = torch.distributions.MultivariateNormal(whitening.mean[:, None], covariance(whitening)[:, None])
    frame = estimator.frame(x[:, :1], context=context)
    residual = torch.linalg.solve(covariance(whitening), (x - whitening.mean[:, None]).mT).mT
    torch.testing.assert_close(estimator.score(x, context, frame=frame), -residual)
    log_z = estimator.log_partition(context, samples=200_000).log_z
    torch.testing.assert_close(estimator.log_density(x, context, frame=frame) - log_z[:, None], law.log_prob(x), rtol=0, atol=0.02)


def with_misfit(log_misfit: float) -> Whitening:
    """With about the tails of a Gaussian."""
    logs = {"log_misfit": torch.tensor(log_misfit), "log_tails": torch.tensor(-0.4)}
    return dataclasses.replace(random_whitener()(torch.randn(4, 3), None, 4), **logs)


def test_samples_give_the_scale_where_the_regression_knows_nothing_and_nothing_where_it_knows_all() -> None:
    x = torch.randn(4, 5000, 3)  # so many that their own noise is none
    ignorant, certain = with_misfit(50.0), with_misfit(-50.0)
    level = ignorant.frame(x).standardise(x).square().mean((1, 2))
    torch.testing.assert_close(level, torch.ones(4), rtol=0, atol=5e-4)
    torch.testing.assert_close(certain.frame(x).scale, certain.frame().scale)
    torch.testing.assert_close(certain.frame(x[:, :1]).scale, certain.frame().scale)
    torch.testing.assert_close((ignorant.frame(x).centre, ignorant.frame(x).matrix), (ignorant.frame().centre, ignorant.frame().matrix))


def scattered(contexts: int, samples: int, misfit: float, *, tails: bool = False) -> tuple[Whitening, Tensor, Tensor]:
    """A whitening that believes in N(0, I), draws of N(0, e^z I) with z ~ N(-misfit / 2, misfit), and z; of covariance I over all contexts.

    With ``tails`` the multivariate Laplace law has the place of the Gaussian: E|x|^4 / (E|x|^2)^2 is 4 and not 2.
    """
    z = misfit**0.5 * torch.randn(contexts) - misfit / 2
    logs = torch.tensor([misfit, 3.0 if tails else 1.0]).log()
    identity = Whitening(torch.zeros(contexts, 2), torch.zeros(contexts, 2, 2), torch.zeros(contexts, 2), logs[0], logs[1])
    mixed = torch.empty(contexts, samples, 1).exponential_().sqrt() if tails else 1.0
    return identity, (0.5 * z).exp()[:, None, None] * mixed * torch.randn(contexts, samples, 2), z


def test_the_corrected_scale_beats_both_the_regression_and_the_samples() -> None:
    """Mean squared error of log scale^2: t for the regression, n for the samples (n = 2 / K D), t n / (t + n) for the two together."""
    misfit, noise = 0.0625, 2 / 32
    whitening, x, z = scattered(20_000, 16, misfit)
    error = (2 * whitening.frame(x).scale.log().flatten() - z).square().mean()
    torch.testing.assert_close(error, torch.tensor(misfit * noise / (misfit + noise)), rtol=0.08, atol=0)


@pytest.mark.parametrize("tails", [False, True])
def test_a_few_samples_with_tails_correct_the_scale_without_making_scores_too_strong(tails: bool) -> None:
    """Stein's identity for the score -x / scale^2: E[x^2 / scale^2] = 1; in place of the noise of all contexts that of each gives 1.2."""
    whitening, x, z = scattered(50_000, 8, 0.25, tails=tails)
    scale = whitening.frame(x).scale.flatten()
    torch.testing.assert_close((z.exp() / scale.square()).mean(), torch.tensor(1.0), rtol=0, atol=0.02)
    assert (2 * scale.log() - z).square().mean() < 0.65 * 0.25, "and it still tells more than the regression alone, which is off by t"


def minimiser(objective: Callable[[Tensor], Tensor]) -> Tensor:
    """The number at which a smooth function of one number is smallest, sought from 0."""
    number = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([number], line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = objective(number)
        value.backward()
        return value

    optimiser.step(loss)
    return number.detach()


@pytest.mark.parametrize(("samples", "tails", "tolerance"), [(64, False, 0.05), (8, False, 0.12), (8, True, 0.25)])
def test_the_misfit_is_learned(samples: int, tails: bool, tolerance: float) -> None:
    """The mean of eight squares is log-normal in about the variance only."""
    whitening, x, _ = scattered(20_000, samples, 0.25, tails=tails)
    log_misfit = minimiser(lambda value: dataclasses.replace(whitening, log_misfit=value).misfit_negative_log_likelihood(x))
    torch.testing.assert_close(log_misfit.exp(), torch.tensor(0.25), rtol=tolerance, atol=0)


@pytest.mark.parametrize(("tails", "kappa"), [(False, 1.0), (True, 3.0)])
def test_the_tails_are_learned(tails: bool, kappa: float) -> None:
    """In two dimensions mean y^2 is exponential for a Gaussian. The weights make heavy tails lighter, whence the tolerance."""
    whitening, x, _ = scattered(50_000, 8, 0.25, tails=tails)
    log_tails = minimiser(lambda value: dataclasses.replace(whitening, log_tails=value).tails_loss(x))
    torch.testing.assert_close(log_tails.exp(), torch.tensor(kappa), rtol=0.15, atol=0)


def test_coordinates_apart_are_those_that_the_other_samples_give() -> None:
    whitening, x, _ = scattered(6, 5, 0.25)
    apart = whitening.frame(x, apart=True).scale
    for k in range(5):
        others = torch.cat([x[:, :k], x[:, k + 1 :]], 1)
        torch.testing.assert_close(apart[:, k : k + 1], whitening.frame(others).scale)


@pytest.mark.parametrize("estimator", [ARDAE(3, 3, width=8, antithetic=False), AdversarialScore(3, 3, width=8)])
def test_estimators_train_in_coordinates_apart(estimator: ScoreEstimator) -> None:
    """What the network sees of samples without noise on them; the other coordinates, one set per context, are clearly different."""
    x, context, seen = torch.randn(4, 5, 3), torch.randn(4, 3), list[Tensor]()
    estimator.double().network.network.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    estimator.losses(x, context, normal=lambda *shape: torch.zeros(shape))
    assert estimator.whitener is not None
    whitening = estimator.whitener(context, None, 4)
    torch.testing.assert_close(seen[0], whitening.frame(x, apart=True).standardise(x))
    assert (seen[0] - whitening.frame(x).standardise(x)).abs().max() > 0.1


def test_a_sample_far_out_does_not_spoil_coordinates_and_losses_in_single_precision() -> None:
    """Its own coordinates are those of the others, which a difference of sums would lose beside it; fourth powers of it overflow."""
    whitening, x, _ = scattered(4, 8, 0.25)
    narrow = Whitening(**{name: value.float() for name, value in vars(whitening).items()})
    far = x.clone()
    far[:, 0] = 1e6
    scale = narrow.frame(far.float(), apart=True).scale[:, :1]
    torch.testing.assert_close(scale.double(), whitening.frame(x[:, 1:]).scale, rtol=1e-5, atol=0)
    far[:, 0] = 1e12
    assert narrow.tails_loss(far.float()).isfinite() and narrow.misfit_negative_log_likelihood(far.float()).isfinite()


def test_a_context_whose_samples_are_all_alike_has_finite_coordinates_and_losses() -> None:
    estimator = ARDAE(3, 3, standardisation="amortised", width=16)
    context, centre = torch.randn(4, 3), torch.randn(4, 3)
    collapsed = centre[:, None].expand(4, 8, 3)
    losses = estimator.losses(collapsed, context, centre=centre)
    assert all(bool(value.isfinite()) for value in losses.values())
    assert estimator.score(collapsed, context, frame=estimator.frame(collapsed, centre, context=context)).isfinite().all()


def test_gaussian_residual_needs_unit_scale() -> None:
    with pytest.raises(ValueError, match="use standardisation 'per_context' or 'amortised'"):
        ARDAE(2, standardisation="fixed", gaussian_residual=True)


def test_the_papers_settings_are_one_call_away() -> None:
    estimator = ARDAE.paper(3, 2, width=16)
    assert (estimator.standardisation, estimator.scale, estimator.delta_scale) == ("fixed", 10_000.0, 0.1)
    assert isinstance(estimator.network, PotentialNet) and 1 + len(estimator.network.body.joint) == 5
    assert ARDAE.paper(3, 2, standardisation="per_context", width=16).standardisation == "per_context"


def test_defaults_whiten_where_there_is_a_context_and_use_the_samples_statistics_where_there_is_none() -> None:
    assert (ARDAE(3, 2).standardisation, ARDAE(3).standardisation) == ("amortised", "per_context")
    assert isinstance(ARDAE(3, 2).network, GaussianResidual) and isinstance(ARDAE(3).network, PotentialNet)
