"""Does a policy of MultiGoal hold every way to succeed? Rollouts from the origin, the density of the first action, and one number.

Identity: the entropy of the goal reached, in nats, is 0 for a policy that always takes the same and ln 4 = 1.386 for one that takes all
alike.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

import ardae_rl.envs
from ardae_rl.envs.multi_goal import ARENA, GOAL_RADIUS, GOALS
from ardae_rl.experiment.problems import Problem
from ardae_rl.samplers import Sampler

gym.register_envs(ardae_rl.envs)
ENV = "ardae_rl/MultiGoal-v0"
DENSITY_SAMPLES, DENSITY_BINS = 200_000, 60


@dataclass(frozen=True)
class Rollouts:
    """``paths``: positions (steps + 1, 2) of each episode; ``goals``: the number of the goal each reached, -1 for none."""

    paths: list[np.ndarray]
    goals: list[int]

    @property
    def success(self) -> float:
        """The share of episodes that reached a goal."""
        return float(np.mean([goal >= 0 for goal in self.goals]))

    @property
    def steps(self) -> float:
        """How many steps the episodes take that reach a goal, on average: a policy that wanders reaches all of them, but late."""
        lengths = [len(path) - 1 for path, goal in zip(self.paths, self.goals, strict=True) if goal >= 0]
        return float(np.mean(lengths)) if lengths else math.nan

    @property
    def goal_entropy(self) -> float:
        """Entropy in nats of the goal reached, among the episodes that reached one; 0 if none did."""
        counts = np.bincount([goal for goal in self.goals if goal >= 0], minlength=len(GOALS))
        shares = counts[counts > 0] / counts.sum()
        return float(-(shares * np.log(shares)).sum()) + 0.0


def rollouts(policy: Sampler, *, count: int = 100, seed: int = 0) -> Rollouts:
    """``count`` episodes from the origin, actions drawn from the policy; the same ones for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    episodes = [_episode(policy, generator, number) for number in np.random.SeedSequence(seed).generate_state(count)]
    return Rollouts([path for path, _ in episodes], [goal for _, goal in episodes])


def _episode(policy: Sampler, generator: torch.Generator, seed: int) -> tuple[np.ndarray, int]:
    env = gym.make(ENV)
    path, ended, info = [env.reset(seed=int(seed), options={"position": (0.0, 0.0)})[0]], False, {"goal": -1}
    while not ended:
        obs, _, terminated, truncated, info = env.step(first_actions(policy, path[-1], 1, generator)[0])
        path.append(obs)
        ended = terminated or truncated
    return np.array(path), info["goal"]


def read_goals(evaluations: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Figure], list[Problem]]:
    """The latest policy of every run on MultiGoal among those of :func:`ardae_rl.report.runs.read_runs`, in their order.

    ``method``, ``seed``, ``env_steps``, ``goal_entropy`` in nats, ``success``, the share of 100 rollouts that arrive, and ``steps``, how
    many those take on average, a row per run; a figure per method, of its first seed; and the runs whose checkpoint cannot be used.
    """
    rows: list[dict[str, Any]] = []
    figures: dict[str, Figure] = {}
    problems: list[Problem] = []
    runs = evaluations[evaluations["env"] == ENV].drop_duplicates("folder")
    for method, seed, trial in zip(runs["method"], runs["seed"], runs["folder"], strict=True):
        try:
            policy = _latest_policy(Path(trial))
        except (OSError, ValueError) as error:
            problems.append(Problem(trial, "", f"its policy cannot be used, {error}: left out"))
            continue
        drawn = rollouts(policy.sampler)
        trained = {"method": method, "seed": int(seed), "env_steps": policy.description.env_steps}
        rows.append({**trained, "goal_entropy": drawn.goal_entropy, "success": drawn.success, "steps": drawn.steps})
        if method not in figures:
            figures[method] = figure(policy.sampler, title=f"{method}, seed {seed}")
    return pd.DataFrame(rows), figures, problems


def _latest_policy(trial: Path) -> Any:
    from ardae_rl.rllib.checkpoint import read_policy  # imports Ray

    checkpoints = sorted(trial.glob("checkpoint_*"))
    if not checkpoints:
        raise FileNotFoundError("there is no checkpoint")
    policy = read_policy(checkpoints[-1])
    if policy.description.env != ENV:
        raise ValueError(f"{checkpoints[-1]} is one of {policy.description.env}")
    if not all(parameter.isfinite().all() for parameter in policy.parameters()):
        raise ValueError(f"{checkpoints[-1]} holds weights that are NaN or infinite")
    return policy


@torch.no_grad()
def first_actions(policy: Sampler, position: np.ndarray, count: int, generator: torch.Generator) -> np.ndarray:
    """``count`` actions (count, 2) of the policy at one position."""
    noise = torch.randn(1, count, policy.noise_dim, generator=generator)
    return policy.draw(torch.as_tensor(position, dtype=torch.float32)[None], noise)[0].tanh().numpy()


def figure(policy: Sampler, *, title: str, count: int = 100, seed: int = 0) -> Figure:
    """Left: rollouts from the origin, coloured by the goal they reach. Right: the density of the first action."""
    drawn = rollouts(policy, count=count, seed=seed)
    made = Figure(figsize=(9, 4.2), layout="constrained")
    made.suptitle(f"{title}: goal entropy {drawn.goal_entropy:.2f} of {math.log(len(GOALS)):.2f} nats, {drawn.success:.0%} arrive")
    left, right = made.subplots(1, 2)
    _draw_paths(left, drawn)
    actions = first_actions(policy, np.zeros(2), DENSITY_SAMPLES, torch.Generator().manual_seed(seed))
    _, _, _, shades = right.hist2d(*actions.T, bins=DENSITY_BINS, range=[[-1, 1], [-1, 1]], density=True, cmap="magma")
    right.set(title="density of the first action, at the origin", xlabel="$a_1$", ylabel="$a_2$", aspect="equal")
    made.colorbar(shades, ax=right)
    return made


def _draw_paths(axes: Axes, drawn: Rollouts) -> None:
    axes.set(
        title=f"{len(drawn.paths)} rollouts", xlabel="$x_1$", ylabel="$x_2$", aspect="equal", xlim=(-ARENA, ARENA), ylim=(-ARENA, ARENA)
    )
    for number, goal in enumerate(GOALS):
        axes.add_patch(Circle(tuple(goal), GOAL_RADIUS, color=f"C{number}", alpha=0.25))
    for path, goal in zip(drawn.paths, drawn.goals, strict=True):
        axes.plot(*path.T, color=f"C{goal}" if goal >= 0 else "0.6", linewidth=0.8, alpha=0.6)
    axes.plot(0, 0, "k.", markersize=8)
