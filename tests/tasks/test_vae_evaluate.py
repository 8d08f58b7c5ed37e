"""log p(x), MMD, active units and mode coverage against closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.tasks.vae import evaluate
from ardae_rl.tasks.vae.evaluate import FINE, active_units, gaussian_fit, known_law, latents, log_likelihood, mmd_squared, mode_coverage
from ardae_rl.tasks.vae.model import BernoulliDecoder, GaussianDecoder
from ardae_rl.tasks.vae.posteriors import GaussianPosterior
from tests.tasks.linear_vae import DIM, PIXELS, body_of, exact_log_p, law_of, linear_vae

pytestmark = pytest.mark.usefixtures("float64")


def normal(*shape: int) -> Tensor:
    return torch.randn(shape)


@pytest.mark.parametrize("posterior", ["gaussian", "hierarchical", "implicit"])
def test_log_p_is_right_whatever_the_posterior(posterior: str) -> None:
    """The posteriors are random, not the true one: importance weights must make up for it. Unbiased in p, so p is what is averaged."""
    vae, x = linear_vae(posterior), torch.randn(5, PIXELS)
    with torch.no_grad():
        truth = exact_log_p(vae, x)
        repeats = torch.stack([log_likelihood(vae, x, samples=2000, normal=normal).log_p for _ in range(20)])
    ratio = (repeats - truth).exp()
    assert ((ratio.mean(0) - 1).abs() < 4 * ratio.std(0) / len(repeats) ** 0.5 + 1e-9).all()
    assert (repeats.mean(0) - truth).abs().max() < 0.5


def test_the_true_posterior_makes_every_weight_the_same() -> None:
    vae, x = linear_vae("gaussian"), torch.randn(4, PIXELS)
    body, posterior = body_of(vae), vae.posterior
    assert isinstance(posterior, GaussianPosterior)
    with torch.no_grad():  # orthogonal columns: the true posterior is diagonal
        body.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
        precision = 1 + body.weight.square().T @ (-body.log_variance).exp()
        gain = (body.weight.T / body.log_variance.exp()) / precision.unsqueeze(-1)
        out = posterior.out
        out.mean.weight.copy_(gain), out.mean.bias.copy_(-gain @ body.bias)
        out.log_variance.bias.copy_(-precision.log())
        estimate = log_likelihood(vae, x, samples=5000, normal=normal)
        assert (estimate.log_p - exact_log_p(vae, x)).abs().max() < 3e-3
    assert estimate.ess_fraction.min() > 0.99


class IdentityPosterior(nn.Module):
    """q(z | x) = N(0, v I) as something to draw from only."""

    def __init__(self, dim: int, std: float) -> None:
        super().__init__()
        self.dim = self.noise_dim = dim
        self.std = std

    def encode(self, x: Tensor) -> Tensor:
        return x

    def centre_of(self, features: Tensor) -> Tensor:
        return features.new_zeros(len(features), self.dim)

    def push(self, features: Tensor, noise: Tensor) -> Tensor:
        return self.std * noise


class FlatVAE(nn.Module):
    """p(x, z) = N(z; 0, I) whatever x is: log p(x) = 0, and the posterior is the prior."""

    def __init__(self, posterior: nn.Module) -> None:
        super().__init__()
        self.posterior = posterior

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


@pytest.mark.parametrize("std", [1.0, 1.15])
def test_few_samples_are_enough_in_many_dimensions(std: float) -> None:
    """32 dimensions, 256 samples: fitted to as few, the covariance would leave an effective sample of a sixth, and of a tenth."""
    vae, x = FlatVAE(IdentityPosterior(32, std)), torch.zeros(8, 1)
    estimate = log_likelihood(vae, x, samples=256, normal=normal)  # type: ignore[arg-type]
    few = log_likelihood(vae, x, samples=256, normal=normal, fit_samples=256)  # type: ignore[arg-type]
    assert estimate.ess_fraction.mean() > (0.8 if std == 1 else 0.4) > 0.3 > few.ess_fraction.mean()
    assert estimate.log_p.abs().mean() < 0.1


def test_a_gaussian_posterior_is_its_own_proposal() -> None:
    vae, x = linear_vae("gaussian"), torch.randn(3, PIXELS)
    assert isinstance(vae.posterior, GaussianPosterior)
    with torch.no_grad():
        proposal, law = known_law(vae.posterior, x), law_of(vae.posterior, x)
    torch.testing.assert_close(proposal.mean, law.mean)
    torch.testing.assert_close(proposal.factor @ proposal.factor.mT, law.covariance_matrix)


def test_the_proposal_has_the_mean_and_the_covariance_of_the_posterior() -> None:
    vae, x, samples = linear_vae("implicit"), torch.randn(3, PIXELS), 40_000
    with torch.no_grad():
        proposal, law = gaussian_fit(vae.posterior, x, samples, normal), law_of(vae.posterior, x)
    covariance = proposal.factor @ proposal.factor.mT - evaluate.JITTER * torch.eye(DIM)  # what rounding adds is below the error
    error = 4 * law.covariance_matrix.abs().amax((-2, -1)) * math.sqrt(2 / samples)
    assert ((covariance - law.covariance_matrix).abs().amax((-2, -1)) < error).all()
    assert ((proposal.mean - law.mean).abs() < 4 * law.stddev / samples**0.5).all()


def test_a_collapsed_posterior_still_has_a_proposal() -> None:
    vae, x = linear_vae("implicit"), torch.randn(3, PIXELS)
    nn.init.zeros_(vae.posterior.mixer.layer.weight)  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        assert log_likelihood(vae, x, samples=100, normal=normal).log_p.isfinite().all()


def test_a_huge_and_flat_posterior_has_one_too() -> None:
    """All draws on a line, a million wide: the covariance has rank one up to rounding."""
    vae, x = linear_vae("implicit"), torch.randn(3, PIXELS)
    with torch.no_grad():
        vae.posterior.out.weight.copy_(1e6 * torch.ones(DIM, PIXELS))  # type: ignore[union-attr, operator]
        assert log_likelihood(vae, x, samples=100, normal=normal).log_p.isfinite().all()


def test_of_a_diverged_model_log_p_is_not_a_number() -> None:
    vae, x = linear_vae("implicit"), torch.randn(3, PIXELS)
    nn.init.constant_(vae.posterior.out.weight, math.nan)  # type: ignore[union-attr, arg-type]
    assert log_likelihood(vae, x, samples=100, normal=normal).log_p.isnan().all()


class Bank:
    """The same noise for an image's n-th draw however the draws are cut up: images in order, and the draws of each in order."""

    def __init__(self, images: int, draws: int, dims: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(0)
        self.noise = {dim: torch.randn(images, draws, dim, generator=generator) for dim in dims}
        self.begun = dict.fromkeys(dims, (0, 0))

    def __call__(self, images: int, count: int, dim: int) -> Tensor:
        image, draw = self.begun[dim]
        noise = self.noise[dim][image : image + images, draw : draw + count]
        finished = draw + count == self.noise[dim].shape[1]
        self.begun[dim] = (image + images, 0) if finished else (image, draw + count)
        return noise


@pytest.mark.parametrize("rows", [7, 64, 1200])
def test_how_it_is_cut_into_chunks_does_not_show(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """No more goes through encoder or decoder at once than allowed, and from the same noise comes the same estimate."""
    vae, x, largest = linear_vae("implicit"), torch.randn(6, PIXELS), {"push": 0, "log_joint": 0}

    def watched(module: nn.Module, name: str) -> None:
        original = getattr(module, name)

        def call(first: Tensor, latents: Tensor) -> Tensor:
            largest[name] = max(largest[name], latents.shape[0] * latents.shape[1])
            return original(first, latents)

        monkeypatch.setattr(module, name, call)

    def estimated() -> evaluate.LogLikelihood:
        return log_likelihood(vae, x, samples=500, normal=Bank(6, 500, (DIM, vae.posterior.noise_dim)), fit_samples=500)

    whole = estimated()
    monkeypatch.setattr(evaluate, "ROWS", rows)
    watched(vae.posterior, "push")
    watched(vae, "log_joint")
    torch.testing.assert_close(tuple(estimated()), tuple(whole))
    assert 0 < largest["log_joint"] <= rows and 0 < largest["push"] <= rows


def test_statistics_of_latents_are_those_of_the_posterior() -> None:
    vae, x, samples = linear_vae("implicit"), torch.randn(40, PIXELS), 2000
    with torch.no_grad():
        found, law = latents(vae.posterior, x, samples=samples, normal=normal), law_of(vae.posterior, x)
    assert ((found.means - law.mean).abs() < 4.5 * law.stddev / samples**0.5).all()
    assert ((found.variances / law.variance - 1).abs() < 4.5 * (2 / samples) ** 0.5).all()
    standard = (found.z - law.mean) / law.stddev
    assert abs(standard.mean()) < 4 / standard.numel() ** 0.5


def test_a_unit_is_active_when_its_mean_moves() -> None:
    assert active_units(torch.randn(1000, 3) * torch.tensor([1.0, 0.12, 0.08]), torch.zeros(1000, 3), samples=64) == 2


def test_a_unit_that_equals_the_prior_is_not_active() -> None:
    """Three of four units have q = N(0, 1) for every image: means of 64 draws vary by 1 / 64 > 0.01 all the same."""
    draws = torch.randn(1000, 64, 4)
    draws[..., 0] = 0.5 * draws[..., 0] + torch.randn(1000, 1)
    means, variances = draws.mean(1), draws.var(1)
    assert (means.var(0) > evaluate.ACTIVE).all()
    assert active_units(means, variances, samples=64) == 1


@pytest.mark.parametrize("dim", [2, 8])
def test_mmd_of_a_gaussian_is_the_closed_form(dim: int) -> None:
    """z ~ N(m, s^2 I): every expectation of a Gaussian kernel is known."""
    shift, std, count = 0.5, 0.7, 1000
    expected = 0.0
    for variance in (dim / 4, dim, 4 * dim):
        own, other = variance + 2 * std**2, variance + std**2 + 1
        mixed = (variance / other) ** (dim / 2) * math.exp(-dim * shift**2 / (2 * other))
        expected += ((variance / own) ** (dim / 2) - 2 * mixed + (variance / (variance + 2)) ** (dim / 2)) / 3
    found = torch.tensor([mmd_squared(shift + std * torch.randn(count, dim)) for _ in range(10)])
    assert abs(found.mean() - expected) < 4 * found.std() / len(found) ** 0.5
    assert abs(found.mean() - expected) < 0.2 * expected
    null = torch.tensor([mmd_squared(torch.randn(count, dim)) for _ in range(10)])
    assert abs(null.mean()) < 4 * null.std() / len(null) ** 0.5 and null.abs().max() < 0.1 * expected


def patchy(count: int, gap: float) -> Tensor:
    """N(0, I) in the plane, cut into strips one wide, each squeezed by a share ``gap`` of its width: the moments hardly change."""
    z = torch.randn(count, 2)
    middle = z.floor() + 0.5
    return middle + (1 - gap) * (z - middle)


def test_fine_kernels_see_what_coarse_ones_do_not() -> None:
    """Gaps of a fifth: beyond all doubt by the fine kernels with 2000 points, in the noise by the coarse ones with 500."""
    null, rough = ([mmd_squared(patchy(2000, gap), FINE) for _ in range(5)] for gap in (0.0, 0.2))
    assert min(rough) > 5 * max(map(abs, null))
    coarse = torch.tensor([[mmd_squared(patchy(500, gap)) for _ in range(10)] for gap in (0.0, 0.2)])
    assert coarse[1].mean() < 4 * coarse[0].std()


def test_pairs_in_parts_are_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(50, 3)
    whole = mmd_squared(z)
    monkeypatch.setattr(evaluate, "PAIRS", 333)
    assert mmd_squared(z) == pytest.approx(whole, abs=1e-12)


def test_a_mode_counts_from_a_fifth_of_its_share() -> None:
    """Two modes: the second gets 9% of the samples at first, then 11%; a tenth is a fifth of its half. The far point belongs to none."""
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    for seconds, modes in ((9, 1), (11, 2)):
        x = means[torch.tensor([0] * (99 - seconds) + [1] * seconds)] + 0.01
        coverage = mode_coverage(torch.cat([x, torch.tensor([[5.0, 0.0]])]), means, 0.1)
        assert coverage.modes == modes and coverage.share == pytest.approx(0.99)


@pytest.mark.parametrize("decoder", [BernoulliDecoder(nn.Linear(2, 3)), GaussianDecoder(nn.Linear(2, 6))])
def test_what_is_generated_has_the_mean_of_the_decoder(decoder: BernoulliDecoder | GaussianDecoder) -> None:
    z = torch.randn(1, 2).expand(40_000, -1)
    with torch.no_grad():
        x = decoder.double().sample(z, torch.randn(40_000, 3))
        assert ((x.mean(0) - decoder.mean(z[:1])[0]).abs() < 4 * x.std(0) / 200).all()
    assert (set(x.unique().tolist()) == {0, 1}) == isinstance(decoder, BernoulliDecoder)
