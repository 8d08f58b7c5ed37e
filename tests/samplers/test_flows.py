"""Flow policies, radial and spline: one battery of laws for every sampler with a density, then what is particular to each."""

import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ardae_rl.samplers import GaussianSampler, RadialFlowSampler, SplineFlowSampler
from ardae_rl.samplers.radial import RadialFlow

pytestmark = pytest.mark.usefixtures("float64")

CONTEXT = 3
Flow = RadialFlowSampler | SplineFlowSampler


def make(kind: str, dim: int = 2, *, spread: float = 0.7) -> Flow:
    """A flow that is far from the identity it starts as."""
    base = GaussianSampler(CONTEXT, dim, width=16)
    sampler = RadialFlowSampler(base, flows=3) if kind == "radial" else SplineFlowSampler(base, CONTEXT, flows=2, bins=5, width=16)
    with torch.no_grad():
        for parameter in sampler.flow.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return sampler


KINDS = pytest.mark.parametrize("kind", ["radial", "spline"])


@KINDS
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_density_of_a_draw_is_that_of_its_noise_over_the_jacobian(kind: str, dim: int) -> None:
    """log p(g(eps)) = log N(eps; 0, I) - log |det dg/deps|, the determinant by autograd."""
    sampler, context, noise = make(kind, dim), torch.randn(5, CONTEXT), torch.randn(5, 7, dim)
    x, log_prob = sampler.draw_with_log_prob(context, noise)
    torch.testing.assert_close(x, sampler.draw(context, noise))
    for row in range(5):
        for sample in range(7):

            def draw(eps: Tensor, row: int = row) -> Tensor:
                return sampler.draw(context[row : row + 1], eps.view(1, 1, -1)).flatten()

            jacobian = torch.autograd.functional.jacobian(draw, noise[row, sample])
            normal = torch.distributions.Normal(0.0, 1.0).log_prob(noise[row, sample]).sum()
            torch.testing.assert_close(log_prob[row, sample], normal - jacobian.slogdet().logabsdet)


@KINDS
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_log_prob_inverts_the_flow(kind: str, dim: int) -> None:
    sampler, context, noise = make(kind, dim), torch.randn(5, CONTEXT), torch.randn(5, 7, dim)
    x, log_prob = sampler.draw_with_log_prob(context, noise)
    torch.testing.assert_close(sampler.log_prob(context, x), log_prob, rtol=1e-5, atol=1e-5)


@KINDS
def test_density_integrates_to_one_in_one_dimension(kind: str) -> None:
    sampler, context, step = make(kind, 1, spread=0.3), torch.randn(4, CONTEXT), 0.0002
    grid = torch.arange(-10, 10, step).view(1, -1, 1).expand(4, -1, 1)
    mass = sampler.log_prob(context, grid).exp().sum(1) * step
    torch.testing.assert_close(mass, torch.ones(4), rtol=0, atol=1e-4)


@KINDS
def test_density_integrates_to_one_in_the_plane(kind: str) -> None:
    sampler, context, step = make(kind, 2, spread=0.2), torch.randn(2, CONTEXT), 0.05
    axis = torch.arange(-6, 6, step)
    grid = torch.cartesian_prod(axis, axis).expand(2, -1, 2)
    mass = sampler.log_prob(context, grid).exp().sum(1) * step**2
    torch.testing.assert_close(mass, torch.ones(2), rtol=0, atol=2e-3)


@KINDS
def test_gradient_of_log_prob_reaches_every_parameter_and_is_that_through_the_samples(kind: str) -> None:
    sampler, context, noise = make(kind), torch.randn(5, CONTEXT), torch.randn(5, 7, 2)
    parameters = list(sampler.parameters())
    ours = torch.autograd.grad(sampler.draw_with_log_prob(context, noise)[1].sum(), parameters)
    exact = torch.autograd.grad(sampler.log_prob(context, sampler.draw(context, noise)).sum(), parameters)
    torch.testing.assert_close(ours, exact, rtol=1e-6, atol=1e-6)
    assert all(
        gradient.any() for gradient in torch.autograd.grad(sampler.draw(context, noise).square().sum(), list(sampler.flow.parameters()))
    )


@KINDS
def test_centre_is_the_draw_at_zero_noise(kind: str) -> None:
    sampler, context = make(kind), torch.randn(5, CONTEXT)
    torch.testing.assert_close(sampler.centre(context), sampler.draw(context, torch.zeros(5, 1, 2)).squeeze(1))


@KINDS
def test_a_context_knows_nothing_of_its_neighbours(kind: str) -> None:
    sampler, context, noise = make(kind), torch.randn(5, CONTEXT), torch.randn(5, 7, 2)
    together, log_prob = sampler.draw_with_log_prob(context, noise)
    for row in range(5):
        alone, its_log_prob = sampler.draw_with_log_prob(context[row : row + 1], noise[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])
        torch.testing.assert_close(its_log_prob[0], log_prob[row])


