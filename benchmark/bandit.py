"""State-conditional bandits whose soft-optimal policy exp(Q / alpha) / Z over (-1, 1)^D is known: does the policy find it, and stay?

The update is SAC's own, its critic replaced by the known Q: fits of the score, a step of the policy, constant learning rates.
KL(policy || optimum) is by histogram, corrected for its sampling bias, in one and two dimensions; the spread before the tanh, beside the
optimum's, in any.
A policy that runs away has a spread far above 1, one that collapses far below.
Notation: B states (B, 2), K actions of each, D dimensions; actions (B, K, D).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from rich.progress import track
from torch import Tensor, nn

from ardae_rl.sac import SAC, SACConfig
from ardae_rl.sac.tanh import log_det_tanh
from ardae_rl.samplers import Sampler
from benchmark.report import Row, row
from benchmark.timing import prepare_ours

Kind = Literal["apart", "meeting", "three", "bound"]
STATE_DIM, STATES, SHOWN_STATES, SAMPLES = 2, 256, 40, 40_000
_FLOOR = -4.0  # log-density of what lies between the modes, beside the modes' peaks
_CELLS = {1: 200, 2: 50}  # of the histograms, along an axis; more dimensions are products of one


def q_value(kind: Kind, state: Tensor, action: Tensor) -> Tensor:
    """(B, K); with alpha = 1 of the shape that its name says. Above two dimensions a sum of one-dimensional ones, an optimum of factors."""
    if action.shape[-1] > 2:
        return torch.stack([q_value(kind, state, each) for each in action.split(1, -1)]).sum(0)
    moved = torch.tanh(state[:, None, : action.shape[-1]])
    tilt = torch.tanh(state[:, None, 0] * state[:, None, 1])
    if kind == "bound":
        return (3 * moved * action).sum(-1) + action.square().sum(-1)
    place, widths = (0.5 + 0.15 * moved, (0.15, 0.2)) if kind == "apart" else (0.55 * moved, (0.18, 0.25))
    peaks = [_peak(action, place, widths[0]), _peak(action, -0.9 * place, widths[1]) + 0.3 * tilt]
    if kind == "three":
        places = 0.6 + 0.1 * moved, 0.1 * moved, 0.1 * moved - 0.6
        peaks = [_peak(action, *each) for each in zip(places, (0.12, 0.1, 0.15), strict=True)]
        peaks[1] = peaks[1] + 0.5 * tilt
    return torch.stack([*peaks, torch.full_like(peaks[0], _FLOOR)]).logsumexp(0)


def _peak(action: Tensor, place: Tensor, width: float) -> Tensor:
    return -0.5 * ((action - place) / width).square().sum(-1)


class KnownCritic(nn.Module):
    """Q itself, in a critic's place."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def value(self, obs: Tensor, action: Tensor, *, fixed: bool = False) -> Tensor:
        return q_value(self.kind, obs, action.unsqueeze(1)).squeeze(1)


@dataclass(frozen=True, kw_only=True)
class Found:
    """After ``step`` steps of the policy: nats of divergence (NaN above two dimensions), and the spread over the optimum's."""

    step: int
    divergence: float
    spread: float


