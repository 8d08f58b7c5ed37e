"""Radial flows after a Gaussian: the policy of SAC-NF, more flexible than a Gaussian and still with a density.

Notation: K flows, D dimension of the pre-tanh action, ... leading dimensions; per flow a centre z (D,), alpha > 0, beta > -alpha;
r = |x - z|.
Identity: y = x + beta / (alpha + r) (x - z) stretches space along the rays from z; for beta > -alpha it is invertible, and
log |det dy/dx| = (D - 1) log(1 + beta / (alpha + r)) + log(1 + alpha beta / (alpha + r)^2). Given |y - z|, r is the root of a quadratic.
Reference: Mazoure et al. 2019, arXiv:1905.06893; Rezende & Mohamed 2015, arXiv:1505.05770, section 4.1.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.samplers.base import TractableSampler
from ardae_rl.samplers.gaussian import GaussianSampler

_SOFTPLUS_INVERSE_OF_1 = math.log(math.e - 1)


class RadialFlow(nn.Module):
    """``flows`` radial maps one after the other, from (..., D) to (..., D), the same for every context.

    They start as the identity (alpha 1, beta 0), with centres drawn from N(0, I) so that no two of them move alike.
    """

    def __init__(self, dim: int, flows: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(flows, dim))
        self.raw_alpha = nn.Parameter(torch.full((flows,), _SOFTPLUS_INVERSE_OF_1))
        self.raw_stretch = nn.Parameter(torch.full((flows,), _SOFTPLUS_INVERSE_OF_1))

    def alpha_and_beta(self) -> tuple[Tensor, Tensor]:
        """alpha > 0 and beta > -alpha, each (K,)."""
        alpha = functional.softplus(self.raw_alpha)
        return alpha, functional.softplus(self.raw_stretch) - alpha

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y (..., D) and log |det dy/dx| (...)."""
        log_det = x.new_zeros(x.shape[:-1])
        for centre, alpha, beta in zip(self.centres, *self.alpha_and_beta(), strict=True):
            offset = x - centre
            h = 1 / (alpha + offset.norm(dim=-1))
            x = x + (beta * h).unsqueeze(-1) * offset
            log_det = log_det + self._log_det(alpha, beta, h)
        return x, log_det

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x (..., D) with ``forward(x) = y``, and log |det dy/dx| (...) there."""
        log_det = y.new_zeros(y.shape[:-1])
        alphas, betas = self.alpha_and_beta()
        for centre, alpha, beta in zip(self.centres.flip(0), alphas.flip(0), betas.flip(0), strict=True):
            offset = y - centre
            h = 1 / (alpha + _radius_before(offset.norm(dim=-1), alpha, beta))
            y = centre + offset / (1 + beta * h).unsqueeze(-1)
            log_det = log_det + self._log_det(alpha, beta, h)
        return y, log_det

    def _log_det(self, alpha: Tensor, beta: Tensor, h: Tensor) -> Tensor:
        return (self.centres.shape[1] - 1) * torch.log1p(beta * h) + torch.log1p(alpha * beta * h.square())


def _radius_before(radius: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """The r >= 0 that solves r (1 + beta / (alpha + r)) = radius, by whichever form of the root subtracts no like numbers."""
    linear = alpha + beta - radius
    root = (linear.square() + 4 * alpha * radius).sqrt()
    return torch.where(linear > 0, 2 * alpha * radius / (linear.abs() + root), (root - linear) / 2)


class RadialFlowSampler(TractableSampler):
    """x = flow(mu(c) + std(c) * eps): the context moves the Gaussian, the flow bends whatever it makes."""

    def __init__(self, base: GaussianSampler, *, flows: int = 3) -> None:
        super().__init__()
        self.dim = self.noise_dim = base.dim
        self.base, self.flow = base, RadialFlow(base.dim, flows)

    def draw_with_log_prob(self, context: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing is inverted."""
        x, log_prob = self.base.draw_with_log_prob(context, noise)
        y, log_det = self.flow(x)
        return y, log_prob - log_det

    def centre(self, context: Tensor) -> Tensor:
        return self.flow(self.base.centre(context))[0]

    def log_prob(self, context: Tensor | None, x: Tensor) -> Tensor:
        before, log_det = self.flow.inverse(x)
        return self.base.log_prob(context, before) - log_det
