"""The hidden layers of a score network: those of the samples, of the context, and of both together.

Notation as in ``networks.py``.
"""

import math

import torch
from torch import Tensor, nn

from ardae_rl.nn.activations import smooth
from ardae_rl.nn.linear import linear
from ardae_rl.nn.mlp import Dense, mlp_layers


class ScoreBody(nn.Module):
    """Hidden layers shared by both forms: encode x and c apart, add them (and sigma) in the first joint layer, go on.

    The first joint layer is linear in the concatenation [context, x, sigma], so its context part is computed once per context and
    added to all K samples, instead of being repeated for each. With ``sigma_unit`` it sees (sigma / sigma_unit)^2 in the place of sigma.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int,
        *,
        layers: int,
        context_layers: int,
        input_layers: int,
        width: int,
        activation: str,
        sigma_unit: float | None = None,
    ) -> None:
        super().__init__()
        self.sigma_unit = sigma_unit
        self.act = smooth(activation)
        self.input_encoder = mlp_layers(dim, width, input_layers)
        self.context_encoder = mlp_layers(context_dim, width, context_layers if context_dim else 0)
        input_features = width if input_layers else dim
        context_features = (width if context_layers else context_dim) if context_dim else 0
        self.from_input = Dense(input_features, width, bias=False)
        self.from_context = Dense(context_features, width, bias=False) if context_dim else None
        self.from_sigma = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))
        self.joint = mlp_layers(width, width, layers - 1)
        self._reset_first_joint_layer(input_features + context_features + 1)

    def _reset_first_joint_layer(self, fan_in: int) -> None:
        """The default initialisation of the one linear layer that the three parts make together."""
        bound = 1 / math.sqrt(fan_in)
        parts = [self.from_input.weight, self.from_sigma, self.bias]
        for part in parts if self.from_context is None else [*parts, self.from_context.weight]:
            nn.init.uniform_(part, -bound, bound)

    def per_context(self, context: Tensor | None) -> Tensor:
        """Context part of the first joint layer, (B, W), or (W,) without a context."""
        if self.from_context is None:
            return self.bias
        features = context
        for layer in self.context_encoder:
            features = self.act.function(layer(features))
        return self.from_context(features) + self.bias

    def seen(self, sigma: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """What the first joint layer sees of sigma; None: that it is 0."""
        if sigma is None:
            return None
        return (sigma if self.sigma_unit is None else (sigma / self.sigma_unit).square()).to(dtype)

    def forward(self, x: Tensor, of_context: Tensor, seen: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """Hidden values h and what they are act of, of every layer x passes through, each (B K, W), first layer first."""
        batch, samples, _ = x.shape
        hidden, pre = [x.reshape(batch * samples, -1)], []
        for layer in self.input_encoder:
            pre.append(layer(hidden[-1]))
            hidden.append(self.act.function(pre[-1]))
        z = self.from_input(hidden[-1]).view(batch, samples, -1) + of_context.view(-1, 1, self.bias.shape[0])
        if seen is not None:
            z = torch.addcmul(z, seen, self.from_sigma.to(z.dtype))
        pre.append(z.view(batch * samples, -1))
        hidden.append(self.act.function(pre[-1]))
        for layer in self.joint:
            pre.append(layer(hidden[-1]))
            hidden.append(self.act.function(pre[-1]))
        return hidden[1:], pre

    @property
    def chain(self) -> tuple[Dense, ...]:
        """The layers that x passes through."""
        return (*self.input_encoder, self.from_input, *self.joint)

    def sweep(self, seed: Tensor, hidden: list[Tensor], pre: list[Tensor]) -> Tensor:
        """Gradient in x of seed . h_L, (B K, D); seed (W,)."""
        slopes = [self.act.slope(z, h) for z, h in zip(pre, hidden, strict=True)]
        grad = seed * slopes[-1]
        for layer, slope in zip(reversed(self.chain[1:]), reversed(slopes[:-1]), strict=True):
            grad = linear(grad, layer.weight.t()) * slope
        return linear(grad, self.chain[0].weight.t())
