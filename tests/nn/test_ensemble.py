"""An ensemble of E members is E separate modules: values, gradients, optimiser steps. Double precision."""

import copy
import doctest
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import zuko
from torch import Tensor, nn

import ardae_rl.nn.linear
from ardae_rl.nn import ensemble
from ardae_rl.nn.ensemble import Ensemble
from ardae_rl.nn.linear import linear
from ardae_rl.samplers import ImplicitSampler
from ardae_rl.score import ARDAE, ReconstructionDAE, ResidualDAE, ScoreEstimator

E, N, D, C = 3, 5, 2, 4
SMALL: dict[str, Any] = {"width": 8, "layers": 2}

pytestmark = pytest.mark.usefixtures("float64")


def from_list(noise: Tensor) -> Callable[..., Tensor]:
    """The noise of one ``losses`` call, taken from one long vector in turn."""
    position = 0

    def draw(*shape: int) -> Tensor:
        nonlocal position
        count = torch.Size(shape).numel()
        position += count
        return noise[position - count : position].view(shape)

    return draw


def separately(members: list[Any], function: Callable[..., Any], *stacked: Tensor) -> list[Any]:
    return [function(member, *(each[i] for each in stacked)) for i, member in enumerate(members)]


def assert_same(members: list[Any], function: Callable[..., Tensor], *stacked: Tensor) -> None:
    """Values, gradients in every parameter, gradients in every argument."""
    together = Ensemble(members)
    inputs = [each.clone().requires_grad_() for each in stacked]
    expected_inputs = [each.clone().requires_grad_() for each in stacked]
    result = together.map(function, *inputs)
    expected = torch.stack(separately(members, function, *expected_inputs))
    torch.testing.assert_close(result, expected)
    weights = torch.randn_like(expected)
    for values in (result, expected):
        (values * weights).sum().backward()
    assert any(gradient(parameter).any() for parameter in together.parameters())
    for given, wanted in zip(inputs, expected_inputs, strict=True):
        torch.testing.assert_close(gradient(given), gradient(wanted))
    for name, parameter in together.stacked.named_parameters():
        torch.testing.assert_close(gradient(parameter), torch.stack([gradient(member.get_parameter(name)) for member in members]))


def gradient(parameter: Tensor) -> Tensor:
    """Zero for what was not used."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


ESTIMATORS: dict[str, Callable[[], ScoreEstimator]] = {
    "potential, per_context": lambda: ARDAE(D, form="gradient", standardisation="per_context", sigmas_per_sample=2, **SMALL),
    "residual, fixed": lambda: ARDAE(D, form="residual", standardisation="fixed", scale=2.0, **SMALL),
    "residual, samples": lambda: ARDAE(D, form="residual", standardisation="samples", **SMALL),
    "potential, amortised, context": lambda: ARDAE(D, C, whitener_width=8, **SMALL),
    "resDAE": lambda: ResidualDAE(D, sigma=0.3, **SMALL),
    "regDAE": lambda: ReconstructionDAE(D, sigma=0.3, **SMALL),
}


@pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS.keys())
def test_losses_and_scores_of_every_estimator_are_those_of_its_members(make: Callable[[], ScoreEstimator]) -> None:
    members = [make().eval() for _ in range(E)]  # nothing remembered, which would be one for all members
    for member in members:  # away from networks and whitenings that start at zero
        for parameter in member.parameters():
            nn.init.normal_(parameter, std=0.3)
    context_dim = members[0].context_dim
    x = torch.randn(E, C, N, D) if context_dim else torch.randn(E, N, D)
    context = [torch.randn(E, C, context_dim)] if context_dim else []
    noise = torch.randn(E, 1000)

    def loss(estimator: ScoreEstimator, x: Tensor, noise: Tensor, *context: Tensor) -> Tensor:
        return torch.stack(list(estimator.losses(x, *context, normal=from_list(noise)).values())).sum()

    def score(estimator: ScoreEstimator, x: Tensor, *context: Tensor) -> Tensor:
        return estimator.score(x, *context, frame=estimator.frame(x.detach(), context=context[0] if context else None))

    assert_same(members, loss, x, noise, *context)
    for member in members:
        member.zero_grad()
    assert_same(members, score, x, *context)


def test_samplers_are_members_too() -> None:
    samplers = [ImplicitSampler(C, D, noise_dim=3, width=8) for _ in range(E)]
    assert_same(samplers, lambda sampler, context, noise: sampler.draw(context, noise), torch.randn(E, 2, C), torch.randn(E, 2, N, 3))


def test_flows_are_members_too_and_share_their_masks() -> None:
    flows = [zuko.flows.MAF(D, transforms=2, hidden_features=(8,), activation=nn.ELU) for _ in range(E)]

    def values(flow: zuko.flows.MAF, z: Tensor) -> Tensor:
        return torch.cat([each.view(N, -1) for each in flow.transform().call_and_ladj(z)], -1)

    assert_same(flows, values, torch.randn(E, N, D))
    masks = [buffer for name, buffer in Ensemble(flows).named_buffers() if name.endswith("mask")]
    assert [mask.dim() for mask in masks] == [2] * 4


def test_several_results_come_back_in_their_structure() -> None:
    values = Ensemble([nn.Linear(D, 1) for _ in range(E)]).map(lambda m, x: {"y": m(x), "pair": (x.sum(), m.bias)}, torch.randn(E, N, D))
    assert values["y"].shape == (E, N, 1) and [each.shape for each in values["pair"]] == [(E,), (E, 1)]


def test_a_step_on_the_sum_of_losses_is_a_step_of_every_member() -> None:
    """Ten steps of Adam, whose state is as separate as the members'."""
    members = [nn.Sequential(nn.Linear(D, 8), nn.ELU(), nn.Linear(8, 1)) for _ in range(E)]
    together = Ensemble(members)
    optimisers = [torch.optim.Adam(each.parameters(), lr=0.01) for each in (together, *members)]
    for _ in range(10):
        x = torch.randn(E, N, D)
        losses = [together.map(lambda m, x: m(x).square().mean(), x).sum(), *(m(x[i]).square().mean() for i, m in enumerate(members))]
        for optimiser, loss in zip(optimisers, losses, strict=True):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for name, parameter in together.stacked.named_parameters():
        torch.testing.assert_close(parameter.detach(), torch.stack([member.get_parameter(name).detach() for member in members]))


