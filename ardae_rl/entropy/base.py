"""What everything that an entropy can come from has in common.

Notation: B contexts, K samples of each, D dimension; context (B, C), noise (B, K, E), x (B, K, D). Without a context: (N, E), (N, D).
``normal(*shape)`` supplies standard normal noise; ``average`` replaces tensors, in place, by their means over learners.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ardae_rl.nn.optimiser import Average, GuardedOptimiser, alone
from ardae_rl.samplers.base import Sampler

Normal = Callable[..., Tensor]


class Draw(NamedTuple):
    """Samples x, what was asked of them, and what to watch, as scalars."""

    x: Tensor
    value: Tensor
    metrics: dict[str, Tensor]


class EntropySource(nn.Module):
    """An estimate of the entropy H of a sampler, or of its gradient, and of log-densities.

    ``fit`` trains what it has of its own on fresh samples; what ``moves_with_sampler`` is trained by the sampler's loss instead.
    ``is_exact``: the value of :meth:`draw_with_entropy` is the entropy on average, not only its gradient.
    """

    is_exact = False
    moves_with_sampler = False
    metric_names: ClassVar[frozenset[str]] = frozenset()  # of fits and draws

    def fit_losses(self, sampler: Sampler, context: Tensor | None, normal: Normal, average: Average = alone) -> Iterator[dict[str, Tensor]]:
        """Losses by name, in parts whose sum is one step's; no gradient reaches the sampler. None where there is nothing to fit."""
        return iter(())

    @abstractmethod
    def draw_with_log_prob(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        """Samples, and log p of each in nats, (B, K) or (N,)."""

    @abstractmethod
    def draw_with_entropy(self, sampler: Sampler, context: Tensor | None, noise: Tensor, normal: Normal) -> Draw:
        """Samples, and a scalar whose gradient in the sampler (and in what moves with it) is that of H, or of a lower bound of H."""

    def fit(
        self, optimiser: GuardedOptimiser | None, sampler: Sampler, context: Tensor | None, normal: Normal, *, steps: int
    ) -> dict[str, Tensor]:
        """So many steps, each on fresh samples; the mean of every loss, as NAME_loss."""
        if optimiser is None:
            return {}
        means: dict[str, Tensor] = {}

        def parts() -> Iterator[Tensor]:
            for losses in self.fit_losses(sampler, context, normal, optimiser.average):
                for name, loss in losses.items():
                    means[name] = loss.detach() / steps + means.get(name, 0.0)
                yield torch.stack(list(losses.values())).sum(0)

        for _ in range(steps):
            optimiser.step(parts())
        optimiser.average(list(means.values()))
        return {f"{name}_loss": mean for name, mean in means.items()}
