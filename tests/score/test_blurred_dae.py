"""A denoising autoencoder in coordinates of the blurred law: exact for a Gaussian as it starts, at every noise level."""

import pytest
import torch
from torch import Tensor, nn

from ardae_rl.score import BlurredDAE
from ardae_rl.score.standardise import Frame, frame_of_moments

pytestmark = pytest.mark.usefixtures("float64")
MEAN, ROOT = torch.tensor([2.0, -1.0]), torch.tensor([[0.3, 0.0], [0.2, 0.05]])


def law() -> tuple[Tensor, Tensor]:
    """Mean and covariance, in double precision."""
    root = ROOT.double()
    return MEAN.double(), root @ root.T


def frame_and_score(sigma: float) -> tuple[Frame, torch.distributions.MultivariateNormal]:
    mean, covariance = law()
    blurred = torch.distributions.MultivariateNormal(mean, covariance + sigma**2 * torch.eye(2))
    return frame_of_moments(mean.view(1, 1, 2), covariance.unsqueeze(0), torch.float64), blurred


@pytest.mark.parametrize("sigma", [0.01, 0.5])
def test_it_starts_as_the_score_of_the_blurred_gaussian(sigma: float) -> None:
    frame, blurred = frame_and_score(sigma)
    points = blurred.sample((1, 10))
    found = BlurredDAE(2, sigma=sigma, width=4, layers=1, whitener_width=4).score(points, frame=frame)
    torch.testing.assert_close(found, -(points - blurred.mean) @ blurred.precision_matrix)


@pytest.mark.parametrize("sigma", [0.01, 0.5])
def test_its_loss_there_is_the_least_possible(sigma: float) -> None:
    """E ||u + sigma s(x + sigma u)||^2 = D - sigma^2 tr (C + sigma^2)^-1 at the blurred score s, and no less in any direction."""
    torch.manual_seed(0)
    frame, blurred = frame_and_score(sigma)
    x, u = MEAN + torch.randn(1, 100_000, 2) @ ROOT.double().T, torch.randn(1, 100_000, 2)
    estimator = BlurredDAE(2, sigma=sigma, width=4, layers=1, whitener_width=4)

    def loss(factor: float) -> float:
        estimator.network = Scaled(factor)
        return float(estimator.losses(x, frame=frame, normal=lambda *shape: u)["score"])

    least = 2 - sigma**2 * float(blurred.precision_matrix.trace())
    assert loss(1.0) == pytest.approx(least, abs=4 * 2 / 100_000**0.5)
    assert loss(1.0) < min(loss(0.9), loss(1.1))


@pytest.mark.parametrize(("sigma", "share"), [(0.5, 2.2), (0.002, 0.1)])
def test_antithetic_noise_leaves_the_mean_of_the_gradient_and_takes_most_of_its_variance_where_sigma_is_small(
    sigma: float, share: float
) -> None:
    """Of the gradient with respect to one weight of f = -w x~, over 400 draws of 64 samples; half as many count twice at a large sigma."""
    frame, _ = frame_and_score(sigma)
    torch.manual_seed(0)

    def gradients(antithetic: bool) -> Tensor:
        estimator = BlurredDAE(2, sigma=sigma, antithetic=antithetic, width=4, layers=1, whitener_width=4)
        estimator.network = Learnt()
        draws = (MEAN + torch.randn(1, 64, 2) @ ROOT.double().T for _ in range(400))
        losses = (estimator.losses(x, frame=frame)["score"] for x in draws)
        return torch.stack([torch.autograd.grad(loss, estimator.network.weight)[0] for loss in losses])

    plain, paired = gradients(False), gradients(True)
    standard_error = float((plain.var() + paired.var()).sqrt()) / 400**0.5
    assert float(plain.mean()) == pytest.approx(float(paired.mean()), abs=4 * standard_error)
    assert float(paired.var()) < share * float(plain.var())


class Learnt(nn.Module):
    """f = -w x~ with w = 1.2 now."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.2))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return -self.weight * x


class Scaled(nn.Module):
    """A multiple of the score of N(0, I)."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return -self.factor * x


@pytest.mark.parametrize("sigma", [0.0, -1.0])
def test_a_noise_level_must_be_positive(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be greater than 0"):
        BlurredDAE(2, sigma=sigma)


def test_frames_of_moments_whiten() -> None:
    mean, covariance = law()
    frame = frame_of_moments(mean.view(1, 1, 2), covariance.unsqueeze(0), torch.float64)
    assert frame.matrix is not None
    whitened = frame.matrix[0] @ covariance @ frame.matrix[0].T / frame.scale[0] ** 2
    torch.testing.assert_close(whitened, torch.eye(2))
    torch.testing.assert_close(torch.linalg.det(frame.matrix), torch.ones(1))


def test_its_coordinates_are_not_to_choose() -> None:
    with pytest.raises(TypeError, match="standardisation"):
        BlurredDAE(2, sigma=0.1, standardisation="fixed")
    assert BlurredDAE(2, 3, sigma=0.1).standardisation == "amortised"
