"""Denoising autoencoders at one noise level: what AR-DAE is compared with.

Notation: x~ standardised samples, u ~ N(0, I), sigma > 0 one noise level, in standardised units unless said otherwise.
Identity: r*(x) = E[x~ | x~ + sigma u = x] = x + sigma^2 grad log p_sigma(x), p_sigma the law convolved with N(0, sigma^2 I)
(Vincent 2011; Alain & Bengio 2014, arXiv:1211.4246). The bias is that of p_sigma against p, O(sigma^2); the variance grows as sigma falls.
Annealing: lower ``sigma`` between steps, and each level starts from the network of the last.
Reference: [Lim2020] arXiv:2006.05164, section 4.1 and Figure 3, where they are called resDAE and regDAE.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Unpack

from ardae_rl.nn.settings import Settings, setting
from ardae_rl.score.ardae import half_of_the_rows
from ardae_rl.score.estimator import Normal, ScoreEstimator
from ardae_rl.score.settings import NetworkOptions
from ardae_rl.score.standardise import Frame, frame_of_moments


@dataclass(frozen=True, kw_only=True)
class _Noise(Settings):
    sigma: float = setting(above=0)


class ResidualDAE(ScoreEstimator):
    """resDAE: f with the loss E||u + sigma f(x~ + sigma u)||^2 at one ``sigma``, on which f is not conditioned."""

    def __init__(self, dim: int, context_dim: int = 0, *, sigma: float, **options: Unpack[NetworkOptions]) -> None:
        super().__init__(dim, context_dim, **options)
        _Noise(sigma=sigma)
        self.sigma = sigma

    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        clean = self._standard(frame, x)
        u = draw(*x.shape).to(clean.dtype)
        residual = u + self.sigma * self.network(clean + self.sigma * u, context)
        return residual.square().sum(-1).mean()


class BlurredDAE(ScoreEstimator):
    """resDAE at one ``sigma`` in units of the samples, however wide their law, in coordinates of the law convolved with N(0, sigma^2 I).

    That is the law whose score f learns: its inputs are of order one whatever sigma, and as with AR-DAE a Gaussian is right from the
    start. What is left of a difference from AR-DAE is due to the noise level. Coordinates: ``amortised`` (without a context ``samples``).
    ``frame`` is everywhere that of the samples themselves, before the noise. ``antithetic`` as in :class:`~ardae_rl.score.ARDAE`.
    """

    fixed = frozenset({"standardisation"})

    def __init__(
        self, dim: int, context_dim: int = 0, *, sigma: float, antithetic: bool = False, **options: Unpack[NetworkOptions]
    ) -> None:
        options.setdefault("gaussian_residual", True)
        super().__init__(dim, context_dim, standardisation="amortised", **options)  # type: ignore[misc]
        _Noise(sigma=sigma)
        self.sigma, self.antithetic = sigma, antithetic

    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        blurred = self._blurred(frame)
        if self.antithetic:
            x = half_of_the_rows(x, 1, draw)
        u = draw(*x.shape).to(x.dtype)
        if self.antithetic:
            x, u = torch.cat([x, x], 1), torch.cat([u, -u], 1)
        score = blurred.score(self.network(self._standard(blurred, x + self.sigma * u), context).to(x.dtype))
        return (u + self.sigma * score).square().sum(-1).mean()

    def _coordinates_at(self, x: Tensor, context: Tensor | None, centre: Tensor | None, frame: Frame | None) -> Frame:
        return self._blurred(super()._coordinates_at(x, context, centre, frame))

    def _blurred(self, frame: Frame) -> Frame:
        assert frame.matrix is not None  # lower triangular, being a whitener's
        identity = torch.eye(self.dim, dtype=torch.float64, device=frame.scale.device)
        inverse = torch.linalg.solve_triangular(frame.matrix.double(), identity.expand_as(frame.matrix), upper=False)
        root = frame.scale.double() * inverse
        return frame_of_moments(frame.centre, root @ root.mT + self.sigma**2 * identity, frame.centre.dtype)


class ReconstructionDAE(ScoreEstimator):
    """regDAE: a network r that reconstructs, E||r(x~ + sigma u) - x~||^2, and the score (r(x) - x) / sigma^2.

    The division blows errors of r up by 1 / sigma^2, which is what the residual form avoids. r is the network's D outputs.
    """

    fixed = frozenset({"form", "gaussian_residual"})

    def __init__(self, dim: int, context_dim: int = 0, *, sigma: float, **options: Unpack[NetworkOptions]) -> None:
        options["gaussian_residual"] = False  # it is not f that the network puts out
        super().__init__(dim, context_dim, form="residual", **options)  # type: ignore[misc]
        _Noise(sigma=sigma)
        self.sigma = sigma

    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        clean = self._standard(frame, x)
        reconstruction = self.network(clean + self.sigma * draw(*x.shape).to(clean.dtype), context)
        return (reconstruction - clean).square().sum(-1).mean()

    def _standard_score(self, x: Tensor, context: Tensor | None) -> Tensor:
        return (self.network(x, context) - x) / self.sigma**2
