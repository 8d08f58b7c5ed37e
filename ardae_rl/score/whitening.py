"""Mean and covariance of a sampler as smooth functions of the context, learned from its samples.

Statistics of the few samples that each context has are noisy, and their noise ends up in the score. A small network that regresses them on
the context averages that noise over neighbouring contexts, and knows the whole covariance, not one scale.
Notation: B contexts, K samples per context, D dimension; x (B, K, D), context (B, C) or None.
Identity: maximum likelihood of N(m(c), (P^T P)^-1) with P = diag(exp d) (I + L), L strictly lower triangular; then log det P = sum d, and
y = P (x - m) has mean 0 and covariance I where the fit is right. With a given centre b in the place of m it is E[y y^T] that is I.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.score.networks import Dense
from ardae_rl.score.standardise import Frame


@dataclass(frozen=True)
class Whitening:
    """y = diag(exp log_diagonal) (I + lower) (x - mean) for each context: (B, D), (B, D, D), (B, D)."""

    log_diagonal: Tensor
    lower: Tensor
    mean: Tensor

    def negative_log_likelihood(self, x: Tensor) -> Tensor:
        """Of N(mean, covariance), up to a constant: a scalar averaged over samples (B, K, D), in nats per dimension."""
        y = self._mixed(x - self.mean.unsqueeze(1)) * self.log_diagonal.exp().unsqueeze(1)
        return 0.5 * y.square().mean() - self.log_diagonal.mean()

    def frame(self) -> Frame:
        """The same coordinates as constants: a common scale and a matrix of determinant one."""
        with torch.no_grad():
            log_scale = self.log_diagonal.mean(-1, keepdim=True)
            identity = torch.eye(self.mean.shape[-1], dtype=self.lower.dtype, device=self.lower.device)
            matrix = (self.log_diagonal - log_scale).exp().unsqueeze(-1) * (self.lower + identity)
            scale = (-log_scale).exp().unsqueeze(-1)
            return Frame(self.mean.detach().unsqueeze(1), scale, torch.ones_like(scale), matrix)

    def _mixed(self, centred: Tensor) -> Tensor:
        return centred + centred @ self.lower.mT


class Whitener(nn.Module):
    """The network behind :class:`Whitening`: context -> (mean, diagonal, lower part); without a context, three free parameters.

    Starts at mean 0 and covariance I, and moves from there by about a learning rate per step: bring samples to a scale of about one.
    ``centre`` (B, D), where known, takes the place of the learned mean.
    """

    below_diagonal: Tensor

    def __init__(self, dim: int, context_dim: int, *, width: int) -> None:
        super().__init__()
        self.dim = dim
        outputs = 2 * dim + dim * (dim - 1) // 2
        self.hidden = nn.ModuleList([Dense(context_dim, width), Dense(width, width)] if context_dim else [])
        self.out = nn.Linear(width if context_dim else 1, outputs, bias=bool(context_dim))
        nn.init.zeros_(self.out.weight)
        if context_dim:
            nn.init.zeros_(self.out.bias)
        rows, columns = torch.tril_indices(dim, dim, -1)
        self.register_buffer("below_diagonal", rows * dim + columns, persistent=False)

    def forward(self, context: Tensor | None, centre: Tensor | None, batch: int) -> Whitening:
        features = self.out.weight.new_ones(batch, 1) if context is None else context
        for layer in self.hidden:
            features = functional.silu(layer(features))
        mean, log_diagonal, below = self.out(features).split((self.dim, self.dim, len(self.below_diagonal)), -1)
        lower = below.new_zeros(batch, self.dim**2).index_copy(1, self.below_diagonal, below).view(batch, self.dim, self.dim)
        return Whitening(log_diagonal, lower, mean if centre is None else centre)
