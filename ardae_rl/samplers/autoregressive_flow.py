"""Autoregressive flows that are quick to draw from: what an implicit sampler is compared with where a density is to be had.

Notation: N samples, D dimension; noise (N, D), x (N, D). No context.
Identity: log q(x) = log N(noise; 0, I) - log |det dx/dnoise|.
Reference: Kingma et al. 2016, arXiv:1606.04934 (inverse autoregressive flows); Durkan et al. 2019, arXiv:1906.04032 (splines).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.nn import MaskedLinear
from zuko.transforms import MonotonicRQSTransform

from ardae_rl.nn.normal import log_standard_normal
from ardae_rl.samplers.base import TractableSampler

Step = Literal["affine", "spline"]
BINS = 8
_UNIVARIATE: dict[Step, dict[str, object]] = {
    "affine": {},
    "spline": {"univariate": MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]},
}


class AutoregressiveFlow(TractableSampler):
    """Noise through one autoregressive map after the other, affine or a rational-quadratic spline on [-5, 5], one pass each.

    Every step conditions by a masked network with ``hidden`` layers; the order of the dimensions is turned between steps.
    """

    def __init__(self, dim: int, steps: Sequence[Step], *, hidden: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(f"dim must be at least 2 for an autoregressive flow, got {dim}.")
        self.dim = self.noise_dim = dim
        orders = torch.arange(dim), torch.arange(dim).flip(0)
        self.steps = nn.ModuleList(
            MaskedAutoregressiveTransform(dim, order=orders[number % 2], hidden_features=hidden, activation=activation, **_UNIVARIATE[step])
            for number, step in enumerate(steps)
        )

    def draw_with_log_prob(self, context: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        x, log_prob = noise, log_standard_normal(noise)
        for step in self.steps:
            x, log_det = step().call_and_ladj(x)
            log_prob = log_prob - log_det
        return x, log_prob

    def log_prob(self, context: Tensor | None, x: Tensor) -> Tensor:
        """D passes through every step, for autoregressive maps are undone one dimension at a time."""
        log_det = x.new_zeros(len(x))
        for step in reversed(self.steps):
            x, part = step().inv.call_and_ladj(x)
            log_det = log_det + part
        return log_det + log_standard_normal(x)


def spline_flow(dim: int, *, width: int = 64) -> AutoregressiveFlow:
    """Two splines and an affine map, two hidden layers of ``width`` each."""
    return AutoregressiveFlow(dim, ("spline", "spline", "affine"), hidden=(width, width))


def effective_parameters(flow: nn.Module) -> int:
    """Numbers that an autoregressive flow trains: entries of weights that its masks leave, and biases."""
    layers = [module for module in flow.modules() if isinstance(module, MaskedLinear)]
    return sum(int(layer.mask.sum()) + layer.bias.numel() for layer in layers)


def flow_of_size(dim: int, parameters: int) -> AutoregressiveFlow:
    """The widest spline flow with at most so many effective parameters (but of width 8 at least)."""
    fits = lambda width: effective_parameters(spline_flow(dim, width=width)) <= parameters  # noqa: E731
    width = step = 8
    while fits(width + step):
        width, step = width + step, 2 * step
    while step := step // 2:
        width += step if fits(width + step) else 0
    return spline_flow(dim, width=width)
