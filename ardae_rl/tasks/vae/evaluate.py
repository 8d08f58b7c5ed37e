"""How good a variational autoencoder is: log p(x) by importance sampling, and what its latents do.

Notation: B images, S importance samples, K latents per image, D latent dimension; x (B, P), z (B, K, D).
Identity: log p(x) = log E_r[p(x, z) / r(z)] for any density r > 0; here r is q(z | x) where that is Gaussian, else N(m, C), mean and full
covariance of its draws. The logarithm of the estimate is a lower bound on average, tight as S grows.
Reference: [Lim2020] arXiv:2006.05164, Appendix F.2; active units: Burda et al. 2016, arXiv:1509.00519; MMD: Gretton et al. 2012.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ardae_rl.nn.normal import log_standard_normal
from ardae_rl.score.estimator import Normal
from ardae_rl.tasks.vae.methods import AuxiliaryMethod
from ardae_rl.tasks.vae.model import VAE
from ardae_rl.tasks.vae.posteriors import GaussianPosterior, Posterior

ROWS = 2**13  # latents that go through a network at once: what bounds the memory
JITTER, ROUNDING = 1e-5, 1e-10  # added to variances: in units of z, and relative to them
FIT_PER_DIMENSION = 128  # draws a covariance is fitted to: with few its narrowest direction is too narrow, and weights have no variance
ACTIVE = 0.01
COARSE, FINE = (0.25, 1.0, 4.0), (0.005, 0.025)  # squared widths of kernels per dimension, where N(0, I) has 1
PAIRS = 2**23


class LogLikelihood(NamedTuple):
    """``log_p`` (B,) in nats; ``ess_fraction`` (B,): effective sample size as a share of S. Small: few draws carry the estimate."""

    log_p: Tensor
    ess_fraction: Tensor


@torch.no_grad()
def log_likelihood(vae: VAE, x: Tensor, *, samples: int, normal: Normal, fit_samples: int | None = None) -> LogLikelihood:
    """log p(x) with ``samples`` draws of the proposal, in float64 but for the networks.

    ``fit_samples`` draws of q(z | x), which cost no decoder, make the proposal; None: as many, but no fewer than 128 per dimension.
    Many images at once, or few with many samples each, in memory that depends on neither. ``normal(*shape)`` supplies the noise.
    """
    fitted = fit_samples or max(samples, FIT_PER_DIMENSION * vae.posterior.dim)
    groups = [_averaged(_log_weights(vae, images, samples, fitted, normal)) for images in in_parts(x, samples)]
    return LogLikelihood(*(torch.cat(columns) for columns in zip(*groups, strict=True)))


@torch.no_grad()
def joint_log_likelihood(method: AuxiliaryMethod, x: Tensor, *, samples: int, normal: Normal) -> LogLikelihood:
    """log p(x) with q(z0, z | x) for the proposal and p(x, z) h(z0 | z, x) for the joint density: the paper's for the auxiliary bound."""
    groups = []
    for images in in_parts(x, samples):
        parts = [method.log_weights(images, count, normal).double() for count in _counts(samples, len(images))]
        groups.append(_averaged(torch.cat(parts, 1)))
    return LogLikelihood(*(torch.cat(columns) for columns in zip(*groups, strict=True)))


