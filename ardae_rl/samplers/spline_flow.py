"""A normalising flow that is quick to draw from: what an implicit sampler is compared with where a density is to be had.

Notation: N samples, D dimension; noise (N, D), x (N, D).
Identity: log q(x) = log N(noise; 0, I) - log |det dx/dnoise|.
Reference: Kingma et al. 2016, arXiv:1606.04934 (inverse autoregressive flows); Durkan et al. 2019, arXiv:1906.04032 (splines).
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.nn import MaskedLinear
from zuko.transforms import MonotonicRQSTransform

BINS = 8


class SplineFlow(nn.Module):
    """Noise through two autoregressive rational-quadratic splines on [-5, 5] and an autoregressive affine map, one pass each.

    Every step conditions by a masked network with two hidden layers of ``width``; the order of the dimensions is turned between steps.
    """

    def __init__(self, dim: int, *, width: int = 64) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(f"dim must be at least 2 for an autoregressive flow, got {dim}.")
        self.dim = self.noise_dim = dim
        spline = {"univariate": MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}
        upwards, downwards = torch.arange(dim), torch.arange(dim).flip(0)
        build = partial(MaskedAutoregressiveTransform, dim, hidden_features=(width, width))
        self.steps = nn.ModuleList([build(order=upwards, **spline), build(order=downwards, **spline), build(order=upwards)])

    def forward(self, noise: Tensor) -> Tensor:
        return self.draw_with_log_prob(noise)[0]

    def draw_with_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (N, D) and their log-densities (N,) in nats, both differentiable."""
        x, log_prob = noise, -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1)
        for step in self.steps:
            x, log_det = step().call_and_ladj(x)
            log_prob = log_prob - log_det
        return x, log_prob

    def log_prob(self, x: Tensor) -> Tensor:
        """(N,) for x (N, D): D passes through every step, for autoregressive maps are undone one dimension at a time."""
        log_det = x.new_zeros(len(x))
        for step in reversed(self.steps):
            x, part = step().inv.call_and_ladj(x)
            log_det = log_det + part
        return log_det - 0.5 * (x.square() + math.log(2 * math.pi)).sum(-1)


def effective_parameters(flow: nn.Module) -> int:
    """Numbers that an autoregressive flow trains: entries of weights that its masks leave, and biases."""
    layers = [module for module in flow.modules() if isinstance(module, MaskedLinear)]
    return sum(int(layer.mask.sum()) + layer.bias.numel() for layer in layers)


def flow_of_size(dim: int, parameters: int) -> SplineFlow:
    """The widest flow with at most so many effective parameters (but of width 8 at least)."""
    fits = lambda width: effective_parameters(SplineFlow(dim, width=width)) <= parameters  # noqa: E731
    width = step = 8
    while fits(width + step):
        width, step = width + step, 2 * step
    while step := step // 2:
        width += step if fits(width + step) else 0
    return SplineFlow(dim, width=width)
