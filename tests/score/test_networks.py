"""The closed-form gradient against autograd, the shared context layer against a naive twin, and initialisation."""

import itertools
import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.nn.activations import ACTIVATIONS, smooth
from ardae_rl.score import denoising_loss
from ardae_rl.score.body import ScoreBody
from ardae_rl.score.networks import PotentialNet, ResidualNet

pytestmark = pytest.mark.usefixtures("float64")

BATCH, SAMPLES, DIM, CONTEXT_DIM, WIDTH = 3, 5, 2, 4, 7
Inputs = tuple[Tensor, Tensor | None, Tensor | None]


def make_body(
    activation: str = "elu", *, input_layers: int = 1, context_dim: int = CONTEXT_DIM, context_layers: int = 1, width: int = WIDTH
) -> ScoreBody:
    return ScoreBody(
        DIM, context_dim, layers=3, context_layers=context_layers, input_layers=input_layers, width=width, activation=activation
    )


def make_inputs(*, context_dim: int, with_sigma: bool) -> Inputs:
    context = torch.randn(BATCH, context_dim) if context_dim else None
    return torch.randn(BATCH, SAMPLES, DIM), context, torch.randn(BATCH, SAMPLES, 1) if with_sigma else None


class DoubleBackpropagation(nn.Module):
    """The slow twin: the same potential differentiated by autograd."""

    def __init__(self, net: PotentialNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, context: Tensor | None, sigma: Tensor | None = None) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.net.potential(x, context, sigma).sum(), x, create_graph=True)[0]


EVERY_SHAPE = pytest.mark.parametrize(
    ("activation", "input_layers", "context_dim", "with_sigma"),
    list(itertools.product(ACTIVATIONS, (0, 1, 3), (0, CONTEXT_DIM), (False, True))),
)


@EVERY_SHAPE
def test_closed_form_is_the_gradient_of_the_potential(activation: str, input_layers: int, context_dim: int, with_sigma: bool) -> None:
    net = PotentialNet(make_body(activation, input_layers=input_layers, context_dim=context_dim), WIDTH)
    inputs = make_inputs(context_dim=context_dim, with_sigma=with_sigma)
    torch.testing.assert_close(net(*inputs), DoubleBackpropagation(net)(*inputs), rtol=1e-12, atol=1e-12)


