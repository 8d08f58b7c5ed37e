"""The diagonal-Gaussian policy: a sampler that has a density.

Notation: B states, K samples per state, D dimension of the pre-tanh action; state (B, C), noise (B, K, D), action (B, K, D).
Reference: Haarnoja et al. 2018, arXiv:1801.01290.
"""

import math

import torch
from torch import Tensor

from ardae_rl.nn.relu_mlp import ReluMLP
from ardae_rl.samplers.base import TractableSampler, given


class GaussianSampler(TractableSampler):
    """x = mu(c) + std(c) * eps with a ReLU network; log std clamped to [log_std_min, log_std_max]."""

    def __init__(
        self, context_dim: int, dim: int, *, hidden_layers: int = 2, width: int = 256, log_std_min: float = -20.0, log_std_max: float = 2.0
    ) -> None:
        super().__init__()
        self.dim = self.noise_dim = dim
        self.log_std_range = (log_std_min, log_std_max)
        self.body = ReluMLP(context_dim, *[width] * hidden_layers, 2 * dim)

    def parameters_of(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each (B, D)."""
        mean, log_std = self.body(given(context)).chunk(2, -1)
        return mean, log_std.clamp(*self.log_std_range)

    def draw_with_log_prob(self, context: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = (part.unsqueeze(1) for part in self.parameters_of(context))
        log_prob = -(0.5 * noise.square() + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
        return mean + log_std.exp() * noise, log_prob

    def centre(self, context: Tensor) -> Tensor:
        return self.parameters_of(context)[0]

    def log_prob(self, context: Tensor | None, x: Tensor) -> Tensor:
        mean, log_std = (part.unsqueeze(1) for part in self.parameters_of(context))
        z = (x - mean) * torch.exp(-log_std)
        return -(0.5 * z.square() + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
