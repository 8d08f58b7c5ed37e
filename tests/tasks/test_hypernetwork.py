"""The hypernetwork is a small network per noise level."""

import pytest
import torch
from torch.nn import functional

from ardae_rl.tasks.score_error.hypernetwork import HyperNetwork

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize(("dim", "width"), [(1, 4), (2, 5)])
def test_it_generates_exactly_the_parameters_of_the_network(dim: int, width: int) -> None:
    network = HyperNetwork(dim, width=width, hyper_width=8)
    generated = dim * width + width + width * width + width + width * dim + dim
    assert network.out.out_features == generated
    own = sum(parameter.numel() for parameter in network.parameters())
    assert own == (1 * 8 + 8) + (8 * 8 + 8) + (8 * generated + generated)
    assert network(torch.randn(2, 3, dim), None, torch.randn(2, 3, 1)).shape == (2, 3, dim)


@pytest.mark.parametrize("absolute", [False, True])
def test_every_sample_goes_through_the_weights_of_its_own_sigma(absolute: bool) -> None:
    network = HyperNetwork(2, width=4, hyper_width=8, absolute=absolute)
    torch.nn.init.normal_(network.out.weight)
    x, sigma = torch.randn(1, 6, 2), torch.randn(1, 6, 1)
    out = network(x, None, sigma)
    for i in range(6):
        level = sigma[0, i].abs() if absolute else sigma[0, i]
        parameters, h = network.out(network.hyper(10 * level)), x[0, i]
        for index, (inputs, outputs) in enumerate(network.sizes):
            weight, bias, parameters = parameters.split((inputs * outputs, outputs, len(parameters) - (inputs + 1) * outputs))
            h = weight.view(outputs, inputs) @ h + bias
            h = functional.softplus(h) if index < 2 else h
        torch.testing.assert_close(out[0, i], h)


def test_only_the_absolute_one_is_even_in_sigma() -> None:
    x, sigma = torch.randn(1, 6, 2), torch.full((1, 6, 1), 0.3)
    for absolute in (False, True):
        network = HyperNetwork(2, absolute=absolute)
        assert torch.equal(network(x, None, sigma), network(x, None, -sigma)) == absolute


def test_no_sigma_is_sigma_zero() -> None:
    network, x = HyperNetwork(2), torch.randn(1, 6, 2)
    assert torch.equal(network(x, None), network(x, None, torch.zeros(1, 6, 1)))


def test_it_starts_as_a_network_with_the_usual_weights() -> None:
    """Uniform in +-1 / sqrt(fan-in), of each layer: mean 0 and a variance of a third of that bound squared, with four standard errors."""
    network, start = HyperNetwork(9, width=100), 0
    for inputs, outputs in network.sizes:
        count, bound = inputs * outputs + outputs, inputs**-0.5
        drawn = network.out.bias.detach()[start : start + count] / bound
        start += count
        assert drawn.abs().max() <= 1
        assert abs(drawn.mean()) < 4 / (3 * count) ** 0.5
        assert abs(drawn.square().mean() - 1 / 3) < 4 * (4 / 45 / count) ** 0.5
