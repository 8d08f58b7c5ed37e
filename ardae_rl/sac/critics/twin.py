"""Two critics, of which the smaller value counts (Fujimoto et al. 2018, arXiv:1802.09477).

Notation: B transitions; state (B, C), action (B, D) in (-1, 1), target (B,).
"""

import torch
from torch import Tensor, nn

from ardae_rl.nn.relu_mlp import ReluMLP


class TwinCritic(nn.Module):
    """Two independent critics Q(s, a) with ReLU hidden layers: both values, (2, B)."""

    metric_names = frozenset({"q_mean"})

    def __init__(self, obs_dim: int, action_dim: int, *, hidden_layers: int = 2, width: int = 256) -> None:
        super().__init__()
        sizes = (obs_dim + action_dim, *[width] * hidden_layers, 1)
        self.first, self.second = ReluMLP(*sizes), ReluMLP(*sizes)

    def forward(self, obs: Tensor, action: Tensor, *, fixed: bool = False) -> Tensor:
        """``fixed`` takes the critics as given functions: gradients reach the action only."""
        both = torch.cat([obs, action], -1)
        return torch.cat([self.first(both, fixed=fixed), self.second(both, fixed=fixed)], -1).t()

    def value(self, obs: Tensor, action: Tensor, *, fixed: bool = False) -> Tensor:
        return self(obs, action, fixed=fixed).amin(0)

    def loss(self, obs: Tensor, action: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of each, added up."""
        values = self(obs, action)
        return (values - target).square().mean(1).sum(), {"q_mean": values.detach().mean()}