@KINDS
def test_weights_survive_a_file(kind: str) -> None:
    sampler, other, file = make(kind), make(kind), io.BytesIO()
    torch.save(sampler.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    context, noise = torch.randn(5, CONTEXT), torch.randn(5, 7, 2)
    for ours, theirs in zip(sampler.draw_with_log_prob(context, noise), other.draw_with_log_prob(context, noise), strict=True):
        assert torch.equal(ours, theirs)


# radial


def test_a_radial_flow_starts_as_the_gaussian() -> None:
    base = GaussianSampler(CONTEXT, 2, width=16)
    sampler, context, noise = RadialFlowSampler(base, flows=4), torch.randn(5, CONTEXT), torch.randn(5, 7, 2)
    for ours, theirs in zip(sampler.draw_with_log_prob(context, noise), base.draw_with_log_prob(context, noise), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("raw_alpha", "raw_stretch"), [(-3.0, -9.0), (3.0, -9.0), (0.0, 0.0), (-3.0, 6.0)])
def test_radial_maps_are_invertible_for_any_parameters(raw_alpha: float, raw_stretch: float) -> None:
    """beta > -alpha whatever the raw parameters; radii grow strictly along a ray, also next to the centre, and come back."""
    flow = RadialFlow(3, 1)
    with torch.no_grad():
        flow.raw_alpha.fill_(raw_alpha), flow.raw_stretch.fill_(raw_stretch)
    alpha, beta = flow.alpha_and_beta()
    assert alpha > 0 and beta > -alpha
    radii = torch.cat([torch.zeros(1), torch.logspace(-9, 4, 200)])
    ray = flow.centres + radii[:, None] * torch.nn.functional.normalize(torch.randn(1, 3), dim=-1)
    bent, log_det = flow(ray)
    grown = (bent - flow.centres).norm(dim=-1)
    assert (grown.diff() > 0).all()
    torch.testing.assert_close(flow.inverse(bent)[0], ray, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(flow.inverse(bent)[1], log_det, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("raw_alpha", "raw_stretch"), [(-6.0, -9.0), (-6.0, 3.0), (3.0, 3.0), (3.0, -9.0)])
@pytest.mark.parametrize("radii", [torch.logspace(-14, -9, 20), torch.logspace(4, 9, 20)], ids=["next to the centre", "far out"])
def test_a_radius_comes_back_to_its_last_digits(raw_alpha: float, raw_stretch: float, radii: Tensor) -> None:
    """Each form of the root subtracts like numbers at one end: about a centre of 0, where nothing else rounds, either end shows it."""
    flow = RadialFlow(2, 1)
    with torch.no_grad():
        flow.centres.zero_(), flow.raw_alpha.fill_(raw_alpha), flow.raw_stretch.fill_(raw_stretch)
    ray = radii.double().unsqueeze(-1) * torch.tensor([0.6, -0.8])
    torch.testing.assert_close(flow.inverse(flow(ray)[0])[0], ray, rtol=1e-10, atol=0)


def test_a_radial_map_by_hand() -> None:
    """alpha 1, beta 2 about the origin of the plane: 3 away becomes 3 (1 + 2 / 4); det = (1 + 2 / 4) (1 + 2 / 16)."""
    flow = RadialFlow(2, 1)
    with torch.no_grad():
        flow.centres.zero_(), flow.raw_alpha.fill_(math.log(math.e - 1)), flow.raw_stretch.fill_(math.log(math.e**3 - 1))
    y, log_det = flow(torch.tensor([0.0, 3.0]))
    torch.testing.assert_close(y, torch.tensor([0.0, 4.5]))
    torch.testing.assert_close(log_det, torch.tensor(math.log(1.5 * 1.125)))


def test_radial_parameters_are_the_same_for_every_state() -> None:
    assert {name: tuple(p.shape) for name, p in RadialFlow(6, 4).named_parameters()} == {
        "centres": (4, 6),
        "raw_alpha": (4,),
        "raw_stretch": (4,),
    }


# spline


def test_a_spline_flow_depends_on_the_state_beyond_location_and_scale() -> None:
    sampler, context, noise = make("spline"), torch.randn(2, CONTEXT), torch.randn(1, 7, 2).expand(2, -1, -1)
    mean, log_std = (part.unsqueeze(1) for part in sampler.base.parameters_of(context))
    bent = (sampler.draw(context, noise) - mean) / log_std.exp()
    assert (bent[0] - bent[1]).abs().max() > 0.05


def test_a_spline_leaves_noise_beyond_its_interval_alone() -> None:
    sampler, context, noise = make("spline"), torch.randn(2, CONTEXT), torch.tensor([5.5, -7.0]).expand(2, 1, 2)
    torch.testing.assert_close(sampler.draw_with_log_prob(context, noise)[0], sampler.base.draw(context, noise))
    torch.testing.assert_close(sampler.draw_with_log_prob(context, noise)[1], sampler.base.draw_with_log_prob(context, noise)[1])


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_spline_flow_draws_in_one_pass_per_layer(dim: int) -> None:
    """Autoregression runs with the noise: coordinate i of the action needs no other coordinate of the action first."""
    sampler, calls = make("spline", dim), 0
    layers: Any = sampler.flow.transforms

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for layer in layers:
        layer.hyper.register_forward_hook(count)
    sampler.draw_with_log_prob(torch.randn(5, CONTEXT), torch.randn(5, 7, dim))
    assert calls == len(layers) == 2
