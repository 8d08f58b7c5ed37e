"""Pictures of samples beside the law they should have."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SHOWN = 4


def in_the_plane(x: np.ndarray, answer: np.ndarray) -> Figure:
    """The first two coordinates of the first repeats: samples (E, N, D) over draws of the answer."""
    figure, panels = _panels(len(x))
    for axes, ours, truth in zip(panels, x, answer, strict=False):
        axes.scatter(truth[:, 0], truth[:, 1], s=1, color="0.6", label="answer")
        axes.scatter(ours[:, 0], ours[:, 1], s=1, color="tab:blue", alpha=0.5, label="model")
        axes.set_aspect("equal", adjustable="datalim")
    panels[0].legend(frameon=False, markerscale=6)
    return figure


def against_quantiles(x: np.ndarray, answer: np.ndarray) -> Figure:
    """Sorted samples (E, N, 1) of the first repeats against sorted draws of the answer: on the diagonal where they agree."""
    figure, panels = _panels(len(x))
    for axes, ours, truth in zip(panels, x, answer, strict=False):
        axes.plot(np.sort(truth, 0), np.sort(ours, 0), ".", markersize=2)
        axes.axline((float(truth.mean()), float(truth.mean())), slope=1, color="k", linewidth=0.8, linestyle="--")
        axes.set(xlabel="answer", ylabel="model")
    return figure


def _panels(repeats: int) -> tuple[Figure, list[Axes]]:
    shown = min(SHOWN, repeats)
    figure = Figure(figsize=(3 * shown, 3), layout="constrained")
    return figure, list(figure.subplots(1, shown, squeeze=False)[0])
