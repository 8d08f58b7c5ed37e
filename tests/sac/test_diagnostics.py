"""What is said of a policy's spread, against closed forms and finite differences, for every kind of policy."""

import pytest
import torch
from torch import Tensor

from ardae_rl.sac import build_policy
from ardae_rl.sac.diagnostics import action_std, sample_actions, smallest_singular_values, watch_policy
from ardae_rl.samplers import GaussianSampler, Sampler
from tests.sac.problem import ACTION_DIM, OBS_DIM, POLICIES, PolicyName, make_config

pytestmark = pytest.mark.usefixtures("float64")


class Linear(Sampler):
    """x = W eps whatever the state, W (2, 5) with singular values 3 and ``least``."""

    dim, noise_dim = 2, 5

    def __init__(self, least: float) -> None:
        super().__init__()
        left, _ = torch.linalg.qr(torch.randn(2, 2))
        right, _ = torch.linalg.qr(torch.randn(5, 2))
        self.weight = left @ torch.diag(torch.tensor([3.0, least])) @ right.T

    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return noise @ self.weight.T


@pytest.mark.parametrize("least", [1.0, 1e-3, 0.0])
def test_the_smallest_singular_value_is_found_where_random_directions_miss_it(least: float) -> None:
    obs, origin = torch.zeros(3, OBS_DIM), torch.zeros(3, 1, 5)
    found = smallest_singular_values(Linear(least), obs, origin)
    torch.testing.assert_close(found, torch.full((3, 1), least), rtol=1e-9, atol=1e-9)


def test_a_saturated_tanh_counts() -> None:
    policy, eps = Linear(1.0), torch.randn(4, 2, 5)
    slopes = 1 - policy.draw(eps, eps).tanh().square()
    expected = torch.linalg.svdvals(slopes.unsqueeze(-1) * policy.weight)[..., -1]
    torch.testing.assert_close(smallest_singular_values(policy, torch.zeros(4, OBS_DIM), eps), expected)


@pytest.mark.parametrize("name", POLICIES)
def test_it_is_that_of_finite_differences_for_every_policy(name: PolicyName) -> None:
    policy, obs, step = build_policy(OBS_DIM, ACTION_DIM, make_config(name)), torch.randn(6, OBS_DIM), 1e-6
    noise = torch.randn(6, 1, policy.noise_dim)
    moves = step * torch.eye(policy.noise_dim)
    with torch.no_grad():
        ahead, behind = (policy.draw(obs, noise + side * moves).tanh() for side in (1, -1))
    jacobian = ((ahead - behind) / (2 * step)).transpose(1, 2)
    expected = torch.linalg.svdvals(jacobian)[..., -1:]
    torch.testing.assert_close(smallest_singular_values(policy, obs, noise), expected, rtol=1e-5, atol=1e-8)


def test_the_standard_deviation_is_that_of_a_gaussian() -> None:
    policy, obs = GaussianSampler(OBS_DIM, ACTION_DIM, width=8), torch.randn(5, OBS_DIM)
    std = policy.parameters_of(obs)[1].detach().exp().mean()
    found = action_std(policy, obs, torch.randn(5, 20_000, ACTION_DIM)).mean()
    assert not found.requires_grad and not sample_actions(policy, obs, torch.Generator(), samples=2).requires_grad
    assert abs(float(found / std) - 1) < 4 / (2 * 20_000 * 10) ** 0.5  # the error of a standard deviation is std / sqrt(2 n)


def test_the_mean_does_not_count_as_spread() -> None:
    """The states' actions differ, their draws do not."""
    assert not action_std(Linear(0.0), torch.randn(5, OBS_DIM), torch.ones(5, 8, 5)).any()


@pytest.mark.parametrize("name", POLICIES)
def test_watching_leaves_no_trace_and_repeats(name: PolicyName) -> None:
    policy, obs = build_policy(OBS_DIM, ACTION_DIM, make_config(name)), torch.randn(6, OBS_DIM)
    state = torch.get_rng_state()
    one, again = (watch_policy(policy, obs, torch.Generator().manual_seed(3)) for _ in range(2))
    assert one.keys() == {"action_std", "jacobian_singular_value_min"}
    for watched, values in one.items():
        assert values.shape == (6,) and (values > 0).all() and torch.equal(values, again[watched])
    assert torch.equal(state, torch.get_rng_state()) and all(parameter.grad is None for parameter in policy.parameters())


@pytest.mark.parametrize("name", POLICIES)
def test_sampled_actions_are_the_policys_at_each_state(name: PolicyName) -> None:
    policy, obs = build_policy(OBS_DIM, ACTION_DIM, make_config(name)), torch.randn(4, OBS_DIM)
    actions = sample_actions(policy, obs, torch.Generator().manual_seed(0), samples=20_000)
    assert actions.shape == (4, 20_000, ACTION_DIM)
    expected = policy.draw(obs, torch.randn(4, 20_000, policy.noise_dim)).tanh()
    torch.testing.assert_close(actions.mean(1), expected.mean(1), rtol=0, atol=0.03)
    torch.testing.assert_close(actions, sample_actions(policy, obs, torch.Generator().manual_seed(0), samples=20_000), rtol=0, atol=0)
