"""Smooth activations and their derivatives, by name."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Slope = Callable[[Tensor, Tensor], Tensor]


def _elu_slope(z: Tensor, h: Tensor) -> Tensor:
    return 1 - functional.relu(-h)  # 1 + min(h, 0); the gradient of clamp takes many times longer


def _softplus_slope(z: Tensor, h: Tensor) -> Tensor:
    return torch.sigmoid(z)


def _tanh_slope(z: Tensor, h: Tensor) -> Tensor:
    return 1 - h.square()


def _silu_slope(z: Tensor, h: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(z)
    return sigmoid * (1 + z * (1 - sigmoid))


# name: (activation z -> h, its derivative as a function of z and h). Smooth ones only: a score network with kinks is unreliable.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Slope]] = {
    "elu": (functional.elu, _elu_slope),
    "softplus": (functional.softplus, _softplus_slope),
    "tanh": (torch.tanh, _tanh_slope),
    "silu": (functional.silu, _silu_slope),
}


def activation_pair(name: str) -> tuple[Callable[[Tensor], Tensor], Slope]:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)} (smooth, for a score needs derivatives), got {name!r}.")
    return ACTIVATIONS[name]


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """Of a network that no score is taken of: relu, too."""
    return functional.relu if name == "relu" else activation_pair(name)[0]
