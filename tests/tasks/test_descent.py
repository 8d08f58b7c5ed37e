"""Steps that would spoil the parameters are skipped."""

import pytest
import torch
from torch import nn

from ardae_rl.tasks.descent import Descent


def test_a_finite_loss_with_a_gradient_that_is_not_moves_nothing_and_is_counted() -> None:
    """sqrt(x) is 0 at x = 0, and infinitely steep."""
    parameter = nn.Parameter(torch.tensor([0.0, 1.0]))
    descent = Descent("test", torch.optim.Adam([parameter], lr=0.1))
    descent.step(parameter.sqrt().sum())
    assert parameter.tolist() == [0.0, 1.0] and (descent.steps, descent.skipped) == (1, 1)
    descent.step(parameter.sum())
    assert parameter.tolist() == pytest.approx([-0.1, 0.9]) and (descent.skipped, descent.skipped_in_a_row) == (1, 0)
