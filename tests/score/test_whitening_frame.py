"""Coordinates from the samples' own mean and covariance."""

import pytest
import torch

from ardae_rl.score import ARDAE
from ardae_rl.score.standardise import whitening_frame

pytestmark = pytest.mark.usefixtures("float64")


def narrow_samples() -> torch.Tensor:
    """(2, 50, 3), with standard deviations from 1e-3 to 10 along no axis."""
    rotation = torch.linalg.qr(torch.randn(3, 3))[0]
    return torch.randn(2, 50, 3) * torch.tensor([1e-3, 1.0, 10.0]) @ rotation + 5.0


def test_samples_have_mean_0_and_covariance_1_in_them() -> None:
    x = narrow_samples()
    frame = whitening_frame(x)
    y = frame.standardise(x)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.mT @ y / 50, torch.eye(3).expand(2, 3, 3), atol=1e-8, rtol=0)
    assert frame.matrix is not None
    torch.testing.assert_close(torch.linalg.det(frame.matrix), torch.ones(2))


def test_the_entropy_gradient_of_a_linear_sampler_is_exact_in_them() -> None:
    """x = A z: the surrogate's gradient is that of log |det A|, A^-T, whatever the noise z of the batch."""
    a = torch.randn(3, 3, requires_grad=True)
    x = torch.randn(40, 3)
    x = (x - x.mean(0)) @ a.mT
    estimator = ARDAE(3, form="residual", standardisation="per_context", gaussian_residual=True)
    with torch.no_grad():
        score = estimator.score(x, frame=whitening_frame(x.unsqueeze(0)))
    (gradient,) = torch.autograd.grad(-(score * x).sum(-1).mean(), a)
    torch.testing.assert_close(gradient, torch.linalg.inv(a.detach()).mT, rtol=1e-6, atol=1e-6)


def test_samples_without_a_covariance_are_refused_or_stay_not_finite() -> None:
    with pytest.raises(
        ValueError, match=r"samples must have shape \(contexts, samples per context > dimension, dimension\), got \(2, 3, 3\)"
    ):
        whitening_frame(torch.randn(2, 3, 3))
    x = narrow_samples()
    x[0, 0, 0] = float("nan")
    y = whitening_frame(x).standardise(x)
    assert y[0].isnan().any() and y[1].isfinite().all()
