"""Seconds per update at the paper's settings for each of its six environments, and how long its 3 million updates would take.

Full-size networks and mini-batches of random numbers, in plain torch, without environments and without Ray: what the learner alone needs.
Shapes come from the environments, everything else from the files in ``tune_configs``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from rich.progress import track

import ardae_rl.envs
from ardae_rl.experiment.control import ControlExperiment
from ardae_rl.experiment.load import load_experiment
from ardae_rl.sac import SAC
from benchmark.report import Row, row
from benchmark.timing import in_fresh_process, median_seconds, prepare_ours
from benchmark.update import synthetic_batch

gym.register_envs(ardae_rl.envs)  # in the fresh process that times a file, too
NAMES = ("half_cheetah", "ant", "hopper", "walker2d", "humanoid", "humanoid_rllab")
UPDATES_OF_THE_PAPER = 3_000_000
SECONDS_PER_DAY = 86_400


def run(configs: Path, *, names: Sequence[str], updates: int, device: str, compiled: bool, seed: int, threads: int) -> list[Row]:
    """Two rows per file of ``configs``: the median of ``updates`` updates, and from it the days of the paper's training.

    Raises InvalidExperimentError for a file that is missing or wrong.
    """
    files = [configs / f"{name}.yaml" for name in names]
    seconds = {
        file.stem: in_fresh_process(time_settings, file, updates=updates, device=device, compiled=compiled, seed=seed, threads=threads)
        for file in track(files, "settings", transient=True)
    }
    days = {name: value * UPDATES_OF_THE_PAPER / SECONDS_PER_DAY for name, value in seconds.items()}
    return [
        *(row(name, [value], "s/update") for name, value in seconds.items()),
        *(row(f"{name}, {UPDATES_OF_THE_PAPER:,} updates", [value], "days") for name, value in days.items()),
    ]


def time_settings(file: Path, *, updates: int, device: str, compiled: bool, seed: int, threads: int) -> float:
    prepare_ours(seed, threads)
    experiment = load_experiment(file)
    if not isinstance(experiment, ControlExperiment):
        raise TypeError(f"{file} is no experiment in continuous control.")
    options: dict[str, Any] = experiment.config.env_config
    env = gym.make(experiment.env, **options)
    assert env.observation_space.shape and env.action_space.shape
    chosen = experiment.config.sac
    shapes = env.observation_space.shape[0], env.action_space.shape[0]
    sac = SAC.build(*shapes, replace(chosen, score=replace(chosen.score, compile=compiled)), seed=seed, device=device)
    batch = synthetic_batch(experiment.config.replay.batch_size, *shapes, device=device)
    return median_seconds(_to_its_end(partial(sac.update, batch), device), warmup=3, updates=updates)


def _to_its_end(update: Callable[[], object], device: str) -> Callable[[], None]:
    """A GPU returns before it has finished."""

    def timed() -> None:
        update()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    return timed
