"""Every way of training a posterior against exact gradients and bounds, where everything is linear and Gaussian."""

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.score import ARDAE, AdversarialScore, Frame
from ardae_rl.tasks.vae.config import ScoreSettings
from ardae_rl.tasks.vae.evaluate import joint_log_likelihood
from ardae_rl.tasks.vae.methods import AuxiliaryMethod, BoundMethod, GaussianMethod, ScoreMethod
from ardae_rl.tasks.vae.model import VAE
from ardae_rl.tasks.vae.networks import Joint
from ardae_rl.tasks.vae.posteriors import HierarchicalPosterior, ImplicitPosterior
from tests.spies import calls_of
from tests.tasks.linear_vae import (
    DIM,
    PIXELS,
    auxiliary_model,
    body_of,
    exact_log_p,
    exact_negative_elbo,
    exact_posterior,
    fit_estimator,
    law_of,
    linear_parts,
    linear_vae,
)

pytestmark = pytest.mark.usefixtures("float64")


def normal(*shape: int) -> Tensor:
    return torch.randn(shape)


class ExactScore(ARDAE):
    """The score of the posterior at hand in closed form, in the place of a trained one; ``x`` are the images it is asked about."""

    def __init__(self, vae: VAE, x: Tensor) -> None:
        super().__init__(DIM, DIM, width=4, layers=1, whitener_width=4)
        self.known: tuple[VAE, Tensor] = (vae, x)

    def score(self, x: Tensor, context: Tensor | None = None, *, centre: Tensor | None = None, frame: Frame | None = None) -> Tensor:
        return -x @ law_of(self.known[0].posterior, self.known[1]).precision_matrix  # of z - b(x), whose mean is 0


def method_of(posterior: str, vae: VAE, x: Tensor) -> BoundMethod | ScoreMethod:
    """The closed-form bound of a Gaussian posterior, the exact score of the others."""
    if posterior == "gaussian":
        return GaussianMethod(vae, None, normal)
    return ScoreMethod(vae, ExactScore(vae, x), ScoreSettings(samples_per_context=2, context="centre"), normal)


def gradient(loss: Tensor, vae: VAE) -> Tensor:
    parts = torch.autograd.grad(loss, list(vae.parameters()), allow_unused=True)
    return torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(vae.parameters(), parts, strict=True)])


@pytest.mark.parametrize("posterior", ["gaussian", "hierarchical", "implicit"])
def test_with_the_true_score_the_gradient_of_the_loss_is_that_of_the_bound(posterior: str) -> None:
    """Encoder and decoder, the average over noise: within four standard errors, and not by being noisy."""
    vae, x = linear_vae(posterior), torch.randn(4, PIXELS).repeat(100, 1)
    method = method_of(posterior, vae, x)
    exact = gradient(exact_negative_elbo(vae, x).mean(), vae)
    draws = torch.stack([gradient(method.loss(x, 1.0)[0], vae) for _ in range(30)])
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - exact).abs() < 4 * error + 1e-9).all()
    assert (draws.mean(0) - exact).norm() < 0.15 * exact.norm()


@pytest.mark.parametrize("posterior", ["gaussian", "hierarchical", "implicit"])
def test_beta_weighs_all_but_the_reconstruction(posterior: str) -> None:
    vae, x = linear_vae(posterior), torch.randn(4, PIXELS)
    method = method_of(posterior, vae, x)
    gradients, losses = [], []
    for beta in (0.0, 0.5, 1.0):
        torch.manual_seed(1)
        loss, metrics = method.loss(x, beta)
        losses.append(float(loss.detach()))
        gradients.append(gradient(loss, vae))
    assert losses[0] == pytest.approx(metrics["reconstruction"]) != pytest.approx(losses[2])
    torch.testing.assert_close(gradients[1], (gradients[0] + gradients[2]) / 2)
    decoder = slice(-sum(p.numel() for p in vae.decoder.parameters()), None)
    torch.testing.assert_close(gradients[0][decoder], gradients[2][decoder])


@pytest.mark.parametrize("posterior", ["hierarchical", "implicit"])
def test_the_true_score_has_a_stein_ratio_of_one(posterior: str) -> None:
    """Of 20,000 latents of a Gaussian: |x|^2 / D in whitened units has variance 2 / D."""
    vae, x = linear_vae(posterior), torch.randn(4, PIXELS).repeat(5000, 1)
    _, metrics = method_of(posterior, vae, x).loss(x, 1.0)
    assert metrics["stein_ratio"] == pytest.approx(1, abs=4 * (2 / DIM / len(x)) ** 0.5)


