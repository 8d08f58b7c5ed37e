"""Coordinates in which a score network sees the samples.

Notation: B contexts, K samples per context, D dimension; x (B, K, D).
Identity: for x~ = W (x - b) / S with det W = 1, grad_x log p(x) = W^T grad_x~ log p(x~) / S and log p(x) = log p(x~) - D log S.
Not here: networks, noise.
Reference: [Lim2020] arXiv:2006.05164, Appendices F.2 and H.1.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from ardae_rl.nn.optimiser import Average

MIN_SPREAD = 1e-12  # a sampler collapsed to a point still gets finite coordinates
_MIN_CONDITION = 1e-14  # of a covariance: its smallest eigenvalue beside the largest


@dataclass(frozen=True)
class Frame:
    """Affine coordinates x~ = matrix (x - centre) / scale, one set per context.

    ``centre`` (B, 1, D) and ``scale`` (B, 1, 1), or (B, K, 1) for K given samples, are in units of x; ``spread`` (B, 1, 1) is the samples'
    standard deviation measured in x~ (dimensions averaged; 1 by definition of a whitening), which sets the noise of an adaptive sigma
    prior; None: unknown, for scores and densities do without. ``matrix`` (B, D, D) has determinant one; None: the identity.
    ``context`` (B, C): the contexts that the frame belongs to, where it knows. ``anchors`` (B, M, D), in units of x: points that tell
    distributions apart, see :meth:`.ScoreEstimator.frame`.
    """

    centre: Tensor
    scale: Tensor
    spread: Tensor | None
    matrix: Tensor | None = None
    context: Tensor | None = None
    anchors: Tensor | None = None

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

    def of(self, contexts: slice) -> "Frame":
        """That of some of the contexts."""
        parts = (getattr(self, each.name) for each in fields(self))
        return Frame(*(None if part is None else part[contexts] for part in parts))  # type: ignore[arg-type]

    def inside(self, outer: "Frame") -> "Frame":
        """The coordinates of x that this frame makes of ``outer``'s, whose matrix is lower triangular (as of a whitening)."""
        assert outer.matrix is not None and self.matrix is not None
        identity = torch.eye(outer.matrix.shape[-1], dtype=outer.matrix.dtype, device=outer.matrix.device)
        inverse = torch.linalg.solve_triangular(outer.matrix, identity.expand_as(outer.matrix), upper=False)
        away = (outer.scale * self.centre) @ inverse.mT
        return Frame(outer.centre + away, outer.scale * self.scale, self.spread, self.matrix @ outer.matrix, self.context)


class Moments(nn.Module):
    """Mean and covariance of the samples that passed by, remembered: buffers, saved and resumed with the estimator.

    The first calls count alike; from ``calls`` on, or as many as hold 10 D samples, older ones fade exponentially. In double precision,
    for a narrow direction may have 1e-8 of the variance of a wide one. Until the first call: mean 0, covariance I.
    """

    mean: Tensor
    covariance: Tensor
    count: Tensor

    def __init__(self, dim: int, calls: int) -> None:
        super().__init__()
        self.calls = calls
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("covariance", torch.eye(dim, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, x: Tensor, average: Average) -> None:
        """With samples x (N, D) of this learner; ``average`` makes their moments those of all learners. NaN and infinity are left out."""
        x = x.double()
        mean = x.mean(0)
        average([mean])
        covariance = (x - mean).T @ (x - mean) / len(x)
        average([covariance])
        rate = 1 / (self.count + 1).clamp(max=max(self.calls, 10 * x.shape[1] / len(x)))
        away = mean - self.mean
        moved = (1 - rate) * self.covariance + rate * covariance + rate * (1 - rate) * torch.outer(away, away)
        finite = moved.isfinite().all()
        self.mean.copy_(torch.where(finite, self.mean + rate * away, self.mean))
        self.covariance.copy_(torch.where(finite, moved, self.covariance))
        self.count += finite


def whitening_frame(samples: Tensor) -> Frame:
    """Coordinates in which ``samples`` (B, K, D), K > D, have mean 0 and covariance (divisor K) the identity.

    By a Cholesky factor in double precision: a narrow direction may have 1e-8 of the variance of a wide one. Raises ValueError for too few.
    """
    if samples.dim() != 3 or samples.shape[1] <= samples.shape[2]:
        raise ValueError(f"samples must have shape (contexts, samples per context > dimension, dimension), got {tuple(samples.shape)}.")
    x = samples.detach().double()
    centre = x.mean(1, keepdim=True)
    return frame_of_moments(centre, (x - centre).mT @ (x - centre) / x.shape[1], samples.dtype)


@torch.no_grad()
def frame_of_moments(centre: Tensor, covariance: Tensor, dtype: torch.dtype) -> Frame:
    """Coordinates, in ``dtype``, in which a distribution with mean ``centre`` (B, 1, D) and ``covariance`` (B, D, D) is standard.

    The covariance in double precision. One that is singular is made a little wider in every direction.
    """
    dim = covariance.shape[-1]
    identity = torch.eye(dim, dtype=covariance.dtype, device=covariance.device)
    floor = _MIN_CONDITION * covariance.diagonal(dim1=-2, dim2=-1).mean(-1) + MIN_SPREAD**2
    root = torch.linalg.cholesky_ex(covariance + floor.view(-1, 1, 1) * identity).L  # NaN for a covariance that is: no look at it
    log_scale = root.diagonal(dim1=-2, dim2=-1).log().mean(-1).view(-1, 1, 1)
    matrix = torch.linalg.solve_triangular(root * (-log_scale).exp(), identity.expand_as(root), upper=False)
    scale = log_scale.exp().to(dtype)
    return Frame(centre.to(dtype), scale, torch.ones_like(scale), matrix.to(dtype))


def frame_of(samples: Tensor, *, scale: float | None = None, centre: Tensor | None = None) -> Frame:
    """Coordinates of ``samples`` (B, K, D) without rotation, one unit for all dimensions.

    ``scale``: x~ = scale (x - centre), as in the paper. None: divided by the samples' standard deviation instead, so that the network's
    inputs are of order one for every context. ``centre`` (B, D) is b(c), the sampler at zero noise; None takes the mean.
    """
    if samples.dim() != 3 or samples.shape[1] < 2:
        raise ValueError(f"samples must have shape (contexts, samples per context >= 2, dimension), got {tuple(samples.shape)}.")
    with torch.no_grad():
        spread = samples.std(1, keepdim=True).mean(-1, keepdim=True)
        return scaled_frame(samples.mean(1, keepdim=True) if centre is None else centre.unsqueeze(1), spread, scale)


def scaled_frame(centre: Tensor, spread: Tensor, scale: float | None) -> Frame:
    """The same from a ``centre`` (B, 1, D) and the samples' standard deviation ``spread`` (B, 1, 1)."""
    spread = spread.clamp_min(MIN_SPREAD)
    width = spread if scale is None else torch.full_like(spread, 1 / scale)
    return Frame(centre, width, spread / width)
