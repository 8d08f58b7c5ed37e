"""Jacobian clamping against an explicit Jacobian, its gradient against finite differences, its weight against pencil and paper."""

import pytest
import torch
from torch import Tensor

from ardae_rl.samplers import ImplicitSampler, clamping_loss, clamping_weight, jacobian_stretch

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("xi", [1e-5, 1e-6])
def test_stretch_is_that_of_the_jacobian(xi: float) -> None:
    """||J v||^2 / ||v||^2 with J = dg/deps by autograd, context by context."""
    sampler, context = ImplicitSampler(3, 2, noise_dim=4, width=16), torch.randn(5, 3)
    noise, directions = torch.randn(5, 1, 4), torch.randn(5, 6, 4)
    ours = jacobian_stretch(lambda eps: sampler.draw(context, eps).tanh(), noise, directions, xi)
    for row in range(5):

        def action(eps: Tensor, row: int = row) -> Tensor:
            return sampler.draw(context[row : row + 1], eps.view(1, 1, -1)).tanh().flatten()

        jacobian = torch.autograd.functional.jacobian(action, noise[row, 0])
        exact = (directions[row] @ jacobian.t()).square().sum(-1) / directions[row].square().sum(-1)
        torch.testing.assert_close(ours[row], exact, rtol=100 * xi, atol=100 * xi)


def test_stretch_of_a_linear_sampler_is_exact_for_any_step() -> None:
    directions = torch.randn(2, 3, 4)
    stretch = jacobian_stretch(lambda eps: 3 * eps + 1, torch.randn(2, 1, 4), directions, 0.5)
    torch.testing.assert_close(stretch, torch.full((2, 3), 9.0))


def test_nothing_is_lost_above_eta() -> None:
    stretch = torch.tensor([[0.1, 0.2], [5.0, 100.0]], requires_grad=True)
    loss = clamping_loss(stretch, 0.1)
    assert loss == 0
    assert not torch.autograd.grad(loss, stretch)[0].any()


def test_below_eta_the_shortfall_is_squared() -> None:
    torch.testing.assert_close(clamping_loss(torch.tensor([[0.0, 0.04], [0.1, 7.0]]), 0.1), torch.tensor((0.1**2 + 0.06**2) / 4))


def test_gradient_is_that_of_finite_differences() -> None:
    stretch = torch.tensor([[0.01, 0.04], [0.2, 0.09]], requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: clamping_loss(s, 0.1), stretch)


def test_gradient_widens_a_sampler_that_is_too_narrow() -> None:
    width = torch.tensor(0.1, requires_grad=True)  # stretch = width^2 = 0.01 < eta = 0.1
    stretch = jacobian_stretch(lambda eps: width * eps, torch.randn(2, 1, 4), torch.randn(2, 3, 4), 0.01)
    gradient = torch.autograd.grad(clamping_loss(stretch, 0.1), width)[0]
    torch.testing.assert_close(gradient, torch.tensor(2 * (0.01 - 0.1) * 2 * 0.1))


@pytest.mark.parametrize(
    ("updates", "nu", "weight"), [(0, 1.1, 1.0), (1, 1.1, 1.001), (1000, 1.0, 2.0), (10_000, 1.1, 1 + 10**4.4 / 1000), (10**8, 1.3, 1e5)]
)
def test_weight_grows_to_its_cap(updates: int, nu: float, weight: float) -> None:
    ours = clamping_weight(torch.tensor(updates), nu, 1e5)
    assert ours.dtype == torch.float32
    assert float(ours) == pytest.approx(weight, rel=1e-6)
