"""Every grid point of every tune_configs/vae_*.yaml trains, measures and draws: ``--smoke`` tries the first of a file only."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ardae_rl.experiment.load import load_experiment
from ardae_rl.tasks.vae import data as data_module
from ardae_rl.tasks.vae.config import VAESettings
from ardae_rl.tasks.vae.task import VAETask

POINTS = [
    pytest.param(experiment.settings(point), id=f"{path.stem}-{'-'.join(str(value) for value in point.values())}")
    for path in sorted((Path(__file__).parents[2] / "tune_configs").glob("vae_*.yaml"))
    for experiment in [load_experiment(path)]
    for point in experiment.grid_points()
]


def grey(folder: str, validation: int = 5000) -> tuple[Tensor, ...]:
    """Training, validation and test images in the place of MNIST's: as many as a mini-batch, an evaluation and a picture take."""
    return torch.rand(64, 784), torch.rand(20, 784), torch.rand(50, 784)


def small(settings: VAESettings) -> VAESettings:
    """Two steps of a smoke run with narrow networks: as many layers, and every other setting, as the file has them."""
    settings = settings.smoke()
    network = dataclasses.replace(settings.network, width=16)
    score = dataclasses.replace(settings.score, width=16, whitener_width=16, samples_per_context=4)
    evaluation = dataclasses.replace(settings.evaluation, samples=8, images=4, test_samples=8, test_images=4)
    return dataclasses.replace(settings, batch_size=8, network=network, score=score, evaluation=evaluation, steps=2)


@pytest.mark.parametrize("settings", POINTS)
def test_a_grid_point_trains_measures_and_draws(settings: VAESettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_module, "_mnist", grey)
    task = VAETask(small(settings), seed=0)
    progress: dict[str, Any] = {}
    for _ in range(2):
        progress = task.step()
    assert all(math.isfinite(value) for value in progress.values()) and progress["skipped_steps"] == 0
    assert all(math.isfinite(value) for value in task.evaluate().values())
    for figure in task.figures().values():
        figure.canvas.draw()
