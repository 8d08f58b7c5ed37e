"""What a policy does in replayed states: numbers to watch, and a picture of a few: one mode or several, saturated or not."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ardae_rl.rllib.replay import ReplayBuffer
from ardae_rl.sac.diagnostics import WATCHED_STATES, sample_actions, watch_policy

STATES, SAMPLES = 4, 2000
_BINS = 40
_LIMITS = (-1.0, 1.0)


def watched_policy(policy: Any, replay: ReplayBuffer, *, seed: int) -> dict[str, np.ndarray]:
    """:func:`ardae_rl.sac.diagnostics.watch_policy` on states that ``seed`` chooses; empty while there are none."""
    measured = watch_policy(policy, *_replayed(replay, WATCHED_STATES, seed)) if len(replay) else {}
    return {f"policy/{name}": values.numpy() for name, values in measured.items()}


def replayed_actions(policy: Any, replay: ReplayBuffer, *, seed: int) -> np.ndarray:
    """SAMPLES actions, in [-1, 1], in each of STATES states that ``seed`` chooses. Raises ValueError before there are any."""
    return sample_actions(policy, *_replayed(replay, STATES, seed), samples=SAMPLES).numpy()


def _replayed(replay: ReplayBuffer, states: int, seed: int) -> tuple[torch.Tensor, torch.Generator]:
    """Observations (states, C), and noise from a generator of its own, so that looking changes nothing."""
    return torch.from_numpy(replay.observations(states, np.random.default_rng(seed))), torch.Generator().manual_seed(seed)


def action_figure(actions: np.ndarray) -> Figure:
    """The density of a policy's ``actions`` (B, K, D), in [-1, 1], in each of B states: of the first two coordinates where D > 1."""
    drawn = Figure(figsize=(2.6 * len(actions), 2.8), layout="constrained")
    for axes, samples in zip(drawn.subplots(1, len(actions), squeeze=False)[0], actions, strict=True):
        _density(axes, samples)
    return drawn


def _density(axes: Axes, samples: np.ndarray) -> None:
    if samples.shape[1] == 1:
        axes.hist(samples[:, 0], _BINS, range=_LIMITS, density=True)
        axes.set(xlabel="$a$", xlim=_LIMITS)
    else:
        axes.hist2d(samples[:, 0], samples[:, 1], bins=_BINS, range=[_LIMITS, _LIMITS], cmap="magma")
        axes.set(xlabel="$a_1$", ylabel="$a_2$", aspect="equal")
