"""A sampler and where its entropy comes from: the one choice between the methods.

Notation: N samples, E noise and D sample dimension; noise (N, E), x (N, D).
Contract: ``fit(normal)`` prepares an estimate of the entropy's gradient, where there is one to prepare;
``draw_with_entropy(noise)`` gives x and a scalar whose gradient in ``moved()`` is that of the sampler's entropy H, or of a lower bound.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ardae_rl.samplers import GaussianSampler, HierarchicalSampler, ImplicitMLP, entropy_bound
from ardae_rl.samplers.spline_flow import SplineFlow, flow_of_size
from ardae_rl.score import build_estimator, entropy_surrogate
from ardae_rl.score.estimator import Normal
from ardae_rl.tasks.descent import Descent
from ardae_rl.tasks.energy.config import EnergySettings
from ardae_rl.tasks.task import Metrics

LOG_STD_MIN = -2.0  # of x given z where AR-DAE is to learn its score: log variance -4, as in the paper


class Method(Protocol):
    """``networks``: all of them, the sampler included; ``descents``: the optimisers that ``fit`` moves, by name."""

    sampler: Any
    networks: nn.ModuleDict
    descents: dict[str, Descent]

    def moved(self) -> Iterator[nn.Parameter]: ...

    def fit(self, normal: Normal) -> Metrics: ...

    def draw_with_entropy(self, noise: Tensor) -> tuple[Tensor, Tensor]: ...


class ScoreMethod:
    """Any sampler. AR-DAE learns its score, and the entropy's gradient takes no more."""

    def __init__(self, sampler: ImplicitMLP | HierarchicalSampler, settings: EnergySettings, device: str) -> None:
        chosen = settings.score
        self.sampler, self.settings = sampler, chosen
        self.estimator = build_estimator("ardae", sampler.dim, 0, chosen)
        self.networks = nn.ModuleDict({"sampler": sampler, "estimator": self.estimator}).to(device)
        self.descents = {"score": Descent("score network", adam(self.estimator.parameters(), chosen.lr, settings))}

    def moved(self) -> Iterator[nn.Parameter]:
        return self.sampler.parameters()

    def fit(self, normal: Normal) -> Metrics:
        """N_d steps of AR-DAE, each on fresh samples; the mean loss of its score network."""
        losses = []
        for _ in range(self.settings.fits_per_step):
            with torch.no_grad():
                x = self.sampler(normal(self.settings.samples_per_context, self.sampler.noise_dim))
            parts = self.estimator.losses(x, centre=self._centre(x), normal=normal)
            self.descents["score"].step(torch.stack(list(parts.values())).sum())
            losses.append(parts["score"].detach())
        return {"score_loss": float(torch.stack(losses).mean())}

    def draw_with_entropy(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        x = self.sampler(noise)
        with torch.no_grad():
            score = self.estimator.score(x, centre=self._centre(x))
        return x, entropy_surrogate(x, score)

    def _centre(self, x: Tensor) -> Tensor | None:
        """Of the paper's coordinates the origin: the mean of a batch would shift them from batch to batch."""
        return x.new_zeros(1, x.shape[-1]) if self.estimator.standardisation == "fixed" else None


class AuxiliaryMethod:
    """The hierarchical sampler and the auxiliary variational bound: h(z | x), as large as the sampler, is trained with it."""

    def __init__(self, sampler: HierarchicalSampler, settings: EnergySettings, device: str) -> None:
        self.sampler = sampler
        self.auxiliary = GaussianSampler(sampler.dim, sampler.latent_dim, hidden_layers=settings.layers, width=settings.width)
        self.networks = nn.ModuleDict({"sampler": sampler, "auxiliary": self.auxiliary}).to(device)
        self.descents: dict[str, Descent] = {}

    def moved(self) -> Iterator[nn.Parameter]:
        return self.networks.parameters()

    def fit(self, normal: Normal) -> Metrics:
        return {}

    def draw_with_entropy(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        x, bound = entropy_bound(self.sampler, self.auxiliary, noise)
        return x, bound.mean()


class DensityMethod:
    """A sampler that has a density, and with it an unbiased estimate of its entropy."""

    def __init__(self, sampler: SplineFlow, device: str) -> None:
        self.sampler = sampler
        self.networks = nn.ModuleDict({"sampler": sampler}).to(device)
        self.descents: dict[str, Descent] = {}

    def moved(self) -> Iterator[nn.Parameter]:
        return self.sampler.parameters()

    def fit(self, normal: Normal) -> Metrics:
        return {}

    def draw_with_entropy(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        x, log_prob = self.sampler.draw_with_log_prob(noise)
        return x, -log_prob.mean()


def adam(parameters: Iterator[nn.Parameter], lr: float, settings: EnergySettings) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=lr, betas=(settings.beta1, 0.999), fused=True)


def method(settings: EnergySettings, dim: int, device: str) -> Method:
    """The method that the settings name, for samples of ``dim`` numbers."""
    width, layers = settings.width, settings.layers
    match settings.method:
        case "implicit_ardae":
            return ScoreMethod(ImplicitMLP(settings.noise_dim, dim, width, layers), settings, device)
        case "hierarchical_ardae":
            sampler = HierarchicalSampler(settings.latent_dim, dim, width=width, layers=layers, log_std_min=LOG_STD_MIN)
            return ScoreMethod(sampler, settings, device)
        case "hierarchical_auxiliary":
            return AuxiliaryMethod(HierarchicalSampler(settings.latent_dim, dim, width=width, layers=layers), settings, device)
        case "flow":
            equal = ImplicitMLP(settings.noise_dim, dim, width, layers)
            return DensityMethod(flow_of_size(dim, sum(parameter.numel() for parameter in equal.parameters())), device)
