"""Small SAC objects, mini-batches and snapshots that the tests of this folder share."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ardae_rl.sac import (
    SAC,
    CriticConfig,
    FlowPolicyConfig,
    GaussianPolicyConfig,
    ImplicitPolicyConfig,
    LearnerNetworks,
    SACConfig,
    ScoreConfig,
    ShardedNormal,
    Transitions,
    build_optimisers,
    build_policy,
)
from ardae_rl.sac.tanh import log_det_tanh
from ardae_rl.score.estimator import Normal

OBS_DIM, ACTION_DIM = 3, 2
PolicyName = Literal["gaussian", "radial", "spline", "implicit"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)


PLAIN = ScoreConfig(  # one fit on all states; the defaults' many small ones are SHARED
    width=16,
    whitener_width=16,
    anchors=0,
    student_dof=None,
    delta_scale=0.1,
    samples_per_context=6,
    fits_per_step=1,
    share_contexts=False,
    importance_samples=5,
)
SHARED = ScoreConfig(width=16, whitener_width=16, anchors=2, samples_per_context=3, fits_per_step=2, importance_samples=5)


def make_config(policy: PolicyName = "implicit", **options: Any) -> SACConfig:
    small: dict[str, Any] = {
        "implicit": ImplicitPolicyConfig(noise_dim=4, width=16),
        "gaussian": GaussianPolicyConfig(width=16),
        "flow": FlowPolicyConfig(kind="spline" if policy == "spline" else "radial", flows=2, bins=4, width=16),
        "critic": CriticConfig(width=16),
        "score": PLAIN,
        "alpha": 0.05,
        "policy_delay": 1,
    }
    return SACConfig(policy=policy if policy in ("gaussian", "implicit") else "flow", **(small | options))


def make_sac(
    config: SACConfig, *, seed: int = 0, normal: Normal | None = None, average: Callable[[list[Tensor]], None] = lambda tensors: None
) -> SAC:
    torch.manual_seed(seed)
    policy = build_policy(OBS_DIM, ACTION_DIM, config)
    networks = LearnerNetworks(policy, OBS_DIM, config)
    normal = normal or ShardedNormal(torch.Generator().manual_seed(seed))
    return SAC(policy, networks, build_optimisers(policy, networks, config), config, normal=normal, average=average)


def make_batch(size: int = 8, *, seed: int = 1) -> Transitions:
    generator = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, size, OBS_DIM, generator=generator)
    actions = 2 * torch.rand(size, ACTION_DIM, generator=generator) - 1
    terminateds = (torch.arange(size) % 3 == 0).to(obs.dtype)
    return Transitions(obs, actions, torch.randn(size, generator=generator), next_obs, terminateds)


def log_prob_of_draws(sac: SAC, obs: Tensor) -> Tensor:
    """log pi(a | s) of one action per state, tanh included, (B,)."""
    action, log_density, _ = sac._one_each(sac.entropy.draw_with_log_prob, obs)
    return (log_density - log_det_tanh(action)).squeeze(1)


def no_noise(*shape: int) -> Tensor:
    return torch.zeros(shape)


def weights(sac: SAC) -> dict[str, Tensor]:
    """A copy of every parameter and buffer."""
    both = {"policy": sac.policy, "networks": sac.networks}
    return {f"{owner}.{name}": value.clone() for owner, module in both.items() for name, value in module.state_dict().items()}


def changed_parts(before: dict[str, Tensor], sac: SAC) -> set[str]:
    """Which of policy, critic, target_critic, entropy, temperature, ... hold other numbers than before."""
    changed = {name for name, value in weights(sac).items() if not torch.equal(value, before[name])}
    return {name.removeprefix("networks.").split(".")[0] for name in changed}
