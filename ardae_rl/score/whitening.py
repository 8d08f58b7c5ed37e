"""Mean and covariance of a sampler as smooth functions of the context, learned from its samples.

Statistics of the few samples that each context has are noisy, and their noise ends up in the score. A small network that regresses them on
the context averages that noise over neighbouring contexts, and knows the whole covariance, not one scale.
The network sees x in outer coordinates x', white for all contexts together, so that neither the unit of x nor its distance from 0 matters.
Notation: B contexts, K samples per context, D dimension; x (B, K, D), context (B, C).
Identity: maximum likelihood of N(m(c), (P^T P)^-1) with P = diag(exp d) (I + L), L strictly lower triangular; then log det P = sum d, and
y = P (x' - m) has mean 0 and covariance I where the fit is right. With a given centre, the origin of x', m is 0 and E[y y^T] = I.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.nn.mlp import mlp_layers
from ardae_rl.score.standardise import Frame


@dataclass(frozen=True)
class Whitening:
    """y = diag(exp log_diagonal) (I + lower) (x' - mean) for each context: (B, D), (B, D, D), (B, D); x' is x in ``outer``."""

    log_diagonal: Tensor
    lower: Tensor
    mean: Tensor
    outer: Frame

    def negative_log_likelihood(self, x: Tensor) -> Tensor:
        """Of N(mean, covariance) of x', up to a constant: a scalar averaged over samples x (B, K, D), in nats per dimension."""
        centred = self.outer.standardise(x).to(self.mean.dtype) - self.mean.unsqueeze(1)
        white = (centred + centred @ self.lower.mT) * self.log_diagonal.exp().unsqueeze(1)
        return 0.5 * white.square().mean() - self.log_diagonal.mean()

    @torch.no_grad()
    def frame(self) -> Frame:
        """The coordinates y of x as constants: a common scale and a matrix of determinant one."""
        kind = self.outer.centre.dtype
        log_scale = self.log_diagonal.mean(-1, keepdim=True)
        identity = torch.eye(self.mean.shape[-1], dtype=self.lower.dtype, device=self.lower.device)
        matrix = (self.log_diagonal - log_scale).exp().unsqueeze(-1) * (self.lower + identity)
        scale = (-log_scale).exp().unsqueeze(-1).to(kind)
        return Frame(self.mean.to(kind).unsqueeze(1), scale, torch.ones_like(scale), matrix.to(kind)).inside(self.outer)


class Whitener(nn.Module):
    """The network behind :class:`Whitening`: context -> (mean, diagonal, lower part), which are 0 to begin with.

    Three hidden layers: they see a context once where the score network sees each of its samples.
    """

    below_diagonal: Tensor

    def __init__(self, dim: int, context_dim: int, *, width: int) -> None:
        super().__init__()
        self.dim = dim
        self.hidden = mlp_layers(context_dim, width, 3)
        self.out = nn.Linear(width, 2 * dim + dim * (dim - 1) // 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        rows, columns = torch.tril_indices(dim, dim, -1)
        self.register_buffer("below_diagonal", rows * dim + columns, persistent=False)

    def forward(self, context: Tensor, outer: Frame, *, centred: bool) -> Whitening:
        """For each context (B, C); ``centred`` where the origin of ``outer`` is a given centre, in the place of the mean."""
        features = context
        for layer in self.hidden:
            features = functional.silu(layer(features))
        mean, log_diagonal, below = self.out(features).split((self.dim, self.dim, len(self.below_diagonal)), -1)
        lower = below.new_zeros(len(context), self.dim**2).index_copy(1, self.below_diagonal, below).view(-1, self.dim, self.dim)
        return Whitening(log_diagonal, lower, torch.zeros_like(mean) if centred else mean, outer)
