"""Figures that the reports of tasks have in common."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

Groups = Callable[[pd.DataFrame], list[tuple[str, pd.DataFrame]]]


def against_steps_and_seconds(
    rows_of: list[tuple[str, pd.DataFrame]], groups: Groups, metric: str, *, steps: str, ylabel: str, level: float | None = None
) -> Figure:
    """A row of two panels for each of ``rows_of``, a curve (mean over seeds) for each group in it, and a dotted line at ``level``."""
    figure = Figure(figsize=(10, 3 * len(rows_of)), layout="constrained")
    panels = figure.subplots(len(rows_of), 2, squeeze=False, sharey="row")
    for (name, rows), (by_steps, by_seconds) in zip(rows_of, panels, strict=True):
        for label, members in groups(rows):
            curve = members.groupby("steps")[[metric, "seconds"]].mean()
            by_steps.plot(curve.index, curve[metric], ".-")
            by_seconds.plot(curve["seconds"], curve[metric], ".-", label=label)
        for axes in (by_steps, by_seconds) if level is not None else ():
            axes.axhline(level, color="k", linewidth=0.8, linestyle=":")
        by_steps.set(title=name, xlabel=steps, ylabel=ylabel, yscale="log")
        by_seconds.set(title=name, xlabel="seconds of training")
        if by_seconds.get_legend_handles_labels()[1]:
            legend_beside(by_seconds)
    return figure


def legend_beside(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def of_first_seed(pictures: pd.DataFrame) -> Path:
    return Path(pictures.loc[pictures["seed"].idxmin(), "path"])


def show(axes: Axes, picture: Path, title: str, fontsize: int) -> None:
    axes.imshow(imread(picture))
    axes.set_title(title, fontsize=fontsize)
