"""A ReLU multilayer perceptron as one node of autograd's graph.

Small networks on small batches spend as much time between operations as in them. Here the whole network is one autograd function: bias and
ReLU are part of each hidden product, and the backward sweep is written out. Parameters that need no gradient cost none.
Notation: N rows; x (N, in), h_0 = x, h_l = relu(V_l h_{l-1} + b_l), y = V_L h_{L-1} + b_L.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.nn.linear import linear, linear_relu, weight_gradient


class ReluMLP(nn.Module):
    """``sizes`` are the widths from input to output, all layers between them hidden. (N, in) -> (N, out), once differentiable."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor, *, fixed: bool = False) -> Tensor:
        """``fixed`` takes the network as a given function: gradients reach ``x`` only."""
        return _ReluMLP.apply(x, *(p.detach() if fixed else p for p in self.parameters()))


class _ReluMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[::2], parameters[1::2]
        inputs = [x]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            inputs.append(linear_relu(inputs[-1], weight, bias))
        ctx.save_for_backward(*weights, *inputs)
        return functional.linear(inputs[-1], weights[-1], biases[-1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.saved_tensors) // 2
        weights, inputs = ctx.saved_tensors[:layers], ctx.saved_tensors[layers:]
        needs_x, *needs = ctx.needs_input_grad
        found: list[Tensor | None] = []
        for layer in reversed(range(layers)):
            weight_needed, bias_needed = needs[2 * layer], needs[2 * layer + 1]
            found.append(grad.sum(0) if bias_needed else None)
            found.append(weight_gradient(grad, inputs[layer]) if weight_needed else None)
            if layer:
                grad = torch.ops.aten.threshold_backward(linear(grad, weights[layer].t()), inputs[layer], 0)
        return linear(grad, weights[0].t()) if needs_x else None, *reversed(found)
