"""From a :class:`SACConfig` to networks and optimisers."""

import logging
from typing import Literal

import torch
from torch import Tensor, nn

from ardae_rl.entropy import build_entropy
from ardae_rl.sac.config import SACConfig
from ardae_rl.sac.critics import build_critic
from ardae_rl.sac.temperature import Temperature
from ardae_rl.samplers import Sampler

logger = logging.getLogger(__name__)
LossName = Literal["score", "critic", "actor", "temperature"]


class LearnerNetworks(nn.Module):
    """Everything a learner holds beyond the policy. What is no parameter but must survive a checkpoint is a buffer.

    ``calibration_mean`` / ``calibration_count`` are target calibration's running average; ``num_updates`` drives the clamping weight.
    """

    calibration_mean: Tensor
    calibration_count: Tensor
    num_updates: Tensor

    def __init__(self, policy: Sampler, obs_dim: int, config: SACConfig) -> None:
        super().__init__()
        self.critic, self.target_critic = (build_critic(obs_dim, policy.dim, config.critic) for _ in range(2))
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.target_critic.requires_grad_(False)
        self.entropy = build_entropy(config.entropy, policy, obs_dim, config.score)
        if (config.score.compile or config.score.autocast) and not any(True for _ in self.entropy.parameters()):
            logger.warning("compile and autocast speed up a score network, which a %s policy does not have here: ignored.", config.policy)
        learned = config.alpha == "auto"
        self.temperature = Temperature(config.initial_alpha if learned else float(config.alpha), learned=learned)
        self.register_buffer("calibration_mean", torch.zeros(()))
        self.register_buffer("calibration_count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))


def build_optimisers(policy: nn.Module, networks: LearnerNetworks, config: SACConfig) -> dict[LossName, torch.optim.Adam]:
    """One Adam per loss that has something to train, with 0.999 and, but for the score, 0.9; a flow in the policy has its own step size."""
    flow = list(getattr(policy, "flow", nn.Module()).parameters())
    others = [each for each in policy.parameters() if all(each is not part for part in flow)]
    groups: dict[LossName, list[tuple[list[nn.Parameter], float]]] = {
        "score": [(list(networks.entropy.parameters()), config.score.lr)],
        "critic": [(list(networks.critic.parameters()), config.critic_lr)],
        "actor": [(others, config.actor_lr), (flow, config.flow_lr)],
        "temperature": [(list(networks.temperature.parameters()), config.alpha_lr)],
    }
    trained = {name: [{"params": each, "lr": lr} for each, lr in parts if each] for name, parts in groups.items()}
    betas = {"score": config.score.beta1}
    return {name: torch.optim.Adam(parts, betas=(betas.get(name, 0.9), 0.999), fused=True) for name, parts in trained.items() if parts}
