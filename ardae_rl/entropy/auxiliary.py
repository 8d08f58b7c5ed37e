"""Entropy of a sampler with a hidden cause, from a bound: H(x) >= -E[log p(x | z) + log p(z) - log h(z | x)] for any density h.

The gap is E[KL(p(z | x) || h)], so h is trained with the sampler, both up.
Reference: Agakov & Barber 2004; Ranganath et al. 2016, arXiv:1511.02386; [Lim2020] arXiv:2006.05164, Appendix E.
"""

from torch import Tensor

from ardae_rl.entropy.base import Draw, EntropySource, Normal
from ardae_rl.samplers.base import Sampler
from ardae_rl.samplers.gaussian import GaussianSampler
from ardae_rl.samplers.hierarchical import HierarchicalSampler


class AuxiliaryEntropy(EntropySource):
    """``auxiliary`` is h, a Gaussian of z with x as its context."""

    moves_with_sampler = True

    def __init__(self, auxiliary: GaussianSampler) -> None:
        super().__init__()
        self.auxiliary = auxiliary

    @classmethod
    def of(cls, sampler: Sampler) -> "AuxiliaryEntropy":
        """With an h as large as the sampler."""
        hierarchical = _hierarchical(sampler)
        return cls(GaussianSampler(hierarchical.dim, hierarchical.latent_dim, hidden_layers=hierarchical.layers, width=hierarchical.width))

    def draw_with_log_prob(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        """In the place of log p(x) an upper bound on average, log p(x | z) + log p(z) - log h(z | x)."""
        x, z, log_joint = _hierarchical(sampler).draw_with_joint(noise)
        return Draw(x, log_joint - self.auxiliary.log_prob(x, z.unsqueeze(1)).squeeze(1), {})

    def draw_with_entropy(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        x, log_prob, metrics = self.draw_with_log_prob(sampler, context, noise, normal)
        return Draw(x, -log_prob.mean(), metrics)


def _hierarchical(sampler: Sampler) -> HierarchicalSampler:
    if not isinstance(sampler, HierarchicalSampler):
        raise ValueError(
            f"sampler must be hierarchical for entropy 'auxiliary', a bound with its hidden cause, got {type(sampler).__name__}."
        )
    return sampler
