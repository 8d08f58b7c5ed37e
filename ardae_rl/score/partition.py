"""The normalising constant of an unnormalised log-density, by importance sampling.

Notation: B contexts, N importance samples, D dimension. Everything is in standardised coordinates; ``Frame.log_density`` brings the result
back. The proposal h is N(0, std^2 I), or Student's t of ``dof`` degrees of freedom and that scale: under tails that fall as a power of |a|,
as of an estimator with ``student_dof``, the weights of a Gaussian have no finite variance.
Identity: log Z = log E_h[exp psi(a) / h(a)] ~ logsumexp_j[psi(a_j) - log h(a_j)] - log N.
Reference: [Lim2020] arXiv:2006.05164, Appendix G.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class LogPartition(NamedTuple):
    """``log_z`` (B,), in nats; ``effective_sample_size`` (B,), between 1 and N: small means the estimate hangs on few draws; and the
    ``standard_error`` (B,) of log Z that follows from it, sqrt((N / ESS - 1) / N) by the delta method, below 1.

    The draws can only tell of mass that they hit: where all of them miss it, both look fine.
    """

    log_z: Tensor
    effective_sample_size: Tensor
    standard_error: Tensor


def log_partition(potential: Callable[[Tensor], Tensor], noise: Tensor, std: float, *, dof: int | None = None) -> LogPartition:
    """Estimate log of the integral of exp(potential) for each context.

    ``potential`` maps (B, N, D) to (B, N); ``noise`` and ``std`` > 0 as of :func:`proposal`.
    """
    draws, log_proposal = proposal(noise, std, dof=dof)
    return log_mean_weight(potential(draws) - log_proposal)


def proposal(noise: Tensor, std: float, *, dof: int | None = None) -> tuple[Tensor, Tensor]:
    """Draws a of h, (B, N, D), and log h(a), (B, N), from standard normal ``noise`` (B, N, D), with ``dof`` (B, N, D + dof)."""
    if dof is None:
        dim, z = noise.shape[-1], noise
        log_density = -0.5 * z.square().sum(-1) - 0.5 * dim * math.log(2 * math.pi)
    else:
        dim = noise.shape[-1] - dof
        z = noise[..., :dim] * (dof / noise[..., dim:].square().sum(-1, keepdim=True)).sqrt()
        constant = math.lgamma((dof + dim) / 2) - math.lgamma(dof / 2) - 0.5 * dim * math.log(dof * math.pi)
        log_density = constant - 0.5 * (dof + dim) * (z.square().sum(-1) / dof).log1p()
    return std * z, log_density - dim * math.log(std)


def log_mean_weight(log_weights: Tensor) -> LogPartition:
    """log of the mean of exp(log_weights) (B, N) over the draws, and how sure it is."""
    count = log_weights.shape[-1]
    log_sum = torch.logsumexp(log_weights, -1)
    ess = (2 * log_sum - torch.logsumexp(2 * log_weights, -1)).exp()
    return LogPartition(log_sum - math.log(count), ess, ((1 / ess - 1 / count).clamp(min=0)).sqrt())
