"""Entropy from a learned score: for x = g(eps, c), grad H = -E[score(x)^T dg/dtheta]. No density is needed.

Reference: [Lim2020] arXiv:2006.05164, equation 1, section 6.3 and Appendix G.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from ardae_rl.entropy.base import Draw, EntropySource, Normal
from ardae_rl.nn.optimiser import Average, alone
from ardae_rl.samplers.base import Sampler
from ardae_rl.score import ScoreEstimator, entropy_surrogate, stein_ratio

Origin = Literal["centre", "mean", "batch"]


class ScoreEntropy(EntropySource):
    """An estimator learns the sampler's score, and its log-density up to log Z, from samples.

    Args:
        samples_per_context: fresh samples behind each loss.
        importance_samples, proposal_std: of the estimate of log Z, see :meth:`.ScoreEstimator.log_partition`.
        origin: where the estimator's coordinates have their origin. ``centre``: b(c) = g(0, c), without a context 0 for ``fixed`` and the
            mean otherwise; ``mean``: what the estimator remembers or learns; ``batch``: mean and spread of the samples at hand.
        rows: samples whose loss is differentiated at once, at least one context's (None: all).
    """

    metric_names = frozenset({"score_loss", "whitening_loss", "log_z_std", "log_z_error", "importance_ess", "stein_ratio"})

    def __init__(
        self,
        estimator: ScoreEstimator,
        *,
        samples_per_context: int,
        importance_samples: int = 10,
        proposal_std: float | None = None,
        origin: Origin = "centre",
        rows: int | None = None,
    ) -> None:
        super().__init__()
        self.estimator, self.samples_per_context, self.origin, self.rows = estimator, samples_per_context, origin, rows
        self.importance_samples, self.proposal_std = importance_samples, proposal_std

    def fit_losses(self, sampler: Sampler, context: Tensor | None, normal: Normal, average: Average = alone) -> Iterator[dict[str, Tensor]]:
        with torch.no_grad():
            x = self._samples(sampler, context, normal)
            batch = self.origin == "batch"
            frame, centre = self.estimator.frame(x) if batch else None, None if batch else self._centre(sampler, context, x)
        if context is None or self.rows is None:
            yield self.estimator.losses(x, context, centre=centre, frame=frame, normal=normal, average=average)
            return
        size = max(1, self.rows // self.samples_per_context)
        centres = [None] * len(x) if centre is None else centre.split(size)
        for some, its_context, its_centre in zip(x.split(size), context.split(size), centres, strict=False):
            losses = self.estimator.losses(some, its_context, centre=its_centre, normal=normal, average=average)
            yield {name: len(some) / len(x) * loss for name, loss in losses.items()}

    @torch.no_grad()
    def draw_with_log_prob(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        x = sampler.draw(context, noise)
        unnormalised = self.estimator.log_density(x, context, **self._coordinates(sampler, context, x, normal))
        log_z, ess, error = self.estimator.log_partition(
            context, samples=self.importance_samples, proposal_std=self.proposal_std, normal=normal
        )
        metrics = {"log_z_std": log_z.std(), "log_z_error": error.mean(), "importance_ess": ess.mean()}
        return Draw(x, unnormalised - log_z.unsqueeze(-1), metrics)

    def draw_with_entropy(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        x = sampler.draw(context, noise)
        with torch.no_grad():
            score = self.estimator.score(x, context, **self._coordinates(sampler, context, x, normal))
            watched = {} if context is None else {"stein_ratio": stein_ratio(x, score, centre=sampler.centre(context))}
        return Draw(x, entropy_surrogate(x, score), watched)

    @torch.no_grad()
    def _coordinates(self, sampler: Sampler, context: Tensor | None, x: Tensor, normal: Normal) -> dict[str, Any]:
        """What the estimator wants to know of the sampler's distributions besides the contexts."""
        if self.origin == "batch":
            return {"frame": self.estimator.frame(x)}
        centre = self._centre(sampler, context, x)
        if context is None or self.estimator.standardisation != "per_context":
            return {"centre": centre}
        return {"frame": self.estimator.frame(self._samples(sampler, context, normal), context=context, centre=centre)}

    def _centre(self, sampler: Sampler, context: Tensor | None, x: Tensor) -> Tensor | None:
        if context is None:  # of the paper's coordinates the origin: the mean of a batch would shift them from batch to batch
            return x.new_zeros(1, x.shape[-1]) if self.estimator.standardisation == "fixed" else None
        return sampler.centre(context) if self.origin == "centre" else None

    def _samples(self, sampler: Sampler, context: Tensor | None, normal: Normal) -> Tensor:
        contexts = () if context is None else (len(context),)
        return sampler.draw(context, normal(*contexts, self.samples_per_context, sampler.noise_dim))