def test_the_score_network_learns_nothing_from_the_model_and_the_model_nothing_from_it() -> None:
    vae, x = linear_vae("implicit"), torch.randn(4, PIXELS)
    method = ScoreMethod(
        vae, ARDAE(DIM, DIM, width=8, layers=1, whitener_width=8), ScoreSettings(samples_per_context=4, context="centre"), normal
    )
    before = [p.detach().clone() for p in vae.parameters()]
    loss, _ = method.loss(x, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, vae.parameters(), strict=True)), "training the estimator moved the model"
    assert all(p.grad is None for p in vae.parameters())
    for p in method.estimator.parameters():
        p.grad = None
    loss.backward()
    assert all(p.grad is None for p in method.estimator.parameters())
    assert all(p.grad is not None for p in vae.parameters())


def test_on_a_processor_the_loss_is_taken_in_parts_that_fit_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 4096 latents at once, whole images."""
    estimator = ARDAE(DIM, DIM, width=8, whitener_width=8)
    method = ScoreMethod(
        linear_vae("implicit"), estimator, ScoreSettings(samples_per_context=1000, fits_per_step=1, context="centre"), normal
    )
    losses = calls_of(monkeypatch, estimator, "losses")
    fit_estimator(method, torch.randn(7, PIXELS))
    assert [len(call.arguments[0]) for call in losses] == [4, 3]


class SkewedPosterior(ImplicitPosterior):
    """z = b(x) + 1.5 + eps / 2 where eps is not 0: the point at zero noise is three standard deviations off the mean."""

    def push(self, features: Tensor, noise: Tensor) -> Tensor:
        away = (1.5 + 0.5 * noise[..., : self.dim]) * (noise != 0).any(-1, keepdim=True)
        return features[:, : self.dim].unsqueeze(1) + away


@pytest.mark.parametrize("estimator", [ARDAE, AdversarialScore])
def test_the_estimator_learns_a_mean_that_is_not_the_point_at_zero_noise(estimator: type) -> None:
    """The score of N(b(x) + 1.5, 1/4 I) at fresh draws, b(x) up to 10: to within a quarter, which without the mean it is not."""
    torch.manual_seed(0)
    vae, x = linear_vae("implicit"), 10 * torch.rand(32, PIXELS)
    vae.posterior = SkewedPosterior(linear_parts(), DIM, 4)
    vae.posterior.trunk = nn.Identity()
    settings = ScoreSettings(samples_per_context=32, context="centre", lr=3e-3)
    method = ScoreMethod(vae, estimator(DIM, DIM, width=16, layers=1, context_layers=1, whitener_width=32), settings, normal)
    for _ in range(300):
        context, centre = fit_estimator(method, x)
    z = vae.posterior.draw(x, torch.randn(32, 64, 4))
    truth = (centre.unsqueeze(1) + 1.5 - z) / 0.25
    found = method.estimator.score(z - centre.unsqueeze(1), context).detach()
    assert (found - truth).norm() < 0.25 * truth.norm()


@pytest.mark.parametrize(
    ("posterior", "estimator", "context"),
    [
        ("implicit", ARDAE, "centre"),
        ("implicit", ARDAE, "hidden"),
        ("implicit", ARDAE, "data"),
        ("implicit", AdversarialScore, "centre"),
        ("hierarchical", ARDAE, "hidden"),
    ],
)
def test_a_trained_estimator_gives_the_gradient_of_the_encoder(posterior: str, estimator: type, context: str) -> None:
    """A few hundred steps of the estimator at a fixed encoder: the averaged gradient points where the exact one does."""
    vae, x = linear_vae(posterior), torch.randn(16, PIXELS)
    sizes = {"centre": DIM, "hidden": vae.posterior.hidden_dim, "data": PIXELS}
    settings = ScoreSettings(samples_per_context=32, context=context, lr=3e-3)  # type: ignore[arg-type]
    method = ScoreMethod(vae, estimator(DIM, sizes[context], width=16, layers=1, whitener_width=32), settings, normal)
    untrained = entropy_gradient_error(method, x)
    for _ in range(400):
        fit_estimator(method, x)
    trained = entropy_gradient_error(method, x)
    assert 0.005 < trained < 0.06 and trained < 0.5 * untrained
    exact = gradient(exact_negative_elbo(vae, x).mean(), vae)
    found = torch.stack([gradient(method.loss(x, 1.0)[0], vae) for _ in range(100)]).mean(0)
    assert torch.nn.functional.cosine_similarity(exact, found, 0) > 0.97
    assert (found - exact).norm() < 0.25 * exact.norm()


def entropy_gradient_error(method: ScoreMethod, x: Tensor) -> float:
    """Of the part of the encoder's gradient that the score is for, relative to the closed form."""
    posterior = method.vae.posterior
    context, centre = fit_estimator(method, x)
    z = posterior.draw(x, torch.randn(len(x), 1000, posterior.noise_dim))
    score = method.estimator.score((z - centre.unsqueeze(1)).detach(), context).detach()
    found, exact = (gradient(entropy, method.vae) for entropy in (-(z * score).sum(-1).mean(), law_of(posterior, x).entropy().mean()))
    return float((found - exact).norm() / exact.norm())


