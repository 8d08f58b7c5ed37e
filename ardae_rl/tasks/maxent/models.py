"""What a constrained law is made of: an implicit sampler with AR-DAE, or an inverse autoregressive flow. E of each, as ensembles.

Notation: E repeats, N samples, D dimension, noise z; y (E, N, D) unconstrained samples.
A model draws ``sample(n)``, and ``sample_with_entropy(n)`` adds a value (E,) whose gradient in the sampler's parameters is that of H(y):
for the flow H itself, for the implicit sampler a surrogate without meaning.
Reference: [Lim2020] arXiv:2006.05164; IAF: Kingma et al. 2016, arXiv:1606.04934 (zuko's masked autoregressive network, run forwards).
"""

import math
from typing import Any, Protocol

import torch
import zuko
from torch import Tensor, nn

from ardae_rl.samplers import ImplicitMLP
from ardae_rl.score import ARDAE
from ardae_rl.score.ensemble import Ensemble
from ardae_rl.tasks.descent import IMPATIENCE
from ardae_rl.tasks.maxent.config import MaxEntSettings
from ardae_rl.tasks.task import Metrics


class Learner:
    """An ensemble with its optimiser (Adam) and learning rate, which decays to 0 along a cosine over ``steps``."""

    def __init__(self, name: str, members: list[Any], *, lr: float, steps: int, device: str) -> None:
        self.name, self.ensemble = name, Ensemble(members).to(device)
        self.optimiser = torch.optim.Adam(self.ensemble.parameters(), lr=lr, fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)
        self.steps_done, self.skipped = 0, 0
        self.last_finite_step = torch.zeros(self.ensemble.size, dtype=torch.long)

    def descend(self, losses: Tensor) -> None:
        """One step of every member down its own loss, (E,)."""
        self.optimiser.zero_grad()
        losses.sum().backward()
        self.steps_done += 1
        self._mask(losses.detach())
        self.optimiser.step()
        self.schedule.step()

    @torch.no_grad()
    def _mask(self, losses: Tensor) -> None:
        """A member whose loss or gradient is not finite gets a gradient of 0, and keeps the others going; after 100 in a row all stop."""
        gradients = [parameter.grad for parameter in self.ensemble.parameters() if parameter.grad is not None]
        finite = torch.stack([losses, *(gradient.reshape(len(losses), -1).sum(1) for gradient in gradients)]).isfinite().all(0)
        healthy = finite.cpu()
        self.last_finite_step[healthy] = self.steps_done
        if healthy.all():
            return
        self.skipped += int((~healthy).sum())
        for gradient in gradients:
            gradient[~finite] = 0.0
        self._stop_if_hopeless()

    def _stop_if_hopeless(self) -> None:
        longest, member = (self.steps_done - self.last_finite_step).max(0)
        if longest >= IMPATIENCE:
            raise FloatingPointError(
                f"the {self.name} loss of repeat {int(member)} or its gradient was not finite {int(longest)} times in a row; it last was "
                f"at {self.name} step {int(self.last_finite_step[member])}. Lower lr, score.lr or penalty_end."
            )

    def state_dict(self) -> dict[str, Any]:
        return {
            "ensemble": self.ensemble.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "steps_done": self.steps_done,
            "skipped": self.skipped,
            "last_finite_step": self.last_finite_step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ensemble.load_state_dict(state["ensemble"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.steps_done, self.skipped = state["steps_done"], state["skipped"]
        self.last_finite_step = state["last_finite_step"].clone()


class Model(Protocol):
    """``exact_entropy``: whether the entropy is known, or only its gradient."""

    exact_entropy: bool
    sampler: Learner

    @property
    def learners(self) -> list[Learner]: ...

    def prepare(self) -> Metrics:
        """What comes before a step of the sampler, and what to log of it."""
        ...

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor: ...

    def sample_with_entropy(self, samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]: ...


class Implicit:
    """y = g(z) of any network g; its entropy gradient by AR-DAE, fitted to fresh draws before every step."""

    exact_entropy = False

    def __init__(self, settings: MaxEntSettings, device: str) -> None:
        self.settings, self.device = settings, device
        members = _members(settings, lambda: _implicit(settings))
        self.sampler = Learner("sampler", members, lr=settings.lr, steps=settings.steps, device=device)
        score = settings.score
        self.score = Learner(
            "score",
            _members(settings, lambda: _ardae(settings)),
            lr=score.lr,
            steps=settings.steps * score.fits_per_step,
            device=device,
        )

    @property
    def learners(self) -> list[Learner]:
        return [self.sampler, self.score]

    def prepare(self) -> Metrics:
        for _ in range(self.settings.score.fits_per_step):
            losses = self.score.ensemble.map(lambda score, y: score.losses(y), self.sample(self.settings.score.batch_size))
            self.score.descend(torch.stack(list(losses.values())).sum(0))
        return {f"{name}_loss": float(loss.detach().mean()) for name, loss in losses.items()}

    @torch.no_grad()
    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        return self._draw(_noise(self.settings.repeats, samples, self.settings.sampler.noise_dim, self.device, generator))

    def sample_with_entropy(self, samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        y = self._draw(_noise(self.settings.repeats, samples, self.settings.sampler.noise_dim, self.device, generator))
        with torch.no_grad():
            score = self.score.ensemble.map(lambda score, y: score.score(y, frame=score.frame(y)), y)
        return y, -(score * y).sum(-1).mean(-1)

    def _draw(self, noise: Tensor) -> Tensor:
        return self.sampler.ensemble.map(lambda sampler, z: sampler(z), noise)


class InverseAutoregressiveFlow:
    """y = T(z) of affine autoregressive steps, H = H(z) + E[log |det dT/dz|]."""

    exact_entropy = True

    def __init__(self, settings: MaxEntSettings, device: str) -> None:
        self.settings, self.device = settings, device
        self.sampler = Learner("sampler", _members(settings, lambda: _flow(settings)), lr=settings.lr, steps=settings.steps, device=device)
        self._base_entropy = 0.5 * settings.dim * math.log(2 * math.pi * math.e)

    @property
    def learners(self) -> list[Learner]:
        return [self.sampler]

    def prepare(self) -> Metrics:
        return {}

    @torch.no_grad()
    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        noise = _noise(self.settings.repeats, samples, self.settings.dim, self.device, generator)
        return self.sampler.ensemble.map(lambda flow, z: flow.transform()(z), noise)

    def sample_with_entropy(self, samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        noise = _noise(self.settings.repeats, samples, self.settings.dim, self.device, generator)
        y, log_slope = self.sampler.ensemble.map(lambda flow, z: flow.transform().call_and_ladj(z), noise)
        return y, self._base_entropy + log_slope.mean(1)


def _members(settings: MaxEntSettings, make: Any) -> list[nn.Module]:
    return [make() for _ in range(settings.repeats)]


def _implicit(settings: MaxEntSettings) -> ImplicitMLP:
    chosen = settings.sampler
    return ImplicitMLP(chosen.noise_dim, settings.dim, chosen.width, chosen.layers, "elu")


def _ardae(settings: MaxEntSettings) -> ARDAE:
    chosen = settings.score
    return ARDAE(
        settings.dim,
        form=chosen.form,
        layers=chosen.layers,
        width=chosen.width,
        activation=chosen.activation,
        standardisation=chosen.standardisation,
        scale=chosen.scale,
        gaussian_residual=chosen.gaussian_residual,
        delta_scale=chosen.delta,
        sigmas_per_sample=chosen.sigmas_per_sample,
    )


def _flow(settings: MaxEntSettings) -> zuko.flows.MAF:
    chosen = settings.flow
    hidden = [chosen.width] * chosen.layers
    return zuko.flows.MAF(settings.dim, transforms=chosen.transforms, hidden_features=hidden, activation=nn.ELU)


def _noise(repeats: int, samples: int, dim: int, device: str, generator: torch.Generator | None = None) -> Tensor:
    if generator is None:
        return torch.randn(repeats, samples, dim, device=device)
    return torch.randn(repeats, samples, dim, generator=generator).to(device)