def run(kind: Kind, dim: int, config: SACConfig, *, steps: int, seed: int, looks: int = 4) -> Iterator[Found]:
    """Train, and look so many times, the last at the end."""
    prepare_ours(seed, 1)
    sac = SAC.build(STATE_DIM, dim, replace(config, jacobian_clamping=None), seed=seed)
    sac.critic = KnownCritic(kind)  # type: ignore[assignment]
    states = torch.Generator().manual_seed(seed + 2)
    for step in range(1, steps + 1):
        obs = torch.randn(STATES, STATE_DIM, generator=states)
        sac.entropy.fit(sac.optimisers.get("score"), sac.policy, obs, sac.normal, steps=config.score.fits_per_step)
        sac._update_policy(obs)
        if step % (steps // looks) == 0:
            yield Found(step=step, **compare(sac.policy, kind, float(sac.temperature())))


@torch.no_grad()
def compare(policy: Sampler, kind: Kind, alpha: float) -> dict[str, float]:
    """Over states that are the same for all: mean KL(policy || optimum), and the policy's spread before the tanh over the optimum's."""
    generator, divergences, spreads = torch.Generator().manual_seed(9), [], []
    for state in torch.randn(SHOWN_STATES, STATE_DIM, generator=generator):
        before = policy.draw(state[None], torch.randn(1, SAMPLES, policy.noise_dim, generator=generator))[0]
        if policy.dim <= 2:
            divergences.append(_divergence(kind, state, before.tanh(), alpha))
        spreads.append(float(before.std(0).mean() / _spread(kind, state, policy.dim, alpha)))
    mean: Callable[[list[float]], float] = lambda values: sum(values) / len(values) if values else math.nan  # noqa: E731
    return {"divergence": mean(divergences), "spread": mean(spreads)}


def _cells(dim: int) -> tuple[Tensor, float]:
    """Centres (cells, D) of the histogram's cells, and their width."""
    edges = torch.linspace(-1, 1, _CELLS[dim] + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    return torch.cartesian_prod(*[centres] * dim).view(-1, dim), 2 / _CELLS[dim]


def _log_optimum(kind: Kind, state: Tensor, dim: int, alpha: float) -> Tensor:
    """Log-probability of each cell."""
    return (q_value(kind, state[None], _cells(dim)[0][None])[0] / alpha).log_softmax(0)


def _divergence(kind: Kind, state: Tensor, actions: Tensor, alpha: float) -> float:
    dim, side = actions.shape[-1], _CELLS[actions.shape[-1]]
    index = ((actions + 1) / _cells(dim)[1]).long().clamp(0, side - 1)
    counts = torch.bincount(index @ torch.tensor([side**i for i in reversed(range(dim))]), minlength=side**dim) / len(actions)
    met = counts > 0
    bias = (int(met.sum()) - 1) / (2 * len(actions))
    return float((counts[met] * (counts[met].log() - _log_optimum(kind, state, dim, alpha)[met])).sum()) - bias


def _spread(kind: Kind, state: Tensor, dim: int, alpha: float) -> float:
    """Of the optimum before the tanh: standard deviation, averaged over dimensions, by quadrature there."""
    if dim > 2:
        return _spread(kind, state, 1, alpha)
    line = torch.linspace(-12, 12, 4801 if dim == 1 else 361)
    points = torch.cartesian_prod(*[line] * dim).view(-1, dim)
    log_weights = q_value(kind, state[None], points.tanh()[None])[0] / alpha + log_det_tanh(points)
    weights = log_weights.softmax(0)[:, None]
    return float(((weights * points.square()).sum(0) - (weights * points).sum(0).square()).sqrt().mean())


@dataclass(frozen=True, kw_only=True)
class Case:
    """A bandit, and what is changed of the defaults: fields of SAC, and of its ``score`` after ``score.``."""

    kind: Kind
    dim: int
    alpha: float = 1.0
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        changes = "".join(f", {name} {value}" for name, value in self.changes.items())
        return f"{self.kind} {self.dim}-d, alpha {self.alpha:g}{changes}"

    @property
    def config(self) -> SACConfig:
        own = {name: value for name, value in self.changes.items() if not name.startswith("score.")}
        of_score = {name.removeprefix("score."): value for name, value in self.changes.items() if name.startswith("score.")}
        config = SACConfig(alpha=self.alpha)
        return replace(config, score=replace(config.score, **of_score), **own)


DEFAULTS = [Case(kind="apart", dim=1), Case(kind="apart", dim=2), Case(kind="meeting", dim=1), Case(kind="three", dim=1)]
RANGE = [
    *(Case(kind="meeting", dim=1, changes={"actor_lr": lr}) for lr in (1e-4, 1e-3)),
    *(Case(kind="meeting", dim=1, changes={"actor_lr": 1e-3, "score.samples_per_context": count}) for count in (8, 32)),
    *(Case(kind="meeting", dim=1, alpha=alpha) for alpha in (0.05, 0.3, 2.0)),
    *(Case(kind="bound", dim=dim, alpha=alpha) for dim in (1, 2) for alpha in (0.3, 1.0)),
    Case(kind="meeting", dim=6),
    Case(kind="bound", dim=6),
    Case(kind="meeting", dim=1, changes={"actor_lr": 1e-3, "score.student_dof": None}),
]


def table(cases: Sequence[Case], *, seeds: Sequence[int], steps: int) -> list[Row]:
    """Two rows a case, and the least and largest spread of all looks, the seeds one after the other."""
    rows = []
    for case in track(cases, "bandits", transient=True):
        looks = [list(run(case.kind, case.dim, case.config, steps=steps, seed=seed)) for seed in seeds]
        spreads = [each.spread for found in looks for each in found[1:]]
        if case.dim <= 2:
            rows.append(row(f"{case.name}: KL", [found[-1].divergence for found in looks], "nats"))
        rows.append(row(f"{case.name}: spread over the optimum's", [min(spreads), looks[0][-1].spread, max(spreads)], "ratio"))
    return rows
