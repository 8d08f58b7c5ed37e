"""The picture of a policy's actions shows each state's own, whatever the number of coordinates."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle

from ardae_rl.rllib.diagnostics import action_figure
from ardae_rl.run.event_file import png


def bars(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_one_coordinate_is_a_density_between_its_bounds() -> None:
    actions = np.stack([np.full((500, 1), -1.0), np.random.default_rng(0).uniform(-1, 1, (500, 1))])
    saturated, spread = action_figure(actions).axes
    heights = np.array([bar.get_height() for bar in bars(saturated)])
    assert heights.argmax() == 0 and np.count_nonzero(heights) == 1, "all at the lower bound"
    assert sum(bar.get_height() * bar.get_width() for bar in bars(spread)) == pytest.approx(1.0)


@pytest.mark.parametrize("dim", [2, 17])
def test_of_more_coordinates_it_is_the_first_two(dim: int) -> None:
    actions = np.zeros((3, 200, dim))
    actions[..., 0], actions[..., 1] = 0.99, -0.99
    figure = action_figure(actions)
    assert len(figure.axes) == 3 and png(figure).startswith(b"\x89PNG")
    mesh = next(child for child in figure.axes[0].get_children() if isinstance(child, QuadMesh))
    shades = np.asarray(mesh.get_array())  # rows are the second coordinate
    assert np.unravel_index(shades.argmax(), shades.shape) == (0, shades.shape[1] - 1) and shades.sum() == 200
