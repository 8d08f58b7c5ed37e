"""The score as the gradient of a classifier that tells samples from Gaussian noise: what adversarial variational Bayes rests on.

Notation: x~ samples centred and scaled by their own mean and standard deviations, u ~ N(0, I), T a scalar network.
Identity: the minimiser of E[softplus(-T(x~))] + E[softplus(T(u))] is T* = log p(x~) - log N(x~; 0, I), so that the score is
grad T*(x~) - x~: adaptive contrast, in which T has only the difference from the Gaussian of the same moments to learn.
Reference: Mescheder, Nowozin & Geiger 2017, arXiv:1701.04722, sections 3 and 3.3.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ardae_rl.score.estimator import Normal, ScoreEstimator
from ardae_rl.score.standardise import MIN_SPREAD, Frame


class AdversarialScore(ScoreEstimator):
    """T, a potential of ``network_options`` as in :class:`.estimator.ScoreEstimator`, in coordinates from the moments of the samples.

    T is the part of the log-density that is not Gaussian; it starts at zero.
    """

    def __init__(self, dim: int, context_dim: int = 0, **network_options: Any) -> None:
        super().__init__(dim, context_dim, form="gradient", standardisation="per_context", gaussian_residual=True, **network_options)

    def discriminator(self, x: Tensor, context: Tensor | None) -> Tensor:
        """T at standardised points, (B, K) for (B, K, D)."""
        return self.network.network.potential(x, context)

    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        genuine = self.discriminator(frame.standardise(x), context)
        contrast = self.discriminator(draw(*x.shape), context)
        return functional.softplus(-genuine).mean() + functional.softplus(contrast).mean()

    def _sample_frame(self, x: Tensor, centre: Tensor | None) -> Frame:
        with torch.no_grad():
            std = x.std(1).clamp_min(MIN_SPREAD)
            scale = std.log().mean(-1, keepdim=True).exp()
            middle = x.mean(1) if centre is None else centre
            return Frame(middle.unsqueeze(1), scale.unsqueeze(-1), torch.ones_like(scale).unsqueeze(-1), torch.diag_embed(scale / std))
