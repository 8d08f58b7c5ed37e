"""The tanh correction: right where the naive formula is, finite where that one is not."""

import pytest
import torch

from ardae_rl.sac.tanh import log_det_tanh


def test_correction_is_that_of_the_naive_formula(float64: None) -> None:
    u = torch.linspace(-5, 5, 101).view(-1, 1).repeat(1, 2)
    torch.testing.assert_close(log_det_tanh(u), (1 - u.tanh().square()).log().sum(-1), rtol=1e-9, atol=1e-12)


def test_gradient_is_minus_two_tanh(float64: None) -> None:
    u = torch.linspace(-30, 30, 121).view(-1, 1).requires_grad_()
    torch.testing.assert_close(
        torch.autograd.grad(log_det_tanh(u).sum(), u)[0], -2 * u.detach().tanh(), rtol=0, atol=1e-8
    )  # softplus is linear from 20 on


@pytest.mark.parametrize("u", [50.0, -50.0, 1e4, -1e4])
def test_large_actions_stay_exact_in_float32(u: float) -> None:
    """log(1 - tanh^2 u) -> log 4 - 2 |u|."""
    point = torch.tensor([[u]], requires_grad=True)
    value = log_det_tanh(point)
    torch.testing.assert_close(value, torch.tensor([1.3862944 - 2 * abs(u)]))
    assert torch.autograd.grad(value.sum(), point)[0].isfinite().all()
