"""One step of fitting an implicit sampler to an energy, written the straightforward way: the baseline of ``scripts/bench.py energy``.

The same mathematics as ``ardae_rl.tasks.energy`` with the paper's settings; a test sets the two against each other. What is naive on
purpose: plain ``nn.Sequential`` networks, samples repeated for every sigma and concatenated with it, optimisers parameter by parameter.

Notation: N samples, R sigmas per sample, E noise and D sample dimension.
Reference: [Lim2020] arXiv:2006.05164, Algorithm 1 and Appendix E.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.naive import descend, mlp


@dataclass(frozen=True, kw_only=True)
class NaiveEnergyConfig:
    """Appendix E of the paper."""

    dim: int = 2
    noise_dim: int = 10
    width: int = 256
    layers: int = 3
    batch_size: int = 1024
    sigmas_per_sample: int = 10
    fits_per_step: int = 5
    delta_scale: float = 0.1
    lr: float = 1e-3
    beta1: float = 0.5


class NaiveEnergy:
    """Sampler, score network, their optimisers, and ``step(alpha)``."""

    def __init__(self, config: NaiveEnergyConfig, energy: Callable[[Tensor], Tensor]) -> None:
        self.config, self.energy = config, energy
        hidden = [config.width] * config.layers
        self.sampler = mlp([config.noise_dim, *hidden, config.dim], nn.ReLU, activate_last=False)
        nn.init.normal_(self.sampler[-1].weight)  # type: ignore[arg-type]
        self.score = mlp([config.dim + 1, *hidden, config.dim], nn.Softplus, activate_last=False)
        self.sampler_optimiser, self.score_optimiser = (
            torch.optim.Adam(network.parameters(), lr=config.lr, betas=(config.beta1, 0.999)) for network in (self.sampler, self.score)
        )

    def step(self, alpha: float) -> None:
        """N_d steps of AR-DAE on fresh samples, then one of the sampler."""
        for _ in range(self.config.fits_per_step):
            with torch.no_grad():
                x = self.sampler(self._noise())
            descend(self.score_optimiser, self.denoising_loss(x))
        descend(self.sampler_optimiser, self.sampler_loss(self._noise(), alpha))

    def denoising_loss(self, x: Tensor) -> Tensor:
        repeated = x.repeat_interleave(self.config.sigmas_per_sample, 0)
        sigma, u = self.config.delta_scale * torch.randn(len(repeated), 1), torch.randn(repeated.shape)
        f = self.score(torch.cat([repeated + sigma * u, sigma], -1))
        return (u + sigma * f).square().sum(-1).mean()

    def sampler_loss(self, noise: Tensor, alpha: float) -> Tensor:
        """alpha E[U] - H up to a constant, with the gradient of H that the score gives."""
        x = self.sampler(noise)
        with torch.no_grad():
            score = self.score(torch.cat([x, torch.zeros(len(x), 1)], -1))
        return alpha * self.energy(x).mean() + (score * x).sum(-1).mean()

    def _noise(self) -> Tensor:
        return torch.randn(self.config.batch_size, self.config.noise_dim)
