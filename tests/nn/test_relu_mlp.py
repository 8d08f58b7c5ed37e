"""The hand-written backward sweep of the ReLU network is autograd's."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.nn.relu_mlp import ReluMLP

SIZES = [(3, 2), (3, 5, 2), (4, 8, 8, 1), (23, 64, 64, 1), (17, 256, 256, 12)]


def plain(network: ReluMLP, x: Tensor) -> Tensor:
    """The same network by autograd."""
    *hidden, last = network.layers
    for layer in hidden:
        x = functional.relu(layer(x))
    return last(x)


def gradients(out: Tensor, network: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    seed = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    return torch.autograd.grad(out, (x, *network.parameters()), seed)


@pytest.mark.parametrize("sizes", SIZES)
def test_values_and_gradients_are_those_of_autograd(sizes: tuple[int, ...]) -> None:
    network = ReluMLP(*sizes).double()
    x = torch.randn(33, sizes[0], dtype=torch.float64, requires_grad=True)
    ours, theirs = network(x), plain(network, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(ours, network, x), gradients(theirs, network, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_float32_at_sizes_that_take_the_fast_product(sizes: tuple[int, ...]) -> None:
    network = ReluMLP(*sizes)
    exact = ReluMLP(*sizes).double()
    exact.load_state_dict(network.state_dict())
    x = torch.randn(256, sizes[0], requires_grad=True)
    exact_x = x.detach().double().requires_grad_()
    for a, b in zip(gradients(network(x), network, x), gradients(plain(exact, exact_x), exact, exact_x), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_fixed_sends_gradients_to_the_input_only() -> None:
    network = ReluMLP(3, 8, 1).double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    network(x, fixed=True).sum().backward()
    assert all(parameter.grad is None for parameter in network.parameters())
    (expected,) = torch.autograd.grad(plain(network, x).sum(), x)
    torch.testing.assert_close(x.grad, expected, rtol=1e-12, atol=1e-12)


def test_an_input_without_gradient_still_trains_the_parameters() -> None:
    network = ReluMLP(3, 8, 1).double()
    network(torch.randn(5, 3, dtype=torch.float64)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_second_derivative_is_refused_not_wrong() -> None:
    network = ReluMLP(3, 8, 1).double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
