"""Pictures of an estimated score next to the true one, for laws on a line or in the plane."""

from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor

if TYPE_CHECKING:
    from ardae_rl.tasks.score_error.task import ScoreErrorTask

ARROWS = 25


def field_on_a_line(task: "ScoreErrorTask") -> Figure:
    """Estimate and truth over the range of the samples."""
    samples = _samples(task)
    x = torch.linspace(float(samples.min()), float(samples.max()), 400).unsqueeze(1)
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="x", ylabel="score", title=_title(task))
    axes.plot(x, task.law.score(x[None], None)[0], "k--", label="true")
    axes.plot(x, task.field(x), label="estimated")
    axes.legend(frameon=False)
    return figure


def field_in_the_plane(task: "ScoreErrorTask") -> Figure:
    """Arrows of the estimated score over the samples; a cross marks their mean."""
    samples = _samples(task)
    low, high = samples.min(0).values, samples.max(0).values
    axes_points = [torch.linspace(float(low[i]), float(high[i]), ARROWS) for i in range(2)]
    points = torch.cartesian_prod(*axes_points)
    field = _shortened(task.field(points), float((high - low).min()) / ARROWS)
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.add_subplot(title=_title(task), aspect="equal")
    axes.scatter(samples[:, 0], samples[:, 1], s=1, color="tab:blue", alpha=0.3)
    axes.quiver(*points.T, *field.T, angles="xy", scale_units="xy", scale=1, width=0.003)
    axes.plot(*samples.mean(0), "x", color="tab:red", markersize=10, markeredgewidth=2)
    return figure


def _samples(task: "ScoreErrorTask") -> Tensor:
    return task.law.draw(None, 2000, torch.Generator().manual_seed(0))[0]


def _shortened(field: Tensor, longest: float) -> Tensor:
    """Long arrows cut down smoothly, so that directions can be seen everywhere."""
    length = field.norm(dim=-1, keepdim=True)
    return field / (1 + length) * longest


def _title(task: "ScoreErrorTask") -> str:
    level = "" if task.settings.estimator == "ardae" else f", sigma = {task.sigmas[-1]:g}"
    return f"{task.settings.estimator} on {task.settings.law}{level}"
