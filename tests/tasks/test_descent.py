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


def test_a_step_along_parts_is_the_step_along_their_sum() -> None:
    steps = []
    for parts in (1, 3):
        parameter = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        descent = Descent("test", torch.optim.Adam([parameter], lr=0.1))
        total = descent.step_along(part.square().sum() for part in parameter.tensor_split(parts))
        assert total.item() == pytest.approx(5.25) and not total.requires_grad and descent.steps == 1
        assert parameter.grad is not None
        steps.append((parameter.tolist(), parameter.grad.tolist()))
    assert steps[0] == steps[1]


def test_one_part_that_is_not_finite_spoils_the_step() -> None:
    parameter = nn.Parameter(torch.ones(2))
    descent = Descent("test", torch.optim.Adam([parameter], lr=0.1))
    descent.step_along(scale * parameter.sum() for scale in (1.0, float("nan"), 1.0))
    assert parameter.tolist() == [1.0, 1.0] and (descent.steps, descent.skipped) == (1, 1)
