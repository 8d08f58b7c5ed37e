"""Mean and covariance of a sampler as smooth functions of the context, learned from its samples.

Statistics of the few samples that each context has are noisy, and their noise ends up in the score. A small network that regresses them on
the context averages that noise over neighbouring contexts, and knows the whole covariance, not one scale. What the regression leaves of the
scale is read off the samples and shrunk towards it by as much as those are noisier (empirical Bayes): let E y^2 of a context be log-normal
with mean 1 and log-variance t, and mean y^2 of its K samples so about that, with log-variance n = log(1 + kappa / K). Then
l = log mean y^2 is N(-(t + n) / 2, t + n), and given l the mean of E y^2 is exp(t / (t + n) (l + n / 2)). kappa, the variance of one
sample's y^2 over its mean squared, is one number of all contexts: samples that happen to miss the tails of their law understate its scale
and their own noise at once, and would be believed just when they are wrong.
Notation: B contexts, K samples per context, D dimension; x (B, K, D), context (B, C) or None.
Identity: maximum likelihood of N(m(c), (P^T P)^-1) with P = diag(exp d) (I + L), L strictly lower triangular; then log det P = sum d, and
y = P (x - m) has mean 0 and covariance I where the fit is right. With a given centre b in the place of m it is E[y y^T] that is I.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.score.networks import mlp_layers
from ardae_rl.score.standardise import MIN_SPREAD, Frame

_LEVEL_LIMIT = 3.0  # a context that is further off than that says little of the others' tails
_MISFIT_RATE = 10.0  # the misfit has e-folds to go while the weights move by a few tenths


@dataclass(frozen=True)
class Whitening:
    """y = diag(exp log_diagonal) (I + lower) (x - mean) for each context: (B, D), (B, D, D), (B, D).

    ``log_misfit``: log t, t the variance of log E y^2 between contexts; ``log_tails``: log kappa. Scalars.
    """

    log_diagonal: Tensor
    lower: Tensor
    mean: Tensor
    log_misfit: Tensor
    log_tails: Tensor

    def negative_log_likelihood(self, x: Tensor) -> Tensor:
        """Of N(mean, covariance), up to a constant: a scalar averaged over samples (B, K, D), in nats per dimension."""
        return 0.5 * self._whitened(x).square().mean() - self.log_diagonal.mean()

    def misfit_negative_log_likelihood(self, x: Tensor) -> Tensor:
        """Of log mean y^2 ~ N(-(t + n) / 2, t + n), up to a constant, averaged over contexts: a scalar with a gradient in t alone."""
        variance = self.log_misfit.exp() + self._noise(x.shape[1])
        return 0.5 * (variance.log() + (self._levels(x)[1].log() + 0.5 * variance).square() / variance).mean()

    def tails_loss(self, x: Tensor) -> Tensor:
        """Smallest at kappa = E[w variance of y^2] / E[w (E y^2)^2], both from K >= 2 samples without bias but for the weight w: a scalar.

        w is about 1 / (9 + (E y^2)^2), of the same samples, so that no single draw decides; tails come out somewhat too light for it.
        """
        with torch.no_grad():
            squares, level = self._levels(x)
            variance = (squares / level.unsqueeze(1)).var(1)  # at most K, where the fourth powers that it stands for could overflow
            weight = 1 / (1 + _LEVEL_LIMIT**2 / level.square())
        return (weight * ((1 - variance / x.shape[1]) * self.log_tails.exp() - variance * self.log_tails)).mean()

    @torch.no_grad()
    def frame(self, samples: Tensor | None = None, *, apart: bool = False) -> Frame:
        """The same coordinates as constants: a common scale and a matrix of determinant one.

        ``samples`` (B, K, D), two or more of each context, correct the scale by the part of its misfit that is not their noise, which is
        taken to be the same for all B. ``apart``: coordinates (B, K) for these samples themselves, each from the others, as a new sample
        would have them.
        """
        log_scale = self.log_diagonal.mean(-1, keepdim=True)
        identity = torch.eye(self.mean.shape[-1], dtype=self.lower.dtype, device=self.lower.device)
        matrix = (self.log_diagonal - log_scale).exp().unsqueeze(-1) * (self.lower + identity)
        scale = (-log_scale).exp().unsqueeze(-1)
        if samples is not None and samples.shape[1] > 1:
            squares, level = self._levels(samples)
            count = samples.shape[1]
            if apart:
                count -= 1
                others = 1 - torch.eye(count + 1, dtype=squares.dtype, device=squares.device)
                level = (squares @ others / count).clamp_min(MIN_SPREAD**2)  # a difference from the sum would be noise beside an outlier
            noise, misfit = self._noise(count), self.log_misfit.exp()
            correction = (0.5 * (level.log() + 0.5 * noise) * misfit / (misfit + noise)).exp()
            scale = scale * correction.view(len(samples), -1, 1)
        return Frame(self.mean.detach().unsqueeze(1), scale, torch.ones_like(scale[:, :1]), matrix)

    @torch.no_grad()
    def _levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y^2 of each sample, averaged over dimensions, (B, K), and its mean over the samples of a context, (B,)."""
        squares = self._whitened(x).square().mean(-1)
        return squares, squares.mean(1).clamp_min(MIN_SPREAD**2)

    @torch.no_grad()
    def _noise(self, samples: int) -> Tensor:
        """Log-variance of the mean y^2 of so many samples, a scalar."""
        return torch.log1p(self.log_tails.exp() / samples)

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
        self.log_tails = nn.Parameter(torch.tensor(math.log(2 / dim) / _MISFIT_RATE))  # a Gaussian's
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
        return Whitening(
            log_diagonal, lower, mean if centre is None else centre, _MISFIT_RATE * self.log_misfit, _MISFIT_RATE * self.log_tails
        )
