"""Steps that would spoil the parameters are skipped, of a member of an ensemble alone; the others are the optimiser's own."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from ardae_rl.nn.optimiser import GuardedOptimiser, NonFiniteError


def guarded(parameter: nn.Parameter, **options: object) -> GuardedOptimiser:
    return GuardedOptimiser("test", torch.optim.Adam([parameter], lr=0.1, fused=True), **options)  # type: ignore[arg-type]


def test_a_finite_loss_with_a_gradient_that_is_not_moves_nothing_and_is_counted() -> None:
    """sqrt(x) is 0 at x = 0, and infinitely steep."""
    parameter = nn.Parameter(torch.tensor([0.0, 1.0]))
    optimiser = guarded(parameter)
    optimiser.step(parameter.sqrt().sum())
    assert parameter.tolist() == [0.0, 1.0] and (optimiser.steps, optimiser.skipped) == (1, 1)
    optimiser.step(parameter.sum())
    assert parameter.tolist() == pytest.approx([-0.1, 0.9]) and (optimiser.steps, optimiser.skipped) == (2, 1)


def test_a_step_along_parts_is_the_step_along_their_sum() -> None:
    steps = []
    for parts in (1, 3):
        parameter = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        optimiser = guarded(parameter)
        total = optimiser.step(part.square().sum() for part in parameter.tensor_split(parts))
        assert total.item() == pytest.approx(5.25) and not total.requires_grad and optimiser.steps == 1
        assert parameter.grad is not None
        steps.append((parameter.tolist(), parameter.grad.tolist()))
    assert steps[0] == steps[1]


def test_one_part_that_is_not_finite_spoils_the_step() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimiser = guarded(parameter)
    optimiser.step(scale * parameter.sum() for scale in (1.0, float("nan"), 1.0))
    assert parameter.tolist() == [1.0, 1.0] and (optimiser.steps, optimiser.skipped) == (1, 1)


def test_gradients_that_lie_transposed_in_memory_are_the_gradients_they_are() -> None:
    """Fused optimisers on a CPU read a gradient in the order of memory: a transposed one would move the wrong entries."""
    wanted = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]])
    parameter = nn.Parameter(torch.zeros(3, 2))
    (gradient,) = torch.autograd.grad((parameter.t() * wanted.t().contiguous()).sum(), parameter)
    assert gradient.stride() != parameter.stride()
    guarded(parameter).step((parameter.t() * wanted.t().contiguous()).sum())
    torch.testing.assert_close(parameter.detach(), -0.1 * wanted)


def test_what_the_loss_does_not_reach_stays() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    GuardedOptimiser("test", torch.optim.Adam([used, unused], lr=0.1)).step(used.sum())
    assert unused.tolist() == [1.0, 1.0] and used.tolist() == pytest.approx([0.9, 0.9])


def test_loss_and_gradient_are_averaged_before_they_are_looked_at() -> None:
    """A learner whose own numbers are fine skips with the others; the loss it returns is everyone's."""
    parameter = nn.Parameter(torch.ones(2))
    seen: list[list[Tensor]] = []

    def poison(tensors: list[Tensor]) -> None:
        seen.append([tensor.clone() for tensor in tensors])
        for tensor in tensors:
            tensor.fill_(math.nan)

    optimiser = guarded(parameter, average=poison)
    assert optimiser.step(3 * parameter.sum()).isnan()
    assert [tensor.tolist() for tensor in seen[0]] == [6.0, [3.0, 3.0]]
    assert parameter.tolist() == [1.0, 1.0] and optimiser.skipped == 1


def test_too_many_in_a_row_are_an_error_that_says_which_and_when() -> None:
    parameter = nn.Parameter(torch.ones(1))
    optimiser = guarded(parameter, patience=3)
    for factor in (1.0, math.nan, math.nan, 1.0, math.inf, math.nan):  # the fourth starts the count again
        optimiser.step(factor * parameter.sum())
    with pytest.raises(NonFiniteError, match=r"the test loss or its gradient was not finite 3 times in a row, last finite at its step 4:"):
        optimiser.step(math.nan * parameter.sum())


def three_members(lr: float = 0.1) -> tuple[nn.Parameter, GuardedOptimiser]:
    parameter = nn.Parameter(torch.arange(6.0).view(3, 2) + 1)
    return parameter, GuardedOptimiser("test", torch.optim.Adam([parameter], lr=lr, fused=True), members=3, patience=3)


def test_a_member_that_is_not_finite_stands_alone_while_the_others_go_on() -> None:
    """Not even the momentum of earlier steps moves it, nor is its own moved by what it skips."""
    (spoilt, guard), (clean, other) = three_members(), three_members()
    for factors in ([1.0, 1.0, 1.0], [1.0, math.nan, 1.0]):
        guard.step((spoilt.square().sum(1)) * torch.tensor(factors))
    other.step(clean.square().sum(1))
    kept, moments = clean[1].clone(), copy.deepcopy(other.optimiser.state[clean])
    other.step(clean.square().sum(1))
    assert torch.equal(spoilt[[0, 2]], clean[[0, 2]]) and torch.equal(spoilt[1], kept)
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(guard.optimiser.state[spoilt][name][1], moments[name][1])
    assert guard.skipped == 1
    with pytest.raises(
        NonFiniteError, match=r"the test loss of repeat 1 or its gradient was not finite 3 times in a row, last finite at its step 1"
    ):
        for _ in range(2):
            guard.step((spoilt.square().sum(1)) * torch.tensor([1.0, math.nan, 1.0]))


def test_the_gradient_of_one_member_counts_as_much_as_its_loss() -> None:
    parameter = nn.Parameter(torch.tensor([[1.0], [0.0]]))
    guard = GuardedOptimiser("test", torch.optim.Adam([parameter], lr=0.1), members=2)
    guard.step(parameter.sqrt().sum(1))
    assert parameter[1].item() == 0 and parameter[0].item() == pytest.approx(0.9) and guard.skipped == 1


def test_where_all_members_are_lost_nothing_moves() -> None:
    parameter, guard = three_members()
    before = parameter.detach().clone()
    guard.step(parameter.sum(1) * math.nan)
    assert torch.equal(parameter, before) and guard.skipped == 3


def test_the_schedule_moves_with_every_step_and_all_of_it_is_saved() -> None:
    def fresh() -> tuple[nn.Parameter, GuardedOptimiser]:
        parameter = nn.Parameter(torch.ones(2))
        return parameter, guarded(parameter, schedule=lambda adam: StepLR(adam, 2, gamma=0.5))

    parameter, guard = fresh()
    for factor in (1.0, math.nan, 1.0):
        guard.step(factor * parameter.square().sum())
    assert guard.decay == 0.5
    again, resumed = fresh()
    with torch.no_grad():
        again.copy_(parameter)
    resumed.load_state_dict(copy.deepcopy(guard.state_dict()))
    assert (resumed.steps, resumed.skipped, resumed.decay) == (3, 1, 0.5)
    for each, weights in ((guard, parameter), (resumed, again)):
        each.step(weights.square().sum()), each.step(weights.square().sum())
    assert torch.equal(parameter, again) and guard.decay == resumed.decay == 0.25
