"""From a :class:`SACConfig` to networks and optimisers."""

import logging
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ardae_rl.sac.config import SACConfig
from ardae_rl.sac.entropy import ScoreEntropy, TractableEntropy
from ardae_rl.sac.networks import Temperature, TwinCritic
from ardae_rl.samplers import GaussianSampler, ImplicitSampler, RadialFlowSampler, SplineFlowSampler
from ardae_rl.score import ARDAE, build_estimator

logger = logging.getLogger(__name__)
LossName = Literal["score", "critic", "actor", "temperature"]
Policy = ImplicitSampler | GaussianSampler | RadialFlowSampler | SplineFlowSampler


class LearnerNetworks(nn.Module):
    """Everything a learner holds beyond the policy. What is no parameter but must survive a checkpoint is a buffer.

    ``calibration_mean`` / ``calibration_count`` are target calibration's running average; ``num_updates`` drives the clamping weight.
    """

    calibration_mean: Tensor
    calibration_count: Tensor
    num_updates: Tensor

    def __init__(self, obs_dim: int, action_dim: int, config: SACConfig) -> None:
        super().__init__()
        self.critic = TwinCritic(obs_dim, action_dim, **asdict(config.critic))
        self.target_critic = TwinCritic(obs_dim, action_dim, **asdict(config.critic)).requires_grad_(False)
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.entropy = build_entropy(obs_dim, action_dim, config)
        learned = config.alpha == "auto"
        self.temperature = Temperature(config.initial_alpha if learned else float(config.alpha), learned=learned)
        self.register_buffer("calibration_mean", torch.zeros(()))
        self.register_buffer("calibration_count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))


def build_policy(obs_dim: int, action_dim: int, config: SACConfig) -> Policy:
    if config.policy == "implicit":
        return ImplicitSampler(obs_dim, action_dim, **asdict(config.implicit))
    gaussian, flow = GaussianSampler(obs_dim, action_dim, **asdict(config.gaussian)), config.flow
    if config.policy == "gaussian":
        return gaussian
    if flow.kind == "radial":
        return RadialFlowSampler(gaussian, flows=flow.flows)
    return SplineFlowSampler(gaussian, obs_dim, flows=flow.flows, bins=flow.bins, hidden_layers=flow.hidden_layers, width=flow.width)


def build_entropy(obs_dim: int, action_dim: int, config: SACConfig) -> TractableEntropy | ScoreEntropy:
    if config.policy != "implicit":
        if config.score.compile or config.score.autocast:
            logger.warning("compile and autocast speed up the score network, which a %s policy does not have: ignored.", config.policy)
        return TractableEntropy()
    estimator = build_estimator("ardae", action_dim, obs_dim, config.score)
    assert isinstance(estimator, ARDAE)
    return ScoreEntropy(estimator, config.score)


def trained_parameters(policy: nn.Module, networks: LearnerNetworks) -> dict[LossName, list[nn.Parameter]]:
    """Which loss trains which parameters. Every parameter that requires a gradient appears exactly once."""
    groups: dict[LossName, nn.Module] = {
        "score": networks.entropy,
        "critic": networks.critic,
        "actor": policy,
        "temperature": networks.temperature,
    }
    return {name: list(module.parameters()) for name, module in groups.items() if any(True for _ in module.parameters())}


def build_optimisers(policy: nn.Module, networks: LearnerNetworks, config: SACConfig) -> dict[LossName, torch.optim.Adam]:
    """One Adam (0.9, 0.999) per loss; the actor's has a second group of parameters, with its own step size, for a flow's."""
    lrs = {"score": config.score.lr, "critic": config.critic_lr, "actor": config.actor_lr, "temperature": config.alpha_lr}
    groups: dict[LossName, list[dict[str, Any]]] = {
        name: [{"params": parameters, "lr": lrs[name]}] for name, parameters in trained_parameters(policy, networks).items()
    }
    if isinstance(policy, RadialFlowSampler | SplineFlowSampler):
        groups["actor"] = [
            {"params": list(policy.base.parameters()), "lr": config.actor_lr},
            {"params": list(policy.flow.parameters()), "lr": config.flow_lr},
        ]
    return {name: torch.optim.Adam(parts, fused=True) for name, parts in groups.items()}
