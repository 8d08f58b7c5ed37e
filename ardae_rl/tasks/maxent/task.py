"""Train samplers to the highest entropy under constraints and measure how far they are from the known answer.

Notation: E repeats, N samples, D dimension; y unconstrained samples, x = T(y) in the support, both (E, N, D).
Objective: -H(p) + sum_k <mu_k, E_p[r_k]> + lambda ||E_p[r_k]||^2, lambda growing, then mu moving (the augmented Lagrangian).
Metrics, each averaged over repeats and, as ``name/00`` ..., of every repeat:
``emd`` earth mover's distance to the answer, ``emd_floor`` the same of as many draws of the answer itself; ``emd_excess`` EMD(model,
answer) less the mean of EMD(model, model) and EMD(answer, answer), each of independent sets: on average 0 for the answer, where ``emd`` of
finitely many points is lower for a law a little too narrow; ``entropy_gap`` H(answer) - H(model) in nats (exact for the flow, by nearest
neighbours for the implicit sampler), ``entropy_gap_neighbours`` by nearest neighbours for either; ``c1``, ``c2`` ||E r_k||. NaN for a
repeat that diverged.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from ardae_rl.nn.optimiser import GuardedOptimiser
from ardae_rl.tasks.distances import earth_movers_distance
from ardae_rl.tasks.maxent.build import Model, build_models
from ardae_rl.tasks.maxent.config import MaxEntSettings
from ardae_rl.tasks.maxent.entropy import neighbour_entropy
from ardae_rl.tasks.maxent.penalty import Multipliers, penalty_weight, squared_expectation, squared_mean
from ardae_rl.tasks.maxent.problems import PROBLEMS, OnTheLine
from ardae_rl.tasks.task import Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOMENT_SAMPLES, ENTROPY_SAMPLES, LINE_SAMPLES, FIGURE_SAMPLES, CHUNK = 100_000, 5_000, 100_000, 2_000, 5_000
# Streams of their own for what would otherwise all start from the trial's seed: networks and training noise, the problems, and these.
_PROBLEM_SEED, _REFERENCE_SEED, _EVALUATION_SEED = 700_001, 800_011, 1_000_003


class MaxEntTask:
    headline = "emd"

    def __init__(self, settings: MaxEntSettings, *, seed: int, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.settings, self.device, self.seed = settings, device, seed
        generator = torch.Generator().manual_seed(_PROBLEM_SEED + seed)
        self.problem = PROBLEMS[settings.problem](settings.repeats, settings.dim, generator)
        self.multipliers = Multipliers(self.problem)
        self.models = build_models(settings).to(device)
        model = self.models.stacked
        self.noise_dim, self.knows_entropy = model.sampler.noise_dim, model.entropy.is_exact
        self.optimisers = {"sampler": self._optimiser("sampler", model.sampler, settings.lr, settings.steps)}
        if any(True for _ in model.entropy.parameters()):
            fits = settings.steps * settings.score.fits_per_step
            self.optimisers["score"] = self._optimiser("score", model.entropy, settings.score.lr, fits)
        self.steps_done = 0

    def step(self) -> Metrics:
        """Fit the scores, where there are any, and take one step of every sampler."""
        metrics = self._fit()
        y, entropy = self._draw_with_entropy(self._normal(self.settings.batch_size))
        x, stretch = self._into_support(y)
        residuals = self.problem.residuals(x)
        expectations = {name: each.mean(1) for name, each in residuals.items()}
        penalty, weight = self._penalty(residuals, x), self._penalty_weight()
        self.optimisers["sampler"].step(self.multipliers.price(expectations) + weight * penalty - entropy - stretch.mean(1))
        self._move_multipliers(expectations)
        self.steps_done += 1
        skipped = sum(optimiser.skipped for optimiser in self.optimisers.values())
        watched = {"penalty": float(penalty.detach().mean()), "penalty_weight": weight}
        return {**metrics, **watched, "skipped_steps": float(skipped)}

    def _optimiser(self, name: str, stacked: nn.Module, lr: float, steps: int) -> GuardedOptimiser:
        """Adam, its learning rate falling to 0 along a cosine."""
        adam = torch.optim.Adam(stacked.parameters(), lr=lr, fused=True)
        return GuardedOptimiser(name, adam, members=self.settings.repeats, schedule=lambda adam: CosineAnnealingLR(adam, steps))

    def _fit(self) -> Metrics:
        """The estimators, where there are any, on fresh draws."""
        if "score" not in self.optimisers:
            return {}
        for _ in range(self.settings.score.fits_per_step):
            losses = self.models.map(lambda model: next(model.entropy.fit_losses(model.sampler, None, self._noise_of_one)))
            self.optimisers["score"].step(torch.stack(list(losses.values())).sum(0))
        return {f"{name}_loss": float(loss.detach().mean()) for name, loss in losses.items()}

    def _noise_of_one(self, *shape: int) -> Tensor:
        """Inside of ``models.map``, where every repeat has its own."""
        return torch.randn(shape, device=self.device)

    def _draw(self, noise: Tensor) -> Tensor:
        return self.models.map(Model.draw, noise)

    def _draw_with_entropy(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """y (E, N, D), and (E,) whose gradient is that of its entropy."""
        return self.models.map(
            lambda model, noise: model.entropy.draw_with_entropy(model.sampler, None, noise, self._noise_of_one)[:2], noise
        )

    def _normal(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Noise of all repeats, (E, N, noise_dim); without a generator on the CPU from torch's own."""
        shape = (self.settings.repeats, count, self.noise_dim)
        if generator is None:
            return torch.randn(shape, device=self.device)
        return torch.randn(shape, generator=generator).to(self.device)

    @torch.no_grad()
    def _move_multipliers(self, expectations: dict[str, Tensor]) -> None:
        """After the ramp of lambda, at a rate that falls with the sampler's learning rate."""
        chosen = self.settings
        if chosen.multiplier_rate and self.steps_done >= chosen.penalty_ramp * chosen.steps:
            x = self.problem.support(self._draw(self._normal(chosen.batch_size)))
            self.multipliers.move(expectations, x, chosen.multiplier_rate * self.optimisers["sampler"].decay)

    def _penalty(self, residuals: dict[str, Tensor], x: Tensor) -> Tensor:
        """sum_k ||E r_k||^2, (E,)."""
        square = squared_expectation if self.settings.constraint_estimate == "unbiased" else squared_mean
        squares = [square(each) for each in residuals.values()]
        return torch.stack([x.new_zeros(len(x)), *squares]).sum(0)

    def _penalty_weight(self) -> float:
        """lambda of the present step."""
        chosen = self.settings
        return penalty_weight(
            self.steps_done, start=chosen.penalty_start, end=chosen.penalty_end, ramp_steps=chosen.penalty_ramp * chosen.steps
        )

    def _into_support(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x = T(y) and log |det dT/dy|, (E, N)."""
        x = self.problem.support(y)
        return x, self.problem.support.log_abs_det_jacobian(y, x).expand_as(y).sum(-1)

    @torch.no_grad()
    def evaluate(self) -> Metrics:
        generator = torch.Generator().manual_seed(_EVALUATION_SEED + self.seed)
        by_neighbours = self._entropy_gap(self._samples(ENTROPY_SAMPLES, generator))
        measured = {
            **self._distances(generator),
            "entropy_gap": self._exact_entropy_gap(generator) if self.knows_entropy else by_neighbours,
            "entropy_gap_neighbours": by_neighbours,
            **self._constraint_norms(generator),
        }
        means = {name: float(np.mean(values)) for name, values in measured.items()}
        each = {f"{name}/{repeat:02d}": float(value) for name, values in measured.items() for repeat, value in enumerate(values)}
        return {**means, **each}

    def _samples(self, count: int, generator: torch.Generator) -> Tensor:
        """Of every model, (E, N, D), in double precision on the CPU."""
        chunks = [self._draw(self._normal(min(CHUNK, count - start), generator)) for start in range(0, count, CHUNK)]
        return self.problem.support(torch.cat(chunks, 1)).double().cpu()

    def _distances(self, generator: torch.Generator) -> dict[str, np.ndarray]:
        """From the answer: on the line from its quantiles, where there is nothing to correct, elsewhere from always the same draws."""
        if isinstance(self.problem, OnTheLine):
            emd = _from_quantiles(self.problem, self._samples(LINE_SAMPLES, generator))
            return {"emd": emd, "emd_floor": self._floor, "emd_excess": emd}
        count = self.settings.emd_samples
        one, another = self._samples(2 * count, generator).split(count, 1)
        emd = _each_distance(one, self._reference(0, count))
        return {"emd": emd, "emd_floor": self._floor, "emd_excess": emd - (_each_distance(one, another) + self._floor) / 2}

    @cached_property
    def _floor(self) -> np.ndarray:
        if isinstance(self.problem, OnTheLine):
            return _from_quantiles(self.problem, self._reference(1, LINE_SAMPLES))
        return _each_distance(*(self._reference(number, self.settings.emd_samples) for number in (0, 1)))

    @cached_property
    def _neighbour_bias(self) -> float:
        """Of the entropy estimate, measured on the answers."""
        estimates = [neighbour_entropy(answer.numpy()) for answer in self._reference(1, ENTROPY_SAMPLES)]
        return float(np.mean(estimates - self.problem.entropy.numpy()))

    def _reference(self, number: int, count: int) -> Tensor:
        """Draws of the answers, (E, N, D): set 0 to compare with, set 1 in the place of a model."""
        return self.problem.reference(count, torch.Generator().manual_seed(_REFERENCE_SEED + 2 * self.seed + number))

    def _entropy_gap(self, x: Tensor) -> np.ndarray:
        estimates = np.array([neighbour_entropy(ours.numpy()) for ours in x])
        return self.problem.entropy.numpy() - (estimates - self._neighbour_bias)

    def _exact_entropy_gap(self, generator: torch.Generator) -> np.ndarray:
        """From the log-densities of draws, of which what the noise contributes is known on average: it is put in its place."""
        noise = self._normal(ENTROPY_SAMPLES, generator)
        y, entropy = self._draw_with_entropy(noise)
        known = 0.5 * (self.noise_dim - noise.square().sum(-1).mean(1))
        return self.problem.entropy.numpy() - (entropy + known + self._into_support(y)[1].mean(1)).double().cpu().numpy()

    def _constraint_norms(self, generator: torch.Generator) -> dict[str, np.ndarray]:
        """||E r_k|| of each repeat, from an unbiased estimate of its square by the means of chunks; 0 where that is negative."""
        means: dict[str, list[Tensor]] = {}
        for _ in range(MOMENT_SAMPLES // CHUNK):
            x = self.problem.support(self._draw(self._normal(CHUNK, generator)))
            for name, residuals in self.problem.residuals(x).items():
                means.setdefault(name, []).append(residuals.mean(1).double().cpu())
        squares = {name: squared_expectation(torch.stack(parts, 1)) for name, parts in means.items()}
        return {name: square.clamp(min=0).sqrt().numpy() for name, square in squares.items()}

    @torch.no_grad()
    def figures(self) -> "dict[str, Figure]":
        """Samples of the first repeats beside the answer."""
        from ardae_rl.tasks.maxent.figures import against_quantiles, in_the_plane

        generator = torch.Generator().manual_seed(_EVALUATION_SEED + self.seed)
        count = FIGURE_SAMPLES
        draw = against_quantiles if isinstance(self.problem, OnTheLine) else in_the_plane
        return {"samples": draw(self._samples(count, generator).numpy(), self._reference(0, count).numpy())}

    def state_dict(self) -> dict[str, Any]:
        optimisers = {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}
        trained = {"models": self.models.state_dict(), "optimisers": optimisers, "multipliers": self.multipliers.values}
        return {**trained, "steps_done": self.steps_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.models.load_state_dict(state["models"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.multipliers.values = {name: value.clone().to(self.device) for name, value in state["multipliers"].items()}
        self.steps_done = state["steps_done"]


def _from_quantiles(problem: OnTheLine, x: Tensor) -> np.ndarray:
    """Earth mover's distance of each repeat's points x (E, N, 1) from the quantiles of its answer."""
    middles = (torch.arange(x.shape[1], dtype=torch.float64) + 0.5) / x.shape[1]
    return (x.sort(1).values - problem.quantile(middles.unsqueeze(1))).abs().mean((1, 2)).numpy()


def _each_distance(a: Tensor, b: Tensor) -> np.ndarray:
    """Earth mover's distance of each repeat's points a and b, (E, N, D); NaN where they are not finite."""
    finite = (a.isfinite() & b.isfinite()).all(-1).all(-1)
    return np.array([earth_movers_distance(a[i], b[i]) if finite[i] else np.nan for i in range(len(a))])
