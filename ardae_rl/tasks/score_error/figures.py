"""Pictures of an estimated score next to the true one, for laws on a line or in the plane."""

from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ardae_rl.tasks.score_error.laws import Law

ARROWS = 25
Field = Callable[[Tensor], Tensor]  # points (N, D) -> estimated scores (N, D)


def field_on_a_line(law: Law, field: Field, title: str) -> Figure:
    """Estimate and truth over the range of the samples."""
    samples = _samples(law)
    x = torch.linspace(float(samples.min()), float(samples.max()), 400).unsqueeze(1)
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="x", ylabel="score", title=title)
    axes.plot(x, law.score(x[None], None)[0], "k--", label="true")
    axes.plot(x, field(x), label="estimated")
    axes.legend(frameon=False)
    return figure


def field_in_the_plane(law: Law, field: Field, title: str) -> Figure:
    """Arrows of the estimated score over the samples; a cross marks their mean."""
    samples = _samples(law)
    low, high = samples.min(0).values, samples.max(0).values
    points = torch.cartesian_prod(*(torch.linspace(float(low[i]), float(high[i]), ARROWS) for i in range(2)))
    arrows = _shortened(field(points), 1.5 * float((high - low).min()) / ARROWS)
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.add_subplot(title=title, aspect="equal")
    axes.scatter(samples[:, 0], samples[:, 1], s=1, color="tab:blue", alpha=0.3)
    axes.quiver(*points.T, *arrows.T, angles="xy", scale_units="xy", scale=1, width=0.003)
    axes.plot(*samples.mean(0), "x", color="tab:red", markersize=10, markeredgewidth=2)
    return figure


def _samples(law: Law) -> Tensor:
    return law.draw(None, 2000, torch.Generator().manual_seed(0))[0]


def _shortened(field: Tensor, longest: float) -> Tensor:
    """Long arrows cut down smoothly, so that directions can be seen everywhere."""
    return field / (1 + field.norm(dim=-1, keepdim=True)) * longest