def in_parts(x: Tensor, samples: int) -> tuple[Tensor, ...]:
    """``x`` (B, P) in parts of which ``samples`` latents per image fit in memory."""
    return x.split(max(1, ROWS // samples))


def _averaged(log_weights: Tensor) -> LogLikelihood:
    """Of weights (B, S)."""
    samples = log_weights.shape[-1]
    total = torch.logsumexp(log_weights, -1)
    log_ess = 2 * total - torch.logsumexp(2 * log_weights, -1)
    return LogLikelihood(total - math.log(samples), log_ess.exp() / samples)


def _log_weights(vae: VAE, x: Tensor, samples: int, fit_samples: int, normal: Normal) -> Tensor:
    """log p(x, z) - log r(z) of draws of r, (B, S) in float64."""
    if isinstance(vae.posterior, GaussianPosterior):
        proposal = known_law(vae.posterior, x)
    else:
        proposal = gaussian_fit(vae.posterior, x, fit_samples, normal)
    parts = []
    for count in _counts(samples, len(x)):
        noise = normal(len(x), count, vae.posterior.dim).double()
        z = (proposal.mean.unsqueeze(1) + noise @ proposal.factor.mT).to(x.dtype)
        parts.append(vae.log_joint(x, z).double() - proposal.log_prob_of(noise))
    return torch.cat(parts, 1)


class Proposal(NamedTuple):
    """N(mean, factor factor^T): (B, D) and lower triangular (B, D, D), in float64."""

    mean: Tensor
    factor: Tensor

    def log_prob_of(self, noise: Tensor) -> Tensor:
        """Log-density at mean + factor noise, (B, K)."""
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return log_standard_normal(noise) - log_det


def known_law(posterior: GaussianPosterior, x: Tensor) -> Proposal:
    """q(z | x) itself."""
    law = posterior.law(posterior.encode(x))
    return Proposal(law.mean.squeeze(1).double(), torch.diag_embed((0.5 * law.log_variance.double()).exp().squeeze(1)))


def gaussian_fit(posterior: Posterior, x: Tensor, samples: int, normal: Normal) -> Proposal:
    """Mean and unbiased covariance of ``samples`` draws of q(z | x), plus a small multiple of I: a posterior may have collapsed.

    Not a number where the draws are none: a model that has diverged is to be seen in the metrics, not to end the run.
    """
    features = posterior.encode(x)
    centre = posterior.centre_of(features).double()  # sums of squares about a point nearby lose no digits
    first, second = torch.zeros_like(centre), centre.new_zeros(len(x), posterior.dim, posterior.dim)
    for count in _counts(samples, len(x)):
        noise = normal(len(x), count, posterior.noise_dim)
        away = posterior.push(features, noise).double() - centre.unsqueeze(1)
        first, second = first + away.sum(1), second + away.mT @ away
    mean = first / samples
    covariance = (second - samples * mean.unsqueeze(-1) * mean.unsqueeze(-2)) / (samples - 1)
    jitter = JITTER + ROUNDING * covariance.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    return Proposal(centre + mean, torch.linalg.cholesky_ex(covariance + torch.diag_embed(jitter.expand_as(mean))).L)


def _counts(samples: int, images: int) -> list[int]:
    """``samples`` in parts of which ``images`` times one fit in memory."""
    most = max(1, ROWS // images)
    return [min(most, samples - start) for start in range(0, samples, most)]


class Latents(NamedTuple):
    """Statistics of K draws of q(z | x) per image: ``means`` and ``variances`` (B, D), and the first draw of each, ``z`` (B, D)."""

    means: Tensor
    variances: Tensor
    z: Tensor


@torch.no_grad()
def latents(posterior: Posterior, x: Tensor, *, samples: int, normal: Normal) -> Latents:
    parts = []
    for images in in_parts(x, samples):
        z = posterior.draw(images, normal(len(images), samples, posterior.noise_dim))
        parts.append(Latents(z.mean(1), z.var(1), z[:, 0]))
    return Latents(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def active_units(means: Tensor, variances: Tensor, samples: int) -> int:
    """Latent dimensions whose posterior mean varies over images with variance above 0.01.

    ``means`` and ``variances`` (B, D) are of ``samples`` draws. Means of draws vary by variance / samples on their own account, which is
    taken off: with 64 draws it alone would make a unit that equals the prior pass for active.
    """
    return int((means.var(0) - variances.mean(0) / samples > ACTIVE).sum())


def mmd_squared(z: Tensor, variances: Sequence[float] = COARSE) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy between the law of ``z`` (N, D) and N(0, I); 0 on average if they agree.

    Gaussian kernels exp(-|z - z'|^2 / 2 h^2), averaged over h^2 / D = ``variances``; the expectations over N(0, I) are in closed form.
    What is rough on a scale below h does not show: that takes FINE ones, and thousands of points.
    """
    z = z.double()
    dim, norms = z.shape[1], z.square().sum(-1)
    widths = [dim * share for share in variances]
    mixed = torch.stack([(h / (h + 1)) ** (dim / 2) * torch.exp(-norms / (2 * (h + 1))).mean() for h in widths])
    prior = z.new_tensor([(h / (h + 2)) ** (dim / 2) for h in widths])
    return float((_mean_kernels(z, widths) - 2 * mixed + prior).mean())


def _mean_kernels(z: Tensor, widths: list[float]) -> Tensor:
    """Each kernel's mean over all pairs but those of a point and itself, PAIRS at once."""
    count, sums = len(z), z.new_zeros(len(widths))
    for rows in z.split(max(1, PAIRS // count)):
        distances = torch.cdist(rows, z).square()
        sums += torch.stack([torch.exp(-distances / (2 * h)).sum() for h in widths])
    return (sums - count) / (count * (count - 1))


class Coverage(NamedTuple):
    """``modes``: how many got at least a fifth of their due share of samples; ``share`` of samples within three standard deviations."""

    modes: int
    share: float


def mode_coverage(x: Tensor, means: Tensor, std: float) -> Coverage:
    """Of samples (N, D) and equally weighted isotropic modes at ``means`` (M, D)."""
    distance, nearest = torch.cdist(x, means).min(1)
    close = distance < 3 * std
    shares = torch.bincount(nearest[close], minlength=len(means)) / len(x)
    return Coverage(int((shares >= 0.2 / len(means)).sum()), float(close.float().mean()))
