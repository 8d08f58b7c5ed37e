"""Frames: what a network sees, and the Jacobians on the way back. Moments: what is remembered of samples."""

import math

import pytest
import torch
from torch import Tensor

from ardae_rl.score import Frame, frame_of, whitening_frame
from ardae_rl.score.standardise import Moments, frame_of_moments

pytestmark = pytest.mark.usefixtures("float64")

STD = torch.tensor([0.01, 1.0, 30.0]).view(3, 1, 1)


def samples() -> Tensor:
    return 5 + STD * torch.randn(3, 50, 2)


def test_per_context_gives_every_context_unit_spread() -> None:
    x = samples()
    frame = frame_of(x)
    standard = frame.standardise(x)
    torch.testing.assert_close(standard.mean(1), torch.zeros(3, 2), rtol=0, atol=1e-12)
    torch.testing.assert_close(standard.std(1).mean(-1), torch.ones(3))
    torch.testing.assert_close(frame.spread, torch.ones(3, 1, 1))


def test_fixed_multiplies_by_the_scale() -> None:
    x, centre = samples(), torch.randn(3, 2)
    frame = frame_of(x, scale=7.0, centre=centre)
    torch.testing.assert_close(frame.standardise(x), 7 * (x - centre[:, None]))
    torch.testing.assert_close(frame.spread, 7 * x.std(1, keepdim=True).mean(-1, keepdim=True))


def test_the_given_centre_maps_to_zero() -> None:
    centre = torch.randn(3, 2)
    frame = frame_of(samples(), centre=centre)
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
    frame = frame_of(x, centre=centre)
    points = torch.zeros(3, 1, 2, requires_grad=True)
    assert frame.spread is not None
    coordinates = frame.standardise(points).sum() + frame.spread.sum()
    assert torch.autograd.grad(coordinates, (x, centre, points), allow_unused=True)[:2] == (None, None)


def test_samples_in_one_point_still_get_finite_coordinates() -> None:
    point = torch.ones(3, 5, 2)
    frame = frame_of(point)
    assert frame.spread is not None
    assert all(part.isfinite().all() for part in (frame.centre, frame.scale, frame.spread))
    assert not frame.standardise(point).any()


@pytest.mark.parametrize("shape", [(10, 2), (3, 1, 2)])
def test_too_few_samples_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"samples must have shape \(contexts, samples per context >= 2, dimension\), got \("):
        frame_of(torch.zeros(shape), scale=1.0)


# coordinates that whiten


def narrow_samples() -> Tensor:
    """(2, 50, 3), with standard deviations from 1e-3 to 10 along no axis."""
    rotation = torch.linalg.qr(torch.randn(3, 3))[0]
    return torch.randn(2, 50, 3) * torch.tensor([1e-3, 1.0, 10.0]) @ rotation + 5.0


def test_samples_have_mean_0_and_covariance_1_in_their_whitening_frame() -> None:
    x = narrow_samples().requires_grad_()
    frame = whitening_frame(x)
    y = frame.standardise(x.detach())
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.mT @ y / 50, torch.eye(3).expand(2, 3, 3), atol=2e-6, rtol=0)
    assert frame.matrix is not None
    torch.testing.assert_close(torch.linalg.det(frame.matrix), torch.ones(2))
    assert not any(part.requires_grad for part in (frame.centre, frame.scale, frame.matrix, frame.spread) if part is not None)


def test_single_precision_resolves_directions_of_very_different_width() -> None:
    """x is in float32, its moments are not: standard deviations 1 and 1e-4 along no axis."""
    x = torch.randn(1, 100_000, 2) * torch.tensor([1.0, 1e-4]) @ torch.linalg.qr(torch.randn(2, 2))[0]
    y = whitening_frame(x.float()).standardise(x.float())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double().mT @ y.double() / 100_000, torch.eye(2).expand(1, 2, 2), atol=2e-3, rtol=0)


def test_the_entropy_gradient_of_a_linear_sampler_is_exact_in_it() -> None:
    """x = A z: the surrogate's gradient is that of log |det A|, A^-T, whatever the noise z of the batch."""
    a = torch.randn(3, 3, requires_grad=True)
    x = torch.randn(40, 3)
    x = (x - x.mean(0)) @ a.mT
    frame = whitening_frame(x.unsqueeze(0))
    score = frame.score(-frame.standardise(x.unsqueeze(0)))[0].detach()
    (gradient,) = torch.autograd.grad(-(score * x).sum(-1).mean(), a)
    torch.testing.assert_close(gradient, torch.linalg.inv(a.detach()).mT, rtol=1e-6, atol=1e-6)


