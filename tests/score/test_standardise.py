"""Frames: what a network sees, and the Jacobians on the way back."""

import math

import pytest
import torch
from torch import Tensor

from ardae_rl.score import Frame, frame_of

pytestmark = pytest.mark.usefixtures("float64")

STD = torch.tensor([0.01, 1.0, 30.0]).view(3, 1, 1)


def samples() -> Tensor:
    return 5 + STD * torch.randn(3, 50, 2)


def test_per_context_gives_every_context_unit_spread() -> None:
    x = samples()
    frame = frame_of(x, standardisation="per_context", scale=7.0)
    standard = frame.standardise(x)
    torch.testing.assert_close(standard.mean(1), torch.zeros(3, 2), rtol=0, atol=1e-12)
    torch.testing.assert_close(standard.std(1).mean(-1), torch.ones(3))
    torch.testing.assert_close(frame.spread, torch.ones(3, 1, 1))


def test_fixed_multiplies_by_the_scale() -> None:
    x, centre = samples(), torch.randn(3, 2)
    frame = frame_of(x, standardisation="fixed", scale=7.0, centre=centre)
    torch.testing.assert_close(frame.standardise(x), 7 * (x - centre[:, None]))
    torch.testing.assert_close(frame.spread, 7 * x.std(1, keepdim=True).mean(-1, keepdim=True))


def test_the_given_centre_maps_to_zero() -> None:
    centre = torch.randn(3, 2)
    frame = frame_of(samples(), standardisation="per_context", scale=1.0, centre=centre)
    assert not frame.standardise(centre[:, None]).any()


def test_score_is_the_gradient_of_the_log_density_in_any_frame() -> None:
    frame = Frame(torch.randn(3, 1, 2), torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1), torch.ones(3, 1, 1))
    x = torch.randn(3, 4, 2, requires_grad=True)
    log_density = frame.log_density(-frame.standardise(x).pow(4).sum(-1))
    torch.testing.assert_close(frame.score(-4 * frame.standardise(x).pow(3)), torch.autograd.grad(log_density.sum(), x)[0])


@pytest.mark.parametrize("dim", [1, 2])
def test_a_density_stays_normalised_in_any_frame(dim: int) -> None:
    frame = Frame(torch.full((1, 1, dim), 0.5), torch.full((1, 1, 1), 0.2), torch.ones(1, 1, 1))
    axis = torch.linspace(-1.5, 2.5, 401)
    points = torch.cartesian_prod(*[axis] * dim).view(1, -1, dim)
    normal = -0.5 * frame.standardise(points).square().sum(-1) - 0.5 * dim * math.log(2 * math.pi)
    assert abs(float(frame.log_density(normal).exp().sum()) * 0.01**dim - 1) < 1e-9


def test_a_frame_is_a_constant_to_the_sampler() -> None:
    x, centre = samples().requires_grad_(), torch.randn(3, 2, requires_grad=True)
    frame = frame_of(x, standardisation="per_context", scale=1.0, centre=centre)
    points = torch.zeros(3, 1, 2, requires_grad=True)
    assert frame.spread is not None
    coordinates = frame.standardise(points).sum() + frame.spread.sum()
    assert torch.autograd.grad(coordinates, (x, centre, points), allow_unused=True)[:2] == (None, None)


def test_samples_in_one_point_still_get_finite_coordinates() -> None:
    point = torch.ones(3, 5, 2)
    frame = frame_of(point, standardisation="per_context", scale=1.0)
    assert frame.spread is not None
    assert all(part.isfinite().all() for part in (frame.centre, frame.scale, frame.spread))
    assert not frame.standardise(point).any()


@pytest.mark.parametrize("shape", [(10, 2), (3, 1, 2)])
def test_too_few_samples_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"samples must have shape \(contexts, samples per context >= 2, dimension\), got \("):
        frame_of(torch.zeros(shape), standardisation="fixed", scale=1.0)
