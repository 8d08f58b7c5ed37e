"""Entropy from a learned score: for x = g(eps, c), grad H = -E[score(x)^T dg/dtheta]. No density is needed.

Reference: [Lim2020] arXiv:2006.05164, equation 1, section 6.3 and Appendix G.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from ardae_rl.entropy.base import Draw, EntropySource, Normal
from ardae_rl.nn.optimiser import Average, GuardedOptimiser, alone
from ardae_rl.samplers.base import Sampler
from ardae_rl.score import Frame, ScoreEstimator, entropy_surrogate, stein_ratio

Origin = Literal["centre", "mean", "batch"]


class ScoreEntropy(EntropySource):
    """An estimator learns the sampler's score, and its log-density up to log Z, from samples.

    Args:
        samples_per_context: fresh samples behind each loss.
        noise_dim: of the sampler; needed for an estimator with anchors alone.
        share_contexts: each of the steps of a fit has its share of the contexts, not all of them: many small steps follow a sampler that
            moves better than few large ones.
        importance_samples, proposal_std: of the estimate of log Z, see :meth:`.ScoreEstimator.log_partition`.
        origin: where the estimator's coordinates have their origin. ``centre``: b(c) = g(0, c), without a context 0 for ``fixed`` and the
            mean otherwise; ``mean``: what the estimator remembers or learns; ``batch``: mean and spread of the samples at hand. None:
            ``mean`` where it learns one (``amortised``), which costs no draw, else ``centre``.
        rows: samples whose loss is differentiated at once, at least one context's (None: all).
    """

    anchors: Tensor | None
    metric_names = frozenset({"score_loss", "whitening_loss", "log_z_std", "log_z_error", "importance_ess", "stein_ratio"})

    def __init__(
        self,
        estimator: ScoreEstimator,
        *,
        samples_per_context: int,
        noise_dim: int = 0,
        share_contexts: bool = False,
        importance_samples: int = 10,
        proposal_std: float | None = None,
        origin: Origin | None = None,
        rows: int | None = None,
    ) -> None:
        super().__init__()
        self.estimator, self.samples_per_context, self.share_contexts, self.rows = estimator, samples_per_context, share_contexts, rows
        self.origin: Origin = origin or ("mean" if estimator.standardisation == "amortised" else "centre")
        self.importance_samples, self.proposal_std = importance_samples, proposal_std
        self.register_buffer("anchors", torch.randn(estimator.anchors, noise_dim) if estimator.anchors else None)
        self._fitted: tuple[Tensor, Frame] | None = None  # contexts of the last fit in shares, and the coordinates in which it was made

    def fit_losses(self, sampler: Sampler, context: Tensor | None, normal: Normal, average: Average = alone) -> Iterator[dict[str, Tensor]]:
        x, anchors = self._drawn(sampler, context, self._noise(sampler, context, normal))
        batch = self.origin == "batch"
        frame, centre = self.estimator.frame(x) if batch else None, None if batch else self._centre(sampler, context, x)
        if context is None or self.rows is None:
            yield self.estimator.losses(x, context, centre=centre, frame=frame, anchors=anchors, normal=normal, average=average)
            return
        size = max(1, self.rows // self.samples_per_context)
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            own: Any = {"centre": None if centre is None else centre[part], "anchors": None if anchors is None else anchors[part]}
            losses = self.estimator.losses(x[part], context[part], **own, normal=normal, average=average)
            yield {name: len(x[part]) / len(x) * loss for name, loss in losses.items()}

    def fit(
        self, optimiser: GuardedOptimiser | None, sampler: Sampler, context: Tensor | None, normal: Normal, *, steps: int
    ) -> dict[str, Tensor]:
        """With ``share_contexts`` the samples of all steps, at most one a context, are drawn at once, and the coordinates learn once."""
        if optimiser is None or context is None or not self.share_contexts:
            return super().fit(optimiser, sampler, context, normal, steps=steps)
        x, anchors = self._drawn(sampler, context, self._noise(sampler, context, normal))
        centre = self._centre(sampler, context, x)
        frame, whitening = self.estimator.learn_coordinates(x, context, centre=centre, anchors=anchors, average=optimiser.average)
        self._fitted, losses = (context, frame), {}
        if whitening is not None and self.estimator.whitener is not None:
            parameters = list(self.estimator.whitener.parameters())
            found = torch.autograd.grad(whitening, parameters)
            losses["whitening_loss"] = optimiser.step_along(whitening.detach(), [*zip(parameters, found, strict=True)])
        shares = self.estimator.gradients(x, context, frame, parts=min(steps, len(x)), normal=normal)
        parts = [optimiser.step_along(*each) for each in shares]
        return {"score_loss": torch.stack(parts).mean(), **losses}

    @torch.no_grad()
    def draw_with_log_prob(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        x, anchors = self._drawn(sampler, context, noise)
        frame = self._frame(sampler, context, x, normal, anchors)
        log_prob, (log_z, ess, error) = self.estimator.log_prob(
            x, context, frame=frame, samples=self.importance_samples, proposal_std=self.proposal_std, normal=normal
        )
        return Draw(x, log_prob, {"log_z_std": log_z.std(), "log_z_error": error.mean(), "importance_ess": ess.mean()})

    def draw_with_entropy(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        x = sampler.draw(context, noise)
        with torch.no_grad():
            frame = self._frame(sampler, context, x, normal)
            score = self.estimator.score(x, context, frame=frame)
            watched = {} if context is None else {"stein_ratio": stein_ratio(x, score, centre=frame.centre.squeeze(1))}
        return Draw(x, entropy_surrogate(x, score), watched)

    @torch.no_grad()
    def _frame(self, sampler: Sampler, context: Tensor | None, x: Tensor, normal: Normal, anchors: Tensor | None = None) -> Frame:
        """Coordinates of the sampler's distributions, in which the estimator was trained."""
        if self.origin == "batch":
            return self.estimator.frame(x)
        fitted, self._fitted = self._fitted, None  # once: the sampler moves after that
        if fitted is not None and fitted[0] is context:
            return fitted[1]
        centre = self._centre(sampler, context, x)
        if anchors is None and self.anchors is not None and context is not None:
            anchors = sampler.draw(context, self.anchors.expand(len(context), -1, -1))
        if context is None or self.estimator.standardisation != "per_context":
            return self.estimator.frame(context=context, centre=centre, anchors=anchors)
        samples, _ = self._drawn(sampler, context, self._noise(sampler, context, normal))
        return self.estimator.frame(samples, context=context, centre=centre, anchors=anchors)

    @torch.no_grad()
    def _centre(self, sampler: Sampler, context: Tensor | None, x: Tensor) -> Tensor | None:
        if context is None:  # of the paper's coordinates the origin: the mean of a batch would shift them from batch to batch
            return x.new_zeros(1, x.shape[-1]) if self.estimator.standardisation == "fixed" else None
        return sampler.centre(context) if self.origin == "centre" else None

    def _noise(self, sampler: Sampler, context: Tensor | None, normal: Normal) -> Tensor:
        contexts = () if context is None else (len(context),)
        return normal(*contexts, self.samples_per_context, sampler.noise_dim)

    @torch.no_grad()
    def _drawn(self, sampler: Sampler, context: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Samples, and the anchors of the same contexts."""
        if self.anchors is None or context is None:
            return sampler.draw(context, noise), None
        both = sampler.draw(context, torch.cat([noise, self.anchors.expand(len(context), -1, -1)], 1))
        return both[:, : noise.shape[1]], both[:, noise.shape[1] :]
