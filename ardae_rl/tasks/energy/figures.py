"""Pictures of samples in the plane."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

SAMPLES = 1_000_000
PIXELS = 256


def pictures(samples: Tensor, exact: Tensor) -> dict[str, Figure]:
    """Two-dimensional histograms of the two sets (N, 2), in the same window and colours: one pixel per bin, no axes.

    The window holds all but a ten-thousandth of the exact samples on each side; the brightest colour is the target's densest bin.
    """
    low, high = np.quantile(exact.numpy(), (1e-4, 1 - 1e-4), axis=0)
    middle, half = (low + high) / 2, 0.55 * (high - low).max()
    edges = [np.linspace(centre - half, centre + half, PIXELS + 1) for centre in middle]
    counts = {"samples": _counts(samples, edges), "target": _counts(exact, edges)}
    return {name: _picture(grid, brightest=counts["target"].max()) for name, grid in counts.items()}


def _counts(points: Tensor, edges: list[np.ndarray]) -> np.ndarray:
    return np.histogram2d(points[:, 0].numpy(), points[:, 1].numpy(), bins=edges)[0]


def _picture(counts: np.ndarray, brightest: float) -> Figure:
    figure = Figure(figsize=(PIXELS / 100, PIXELS / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(counts.T, origin="lower", cmap="magma", vmin=0, vmax=brightest, interpolation="nearest", aspect="auto")
    return figure
