"""The two contracts of samplers: one can draw from all of them, and some have a density.

Notation: B contexts, K samples per context, C context, D sample and E noise dimension; context (B, C), noise (B, K, E), x (B, K, D).
Without a context, which is then None: noise (N, E), x (N, D).
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Sampler(nn.Module, ABC):
    """x = g(eps, c), eps ~ N(0, I), differentiable in the parameters. ``dim`` is D, ``noise_dim`` is E."""

    has_density: ClassVar[bool] = False
    dim: int
    noise_dim: int

    @abstractmethod
    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        """x."""

    def centre(self, context: Tensor) -> Tensor:
        """b(c) = g(0, c), the sample at zero noise, (B, D)."""
        return self.draw(context, context.new_zeros(len(context), 1, self.noise_dim)).squeeze(1)


class TractableSampler(Sampler):
    """A sampler with a density."""

    has_density = True

    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return self.draw_with_log_prob(context, noise)[0]

    @abstractmethod
    def draw_with_log_prob(self, context: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x and log p(x | c) in nats, (B, K) or (N,), both differentiable in the parameters."""

    @abstractmethod
    def log_prob(self, context: Tensor | None, x: Tensor) -> Tensor:
        """log p(x | c) in nats, (B, K) or (N,)."""


def given(context: Tensor | None) -> Tensor:
    """The context of a sampler that cannot do without."""
    if context is None:
        raise ValueError("context must be a tensor (B, C), got None: this sampler is one of conditional distributions.")
    return context


def check_noise(noise_dim: int, dim: int) -> None:
    """With less noise than dimensions there is nothing to estimate a score of."""
    if noise_dim < dim:
        raise ValueError(
            f"noise_dim must be at least the dimension {dim} of a sample, got {noise_dim}: with less noise than dimensions the samples lie "
            "on a thin surface that has no density, and no score. Raise noise_dim."
        )