def test_samples_without_a_covariance_are_refused_or_stay_not_finite() -> None:
    shape = r"samples must have shape \(contexts, samples per context > dimension, dimension\), got \(2, 3, 3\)"
    with pytest.raises(ValueError, match=shape):
        whitening_frame(torch.randn(2, 3, 3))
    x = narrow_samples()
    x[0, 0, 0] = float("nan")
    y = whitening_frame(x).standardise(x)
    assert y[0].isnan().any() and y[1].isfinite().all()


def test_a_singular_covariance_has_finite_coordinates() -> None:
    frame = frame_of_moments(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 1.0], [1.0, 1.0]]]), torch.float64)
    assert frame.matrix is not None and frame.matrix.isfinite().all() and (frame.scale > 0).all()


def test_a_frame_inside_another_is_both_in_turn() -> None:
    x = torch.randn(4, 9, 3)
    outer, inner = whitening_frame(torch.randn(1, 9, 3) * 7 + 3), whitening_frame(torch.randn(4, 9, 3))
    joined = inner.inside(outer)
    torch.testing.assert_close(joined.standardise(x), inner.standardise(outer.standardise(x)))
    torch.testing.assert_close(joined.score(x), outer.score(inner.score(x)))
    torch.testing.assert_close(joined.log_density(x[..., 0]), outer.log_density(inner.log_density(x[..., 0])))


# what is remembered


def whole(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), torch.cov(x.T, correction=0)


def alone(tensors: list[Tensor]) -> None:
    """One learner."""


def test_the_first_calls_count_alike_whatever_their_means() -> None:
    moments, x = Moments(3, 20), torch.randn(5, 40, 3) * torch.tensor([1e-3, 1.0, 50.0]) + 10 * torch.randn(5, 1, 3)
    for batch in x:
        moments.update(batch.float(), alone)
    mean, covariance = whole(x.flatten(0, 1).float().double())
    torch.testing.assert_close(moments.mean, mean)
    torch.testing.assert_close(moments.covariance, covariance)
    assert moments.count == 5


def test_older_calls_fade() -> None:
    """Of 4 calls: after a jump from 0 to 1 the mean is 1 - (1 - 1/4)^n; its variance is that of the mixture of both points."""
    moments = Moments(1, 4)
    for _ in range(100):
        moments.update(torch.tensor([[-0.5], [0.5]] * 10), alone)
    for n in range(1, 4):
        moments.update(torch.tensor([[0.5], [1.5]] * 10), alone)
        new = 1 - 0.75**n
        torch.testing.assert_close(moments.mean, torch.tensor([new]))
        torch.testing.assert_close(moments.covariance, torch.tensor([[0.25 + new * (1 - new)]]))


def test_few_samples_are_remembered_over_more_calls() -> None:
    """Of 2 samples each, in 3 dimensions, 15 calls; and not 4."""
    moments, x = Moments(3, 4), torch.randn(15, 2, 3)
    for batch in x:
        moments.update(batch, alone)
    mean, covariance = whole(x.flatten(0, 1))
    torch.testing.assert_close(moments.mean, mean)
    torch.testing.assert_close(moments.covariance, covariance)


def test_what_is_not_finite_is_not_remembered() -> None:
    moments, x = Moments(2, 20), torch.randn(10, 2)
    moments.update(x, alone)
    for bad in (float("nan"), float("inf"), 1e200):
        moments.update(torch.full((10, 2), bad), alone)
    torch.testing.assert_close((moments.mean, moments.covariance), whole(x))
    assert moments.count == 1


def test_learners_remember_the_moments_of_all_their_samples() -> None:
    """Two learners in lockstep, played by one: the hook gets each tensor of the one and answers with the mean of both."""
    x, y = torch.randn(10, 2), 5 + torch.randn(10, 2)
    mean = (x.mean(0) + y.mean(0)) / 2
    answers = iter([mean, ((x - mean).T @ (x - mean) + (y - mean).T @ (y - mean)) / 20])

    def average(tensors: list[Tensor]) -> None:
        for tensor in tensors:
            tensor.copy_(next(answers))

    moments = Moments(2, 20)
    moments.update(x, average)
    torch.testing.assert_close((moments.mean, moments.covariance), whole(torch.cat([x, y])))
