"""One SAC-AR-DAE update written the straightforward way: the baseline of ``scripts/bench.py update``.

The same mathematics as ``ardae_rl.sac`` with an implicit policy, a gradient-form AR-DAE on the paper's fixed scale and Jacobian clamping;
a test sets the two against each other. What is naive on purpose: states are repeated and encoded once per sample, the gradient of the
potential comes from automatic differentiation (twice through it to train), and optimisers and targets go parameter by parameter.

Notation: B states, K actions per state, C state, D action and E noise dimension; everything inside is flat, (B K, ...).
Reference: [Lim2020] arXiv:2006.05164, Algorithm 2 and Appendix G.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.naive import Potential, descend, mlp


@dataclass(frozen=True, kw_only=True)
class NaiveConfig:
    """Table 7 of the paper, HalfCheetah, with the released n_a = 64 and n_Z = 10."""

    obs_dim: int = 17
    action_dim: int = 6
    noise_dim: int = 10
    width: int = 256
    score_layers: int = 5
    samples_per_state: int = 64
    importance_samples: int = 10
    scale: float = 10_000.0
    delta_scale: float = 0.1
    proposal_std: float = math.exp(-1)
    alpha: float = 0.05
    gamma: float = 0.99
    tau: float = 0.005
    lr: float = 3e-4
    xi: float = 0.01
    eta: float = 0.1
    nu: float = 1.1
    perturbations: int = 10


class Policy(nn.Module):
    """Pre-tanh action (N, D) from state (N, C) and noise (N, E)."""

    def __init__(self, config: NaiveConfig) -> None:
        super().__init__()
        self.encoder = mlp([config.obs_dim, config.width], nn.ELU, activate_last=True)
        self.head = mlp([config.width + config.noise_dim, config.width, config.action_dim], nn.ELU, activate_last=False)
        nn.init.normal_(self.head[-1].weight)  # type: ignore[arg-type]

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        return self.head(torch.cat([self.encoder(obs), noise], -1))


class NaiveUpdate:
    """Networks, optimisers, and ``update(batch)`` on the columns obs, actions, rewards, new_obs, terminateds of B transitions."""

    def __init__(self, config: NaiveConfig) -> None:
        self.config = config
        q_sizes = [config.obs_dim + config.action_dim, config.width, config.width, 1]
        self.policy = Policy(config)
        self.potential = Potential(config.action_dim, config.obs_dim, config.width, config.score_layers, nn.ELU)
        self.critics = nn.ModuleList(mlp(q_sizes, nn.ReLU, activate_last=False) for _ in range(2))
        self.targets = copy.deepcopy(self.critics)
        self.updates = 0
        self.score_optimiser = torch.optim.Adam(self.potential.parameters(), lr=config.lr)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=config.lr)
        self.policy_optimiser = torch.optim.Adam(self.policy.parameters(), lr=config.lr)

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One step of each network; the three losses."""
        losses = {
            "score_loss": descend(self.score_optimiser, self.score_loss(batch["obs"])),
            "critic_loss": descend(self.critic_optimiser, self.critic_loss(batch)),
            "policy_loss": descend(self.policy_optimiser, self.policy_loss(batch["obs"])),
        }
        with torch.no_grad():
            for target, online in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                target.copy_((1 - self.config.tau) * target + self.config.tau * online)
        self.updates += 1
        return losses

    def score_loss(self, obs: Tensor) -> Tensor:
        """Denoising loss of AR-DAE over K fresh actions of every state."""
        repeated = obs.repeat_interleave(self.config.samples_per_state, 0)
        with torch.no_grad():
            actions = self.policy(repeated, self._noise(len(repeated)))
            x = self._standardise(repeated, actions)
        return self.potential.loss(x, repeated, self.config.samples_per_state, self.config.delta_scale)

    def critic_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Squared errors of both critics against the soft target."""
        with torch.no_grad():
            obs = batch["new_obs"]
            pre_tanh = self.policy(obs, self._noise(len(obs)))
            next_value = torch.min(*self._values(self.targets, obs, pre_tanh.tanh()))
            soft_value = next_value - self.config.alpha * self.log_prob(obs, pre_tanh)
            target = batch["rewards"] + self.config.gamma * (1 - batch["terminateds"]) * soft_value
        first, second = self._values(self.critics, batch["obs"], batch["actions"])
        return functional.mse_loss(first, target) + functional.mse_loss(second, target)

    def log_prob(self, obs: Tensor, pre_tanh: Tensor) -> Tensor:
        """log pi(tanh(pre_tanh) | obs) in nats, (B,), with log Z by importance sampling."""
        x = self._standardise(obs, pre_tanh)
        log_density = self.potential(x, obs, x.new_zeros(len(x), 1)) - self.log_z(obs, torch.randn(len(obs), self._n_z, x.shape[-1]))
        log_det = 2 * (math.log(2) - pre_tanh - functional.softplus(-2 * pre_tanh))
        return log_density + pre_tanh.shape[-1] * math.log(self.config.scale) - log_det.sum(-1)

    def log_z(self, obs: Tensor, noise: Tensor) -> Tensor:
        """log Z (B,) in standardised coordinates from standard normal noise (B, n_Z, D)."""
        std = self.config.scale * self.config.proposal_std
        proposals = (std * noise).flatten(0, 1)
        psi = self.potential(proposals, obs.repeat_interleave(self._n_z, 0), proposals.new_zeros(len(proposals), 1))
        log_proposal = torch.distributions.Normal(0.0, std).log_prob(proposals).sum(-1)
        return torch.logsumexp((psi - log_proposal).view(len(obs), self._n_z), 1) - math.log(self._n_z)

    def policy_loss(self, obs: Tensor) -> Tensor:
        """alpha times minus the entropy, minus the lower critic, plus Jacobian clamping."""
        noise = self._noise(len(obs))
        pre_tanh = self.policy(obs, noise)
        score = self.potential.score(self._standardise(obs, pre_tanh), obs, pre_tanh.new_zeros(len(obs), 1))
        score = self.config.scale * score.detach() + 2 * pre_tanh.detach().tanh()
        value = torch.min(*self._values(self.critics, obs, pre_tanh.tanh()))
        entropy_term = self.config.alpha * (score * pre_tanh).sum(-1)
        return (entropy_term - value).mean() + self._clamping(obs, noise)

    def _clamping(self, obs: Tensor, noise: Tensor) -> Tensor:
        config = self.config
        repeated, start = (part.repeat_interleave(config.perturbations, 0) for part in (obs, noise))
        directions = torch.randn_like(start)
        moved = self.policy(repeated, start + config.xi * directions).tanh() - self.policy(repeated, start).tanh()
        stretch = moved.square().sum(-1) / (config.xi**2 * directions.square().sum(-1))
        weight = 1 + self.updates**config.nu / 1000
        return weight * (stretch - config.eta).clamp(max=0).square().mean()

    def _standardise(self, obs: Tensor, actions: Tensor) -> Tensor:
        with torch.no_grad():
            centre = self.policy(obs, obs.new_zeros(len(obs), self.config.noise_dim))
        return self.config.scale * (actions - centre)

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.config.noise_dim)

    @property
    def _n_z(self) -> int:
        return self.config.importance_samples

    def _values(self, critics: nn.ModuleList, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([obs, actions], -1)
        return critics[0](both).squeeze(-1), critics[1](both).squeeze(-1)
