"""On a one-step problem whose best policy is known in closed form, the update finds it."""

import pytest
import torch
from torch import Tensor

from ardae_rl.sac import SAC, GaussianPolicyConfig, ImplicitPolicyConfig, ScoreConfig, Transitions
from tests.sac.problem import ACTION_DIM, OBS_DIM, PolicyName, make_config, make_sac

ALPHA, SHARPNESS = 0.1, 1.0


def best_action(obs: Tensor) -> Tensor:
    return 0.5 * torch.tanh(obs[:, :ACTION_DIM])


def bandit(size: int, generator: torch.Generator) -> Transitions:
    """r(s, a) = -k |a - a*(s)|^2 and the episode ends: the soft-optimal policy is exp(r / alpha), of variance alpha / (2 k) about a*."""
    obs = torch.randn(size, OBS_DIM, generator=generator)
    actions = 2 * torch.rand(size, ACTION_DIM, generator=generator) - 1
    rewards = -SHARPNESS * (actions - best_action(obs)).square().sum(-1)
    return Transitions(obs, actions, rewards, obs, torch.ones(size))


def train(sac: SAC, *, updates: int, size: int = 128) -> None:
    generator = torch.Generator().manual_seed(3)
    milestones = [updates * 4 // 7, updates * 5 // 7]
    decays = [torch.optim.lr_scheduler.MultiStepLR(optimiser.optimiser, milestones, gamma=0.3) for optimiser in sac.optimisers.values()]
    for _ in range(updates):
        sac.update(bandit(size, generator))
        for decay in decays:
            decay.step()


def draws(sac: SAC) -> tuple[Tensor, Tensor]:
    """Actions (500, 200, D) of the policy and the best action (500, 1, D)."""
    obs = torch.randn(500, OBS_DIM, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        actions = sac.policy.draw(obs, torch.randn(500, 200, sac.policy.noise_dim)).tanh()
    return actions, best_action(obs).unsqueeze(1)


def boltzmann_moments() -> tuple[float, float]:
    """Mean squared distance to a* and mean standard deviation of exp(r / alpha) cut to (-1, 1), by quadrature over both coordinates."""
    obs = torch.randn(500, OBS_DIM, generator=torch.Generator().manual_seed(4))
    grid, centre = torch.linspace(-0.9995, 0.9995, 2000), best_action(obs).unsqueeze(-1)
    weight = torch.softmax(-SHARPNESS * (grid - centre).square() / ALPHA, -1)
    mean = (weight * grid).sum(-1, keepdim=True)
    std = (weight * (grid - mean).square()).sum(-1).sqrt()
    return float((weight * (grid - centre).square()).sum(-1).mean()), float(std.mean())


def learner(policy: PolicyName, *, seed: int = 0) -> SAC:
    score = ScoreConfig(layers=2, context_layers=1, input_layers=0, width=64, samples_per_context=16, lr=3e-3)
    config = make_config(
        policy,
        alpha=ALPHA,
        score=score,
        implicit=ImplicitPolicyConfig(noise_dim=4, width=64),
        gaussian=GaussianPolicyConfig(width=64),
        jacobian_clamping=None,
        actor_lr=3e-3,
        flow_lr=3e-3,
        critic_lr=3e-3,
    )
    return make_sac(config, seed=seed)


def regret_and_spread(sac: SAC) -> tuple[float, float]:
    actions, best = draws(sac)
    return float((actions - best).square().mean()), float(actions.std(1).mean())


@pytest.mark.parametrize(
    ("policy", "updates"),
    [
        ("gaussian", 400),
        ("radial", 400),
        pytest.param("spline", 400, marks=pytest.mark.slow),
        pytest.param("implicit", 700, marks=pytest.mark.slow),
    ],
    ids=["gaussian", "radial", "spline", "implicit"],
)
def test_the_policy_becomes_the_soft_optimal_one(policy: PolicyName, updates: int) -> None:
    """Right in the mean and in the spread: alpha, the tanh correction and the score's scale all have to be right for that.

    Over three seeds the regret came out 1% below to 34% above the optimum's, the spread 8% below to 3% above.
    """
    sac = learner(policy)
    train(sac, updates=updates)
    regret, spread = regret_and_spread(sac)
    best_regret, best_spread = boltzmann_moments()
    assert regret == pytest.approx(best_regret, rel=0.5)
    assert spread == pytest.approx(best_spread, rel=0.15)


def test_the_implicit_policy_improves_as_quickly_as_a_gaussian() -> None:
    """Over three seeds its regret came out at 0.13 to 0.15, and with the released initialisation at 0.14 to 0.25."""
    regrets = {}
    policies: tuple[PolicyName, ...] = ("implicit", "gaussian")
    for policy in policies:
        sac = learner(policy)
        train(sac, updates=150)
        regrets[policy], spread = regret_and_spread(sac)
        assert spread > 0.05  # it did not collapse
    assert 0.05 < regrets["implicit"] < 1.15 * regrets["gaussian"] < 0.2