def parameter_gradients(net: nn.Module, score: nn.Module, inputs: Inputs, u: Tensor) -> list[Tensor]:
    x, context, sigma = inputs
    assert sigma is not None
    loss = denoising_loss(score, x, context, sigma, u).mean()
    return list(torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize(("activation", "input_layers", "context_dim"), list(itertools.product(ACTIVATIONS, (0, 1, 3), (0, CONTEXT_DIM))))
def test_training_gradients_are_those_of_double_back_propagation(activation: str, input_layers: int, context_dim: int) -> None:
    net = PotentialNet(make_body(activation, input_layers=input_layers, context_dim=context_dim), WIDTH)
    inputs, u = make_inputs(context_dim=context_dim, with_sigma=True), torch.randn(BATCH, SAMPLES, DIM)
    closed = parameter_gradients(net, net, inputs, u)
    double = parameter_gradients(net, DoubleBackpropagation(net), inputs, u)
    torch.testing.assert_close(closed, double, rtol=1e-10, atol=1e-12)
    assert sum(bool(grad.any()) for grad in closed) == len(closed) - 1  # all but the additive constant of the potential


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_is_the_derivative_of_the_activation_far_out_too(activation: str) -> None:
    function, slope, _, _ = smooth(activation)
    z = torch.linspace(-40, 40, 801).requires_grad_()
    h = function(z)
    torch.testing.assert_close(slope(z, h), torch.autograd.grad(h.sum(), z)[0], rtol=1e-12, atol=1e-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_have_the_derivatives_that_training_and_a_second_order_need(activation: str) -> None:
    """First and second, against finite differences: through z and through h = act(z), away from the corner of ELU's slope at 0."""
    function, slope, _, _ = smooth(activation)
    z = torch.linspace(-6, 6, 24, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: slope(z, function(z)), z)
    assert torch.autograd.gradgradcheck(lambda z: slope(z, function(z)), z)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_in_one_call_and_curvatures_are_those_of_the_slope(activation: str) -> None:
    function, slope, times_slope, curvature = smooth(activation)
    z, g = torch.linspace(-40, 40, 802).requires_grad_(), torch.randn(802)
    h = function(z)
    torch.testing.assert_close(times_slope(g, z, h), g * slope(z, h), rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(curvature(z, h), torch.autograd.grad(slope(z, h).sum(), z)[0], rtol=1e-10, atol=1e-8)


def dense(layers: nn.ModuleList) -> list[nn.Linear]:
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def naive(net: PotentialNet | ResidualNet, x: Tensor, context: Tensor | None, sigma: Tensor | None) -> Tensor:
    """Repeat the context for every sample and concatenate [context, x, sigma] into one first layer; outputs of ``net.out``."""
    body = net.body
    features = x
    for layer in dense(body.input_encoder):
        features = body.act.function(features @ layer.weight.t() + layer.bias)
    parts, weights = (
        [features, torch.zeros((*x.shape[:2], 1)) if sigma is None else sigma],
        [body.from_input.weight, body.from_sigma[:, None]],
    )
    if context is not None:
        repeated = context[:, None].expand(-1, x.shape[1], -1)
        for layer in dense(body.context_encoder):
            repeated = body.act.function(repeated @ layer.weight.t() + layer.bias)
        assert body.from_context is not None
        parts, weights = [repeated, *parts], [body.from_context.weight, *weights]
    h = body.act.function(torch.cat(parts, -1) @ torch.cat(weights, 1).t() + body.bias)
    for layer in dense(body.joint):
        h = body.act.function(h @ layer.weight.t() + layer.bias)
    return h @ net.out.weight.t() + net.out.bias


@pytest.mark.parametrize(
    ("form", "input_layers", "context_dim", "context_layers", "with_sigma"),
    list(itertools.product(("gradient", "residual"), (0, 2), (0, CONTEXT_DIM), (0, 1, 3), (False, True))),
)
def test_one_context_pass_equals_repeating_the_context(
    form: Literal["gradient", "residual"], input_layers: int, context_dim: int, context_layers: int, with_sigma: bool
) -> None:
    body = make_body(input_layers=input_layers, context_dim=context_dim, context_layers=context_layers)
    inputs = make_inputs(context_dim=context_dim, with_sigma=with_sigma)
    net = PotentialNet(body, WIDTH) if form == "gradient" else ResidualNet(body, WIDTH, DIM)
    out = net.potential(*inputs)[..., None] if isinstance(net, PotentialNet) else net(*inputs)
    torch.testing.assert_close(out, naive(net, *inputs), rtol=1e-12, atol=1e-12)


def test_layer_counts_are_hidden_layers() -> None:
    body = make_body(input_layers=2, context_layers=4)
    assert [tuple(layer.weight.shape) for layer in dense(body.input_encoder)] == [(WIDTH, DIM), (WIDTH, WIDTH)]
    assert [tuple(layer.weight.shape) for layer in dense(body.context_encoder)] == [(WIDTH, CONTEXT_DIM)] + 3 * [(WIDTH, WIDTH)]
    assert [tuple(layer.weight.shape) for layer in dense(body.joint)] == 2 * [
        (WIDTH, WIDTH)
    ]  # of 3: the first is from_input + from_context


def test_first_joint_layer_starts_like_one_linear_layer() -> None:
    """U(-b, b) with b = 1 / sqrt(fan-in of the concatenation), whose variance is b^2 / 3 and fourth moment b^4 / 5."""
    body = make_body(width=600)
    assert body.from_context is not None
    bound = 1 / math.sqrt(600 + 600 + 1)
    for part in (body.from_input.weight, body.from_context.weight, body.from_sigma, body.bias):
        assert part.abs().max() <= bound
        standard_error = bound**2 * math.sqrt((1 / 5 - 1 / 9) / part.numel())
        assert abs(part.square().mean() - bound**2 / 3) < 4 * standard_error


def test_last_layer_of_the_potential_starts_small() -> None:
    """U(-1, 1) / sqrt(width): with N(0, 1) the first scores are too large by far to unlearn in a short run."""
    width = 20_000
    weight = PotentialNet(make_body(), width).out.weight
    assert weight.abs().max() <= 1 / math.sqrt(width)
    assert abs(3 * width * weight.square().mean() - 1) < 4 * math.sqrt(0.8 / width)  # var U^2 = 4/45, relative to the mean square 1/3


def test_kinked_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of elu, softplus, tanh, silu .*got 'relu'"):
        make_body("relu")
