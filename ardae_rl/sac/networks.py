"""Twin critics and the temperature.

Notation: B transitions; state (B, C), action (B, D) in (-1, 1).
"""

import math

import torch
from torch import Tensor, nn

from ardae_rl.nn.relu_mlp import ReluMLP


class TwinCritic(nn.Module):
    """Two independent critics Q(s, a) with ReLU hidden layers: both values, (2, B), for state (B, C) and action (B, D)."""

    def __init__(self, obs_dim: int, action_dim: int, *, hidden_layers: int = 2, width: int = 256) -> None:
        super().__init__()
        sizes = (obs_dim + action_dim, *[width] * hidden_layers, 1)
        self.first, self.second = ReluMLP(*sizes), ReluMLP(*sizes)

    def forward(self, obs: Tensor, action: Tensor, *, fixed: bool = False) -> Tensor:
        """``fixed`` takes the critics as given functions: gradients reach the action only."""
        both = torch.cat([obs, action], -1)
        return torch.cat([self.first(both, fixed=fixed), self.second(both, fixed=fixed)], -1).t()


class Temperature(nn.Module):
    """alpha > 0 as exp(log_alpha). Fixed, it is a buffer; tuned, a parameter. Either way it is part of every checkpoint."""

    def __init__(self, alpha: float, *, learned: bool) -> None:
        super().__init__()
        log_alpha = torch.tensor(math.log(alpha) if alpha > 0 else -math.inf)
        if learned:
            self.log_alpha = nn.Parameter(log_alpha)
        else:
            self.register_buffer("log_alpha", log_alpha)

    def forward(self) -> Tensor:
        """alpha, a scalar without gradient."""
        return self.log_alpha.detach().exp()