def set_linear(joint: nn.Module, out: nn.Module, *, of_x: Tensor, of_other: Tensor, bias: Tensor) -> None:
    """out(joint(x, other)) = of_x x + of_other other + bias, two numbers through three."""
    assert isinstance(joint, Joint) and isinstance(out, nn.Linear)
    joint.layer.weight.copy_(torch.cat([torch.cat([of_x, of_other], 1), torch.zeros(1, joint.layer.in_features)]))
    joint.layer.bias.zero_()
    out.weight.copy_(torch.eye(2, 3))
    out.bias.copy_(bias)


def optimal_hierarchy(vae: VAE) -> tuple[AuxiliaryMethod, float]:
    """A hierarchical posterior that is the true one, N(A x + c, S), the h that closes the auxiliary bound, and I(z0; z | x) in nats.

    z0 ~ N(G x, I), z = A x + c + M (z0 - G x) + r eps with M M^T + r^2 I = S; then z0 | z, x ~ N(G x + M^T S^-1 (z - A x - c), D).
    M = U (L - r^2)^(1/2) with S = U L U^T makes D = r^2 / L diagonal.
    """
    posterior, auxiliary = vae.posterior, auxiliary_model()
    assert isinstance(posterior, HierarchicalPosterior)
    with torch.no_grad():
        origin, unit = exact_posterior(vae, torch.zeros(1, PIXELS)), exact_posterior(vae, torch.eye(PIXELS))
        gain, offset = (unit.mean - origin.mean).T, origin.mean[0]
        levels, rotation = torch.linalg.eigh(origin.covariance_matrix[0])
        variance = 0.3 * levels.min()
        mixing = rotation @ torch.diag((levels - variance).sqrt())
        first = posterior.first_out.mean.weight
        posterior.first_out.mean.bias.zero_(), posterior.first_out.log_variance.bias.zero_()
        set_linear(posterior.mixer, posterior.out.mean, of_x=gain - mixing @ first, of_other=mixing, bias=offset)
        posterior.out.log_variance.bias.fill_(variance.log())
        back = mixing.T @ rotation @ torch.diag(1 / levels) @ rotation.T
        set_linear(auxiliary.mixer, auxiliary.out.mean, of_x=first - back @ gain, of_other=back, bias=-back @ offset)
        auxiliary.out.log_variance.bias.copy_((variance / levels).log())
    return AuxiliaryMethod(vae, auxiliary, normal), float(-0.5 * (variance / levels).log().sum())


def auxiliary_bound(method: AuxiliaryMethod, x: Tensor, samples: int = 20_000) -> tuple[Tensor, Tensor]:
    """The bound on log p(x) of each image and its standard error, (B,) each."""
    with torch.no_grad():
        reconstruction, divergence = method.bound(x, samples, normal)
    draws = -(reconstruction + divergence)
    return draws.mean(1), draws.std(1) / samples**0.5


def test_the_auxiliary_bound_is_tight_at_its_optimum() -> None:
    vae, x = linear_vae("hierarchical"), torch.randn(4, PIXELS)
    method, _ = optimal_hierarchy(vae)
    with torch.no_grad():
        torch.testing.assert_close(law_of(vae.posterior, x).mean, exact_posterior(vae, x).mean)
    bound, error = auxiliary_bound(method, x)
    assert ((bound - exact_log_p(vae, x)).abs() < 4 * error).all() and error.max() < 0.05


def test_with_the_best_h_the_gradient_of_the_auxiliary_bound_is_that_of_the_bound() -> None:
    """h = q(z0 | z, x) closes the gap, which has no slope there. The decoder is moved: with q its posterior the encoder's were 0."""
    vae, x = linear_vae("hierarchical"), torch.randn(4, PIXELS).repeat(100, 1)
    method, _ = optimal_hierarchy(vae)
    with torch.no_grad():
        body_of(vae).bias.add_(1.0), body_of(vae).weight.mul_(0.7)
    exact = gradient(exact_negative_elbo(vae, x).mean(), vae)
    draws = torch.stack([gradient(method.loss(x, 1.0)[0], vae) for _ in range(30)])
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - exact).abs() < 4 * error + 1e-9).all()
    assert (draws.mean(0) - exact).norm() < 0.15 * exact.norm()


