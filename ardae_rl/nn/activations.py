"""Smooth activations and their first two derivatives, by name."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Smooth(NamedTuple):
    """act(z) = h; act'(z) from z and h; g act'(z) from g, z and h, in one call, not to be differentiated; act''(z) from z and h."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    times_slope: Callable[[Tensor, Tensor, Tensor], Tensor]
    curvature: Callable[[Tensor, Tensor], Tensor]


def _elu_slope(z: Tensor, h: Tensor) -> Tensor:
    return 1 - functional.relu(-h)  # 1 + min(h, 0); the gradient of clamp takes many times longer


def _elu_times_slope(g: Tensor, z: Tensor, h: Tensor) -> Tensor:
    return torch.ops.aten.elu_backward(g, 1, 1, 1, True, h)


def _elu_curvature(z: Tensor, h: Tensor) -> Tensor:
    return (h + 1) * (h < 0)


def _softplus_slope(z: Tensor, h: Tensor) -> Tensor:
    return torch.sigmoid(z)


def _softplus_times_slope(g: Tensor, z: Tensor, h: Tensor) -> Tensor:
    return torch.ops.aten.softplus_backward(g, z, 1, 20)


def _softplus_curvature(z: Tensor, h: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 - s)


def _tanh_slope(z: Tensor, h: Tensor) -> Tensor:
    return 1 - h.square()


def _tanh_times_slope(g: Tensor, z: Tensor, h: Tensor) -> Tensor:
    return torch.ops.aten.tanh_backward(g, h)


def _tanh_curvature(z: Tensor, h: Tensor) -> Tensor:
    return -2 * h * (1 - h.square())


def _silu_slope(z: Tensor, h: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(z)
    return sigmoid * (1 + z * (1 - sigmoid))


def _silu_times_slope(g: Tensor, z: Tensor, h: Tensor) -> Tensor:
    return torch.ops.aten.silu_backward(g, z)


def _silu_curvature(z: Tensor, h: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(z)
    return sigmoid * (1 - sigmoid) * (2 + z * (1 - 2 * sigmoid))


# Smooth ones only: a score network with kinks is unreliable.
ACTIVATIONS = {
    "elu": Smooth(functional.elu, _elu_slope, _elu_times_slope, _elu_curvature),
    "softplus": Smooth(functional.softplus, _softplus_slope, _softplus_times_slope, _softplus_curvature),
    "tanh": Smooth(torch.tanh, _tanh_slope, _tanh_times_slope, _tanh_curvature),
    "silu": Smooth(functional.silu, _silu_slope, _silu_times_slope, _silu_curvature),
}


def smooth(name: str) -> Smooth:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)} (smooth, for a score needs derivatives), got {name!r}.")
    return ACTIVATIONS[name]


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """Of a network that no score is taken of: relu, too."""
    return functional.relu if name == "relu" else smooth(name).function
