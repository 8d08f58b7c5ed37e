"""Soft actor-critic in plain torch: one update for any sampler and any source of its entropy. No Ray.

>>> import torch
>>> from ardae_rl.sac import SAC, LearnerNetworks, SACConfig, ShardedNormal, Transitions, build_optimisers, build_policy
>>> config = SACConfig(policy="gaussian")
>>> policy, networks = build_policy(3, 1, config), LearnerNetworks(3, 1, config)
>>> sac = SAC(policy, networks, build_optimisers(policy, networks, config), config, normal=ShardedNormal(torch.Generator()))
>>> batch = Transitions(torch.randn(8, 3), torch.rand(8, 1), torch.randn(8), torch.randn(8, 3), torch.zeros(8))
>>> sorted(sac.update(batch))
['actor_loss', 'alpha', 'critic_loss', 'entropy', 'non_finite_skipped', 'q_mean']
"""

from ardae_rl.sac.build import LearnerNetworks, build_optimisers, build_policy
from ardae_rl.sac.config import (
    CriticConfig,
    FlowPolicyConfig,
    GaussianPolicyConfig,
    ImplicitPolicyConfig,
    JacobianClampingConfig,
    SACConfig,
    ScoreConfig,
)
from ardae_rl.sac.entropy import ScoreEntropy, TractableEntropy
from ardae_rl.sac.noise import ShardedNormal
from ardae_rl.sac.update import SAC, NonFiniteError, Transitions

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
    "ScoreEntropy",
    "ShardedNormal",
    "TractableEntropy",
    "Transitions",
    "build_optimisers",
    "build_policy",
]
