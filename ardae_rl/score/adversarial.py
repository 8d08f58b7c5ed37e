"""The score as the gradient of a classifier that tells samples from Gaussian noise: what adversarial variational Bayes rests on.

Notation: x~ samples in whitened coordinates, u ~ N(0, I), T a scalar network.
Identity: the minimiser of E[softplus(-T(x~))] + E[softplus(T(u))] is T* = log p(x~) - log N(x~; 0, I), so that the score is
grad T*(x~) - x~: adaptive contrast, in which T has only the difference from a Gaussian of about the same moments to learn. It holds in
any coordinates that do not depend on the samples T sees: by their own moments a few samples are whiter than the law they come from.
Those regressed on the context depend on them by no more than the share of the scale's misfit that is no noise (``whitening.py``).
Reference: Mescheder, Nowozin & Geiger 2017, arXiv:1701.04722, sections 3 and 3.3.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional

from ardae_rl.score.estimator import Normal, ScoreEstimator
from ardae_rl.score.standardise import Frame


class AdversarialScore(ScoreEstimator):
    """T, a potential of ``network_options`` as in :class:`.estimator.ScoreEstimator`, in coordinates regressed on the context.

    T is the part of the log-density that is not Gaussian; it starts at zero.
    """

    def __init__(self, dim: int, context_dim: int = 0, **network_options: Any) -> None:
        super().__init__(dim, context_dim, form="gradient", standardisation="amortised", gaussian_residual=True, **network_options)

    def discriminator(self, x: Tensor, context: Tensor | None) -> Tensor:
        """T at standardised points, (B, K) for (B, K, D)."""
        return self.network.network.potential(x, context)

    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        genuine = self.discriminator(frame.standardise(x), context)
        contrast = self.discriminator(draw(*x.shape), context)
        return functional.softplus(-genuine).mean() + functional.softplus(contrast).mean()
