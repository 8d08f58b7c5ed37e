"""Coordinates in which a score network sees the samples.

Notation: B contexts, K samples per context, D dimension; x (B, K, D).
Identity: for x~ = W (x - b) / S with det W = 1, grad_x log p(x) = W^T grad_x~ log p(x~) / S and log p(x) = log p(x~) - D log S.
Not here: networks, noise.
Reference: [Lim2020] arXiv:2006.05164, Appendices F.2 and H.1.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Standardisation = Literal["fixed", "per_context", "amortised"]
MIN_SPREAD = 1e-8  # a sampler collapsed to a point still gets finite coordinates


@dataclass(frozen=True)
class Frame:
    """Affine coordinates x~ = matrix (x - centre) / scale, one set per context.

    ``centre`` (B, 1, D) and ``scale`` (B, 1, 1), or (B, K, 1) for K given samples, are in units of x; ``spread`` (B, 1, 1) is the samples'
    standard deviation measured in x~ (dimensions averaged; 1 by definition with ``amortised``), which sets the noise of an adaptive sigma
    prior; None: unknown, for scores and densities do without. ``matrix`` (B, D, D) has determinant one; None: the identity.
    """

    centre: Tensor
    scale: Tensor
    spread: Tensor | None
    matrix: Tensor | None = None

    def standardise(self, x: Tensor) -> Tensor:
        """x~ of x, (B, K, D)."""
        centred = (x - self.centre) / self.scale
        return centred if self.matrix is None else centred @ self.matrix.mT

    def score(self, standard_score: Tensor) -> Tensor:
        """The score in units of 1/x from the score in x~, (B, K, D)."""
        mixed = standard_score if self.matrix is None else standard_score @ self.matrix
        return mixed / self.scale

    def log_density(self, standard_log_density: Tensor) -> Tensor:
        """log p(x) from log p(x~), (B, K)."""
        return standard_log_density - self.centre.shape[-1] * self.scale.log().squeeze(-1)


def whitening_frame(samples: Tensor) -> Frame:
    """Coordinates in which ``samples`` (B, K, D), K > D, have mean 0 and covariance (divisor K) the identity.

    By a Cholesky factor in double precision: a narrow direction may have a millionth of the variance of a wide one.
    """
    if samples.dim() != 3 or samples.shape[1] <= samples.shape[2]:
        raise ValueError(f"samples must have shape (contexts, samples per context > dimension, dimension), got {tuple(samples.shape)}.")
    x = samples.detach().double()
    centre = x.mean(1, keepdim=True)
    covariance = (x - centre).mT @ (x - centre) / x.shape[1]
    identity = torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    return frame_of_moments(centre.to(samples), covariance + MIN_SPREAD**2 * identity)


@torch.no_grad()
def frame_of_moments(centre: Tensor, covariance: Tensor) -> Frame:
    """Coordinates in which a law with mean ``centre`` (B, 1, D) and ``covariance`` (B, D, D), in double precision, is standard."""
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    root = torch.linalg.cholesky_ex(covariance).L  # NaN for a covariance that is: no look at it
    log_scale = root.diagonal(dim1=-2, dim2=-1).log().mean(-1).view(-1, 1, 1)
    matrix = torch.linalg.solve_triangular(root * (-log_scale).exp(), identity.expand_as(root), upper=False)
    scale = log_scale.exp().to(centre)
    return Frame(centre, scale, torch.ones_like(scale), matrix.to(centre))


def frame_of(samples: Tensor, *, standardisation: Literal["fixed", "per_context"], scale: float, centre: Tensor | None = None) -> Frame:
    """The frame of ``samples`` (B, K, D).

    ``fixed``: x~ = scale (x - centre), as in the paper. ``per_context``: divided by the samples' standard deviation instead, so that
    the network's inputs are of order one for every context. ``centre`` (B, D) is b(c), the sampler at zero noise; None takes the mean.
    """
    if samples.dim() != 3 or samples.shape[1] < 2:
        raise ValueError(f"samples must have shape (contexts, samples per context >= 2, dimension), got {tuple(samples.shape)}.")
    with torch.no_grad():
        spread = samples.std(1, keepdim=True).mean(-1, keepdim=True).clamp_min(MIN_SPREAD)
        middle = samples.mean(1, keepdim=True) if centre is None else centre.unsqueeze(1)
        width = torch.full_like(spread, 1 / scale) if standardisation == "fixed" else spread
        return Frame(middle, width, spread / width)