def test_joint_weights_give_log_p_whatever_h_is() -> None:
    """With the best h they all are p(x) where q is the posterior; with another one, on a decoder that has moved, on average."""
    vae, x = linear_vae("hierarchical"), torch.randn(4, PIXELS)
    method, _ = optimal_hierarchy(vae)
    with torch.no_grad():
        spread = (method.log_weights(x, 100, normal) - exact_log_p(vae, x).unsqueeze(1)).abs()
        assert spread.max() < 1e-9
        body_of(vae).bias.add_(0.3), method.auxiliary.out.mean.bias.add_(0.3)  # type: ignore[union-attr]
        estimate = joint_log_likelihood(method, x, samples=40_000, normal=normal)
    assert estimate.ess_fraction.min() > 0.05 and estimate.ess_fraction.max() < 0.95
    error = ((1 / estimate.ess_fraction - 1) / 40_000).sqrt()
    assert ((estimate.log_p - exact_log_p(vae, x)).abs() < 4 * error).all()


def test_an_h_that_ignores_z_loses_what_z_tells_about_z0() -> None:
    """h = q(z0 | x), the optimum of a bound that integrates z0 afresh: the gap is the mutual information I(z0; z | x)."""
    vae, x = linear_vae("hierarchical"), torch.randn(4, PIXELS)
    method, information = optimal_hierarchy(vae)
    posterior, auxiliary = vae.posterior, method.auxiliary
    assert isinstance(posterior, HierarchicalPosterior) and auxiliary is not None
    with torch.no_grad():
        set_linear(
            auxiliary.mixer, auxiliary.out.mean, of_x=posterior.first_out.mean.weight, of_other=torch.zeros(2, 2), bias=torch.zeros(2)
        )
        auxiliary.out.log_variance.bias.zero_()
    bound, error = auxiliary_bound(method, x)
    assert information > 0.5
    assert ((exact_log_p(vae, x) - bound - information).abs() < 4 * error).all()


@pytest.mark.parametrize(("shift", "log_scale"), [(0.2, 0.0), (0.0, 0.6), (0.0, -0.6), (0.2, 0.6)])
def test_the_auxiliary_bound_is_below_log_p_by_how_far_h_is_from_the_best_one(shift: float, log_scale: float) -> None:
    """h of moved mean and variance: the gap is KL(q(z0 | z, x) || h) of Gaussians, and so is its slope in what was moved."""
    vae, x = linear_vae("hierarchical"), torch.randn(4, PIXELS)
    method, _ = optimal_hierarchy(vae)
    assert method.auxiliary is not None
    mean, log_variance = (part.bias for part in (method.auxiliary.out.mean, method.auxiliary.out.log_variance))
    assert isinstance(mean, Tensor) and isinstance(log_variance, Tensor)
    best = log_variance.detach().exp()
    with torch.no_grad():
        mean.add_(shift), log_variance.add_(log_scale)
    moved = (torch.full((DIM,), shift, requires_grad=True), torch.full((DIM,), log_scale, requires_grad=True))
    away, ratio = moved[0].square() / (best * moved[1].exp()), (-moved[1]).exp()
    gap = 0.5 * (ratio + away - 1 + moved[1]).sum()
    bound, error = auxiliary_bound(method, x)
    assert float(gap.detach()) > 8 * float(error.max())
    assert ((exact_log_p(vae, x) - bound - gap).abs() < 4 * error).all()
    reconstruction, divergence = method.bound(x, 20_000, normal)
    found = torch.autograd.grad((reconstruction + divergence).mean(), (mean, log_variance))
    for part, exact in zip(found, torch.autograd.grad(gap, moved), strict=True):
        torch.testing.assert_close(part, exact, rtol=0.05, atol=0.03)


def test_the_closed_form_bound_is_below_log_p() -> None:
    vae, x = linear_vae("gaussian"), torch.randn(4, PIXELS)
    with torch.no_grad():
        reconstruction, kl = GaussianMethod(vae, None, normal).bound(x, 20_000, normal)
        draws = -(reconstruction + kl)
        error = draws.std(1) / 20_000**0.5
        assert ((draws.mean(1) + exact_negative_elbo(vae, x)).abs() < 4 * error).all()
        assert (draws.mean(1) < exact_log_p(vae, x) + 4 * error).all()
