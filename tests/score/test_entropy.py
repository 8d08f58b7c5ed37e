"""The surrogate's gradient is the entropy's, exactly on every batch, and the Stein ratio is 1 where the score is right."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ardae_rl.score import entropy_surrogate, stein_ratio

pytestmark = pytest.mark.usefixtures("float64")


def white_noise(count: int, dim: int) -> Tensor:
    """Normal draws whose second moment is exactly the identity, so that expectations below hold without sampling error."""
    z = torch.randn(count, dim)
    return z @ torch.linalg.cholesky(z.t() @ z / count).inverse().t()


def test_gradient_of_a_scaled_gaussian() -> None:
    """H = D log scale + const, so dH / dscale = D / scale."""
    z, scale = white_noise(64, 3), torch.tensor(0.7, requires_grad=True)
    x = scale * z
    entropy_surrogate(x, -x / scale**2).backward()
    torch.testing.assert_close(scale.grad, 3 / scale.detach())


def test_gradient_of_a_linear_map() -> None:
    """x = A z + b: H = log |det A| + const, so dH / dA = A^-T and dH / db = E[z] A^-1 up to sign: zero for centred noise."""
    z = white_noise(64, 3)
    z = torch.cat([z, -z])
    matrix, shift = torch.randn(3, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    x = z @ matrix.t() + shift
    score = -(x - shift) @ torch.linalg.inv(matrix @ matrix.t())
    entropy_surrogate(x, score).backward()
    torch.testing.assert_close(matrix.grad, torch.linalg.inv(matrix.detach()).t(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(shift.grad, torch.zeros(3), rtol=0, atol=1e-12)


def test_leading_dimensions_are_averaged() -> None:
    x, score = torch.randn(4, 5, 2, requires_grad=True), torch.randn(4, 5, 2)
    torch.testing.assert_close(torch.autograd.grad(entropy_surrogate(x, score), x)[0], -score / 20)


def test_stein_ratio_of_the_true_score_is_one() -> None:
    matrix = torch.randn(3, 3)
    x = white_noise(64, 3) @ matrix.t()
    assert stein_ratio(x.view(8, 8, 3), (-x @ torch.linalg.inv(matrix @ matrix.t())).view(8, 8, 3)) == pytest.approx(1, abs=1e-9)


def test_stein_ratio_tells_of_thin_directions_that_a_blurred_score_misses() -> None:
    """N(0, diag(1, w^2)) blurred by sigma has the score -x / (variance + sigma^2)."""
    variances, sigma = torch.tensor([1.0, 0.01**2]), 0.1
    x = white_noise(64, 2) * variances.sqrt()
    expected = float((variances / (variances + sigma**2)).mean())
    assert stein_ratio(x, -x / (variances + sigma**2)) == pytest.approx(expected, abs=1e-9)
    assert 0.49 < expected < 0.51


@pytest.mark.parametrize("function", [entropy_surrogate, stein_ratio])
def test_mismatched_score_is_refused(function: Callable[[Tensor, Tensor], object]) -> None:
    with pytest.raises(ValueError, match=r"score must have the shape of x, \(4, 2\), got \(4, 1\)"):
        function(torch.zeros(4, 2), torch.zeros(4, 1))