@pytest.fixture
def float32() -> Iterator[None]:
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(torch.float64)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_products_large_enough_for_onednn_are_mapped_like_small_ones(float32: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ardae_rl.nn.linear, "_PREFER_ONEDNN", True)
    x, weight, bias = torch.randn(2, 512, 64), torch.randn(2, 64, 64, requires_grad=True), torch.randn(2, 64)
    for biases, in_dims in ((bias, (0, 0, 0)), (None, (0, 0, None))):
        expected = torch.stack([linear(x[i], weight[i], None if biases is None else biases[i]) for i in range(2)])
        result = torch.vmap(linear, in_dims)(x, weight, biases)
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
        grads = [torch.autograd.grad(each.square().sum(), weight)[0] for each in (result, expected)]
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-2)


def test_what_is_drawn_inside_differs_between_members() -> None:
    draws = Ensemble([nn.Linear(1, 1) for _ in range(E)]).map(lambda m: torch.randn(4) + 0 * m.bias)
    assert len(draws.unique()) == E * 4


def test_the_members_are_copied_and_their_state_is_stacked() -> None:
    members = [nn.Linear(D, 1) for _ in range(E)]
    together = Ensemble(members)
    assert together.size == E
    assert {name: value.shape for name, value in together.state_dict().items()} == {"stacked.weight": (E, 1, D), "stacked.bias": (E, 1)}
    before = copy.deepcopy(together.state_dict())
    nn.init.zeros_(members[0].weight)
    assert torch.equal(together.state_dict()["stacked.weight"], before["stacked.weight"])
    other = Ensemble([nn.Linear(D, 1) for _ in range(E)])
    other.load_state_dict(before)
    x = torch.randn(E, N, D)
    assert torch.equal(other.map(lambda m, x: m(x), x), together.map(lambda m, x: m(x), x))


class Shifted(nn.Module):
    def __init__(self, shift: float) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(shift))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "members must be one or more modules, got none"),
        ([nn.Linear(1, 1), nn.Linear(2, 1)], r"the same parameters, but those of number 1 and number 0 differ in name or shape"),
        ([Shifted(0.0), Shifted(0.0), Shifted(1.0)], "share their buffers, but 'shift' of number 2 and number 0 differ"),
    ],
)
def test_members_that_do_not_stack_are_refused(members: list[nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ensemble(members)


def test_the_example_in_the_docstring_runs() -> None:
    result = doctest.testmod(ensemble)
    assert (result.failed, result.attempted > 0) == (0, True)
