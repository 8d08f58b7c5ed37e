"""The score as the gradient of a classifier that tells samples from noise of a known law: what adversarial variational Bayes rests on.

Notation: x~ samples in whitened coordinates, u ~ N(0, I), T a scalar network.
Identity: the minimiser of E[softplus(-T(x~))] + E[softplus(T(u))] is T* = log p(x~) - log N(x~; 0, I), so that the score is
grad T*(x~) - x~: adaptive contrast, in which T has only the difference from a Gaussian of about the same moments to learn. With u from
Student's t its log-density and score take their places: T then meets contrast where the samples' tails are. All this holds in any
coordinates that do not depend on the sample T sees: by their own moments a few samples are whiter than the distribution they come from.
Reference: Mescheder, Nowozin & Geiger 2017, arXiv:1701.04722, sections 3 and 3.3.
"""

from torch import Tensor
from torch.nn import functional
from typing_extensions import Unpack

from ardae_rl.score.estimator import Normal, ScoreEstimator
from ardae_rl.score.settings import NetworkOptions
from ardae_rl.score.standardise import Frame


class AdversarialScore(ScoreEstimator):
    """T, a potential with the options of :class:`.estimator.ScoreEstimator`, in ``amortised`` coordinates (without a context: ``samples``).

    T is the part of the log-density that is not Gaussian, or with ``student_dof`` not Student's t; it starts at zero.
    Raises ValueError unless ``student_dof`` is None or a whole number: its noise is made of so many normal ones.
    """

    fixed = frozenset({"form", "standardisation", "gaussian_residual"})

    def __init__(self, dim: int, context_dim: int = 0, **options: Unpack[NetworkOptions]) -> None:
        student_dof = options.get("student_dof")
        if student_dof is not None and student_dof != int(student_dof):
            raise ValueError(f"student_dof of an adversarial score must be a whole number or null, got {student_dof:g}.")
        super().__init__(dim, context_dim, form="gradient", standardisation="amortised", gaussian_residual=True, **options)  # type: ignore[misc]
        self.student_dof = None if student_dof is None else int(student_dof)

    def discriminator(self, x: Tensor, context: Tensor | None) -> Tensor:
        """T at standardised points, (B, K) for (B, K, D)."""
        return self.network.network.potential(x, context)

    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        genuine = self._standard(frame, x)
        contrast = self.discriminator(self._contrast(genuine, draw), context)
        return functional.softplus(-self.discriminator(genuine, context)).mean() + functional.softplus(contrast).mean()

    def _contrast(self, x: Tensor, draw: Normal) -> Tensor:
        noise = draw(*x.shape).to(x.dtype)
        if self.student_dof is None:
            return noise
        chi_square = draw(*x.shape[:-1], self.student_dof).square().sum(-1, keepdim=True)
        return noise * (self.student_dof / chi_square).sqrt()
