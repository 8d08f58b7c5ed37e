"""Soft actor-critic in plain torch: one update for any sampler and any source of its entropy. No Ray.

>>> import torch
>>> from ardae_rl.sac import SAC, SACConfig, Transitions
>>> sac = SAC.build(obs_dim=3, action_dim=1, config=SACConfig(policy="gaussian"), seed=0)
>>> batch = Transitions(torch.randn(8, 3), torch.rand(8, 1), torch.randn(8), torch.randn(8, 3), torch.zeros(8))
>>> sorted(sac.update(batch))[:4]
['actor_loss', 'alpha', 'critic_loss', 'entropy']
"""

from ardae_rl.nn.optimiser import NonFiniteError
from ardae_rl.sac.build import LearnerNetworks, build_optimisers
from ardae_rl.sac.config import (
    CriticConfig,
    FlowPolicyConfig,
    GaussianPolicyConfig,
    ImplicitPolicyConfig,
    JacobianClampingConfig,
    SACConfig,
    ScoreConfig,
    build_policy,
)
from ardae_rl.sac.noise import ShardedNormal
from ardae_rl.sac.update import SAC, Transitions

__all__ = [
    "SAC",
    "CriticConfig",
    "FlowPolicyConfig",
    "GaussianPolicyConfig",
    "ImplicitPolicyConfig",
    "JacobianClampingConfig",
    "LearnerNetworks",
    "NonFiniteError",
    "SACConfig",
    "ScoreConfig",
    "ShardedNormal",
    "Transitions",
    "build_optimisers",
    "build_policy",
]
