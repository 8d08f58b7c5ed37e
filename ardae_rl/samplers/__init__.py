"""Reparameterised samplers x = g(eps, c). Plain torch.

Contract: ``draw(context (B, C), noise (B, K, noise_dim)) -> (B, K, dim)``; ``centre(context) -> (B, dim)`` is ``draw`` at zero noise;
``dim`` and ``noise_dim`` are integers. A tractable sampler adds ``log_prob(context, x) -> (B, K)`` and ``draw_with_log_prob``.
Without a context a sampler is called on its noise: (N, noise_dim) -> (N, dim).
"""

from ardae_rl.samplers.clamping import clamping_loss, clamping_weight, jacobian_stretch
from ardae_rl.samplers.conditional_spline_flow import SplineFlowSampler
from ardae_rl.samplers.gaussian import GaussianSampler
from ardae_rl.samplers.hierarchical import HierarchicalSampler, entropy_bound
from ardae_rl.samplers.implicit import ImplicitSampler
from ardae_rl.samplers.mlp import ImplicitMLP
from ardae_rl.samplers.radial import RadialFlowSampler

__all__ = [
    "GaussianSampler",
    "HierarchicalSampler",
    "ImplicitMLP",
    "ImplicitSampler",
    "RadialFlowSampler",
    "SplineFlowSampler",
    "clamping_loss",
    "clamping_weight",
    "entropy_bound",
    "jacobian_stretch",
]
