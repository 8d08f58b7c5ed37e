"""What a policy does in a few states, as a picture for TensorBoard: one mode or several, saturated or not."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STATES, SAMPLES = 4, 2000
_BINS = 40
_LIMITS = (-1.0, 1.0)


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
