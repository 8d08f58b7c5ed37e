"""Accuracy of AR-DAE on a sampler whose score is known: per-context standardisation against the paper's fixed scale.

The sampler is x = m(s) + L(s) eps with a state s (8-d), a sample x (4-d), fixed random smooth m and L, and a spread that differs from state
to state and between dimensions. Both estimators see the same draws, have the same network, and train for the same number of steps.

Notation: B states, K samples per state; s (B, 8), x (B, K, 4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.progress import track
from torch import Tensor, nn

from ardae_rl.bench.report import Row, row
from ardae_rl.process import prepare_training_process
from ardae_rl.score import ARDAE
from ardae_rl.score.standardise import Standardisation

STATE_DIM, DIM = 8, 4
STATES, SAMPLES = 64, 32
TEST_STATES, IMPORTANCE_SAMPLES = 512, 100
LABELS: dict[Standardisation, str] = {"fixed": "fixed s = 10000", "per_context": "per_context"}


@dataclass(frozen=True, kw_only=True)
class Errors:
    """``score``: sqrt(E||f - true||^2 / E||true||^2) at sigma = 0. ``log_density``: root mean square, in nats, log Z included."""

    score: float
    log_density: float


class GaussianTask(nn.Module):
    """The sampler, its score and its log-density. ``seed`` draws m and L once and for all."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.mean = _random_map(DIM, generator)
        self.log_scale = _random_map(DIM, generator, size=0.5)
        self.mixing = _random_map(DIM * DIM, generator, size=0.5)
        self.requires_grad_(False)

    def law(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """m (B, 4) and L (B, 4, 4), lower triangular: a diagonal around exp(-1), varying several-fold."""
        mixing = torch.tril(self.mixing(state).view(-1, DIM, DIM), -1)
        scale = (self.log_scale(state) - 1).exp().unsqueeze(-1)
        return self.mean(state), scale * (torch.eye(DIM) + mixing)

    def draw(self, state: Tensor, noise: Tensor) -> Tensor:
        """x, (B, K, 4), for noise (B, K, 4)."""
        mean, factor = self.law(state)
        return mean.unsqueeze(1) + noise @ factor.mT

    def score(self, state: Tensor, noise: Tensor) -> Tensor:
        """grad log p at ``draw(state, noise)``: -L^-T eps, (B, K, 4)."""
        _, factor = self.law(state)
        return -torch.linalg.solve_triangular(factor.mT, noise.mT, upper=True).mT

    def log_density(self, state: Tensor, noise: Tensor) -> Tensor:
        """log p at ``draw(state, noise)``, (B, K)."""
        _, factor = self.law(state)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return -0.5 * (noise.square().sum(-1) + DIM * math.log(2 * math.pi)) - log_det


def _random_map(outputs: int, generator: torch.Generator, *, size: float = 1.0) -> nn.Module:
    """A smooth random map of the state: one tanh layer, outputs with a standard deviation of about 0.6 ``size``."""
    layers = nn.Linear(STATE_DIM, 32), nn.Linear(32, outputs)
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
        nn.init.normal_(layer.bias, std=0.1, generator=generator)
    with torch.no_grad():
        layers[1].weight.mul_(size), layers[1].bias.mul_(size)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1])


def run(*, seeds: Sequence[int], threads: int, steps: int = 4000) -> list[Row]:
    """Both standardisations on the task of every seed."""
    prepare_training_process()
    torch.set_num_threads(threads)
    plan = [(seed, standardisation) for seed in seeds for standardisation in LABELS]
    errors: dict[Standardisation, list[Errors]] = {name: [] for name in LABELS}
    for seed, standardisation in track(plan, "AR-DAE on a Gaussian sampler", transient=True):
        errors[standardisation].append(measure(standardisation, seed=seed, steps=steps))
    return [
        *_rows("score error", {name: [e.score for e in runs] for name, runs in errors.items()}, "relative"),
        *_rows("log-density error", {name: [e.log_density for e in runs] for name, runs in errors.items()}, "nats RMS"),
    ]


def _rows(name: str, values: dict[Standardisation, list[float]], unit: str) -> list[Row]:
    baseline = row(f"{name}, {LABELS['fixed']}", values["fixed"], unit)
    return [baseline, row(f"{name}, {LABELS['per_context']}", values["per_context"], unit, baseline=baseline)]


def measure(standardisation: Standardisation, *, seed: int, steps: int) -> Errors:
    """Train on fresh draws, then compare with the truth on fresh draws."""
    torch.manual_seed(seed)
    task = GaussianTask(seed)
    estimator = ARDAE(DIM, STATE_DIM, standardisation=standardisation)
    optimiser = torch.optim.Adam(estimator.parameters(), lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    for _ in range(steps):
        state, noise = torch.randn(STATES, STATE_DIM), torch.randn(STATES, SAMPLES, DIM)
        samples = task.draw(state, noise)
        optimiser.zero_grad()
        estimator.loss(samples, state, frame=estimator.frame(samples, task.mean(state))).backward()
        optimiser.step()
        schedule.step()
    return evaluate(estimator, task)


@torch.no_grad()
def evaluate(estimator: ARDAE, task: GaussianTask) -> Errors:
    """Errors at fresh samples of fresh states; the frame comes from as many samples per state as in training."""
    state, noise = torch.randn(TEST_STATES, STATE_DIM), torch.randn(TEST_STATES, SAMPLES, DIM)
    samples, truth = task.draw(state, noise), task.score(state, noise)
    frame = estimator.frame(samples, task.mean(state))
    score_error = (estimator.score(samples, state, frame=frame) - truth).square().sum() / truth.square().sum()
    log_z = estimator.log_partition(state, samples=IMPORTANCE_SAMPLES).log_z
    log_density = estimator.log_density(samples, state, frame=frame) - log_z.unsqueeze(1)
    log_density_error = (log_density - task.log_density(state, noise)).square().mean()
    return Errors(score=score_error.sqrt().item(), log_density=log_density_error.sqrt().item())
