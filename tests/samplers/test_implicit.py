"""The implicit policy: shapes of Table 7, one state pass for many samples, initialisation."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.samplers import ImplicitSampler
from ardae_rl.samplers.implicit import Initialisation

pytestmark = pytest.mark.usefixtures("float64")


def make(encoder_layers: int = 1, head_layers: int = 1, width: int = 16, noise_dim: int = 5) -> ImplicitSampler:
    return ImplicitSampler(3, 2, noise_dim=noise_dim, encoder_layers=encoder_layers, head_layers=head_layers, width=width)


def dense(layers: nn.ModuleList) -> list[nn.Linear]:
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def naive(sampler: ImplicitSampler, context: Tensor, noise: Tensor) -> Tensor:
    """Encode the state again for every sample and concatenate [encoder(c), eps] into one first head layer."""
    h = context[:, None].expand(-1, noise.shape[1], -1)
    for layer in dense(sampler.encoder):
        h = functional.elu(h @ layer.weight.t() + layer.bias)
    first = torch.cat([sampler.from_context.weight, sampler.from_noise.weight], 1)
    h = functional.elu(torch.cat([h, noise], -1) @ first.t() + sampler.from_context.bias)
    for layer in dense(sampler.head):
        h = functional.elu(h @ layer.weight.t() + layer.bias)
    return h @ sampler.out.weight.t() + sampler.out.bias


@pytest.mark.parametrize("head_layers", [1, 3])
@pytest.mark.parametrize("encoder_layers", [1, 2])
def test_one_state_pass_equals_encoding_the_state_per_sample(encoder_layers: int, head_layers: int) -> None:
    sampler, context, noise = make(encoder_layers, head_layers), torch.randn(4, 3), torch.randn(4, 6, 5)
    ours, twin = sampler.draw(context, noise), naive(sampler, context, noise)
    torch.testing.assert_close(ours, twin)
    parameters = list(sampler.parameters())
    seed = torch.randn(4, 6, 2)
    torch.testing.assert_close(torch.autograd.grad(ours, parameters, seed), torch.autograd.grad(twin, parameters, seed))


@pytest.mark.parametrize(("encoder_layers", "head_layers", "width", "noise_dim"), [(1, 1, 256, 10), (3, 2, 64, 32)])
def test_layers_and_widths_are_those_of_table_7(encoder_layers: int, head_layers: int, width: int, noise_dim: int) -> None:
    """HalfCheetah and Humanoid: m_enc hidden encoder layers, m_fc hidden head layers, one linear output."""
    sampler = make(encoder_layers, head_layers, width, noise_dim)
    assert [tuple(layer.weight.shape) for layer in dense(sampler.encoder)] == [(width, 3)] + [(width, width)] * (encoder_layers - 1)
    assert tuple(sampler.from_context.weight.shape) == (width, width)
    assert tuple(sampler.from_noise.weight.shape) == (width, noise_dim)
    assert [tuple(layer.weight.shape) for layer in dense(sampler.head)] == [(width, width)] * (head_layers - 1)
    assert tuple(sampler.out.weight.shape) == (2, width)


def test_centre_is_the_draw_at_zero_noise() -> None:
    sampler, context = make(), torch.randn(4, 3)
    torch.testing.assert_close(sampler.centre(context), sampler.draw(context, torch.zeros(4, 1, 5)).squeeze(1))


@pytest.mark.parametrize(("initialisation", "variance"), [("released", 1), ("lecun", 1 / 2048)])
def test_output_weight_starts_normal(initialisation: Initialisation, variance: float) -> None:
    weight = ImplicitSampler(3, 8, width=2048, initialisation=initialisation).out.weight
    assert abs(weight.mean()) < 4 * math.sqrt(variance / weight.numel())
    assert abs(weight.square().mean() - variance) < 4 * variance * math.sqrt(2 / weight.numel())


@pytest.mark.parametrize(("noise_dim", "encoder_layers", "head_layers", "width"), [(10, 1, 1, 128), (10, 2, 1, 256), (100, 3, 2, 64)])
def test_first_samples_are_around_zero_and_of_a_spread_below_one_whatever_the_sizes(
    noise_dim: int, encoder_layers: int, head_layers: int, width: int
) -> None:
    """By the default; as released they are farther away, and behind a tanh a quarter to six tenths of them saturated."""
    near, far = [], []
    context, noise = torch.randn(64, 11), torch.randn(64, 200, noise_dim)
    make = partial(ImplicitSampler, 11, 3, noise_dim=noise_dim, encoder_layers=encoder_layers, head_layers=head_layers, width=width)
    for _ in range(10):
        near.append(make().draw(context, noise))
        far.append(make(initialisation="released").draw(context, noise))
    drawn = torch.stack(near)
    assert 0.4 < drawn.std(2).mean() < 1 and drawn.mean(2).square().mean().sqrt() < 0.5
    assert (drawn.tanh().abs() > 0.95).double().mean() < 0.05
    assert 0.2 < (torch.stack(far).tanh().abs() > 0.95).double().mean() < 0.65


def test_first_head_layer_starts_like_one_linear_layer() -> None:
    """U(-b, b) with b = 1 / sqrt(width + noise_dim): variance b^2 / 3, fourth moment b^4 / 5."""
    sampler = ImplicitSampler(3, 2, width=500, noise_dim=40, initialisation="released")
    bound = 1 / math.sqrt(540)
    for part in (sampler.from_context.weight, sampler.from_context.bias, sampler.from_noise.weight):
        assert part.abs().max() <= bound
        assert abs(part.square().mean() - bound**2 / 3) < 4 * bound**2 * math.sqrt((1 / 5 - 1 / 9) / part.numel())


def test_noise_thinner_than_the_action_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise_dim must be at least the action dimension 2, got 1: .*Raise noise_dim"):
        make(noise_dim=1)
    assert make(noise_dim=2).noise_dim == 2


def test_an_initialisation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"initialisation must be one of lecun, released, got 'xavier'"):
        ImplicitSampler(3, 2, initialisation="xavier")  # type: ignore[arg-type]


def test_activation_with_a_kink_is_refused() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of .* got 'relu'"):
        ImplicitSampler(3, 2, activation="relu")
