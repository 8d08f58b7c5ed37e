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


@pytest.mark.parametrize("centre", [torch.zeros(8, 3), torch.zeros(3)])
def test_stein_ratio_of_the_true_score_is_one(centre: Tensor) -> None:
    matrix = torch.randn(3, 3)
    x = white_noise(64, 3) @ matrix.t()
    score = -x @ torch.linalg.inv(matrix @ matrix.t())
    assert stein_ratio(x.view(8, 8, 3), score.view(8, 8, 3), centre=centre) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("samples", [2, 3, 16])
def test_stein_ratio_is_centred_by_itself_and_unbiased_by_that(samples: int) -> None:
    """N(1e3 c, 4 I): about 0 it would be off by thousands of its spread, and about the means of few samples by one part in their number."""
    middle = 1000 * torch.randn(20_000, 1, 2)
    x = middle + 2 * torch.randn(20_000, samples, 2)
    ratios = [stein_ratio(part, -(part - its) / 4) for part, its in zip(x.split(200), middle.split(200), strict=True)]
    values = torch.stack(ratios)
    assert abs(values.mean() - 1) < 4 * values.std() / 10
    assert 4 * values.std() / 10 < 0.5 / samples


def test_one_sample_per_context_has_no_centre_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"two or more samples per context unless a centre is given, got shape \(5, 1, 2\): pass centre="):
        stein_ratio(torch.randn(5, 1, 2), torch.randn(5, 1, 2))
    assert stein_ratio(torch.ones(5, 1, 2), -torch.ones(5, 1, 2), centre=torch.zeros(5, 2)) == 1


def test_weighted_samples_have_the_entropy_gradient_of_the_distribution_they_stand_for() -> None:
    """Draws of N(0, 1) with the weights of N(0, 4 / 3), after their scaling by s: dH / ds = 1 / s, and with weight 0 a sample is none."""
    z, scale = torch.randn(200_000, 1), torch.tensor(0.7, requires_grad=True)
    weights = (z.square() / 8).exp().squeeze(1)
    x = scale * z
    entropy_surrogate(x, -x / (scale**2 * 4 / 3), weights=weights).backward()
    torch.testing.assert_close(scale.grad, 1 / scale.detach(), rtol=0.02, atol=0)
    x, score, mask = torch.randn(6, 2), torch.randn(6, 2), torch.tensor([1.0, 0, 1, 1, 0, 1])
    torch.testing.assert_close(entropy_surrogate(x, score, weights=mask), entropy_surrogate(x[mask > 0], score[mask > 0]))


def test_values_of_samples_are_those_that_are_averaged() -> None:
    x, score, weights = torch.randn(4, 5, 2, requires_grad=True), torch.randn(4, 5, 2), torch.rand(4, 5, requires_grad=True)
    values = entropy_surrogate(x, score, reduction="none")
    assert values.shape == (4, 5)
    torch.testing.assert_close(values.mean(), entropy_surrogate(x, score))
    weighted = entropy_surrogate(x, score, weights=weights, reduction="none")
    torch.testing.assert_close(weighted, values * weights)
    assert torch.autograd.grad(weighted.sum(), weights, allow_unused=True) == (None,)
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'none', got 'sum'"):
        entropy_surrogate(x, score, reduction="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"weights must have shape \(4, 5\) to go with x, got \(4,\)"):
        entropy_surrogate(x, score, weights=torch.ones(4))


def test_stein_ratio_tells_of_thin_directions_that_a_blurred_score_misses() -> None:
    """N(0, diag(1, w^2)) blurred by sigma has the score -x / (variance + sigma^2)."""
    variances, sigma = torch.tensor([1.0, 0.01**2]), 0.1
    x = white_noise(64, 2) * variances.sqrt()
    expected = float((variances / (variances + sigma**2)).mean())
    assert stein_ratio(x, -x / (variances + sigma**2), centre=torch.zeros(2)) == pytest.approx(expected, abs=1e-9)
    assert 0.49 < expected < 0.51


@pytest.mark.parametrize("function", [entropy_surrogate, stein_ratio])
def test_mismatched_score_is_refused(function: Callable[[Tensor, Tensor], object]) -> None:
    with pytest.raises(ValueError, match=r"score must have shape \(4, 2\) to go with x, got \(4, 1\)"):
        function(torch.zeros(4, 2), torch.zeros(4, 1))
