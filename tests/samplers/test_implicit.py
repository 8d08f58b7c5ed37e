"""The implicit policy: shapes of Table 7, one state pass for many samples, initialisation."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.nn.mlp import Dense
from ardae_rl.samplers import ImplicitSampler
from ardae_rl.samplers.implicit import Initialisation

pytestmark = pytest.mark.usefixtures("float64")


def from_context(sampler: ImplicitSampler) -> Dense:
    assert sampler.from_context is not None
    return sampler.from_context


def make(encoder_layers: int = 1, head_layers: int = 1, width: int = 16, noise_dim: int = 5, **options: Any) -> ImplicitSampler:
    return ImplicitSampler(3, 2, noise_dim=noise_dim, encoder_layers=encoder_layers, head_layers=head_layers, width=width, **options)


def dense(layers: nn.ModuleList) -> list[nn.Linear]:
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def naive(sampler: ImplicitSampler, context: Tensor, noise: Tensor) -> Tensor:
    """Encode the state again for every sample and concatenate [encoder(c), eps] into one first head layer."""
    h = context[:, None].expand(-1, noise.shape[1], -1)
    for layer in dense(sampler.encoder):
        h = functional.elu(h @ layer.weight.t() + layer.bias)
    first = torch.cat([from_context(sampler).weight, sampler.from_noise.weight], 1)
    h = functional.elu(torch.cat([h, noise], -1) @ first.t() + from_context(sampler).bias)
    for layer in dense(sampler.head):
        h = functional.elu(h @ layer.weight.t() + layer.bias)
    return h @ sampler.out.weight.t() + sampler.out.bias


@pytest.mark.parametrize("head_layers", [1, 3])
@pytest.mark.parametrize("encoder_layers", [1, 2])
@pytest.mark.parametrize("head_width", [None, 7])
def test_one_state_pass_equals_encoding_the_state_per_sample(encoder_layers: int, head_layers: int, head_width: int | None) -> None:
    sampler, context, noise = make(encoder_layers, head_layers, head_width=head_width), torch.randn(4, 3), torch.randn(4, 6, 5)
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
    assert tuple(from_context(sampler).weight.shape) == (width, width)
    assert tuple(sampler.from_noise.weight.shape) == (width, noise_dim)
    assert [tuple(layer.weight.shape) for layer in dense(sampler.head)] == [(width, width)] * (head_layers - 1)
    assert tuple(sampler.out.weight.shape) == (2, width)


def test_a_head_may_have_a_width_of_its_own() -> None:
    sampler = make(encoder_layers=2, head_layers=3, width=16, head_width=7)
    assert [tuple(layer.weight.shape) for layer in dense(sampler.encoder)] == [(16, 3), (16, 16)]
    assert (tuple(from_context(sampler).weight.shape), tuple(sampler.from_noise.weight.shape)) == ((7, 16), (7, 5))
    assert [tuple(layer.weight.shape) for layer in dense(sampler.head)] == [(7, 7), (7, 7)]
    assert tuple(sampler.out.weight.shape) == (2, 7)


@pytest.mark.parametrize("initialisation", ["lecun", "released"])
@pytest.mark.parametrize(("encoder_layers", "head_layers"), [(1, 1), (3, 2)])
def test_without_a_width_of_its_own_the_first_weights_are_those_of_one_width(
    encoder_layers: int, head_layers: int, initialisation: Initialisation
) -> None:
    """Bit for bit, and as many random numbers are drawn: runs with a recorded seed start as they did."""
    torch.manual_seed(1)
    ours = [p.detach() for p in make(encoder_layers, head_layers, initialisation=initialisation).parameters()]
    next_draw = torch.rand(1)
    torch.manual_seed(1)
    twin = first_weights_of_one_width(encoder_layers, head_layers, initialisation)
    assert torch.equal(torch.rand(1), next_draw)
    assert len(ours) == len(twin) and all(torch.equal(a, b) for a, b in zip(ours, twin, strict=True))


def first_weights_of_one_width(encoder_layers: int, head_layers: int, initialisation: Initialisation) -> list[Tensor]:
    """Of 3 states, 5 noise numbers, 2 actions and width 16: torch's layers first, in the order of the data, then what is drawn anew."""
    encoder = [nn.Linear(3 if i == 0 else 16, 16) for i in range(encoder_layers)]
    of_context, from_noise = nn.Linear(16, 16), nn.Linear(5, 16, bias=False)
    head, out = [nn.Linear(16, 16) for _ in range(head_layers - 1)], nn.Linear(16, 2)
    for part in (of_context.weight, of_context.bias, from_noise.weight):
        nn.init.uniform_(part, -1 / math.sqrt(21), 1 / math.sqrt(21))
    for layer in [out] if initialisation == "released" else [from_noise, *head, out]:
        nn.init.normal_(layer.weight, std=1.0 if initialisation == "released" else 1 / math.sqrt(layer.in_features))
    return [p.detach() for layer in (*encoder, of_context, from_noise, *head, out) for p in layer.parameters()]


