"""Fit a sampler to an energy: minimise alpha E[U(x)] - H(x), which for alpha = 1 is KL(q || p) - log Z.

Notation: N samples, D dimension; x (N, D).
Metrics: see ``metrics.py``. ``final_emd*`` are ``emd*`` once more at the end, of more samples.
"""

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ardae_rl.nn.optimiser import GuardedOptimiser
from ardae_rl.samplers import Sampler
from ardae_rl.tasks.averaging import averaged
from ardae_rl.tasks.energy.build import build
from ardae_rl.tasks.energy.config import MAX_EMD_SAMPLES, EnergySettings
from ardae_rl.tasks.energy.metrics import PAIRS, coverage, distances, divergence, final_emd
from ardae_rl.tasks.energy.potentials import Target, target
from ardae_rl.tasks.task import Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVALUATION_SAMPLES, CHUNK = PAIRS * MAX_EMD_SAMPLES, 20_000
# Streams of their own for what would otherwise all start from the trial's seed.
_DRAWS_SEED, _EVALUATION_SEED = 500_009, 1_000_003


class EnergyTask:
    headline = "emd_over_floor"

    def __init__(self, settings: EnergySettings, *, seed: int, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.settings, self.device = settings, device
        self.target: Target = target(settings.target)
        self.sampler, self.entropy = build(settings, self.target.dim)
        self.networks = nn.ModuleDict({"sampler": self.sampler, "entropy": self.entropy}).to(device)
        self.optimisers = self._optimisers()
        self.average = averaged(self.sampler, settings.ema_decay)
        self.draws = torch.Generator(device).manual_seed(_DRAWS_SEED + seed)
        self.evaluation_seed = _EVALUATION_SEED + seed
        self.steps_done = 0

    def step(self) -> Metrics:
        """Fit the score to the sampler where there is one to fit, then move the sampler once."""
        alpha = self._alpha()
        for group in self.optimisers["sampler"].optimiser.param_groups:
            group["lr"] = self._lr()
        fitted = self.entropy.fit(self.optimisers.get("score"), self.sampler, None, self._normal, steps=self.settings.score.fits_per_step)
        noise = self._normal(self.settings.batch_size, self.sampler.noise_dim)
        x, entropy, _ = self.entropy.draw_with_entropy(self.sampler, None, noise, self._normal)
        energy = self.target.energy(x).mean()
        self.optimisers["sampler"].step(alpha * energy - entropy)
        if self.average is not None:
            self.average.update_parameters(self.sampler)
        self.steps_done += 1
        skipped = sum(optimiser.skipped for optimiser in self.optimisers.values())
        watched = {name: float(value) for name, value in fitted.items()}
        return {"energy": float(energy.detach()), "alpha": alpha, "skipped_steps": float(skipped), **watched}

    def _optimisers(self) -> dict[str, GuardedOptimiser]:
        lrs = {"sampler": self.settings.lr, "score": self.settings.score.lr}
        moved, fitted = list(self.sampler.parameters()), list(self.entropy.parameters())
        groups = {"sampler": moved + fitted, "score": []} if self.entropy.moves_with_sampler else {"sampler": moved, "score": fitted}
        adams = {
            name: torch.optim.Adam(each, lr=lrs[name], betas=(self.settings.beta1, 0.999), fused=True)
            for name, each in groups.items()
            if each
        }
        return {name: GuardedOptimiser(name, adam) for name, adam in adams.items()}

    def _alpha(self) -> float:
        """Linear from ``alpha_start`` to 1 over the first ``anneal`` of the run."""
        rise = self.settings.anneal * self.settings.steps
        share = min(1.0, self.steps_done / rise) if rise else 1.0
        return self.settings.alpha_start + (1 - self.settings.alpha_start) * share

    def _lr(self) -> float:
        return self.settings.lr * 0.5 ** (self.steps_done * self.settings.lr_halvings // self.settings.steps)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.draws, device=self.device)

    def evaluate(self) -> Metrics:
        """Distances to exact samples, reverse KL and coverage; the distances of many samples at the end only."""
        x, name, ended = self._samples(EVALUATION_SAMPLES), self.settings.target, self.steps_done >= self.settings.steps
        return {
            **distances(name, x, self.settings.emd_samples),
            **final_emd(name, x if ended else None, self.settings.final_emd_samples),
            **divergence(self.target, x),
            **coverage(self.target, x),
        }

    @torch.no_grad()
    def _samples(self, count: int) -> Tensor:
        """The sampler's, (count, D), always from the same noise; of its averaged weights where there are any."""
        generator = torch.Generator().manual_seed(self.evaluation_seed)
        sampler = self.sampler if self.average is None else cast(Sampler, self.average.module)
        sizes = (min(CHUNK, count - start) for start in range(0, count, CHUNK))
        noise = (torch.randn(size, self.sampler.noise_dim, generator=generator) for size in sizes)
        return torch.cat([sampler.draw(None, part.to(self.device)).cpu() for part in noise])

    def figures(self) -> "dict[str, Figure]":
        """A million samples of the sampler and of the target, as pictures of 256 x 256 counts and nothing else."""
        from ardae_rl.tasks.energy.figures import SAMPLES, pictures

        exact = self.target.sample(SAMPLES, torch.Generator().manual_seed(self.evaluation_seed))
        return pictures(self._samples(SAMPLES) @ self.target.plane, exact @ self.target.plane)

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": self.networks.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "average": {} if self.average is None else self.average.state_dict(),
            "draws": self.draws.get_state(),
            "steps_done": self.steps_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.networks.load_state_dict(state["networks"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.draws.set_state(state["draws"])
        self.steps_done = state["steps_done"]
