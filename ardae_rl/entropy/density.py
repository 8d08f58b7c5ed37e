"""Entropy from the density of a sampler that has one: H = -E[log p(x)]."""

from torch import Tensor

from ardae_rl.entropy.base import Draw, EntropySource, Normal
from ardae_rl.samplers.base import Sampler, TractableSampler


class DensityEntropy(EntropySource):
    """The sampler knows its density: use it."""

    is_exact = True

    def draw_with_log_prob(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        if not isinstance(sampler, TractableSampler):
            raise ValueError(f"sampler must have a density for entropy 'density', got {type(sampler).__name__}: take 'ardae'.")
        return Draw(*sampler.draw_with_log_prob(context, noise), {})

    def draw_with_entropy(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        x, log_prob, metrics = self.draw_with_log_prob(sampler, context, noise, normal)
        return Draw(x, -log_prob.mean(), metrics)
