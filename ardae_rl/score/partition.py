"""The normalising constant of an unnormalised log-density, by importance sampling.

Notation: B contexts, N importance samples, D dimension. Everything is in standardised coordinates, where the proposal is
h = N(0, std^2 I); ``Frame.log_density`` brings the result back.
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


def log_partition(potential: Callable[[Tensor], Tensor], noise: Tensor, std: float) -> LogPartition:
    """Estimate log of the integral of exp(potential) for each context.

    ``potential`` maps (B, N, D) to (B, N); ``noise`` (B, N, D) is standard normal; ``std`` > 0 is that of the proposal.
    """
    log_proposal = -0.5 * noise.square().sum(-1) - noise.shape[-1] * (0.5 * math.log(2 * math.pi) + math.log(std))
    log_weights = potential(std * noise) - log_proposal
    log_z = torch.logsumexp(log_weights, -1) - math.log(noise.shape[1])
    log_ess = 2 * torch.logsumexp(log_weights, -1) - torch.logsumexp(2 * log_weights, -1)
    ess = log_ess.exp()
    return LogPartition(log_z, ess, ((1 / ess - 1 / noise.shape[1]).clamp(min=0)).sqrt())
