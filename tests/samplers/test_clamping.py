"""Jacobian clamping against an explicit Jacobian, its gradient against finite differences, its weight against pencil and paper."""

import re
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor

from ardae_rl.experiment.control import ControlExperiment
from ardae_rl.experiment.load import load_experiment
from ardae_rl.samplers import ImplicitSampler, clamping_loss, clamping_weight, jacobian_stretch

pytestmark = pytest.mark.usefixtures("float64")
ROOT = Path(__file__).parents[2]


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


def share_left(dim: int, noise_dim: int, eta: float, std: float) -> float:
    """Of the penalty of a linear policy, as a share of eta^2, by its closed form: the stretch is std^2 Beta(D / 2, (E - D) / 2)."""
    law = stats.beta(dim / 2, (noise_dim - dim) / 2)
    return float(law.expect(lambda x: max(1 - std**2 * x / eta, 0) ** 2))


@pytest.mark.parametrize(("dim", "eta", "std"), [(1, 0.1, 0.5), (2, 0.1, 0.3), (2, 0.01, 0.3), (6, 0.1, 0.3)])
def test_penalty_of_a_linear_policy_is_the_one_in_closed_form(dim: int, eta: float, std: float) -> None:
    count, noise_dim = 40_000, 10
    weight = std * torch.linalg.qr(torch.randn(noise_dim, dim))[0].T
    stretch = jacobian_stretch(lambda eps: eps @ weight.T, torch.randn(count, 1, noise_dim), torch.randn(count, 1, noise_dim), 0.01)
    shares = (1 - stretch / eta).clamp(min=0).square()
    assert abs(float(clamping_loss(stretch, eta)) / eta**2 - share_left(dim, noise_dim, eta, std)) < 4 * float(shares.std()) / count**0.5


def test_the_documented_table_of_what_cannot_be_satisfied() -> None:
    text = (ROOT / "docs" / "environments.md").read_text()
    rows = re.findall(r"^\| (\d+), (\d+), ([\d.]+).*?\|(.*)\|$", text, re.MULTILINE)
    assert len(rows) == 5
    for dim, noise_dim, eta, cells in rows:
        shares = [share_left(int(dim), int(noise_dim), float(eta), std) for std in (0.1, 0.3, 0.5, 0.8)]
        assert [float(cell) for cell in cells.split("|")] == pytest.approx(shares, abs=0.006)


def test_no_experiment_with_few_actions_is_clamped() -> None:
    """Every environment of the paper has at least three actions, and clamping as in its Table 7."""
    clamped = set()
    for path in (ROOT / "tune_configs").rglob("*.yaml"):
        experiment = load_experiment(path)
        if isinstance(experiment, ControlExperiment) and experiment.config.sac.jacobian_clamping is not None:
            clamped.add(experiment.env)
    assert clamped == {"HalfCheetah-v5", "Ant-v5", "Hopper-v5", "Walker2d-v5", "Humanoid-v5", "ardae_rl/RllabHumanoid-v0"}
