"""Score matching without noise: the loss that AR-DAE's tends to as sigma falls.

Notation: f(x~) the network, D dimension, v random directions with E[v v^T] = I.
Identity: E[ 1/2 ||f||^2 + tr grad f ] = 1/2 E||f - grad log p||^2 + const (Hyvarinen 2005), with the trace either exact, by D passes
through the network, or by Hutchinson's estimate v^T (grad f) v: sliced score matching with variance reduction (Song et al. 2019,
arXiv:1905.07088).
"""

from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from ardae_rl.score.estimator import Normal, ScoreEstimator
from ardae_rl.score.settings import NetworkOptions
from ardae_rl.score.standardise import Frame


class ImplicitScoreMatching(ScoreEstimator):
    """``trace``: ``exact`` (cost grows with D) or ``sliced`` (one Gaussian direction per sample)."""

    def __init__(
        self, dim: int, context_dim: int = 0, *, trace: Literal["exact", "sliced"] = "exact", **options: Unpack[NetworkOptions]
    ) -> None:
        super().__init__(dim, context_dim, **options)
        if trace not in ("exact", "sliced"):
            raise ValueError(f"trace must be 'exact' or 'sliced', got {trace!r}.")
        self.trace = trace

    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        points = self._standard(frame, x).requires_grad_()
        with torch.enable_grad():
            f = self.network(points, context)
            trace = (
                self._exact_trace(f, points) if self.trace == "exact" else _directional_slope(f, points, draw(*x.shape).to(points.dtype))
            )
        return (0.5 * f.square().sum(-1) + trace).mean()

    def _exact_trace(self, f: Tensor, points: Tensor) -> Tensor:
        """tr grad f, (B, K)."""
        return torch.stack([_slope(f[..., i], points)[..., i] for i in range(self.dim)]).sum(0)


def _directional_slope(f: Tensor, points: Tensor, direction: Tensor) -> Tensor:
    """v^T (grad f) v, (B, K)."""
    return (_slope((f * direction).sum(-1), points) * direction).sum(-1)


def _slope(values: Tensor, points: Tensor) -> Tensor:
    """Gradient of each of the values (B, K) in its own point, (B, K, D), differentiable again."""
    return torch.autograd.grad(values.sum(), points, create_graph=True)[0]
