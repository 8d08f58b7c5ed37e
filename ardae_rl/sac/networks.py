"""Twin critics and the temperature.

Notation: B transitions, K actions per state; state (B, C), action (B, K, D) in (-1, 1).
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ardae_rl.score.networks import Dense


class Critic(nn.Module):
    """Q(s, a) with ReLU hidden layers."""

    def __init__(self, obs_dim: int, action_dim: int, *, hidden_layers: int, width: int) -> None:
        super().__init__()
        sizes = [obs_dim + action_dim] + [width] * hidden_layers
        hidden = [module for a, b in pairwise(sizes) for module in (Dense(a, b), nn.ReLU())]
        self.body = nn.Sequential(*hidden, Dense(width, 1))

    def forward(self, obs_action: Tensor) -> Tensor:
        """(B,) from the concatenation (B, C + D)."""
        return self.body(obs_action).squeeze(-1)


class TwinCritic(nn.Module):
    """Two independent critics; calling it gives both values, (2, B), for state (B, C) and action (B, D)."""

    def __init__(self, obs_dim: int, action_dim: int, *, hidden_layers: int = 2, width: int = 256) -> None:
        super().__init__()
        self.first = Critic(obs_dim, action_dim, hidden_layers=hidden_layers, width=width)
        self.second = Critic(obs_dim, action_dim, hidden_layers=hidden_layers, width=width)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        both = torch.cat([obs, action], -1)
        return torch.stack([self.first(both), self.second(both)])


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
