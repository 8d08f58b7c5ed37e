"""What the naive baselines have in common: networks of plain layers, the gradient of a potential by autograd, a plain step.

Notation: N rows, D dimensions of a sample x, C of its context; sigma (N, 1).
"""

import itertools

import torch
from torch import Tensor, nn


def mlp(sizes: list[int], activation: type[nn.Module], *, activate_last: bool) -> nn.Sequential:
    """Linear layers of the given sizes with the activation between them, and after the last one if asked."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(fan_in, fan_out))
        if activate_last or i < len(sizes) - 2:
            layers.append(activation())
    return nn.Sequential(*layers)


class Potential(nn.Module):
    """psi (N,) of a standardised sample (N, D), a context (N, C) and sigma (N, 1)."""

    def __init__(self, dim: int, context_dim: int, width: int, layers: int, activation: type[nn.Module]) -> None:
        super().__init__()
        hidden = [width] * layers
        self.input_encoder = mlp([dim, *hidden], activation, activate_last=True)
        self.context_encoder = mlp([context_dim, *hidden], activation, activate_last=True)
        self.joint = mlp([2 * width + 1, *hidden, 1], activation, activate_last=False)

    def forward(self, x: Tensor, context: Tensor, sigma: Tensor) -> Tensor:
        return self.joint(torch.cat([self.input_encoder(x), self.context_encoder(context), sigma], -1)).squeeze(-1)

    def score(self, x: Tensor, context: Tensor, sigma: Tensor) -> Tensor:
        """grad_x psi (N, D), itself differentiable."""
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(self(x, context, sigma).sum(), x, create_graph=True)[0]

    def loss(self, x: Tensor, context: Tensor, count: int, delta_scale: float) -> Tensor:
        """Denoising loss of AR-DAE over ``count`` samples of each context, which come one after the other."""
        spread = x.view(-1, count, x.shape[-1]).std(1).mean(-1, keepdim=True)
        sigma = delta_scale * spread.repeat_interleave(count, 0) * torch.randn(len(x), 1)
        return self.denoising_loss(x, context, sigma, torch.randn_like(x))

    def denoising_loss(self, x: Tensor, context: Tensor, sigma: Tensor, u: Tensor) -> Tensor:
        """E ||u + sigma f(x + sigma u; sigma)||^2."""
        return (u + sigma * self.score(x + sigma * u, context, sigma)).square().sum(-1).mean()


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> float:
    """One step; the loss."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()
