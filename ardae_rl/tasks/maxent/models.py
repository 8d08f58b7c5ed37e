"""What a constrained law is made of: an implicit sampler with AR-DAE, or an inverse autoregressive flow. E of each, as ensembles.

Notation: E repeats, N samples, D dimension, noise z; y (E, N, D) unconstrained samples.
``draw(z)`` is y, and ``draw_with_entropy(z)`` adds a value (E,) whose gradient in the sampler's parameters is that of H(y): for the flow
H itself, for the implicit sampler a surrogate without meaning.
Reference: [Lim2020] arXiv:2006.05164; IAF: Kingma et al. 2016, arXiv:1606.04934 (zuko's masked autoregressive network, run forwards).
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
import zuko
from torch import Tensor, nn

from ardae_rl.samplers import ImplicitMLP
from ardae_rl.score import build_estimator, entropy_surrogate
from ardae_rl.tasks.maxent.config import MaxEntSettings
from ardae_rl.tasks.maxent.learner import Learner
from ardae_rl.tasks.task import Metrics

Normal = Callable[[int], Tensor]


class Model(Protocol):
    """``exact_entropy``: whether the entropy is known, or only its gradient. ``learners``: all that is trained, the sampler among it."""

    exact_entropy: bool
    noise_dim: int
    sampler: Learner

    @property
    def learners(self) -> list[Learner]: ...

    def prepare(self, normal: Normal) -> Metrics:
        """What comes before a step of the sampler, and what to log of it; ``normal(N)`` draws noise (E, N, noise_dim)."""
        ...

    def draw(self, noise: Tensor) -> Tensor: ...

    def draw_with_entropy(self, noise: Tensor) -> tuple[Tensor, Tensor]: ...


class Implicit:
    """y = g(z) of any network g; its entropy gradient by AR-DAE, fitted to fresh draws before every step."""

    exact_entropy = False

    def __init__(self, settings: MaxEntSettings, device: str) -> None:
        samplers = [_implicit(settings) for _ in range(settings.repeats)]
        scores = [build_estimator("ardae", settings.dim, 0, settings.score) for _ in range(settings.repeats)]
        self.noise_dim = settings.sampler.noise_dim
        self._fits, self._fit_samples = settings.score.fits_per_step, settings.score.samples_per_context
        self.sampler = Learner("sampler", samplers, lr=settings.lr, steps=settings.steps, device=device)
        self.score = Learner("score", scores, lr=settings.score.lr, steps=settings.steps * self._fits, device=device)

    @property
    def learners(self) -> list[Learner]:
        return [self.sampler, self.score]

    def prepare(self, normal: Normal) -> Metrics:
        for _ in range(self._fits):
            with torch.no_grad():
                y = self.draw(normal(self._fit_samples))
            losses = self.score.ensemble.map(lambda score, y: score.losses(y, frame=score.frame(y)), y)
            self.score.descend(torch.stack(list(losses.values())).sum(0))
        return {f"{name}_loss": float(loss.detach().mean()) for name, loss in losses.items()}

    def draw(self, noise: Tensor) -> Tensor:
        return self.sampler.ensemble.map(lambda sampler, z: sampler(z), noise)

    def draw_with_entropy(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        y = self.draw(noise)
        with torch.no_grad():
            score = self.score.ensemble.map(lambda score, y: score.score(y, frame=score.frame(y)), y)
        return y, torch.vmap(entropy_surrogate)(y, score)


class InverseAutoregressiveFlow:
    """y = T(z) of affine autoregressive steps, H = H(z) + E[log |det dT/dz|]."""

    exact_entropy = True

    def __init__(self, settings: MaxEntSettings, device: str) -> None:
        flows = [_flow(settings) for _ in range(settings.repeats)]
        self.noise_dim = settings.dim
        self.sampler = Learner("sampler", flows, lr=settings.lr, steps=settings.steps, device=device)
        self._base_entropy = 0.5 * settings.dim * math.log(2 * math.pi * math.e)

    @property
    def learners(self) -> list[Learner]:
        return [self.sampler]

    def prepare(self, normal: Normal) -> Metrics:
        return {}

    def draw(self, noise: Tensor) -> Tensor:
        return self.sampler.ensemble.map(lambda flow, z: flow.transform()(z), noise)

    def draw_with_entropy(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = self.sampler.ensemble.map(lambda flow, z: flow.transform().call_and_ladj(z), noise)
        return y, self._base_entropy + log_slope.mean(1)


def _implicit(settings: MaxEntSettings) -> ImplicitMLP:
    chosen = settings.sampler
    return ImplicitMLP(chosen.noise_dim, settings.dim, chosen.width, chosen.layers, "elu")


def _flow(settings: MaxEntSettings) -> zuko.flows.MAF:
    chosen = settings.flow
    hidden = [chosen.width] * chosen.layers
    return zuko.flows.MAF(settings.dim, transforms=chosen.transforms, hidden_features=hidden, activation=nn.ELU)