def test_centre_is_the_draw_at_zero_noise() -> None:
    sampler, context = make(), torch.randn(4, 3)
    torch.testing.assert_close(sampler.centre(context), sampler.draw(context, torch.zeros(4, 1, 5)).squeeze(1))


@pytest.mark.parametrize(("initialisation", "variance"), [("released", 1), ("lecun", 1 / 2048)])
def test_output_weight_starts_normal(initialisation: Initialisation, variance: float) -> None:
    weight = ImplicitSampler(3, 8, width=2048, initialisation=initialisation).out.weight
    assert abs(weight.mean()) < 4 * math.sqrt(variance / weight.numel())
    assert abs(weight.square().mean() - variance) < 4 * variance * math.sqrt(2 / weight.numel())


@pytest.mark.parametrize(
    ("noise_dim", "encoder_layers", "head_layers", "width", "head_width", "saturated_as_released"),
    [
        (10, 1, 1, 128, None, (0.2, 0.65)),
        (10, 2, 1, 256, None, (0.2, 0.65)),
        (100, 3, 2, 64, None, (0.2, 0.65)),
        (100, 3, 3, 256, 64, (0.01, 0.1)),
    ],
)
def test_first_samples_are_around_zero_and_of_a_spread_below_one_whatever_the_sizes(
    noise_dim: int, encoder_layers: int, head_layers: int, width: int, head_width: int | None, saturated_as_released: tuple[float, float]
) -> None:
    """By the default. Released, a quarter to six tenths of them saturate the tanh, and a few hundredths after the Humanoids' head."""
    near, far = [], []
    context, noise = torch.randn(64, 11), torch.randn(64, 200, noise_dim)
    layers: dict[str, Any] = {"encoder_layers": encoder_layers, "head_layers": head_layers, "width": width, "head_width": head_width}
    make = partial(ImplicitSampler, 11, 3, noise_dim=noise_dim, **layers)
    for _ in range(10):
        near.append(make().draw(context, noise))
        far.append(make(initialisation="released").draw(context, noise))
    drawn = torch.stack(near)
    assert 0.4 < drawn.std(2).mean() < 1 and drawn.mean(2).square().mean().sqrt() < 0.5
    assert (drawn.tanh().abs() > 0.95).double().mean() < 0.05
    low, high = saturated_as_released
    assert low < (torch.stack(far).tanh().abs() > 0.95).double().mean() < high


def test_first_head_layer_starts_like_one_linear_layer() -> None:
    """U(-b, b) with b = 1 / sqrt(width + noise_dim): variance b^2 / 3, fourth moment b^4 / 5."""
    sampler = ImplicitSampler(3, 2, width=500, noise_dim=40, initialisation="released")
    bound = 1 / math.sqrt(540)
    for part in (from_context(sampler).weight, from_context(sampler).bias, sampler.from_noise.weight):
        assert part.abs().max() <= bound
        assert abs(part.square().mean() - bound**2 / 3) < 4 * bound**2 * math.sqrt((1 / 5 - 1 / 9) / part.numel())


def test_noise_thinner_than_the_action_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise_dim must be at least the dimension 2 of a sample, got 1: .*Raise noise_dim"):
        make(noise_dim=1)
    assert make(noise_dim=2).noise_dim == 2


def test_an_initialisation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"initialisation must be one of lecun, released, got 'xavier'"):
        ImplicitSampler(3, 2, initialisation="xavier")  # type: ignore[arg-type]


def test_an_activation_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of .* got 'step'"):
        ImplicitSampler(3, 2, activation="step")
