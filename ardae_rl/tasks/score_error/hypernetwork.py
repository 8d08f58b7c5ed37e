"""A score network whose every parameter is a function of the noise level: the strongest dependence on sigma there can be.

For the question of Figure S2 of [Lim2020] (arXiv:2006.05164): condition on sigma, smooth through 0, or on |sigma|, with a kink exactly
where the network is used. Unconditional laws in few dimensions only: every sample has weights of its own.
Notation: B K samples, D dimension, W width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class HyperNetwork(nn.Module):
    """f(x; sigma) = residual network D -> W -> W -> D with softplus, its weights the outputs of a network of sigma.

    ``absolute`` feeds it |sigma| instead. Stands in for ``ARDAE.network``.
    """

    def __init__(self, dim: int, *, width: int = 16, hyper_width: int = 64, absolute: bool = False) -> None:
        super().__init__()
        self.absolute = absolute
        self.sizes = [(dim, width), (width, width), (width, dim)]
        total = sum(inputs * outputs + outputs for inputs, outputs in self.sizes)
        self.hyper = nn.Sequential(nn.Linear(1, hyper_width), nn.SiLU(), nn.Linear(hyper_width, hyper_width), nn.SiLU())
        self.out = nn.Linear(hyper_width, total)
        self._start_as_a_network()

    def _start_as_a_network(self) -> None:
        """At first the generated weights are those of an ordinary initialisation, nearly the same for every sigma."""
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            bounds = [torch.full((inputs * outputs + outputs,), 1 / math.sqrt(inputs)) for inputs, outputs in self.sizes]
            self.out.bias.copy_(torch.cat(bounds) * (2 * torch.rand(len(self.out.bias)) - 1))

    def forward(self, x: Tensor, context: Tensor | None, sigma: Tensor | None = None) -> Tensor:
        """f, (B, K, D); sigma (B, K, 1), None means 0."""
        h = x.reshape(-1, x.shape[-1])
        level = h.new_zeros(len(h), 1) if sigma is None else sigma.reshape(-1, 1)
        # The powers of ten between the noise levels in use are spread out for the hypernetwork.
        parameters = self.out(self.hyper(10 * (level.abs() if self.absolute else level)))
        start = 0
        for index, (inputs, outputs) in enumerate(self.sizes):
            weight = parameters[:, start : start + inputs * outputs].view(-1, outputs, inputs)
            bias = parameters[:, start + inputs * outputs : start + (inputs + 1) * outputs]
            start += (inputs + 1) * outputs
            h = torch.baddbmm(bias.unsqueeze(-1), weight, h.unsqueeze(-1)).squeeze(-1)
            h = functional.softplus(h) if index < len(self.sizes) - 1 else h
        return h.view(x.shape)
