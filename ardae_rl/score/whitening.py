"""Mean and covariance of a sampler as smooth functions of the context, learned from its samples.

Statistics of the few samples that each context has are noisy, and their noise ends up in the score. A small network that regresses them on
the context averages that noise over neighbouring contexts, and knows the whole covariance, not one scale. What the regression leaves of the
scale is read off the samples and shrunk towards it by as much as those are noisier (empirical Bayes): with log mean y^2 of a context
distributed as N(0, t + n), n the variance of its sampling noise, the best guess of the part that is no noise is t / (t + n) of it.
Notation: B contexts, K samples per context, D dimension; x (B, K, D), context (B, C) or None.
Identity: maximum likelihood of N(m(c), (P^T P)^-1) with P = diag(exp d) (I + L), L strictly lower triangular; then log det P = sum d, and
y = P (x - m) has mean 0 and covariance I where the fit is right. With a given centre b in the place of m it is E[y y^T] that is I.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.score.networks import mlp_layers
from ardae_rl.score.standardise import MIN_SPREAD, Frame

_MISFIT_RATE = 10.0  # the misfit has e-folds to go while the weights move by a few tenths


@dataclass(frozen=True)
class Whitening:
    """y = diag(exp log_diagonal) (I + lower) (x - mean) for each context: (B, D), (B, D, D), (B, D).

    ``log_misfit``: log t, t the variance of log mean y^2 between contexts beyond the noise of the samples; a scalar.
    """

    log_diagonal: Tensor
    lower: Tensor
    mean: Tensor
    log_misfit: Tensor

    def negative_log_likelihood(self, x: Tensor) -> Tensor:
        """Of N(mean, covariance), up to a constant: a scalar averaged over samples (B, K, D), in nats per dimension."""
        return 0.5 * self._whitened(x).square().mean() - self.log_diagonal.mean()

    def misfit_negative_log_likelihood(self, x: Tensor) -> Tensor:
        """Of log mean y^2 ~ N(0, t + n), up to a constant, averaged over contexts: a scalar with a gradient in t alone. K >= 2."""
        log_level, noise = self._log_level(x)
        variance = self.log_misfit.exp() + noise
        return 0.5 * (variance.log() + log_level.square() / variance).mean()

    @torch.no_grad()
    def frame(self, samples: Tensor | None = None) -> Frame:
        """The same coordinates as constants: a common scale and a matrix of determinant one.

        ``samples`` (B, K, D), two or more of each context, correct the scale by the part of its misfit that is not their noise.
        """
        log_scale = self.log_diagonal.mean(-1, keepdim=True)
        identity = torch.eye(self.mean.shape[-1], dtype=self.lower.dtype, device=self.lower.device)
        matrix = (self.log_diagonal - log_scale).exp().unsqueeze(-1) * (self.lower + identity)
        scale = (-log_scale).exp().unsqueeze(-1)
        if samples is not None and samples.shape[1] > 1:
            log_level, noise = self._log_level(samples)
            misfit = self.log_misfit.exp()
            scale = scale * (0.5 * log_level * misfit / (misfit + noise)).exp().view_as(scale)
        return Frame(self.mean.detach().unsqueeze(1), scale, torch.ones_like(scale), matrix)

    @torch.no_grad()
    def _log_level(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log mean y^2 of each context and the variance of its sampling noise by the delta method, (B,) each."""
        squares = self._whitened(x).square().mean(-1)
        level = squares.mean(1).clamp_min(MIN_SPREAD**2)
        return level.log(), squares.var(1) / (squares.shape[1] * level.square())

    def _whitened(self, x: Tensor) -> Tensor:
        centred = x - self.mean.unsqueeze(1)
        return (centred + centred @ self.lower.mT) * self.log_diagonal.exp().unsqueeze(1)


class Whitener(nn.Module):
    """The network behind :class:`Whitening`: context -> (mean, diagonal, lower part); without a context, three free parameters.

    Three hidden layers: they see a context once where the score network sees each of its samples, so their cost does not show.

    Starts at mean 0 and covariance I, and moves from there by about a learning rate per step: bring samples to a scale of about one.
    ``centre`` (B, D), where known, takes the place of the learned mean.
    """

    below_diagonal: Tensor

    def __init__(self, dim: int, context_dim: int, *, width: int) -> None:
        super().__init__()
        self.dim = dim
        outputs = 2 * dim + dim * (dim - 1) // 2
        self.hidden = mlp_layers(context_dim, width, 3 if context_dim else 0)
        self.out = nn.Linear(width if context_dim else 1, outputs, bias=bool(context_dim))
        self.log_misfit = nn.Parameter(torch.zeros(()))
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
        return Whitening(log_diagonal, lower, mean if centre is None else centre, _MISFIT_RATE * self.log_misfit)
