"""Gradients written out against autograd's, parameter by parameter, for every shape of network; and the estimators' in shares."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from ardae_rl.score import ARDAE, ardae, build_estimator, closed_form, denoising_loss
from ardae_rl.score.body import ScoreBody
from ardae_rl.score.networks import GaussianResidual, PotentialNet, in_closed_form
from ardae_rl.score.settings import FitSettings
from tests.spies import calls_of

pytestmark = pytest.mark.usefixtures("float64")

BATCH, SAMPLES, DIM, CONTEXT_DIM, WIDTH = 6, 4, 3, 5, 7


def make_network(context_dim: int, context_layers: int, input_layers: int, *, student_dof: float | None, bare: bool) -> Any:
    sizes = {"layers": 2, "context_layers": context_layers, "input_layers": input_layers, "width": WIDTH}
    net = PotentialNet(ScoreBody(DIM, context_dim, activation="elu", sigma_unit=0.3, **sizes), WIDTH)
    network = net if bare else GaussianResidual(net, student_dof)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


SHAPES = list(itertools.product((0, CONTEXT_DIM), (0, 1, 2), (0, 1, 2), ((None, True), (None, False), (3.0, False))))


@pytest.mark.parametrize(("context_dim", "context_layers", "input_layers", "base"), SHAPES)
def test_all_gradients_of_the_denoising_loss(
    context_dim: int, context_layers: int, input_layers: int, base: tuple[float | None, bool]
) -> None:
    network = make_network(context_dim, context_layers, input_layers, student_dof=base[0], bare=base[1])
    context = torch.randn(BATCH, context_dim) if context_dim else None
    x, sigma, u = torch.randn(BATCH, SAMPLES, DIM), torch.randn(BATCH, SAMPLES, 1), torch.randn(BATCH, SAMPLES, DIM)
    expected = denoising_loss(network, x.clone().requires_grad_(), context, sigma, u).mean()  # x that needs a gradient: not in closed form
    loss, found = closed_form.denoising_gradients(network, x, context, sigma, u)
    torch.testing.assert_close(loss, expected.detach())
    of = dict(found)
    for name, parameter in network.named_parameters():
        (gradient,) = torch.autograd.grad(expected, parameter, retain_graph=True, allow_unused=True)
        if name.endswith("out.bias"):
            assert gradient is None and parameter not in of, "the additive constant of the potential has none"
        else:
            torch.testing.assert_close(of[parameter], gradient, rtol=1e-9, atol=1e-12)


def estimator_with_weights(**options: Any) -> ARDAE:
    estimator = ARDAE(DIM, CONTEXT_DIM, layers=2, width=WIDTH, **options)
    with torch.no_grad():
        for parameter in estimator.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return estimator


def fixed(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("options", [{}, {"student_dof": 3.0}, {"antithetic": False, "sigmas_per_sample": 2}, {"form": "residual"}])
def test_shares_are_every_so_manyth_context_and_make_up_the_whole(options: dict[str, Any]) -> None:
    """With weights that stay as they are, the mean of the parts is the loss, and so are their gradients; closed or not."""
    estimator = estimator_with_weights(**options)
    x, context = torch.randn(BATCH, SAMPLES, DIM), torch.randn(BATCH, CONTEXT_DIM)
    frame, _ = estimator.learn_coordinates(x, context)
    ((whole, of_whole),) = estimator.gradients(x, context, frame, parts=1, normal=fixed)
    parameters = list(estimator.network.parameters())
    loss = estimator._standard_loss(x, context, frame, fixed)
    expected = torch.autograd.grad(loss, parameters, allow_unused=True)
    torch.testing.assert_close(whole, loss.detach())
    found = dict(of_whole)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(found.get(parameter), gradient)
    if in_closed_form(estimator.network):
        parts = [*estimator.gradients(x, context, frame, parts=3, normal=fixed)]
        torch.testing.assert_close(torch.stack([part for part, _ in parts]).mean(), whole)
        for i, (parameter, gradient) in enumerate(of_whole):
            assert all(each[i][0] is parameter for _, each in parts)
            torch.testing.assert_close(torch.stack([each[i][1] for _, each in parts]).mean(0), gradient)


@pytest.mark.parametrize("name", ["ardae", "adversarial", "sliced_score_matching"])
def test_every_estimator_fits_in_shares(name: str) -> None:
    """Each share is worked out with the weights that there are when it is asked for."""
    estimator = build_estimator(name, DIM, CONTEXT_DIM, FitSettings(width=WIDTH, samples_per_context=SAMPLES))
    x, context = torch.randn(BATCH, SAMPLES, DIM), torch.randn(BATCH, CONTEXT_DIM)
    frame, _ = estimator.learn_coordinates(x, context)
    (alone, _), *_ = estimator.gradients(x, context, frame, parts=2, normal=fixed)
    shares = estimator.gradients(x, context, frame, parts=2, normal=fixed)
    torch.testing.assert_close(next(shares)[0], alone)
    second = [*estimator.gradients(x, context, frame, parts=2, normal=fixed)][1][0]
    with torch.no_grad():
        for parameter in estimator.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert not torch.isclose(next(shares)[0], second)


@pytest.mark.parametrize("way", ["compile", "autocast", "vmap", "second order"])
def test_where_there_is_no_closed_form_autograd_does_it(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = estimator_with_weights().float()
    x, context = torch.randn(BATCH, SAMPLES, DIM).float(), torch.randn(BATCH, CONTEXT_DIM).float()
    frame, _ = estimator.learn_coordinates(x, context)
    used = calls_of(monkeypatch, closed_form, "gradient_of_potential")
    in_fits = calls_of(monkeypatch, ardae, "denoising_gradients")
    normal = lambda *shape: fixed(*shape).float()  # noqa: E731
    [*estimator.gradients(x, context, frame, parts=2, normal=normal)], estimator.network(x, context)
    assert (len(used), len(in_fits)) == (1, 2)
    if way == "compile":
        estimator.compile(backend="eager")
        [*estimator.gradients(x, context, frame, parts=2, normal=normal)]
    elif way == "autocast":
        estimator.autocast = True
        [*estimator.gradients(x, context, frame, parts=2, normal=normal)]
    elif way == "vmap":
        torch.vmap(lambda each: estimator.network(each, context))(torch.stack([x, x]))
    else:
        points = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(estimator.network(points, context).square().sum(), points, create_graph=True)
        torch.autograd.grad(first.sum(), list(estimator.network.parameters()), allow_unused=True)
    assert (len(used), len(in_fits)) == (1, 2)
