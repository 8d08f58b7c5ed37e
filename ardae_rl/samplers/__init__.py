"""Reparameterised samplers x = g(eps, c), with a density (:class:`TractableSampler`) or without. Plain torch."""

from ardae_rl.samplers.base import Sampler, TractableSampler
from ardae_rl.samplers.clamping import clamping_loss, clamping_weight, jacobian_stretch
from ardae_rl.samplers.gaussian import GaussianSampler
from ardae_rl.samplers.hierarchical import HierarchicalSampler
from ardae_rl.samplers.implicit import ImplicitSampler
from ardae_rl.samplers.radial import RadialFlowSampler
from ardae_rl.samplers.spline_flow import SplineFlowSampler

__all__ = [
    "GaussianSampler",
    "HierarchicalSampler",
    "ImplicitSampler",
    "RadialFlowSampler",
    "Sampler",
    "SplineFlowSampler",
    "TractableSampler",
    "clamping_loss",
    "clamping_weight",
    "jacobian_stretch",
]
