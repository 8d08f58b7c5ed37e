"""The implicit sampler without a context: the paper's shapes, the function they make, and what it refuses."""

import pytest
import torch
from torch.nn import functional

from ardae_rl.nn.activations import ACTIVATIONS
from ardae_rl.samplers import ImplicitSampler

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("activation", ["relu", *ACTIVATIONS])
def test_it_is_the_network_written_out(activation: str) -> None:
    sampler = ImplicitSampler(0, 2, noise_dim=5, width=7, head_layers=2, activation=activation)
    noise = torch.randn(11, 5)
    h = noise
    for layer in (sampler.from_noise, *sampler.head):
        h = getattr(functional, activation)(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(sampler.draw(None, noise), h @ sampler.out.weight.T + sampler.out.bias)


def test_layers_and_widths_are_those_of_appendix_e() -> None:
    shapes = [tuple(parameter.shape) for parameter in ImplicitSampler(0, 2, head_layers=3).parameters() if parameter.dim() == 2]
    assert shapes == [(256, 10), (256, 256), (256, 256), (2, 256)]


def test_noise_thinner_than_the_sample_and_unknown_activations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"noise_dim must be at least the dimension 3 of a sample, got 2: .*Raise noise_dim"):
        ImplicitSampler(0, 3, noise_dim=2)
    with pytest.raises(ValueError, match=r"activation must be one of .* got 'step'"):
        ImplicitSampler(0, 3, noise_dim=3, activation="step")


def test_output_weights_start_standard_normal() -> None:
    weight = ImplicitSampler(0, 64, noise_dim=64, width=512, initialisation="released").out.weight
    assert abs(weight.mean()) < 4 / weight.numel() ** 0.5
    assert abs(weight.square().mean() - 1) < 4 * (2 / weight.numel()) ** 0.5
