"""One soft actor-critic update, for any policy and any source of its entropy: Algorithm 2 of [Lim2020].

Notation: B transitions; obs, next_obs (B, C), actions (B, D) in (-1, 1), rewards, terminateds (B,). u is the action before tanh.
Reference: [Lim2020] arXiv:2006.05164, section 6.3, Appendix G; Haarnoja et al. 2018, arXiv:1812.05905, for the learned temperature.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ardae_rl.entropy import Draw, EntropySource
from ardae_rl.nn.optimiser import Average, GuardedOptimiser, alone
from ardae_rl.sac.build import LearnerNetworks, LossName, build_optimisers
from ardae_rl.sac.config import JacobianClampingConfig, SACConfig, build_policy
from ardae_rl.sac.critics import CRITICS
from ardae_rl.sac.noise import ShardedNormal
from ardae_rl.sac.tanh import log_det_tanh
from ardae_rl.samplers import Sampler, clamping_loss, clamping_weight, jacobian_stretch
from ardae_rl.score.estimator import Normal

Metrics = dict[str, Tensor]
SKIPPED = "non_finite_skipped"  # optimiser steps in all
_OUTERMOST, _SATURATED = 0.05, 0.99  # the share of actions whose force is watched; |action| from which on tanh is flat
_FAR_OUT = {"pre_tanh_max", "pre_tanh_p99", "saturated", "outward_force"}
_CLAMPING = {"clamping_loss", "clamping_weight", "jacobian_stretch"}
OF_TURNS = frozenset({"score_loss", "whitening_loss", "actor_loss", "stein_ratio", "temperature_loss", *_FAR_OUT, *_CLAMPING})
"""Metrics of what waits for its turn, with ``policy_delay``; the others are every update's."""
_OWN = {"critic_loss", "actor_loss", "temperature_loss", "entropy", "alpha", "calibration", SKIPPED, *_FAR_OUT, *_CLAMPING}
_OF_PARTS = [*(each.metric_names for each in EntropySource.__subclasses__()), *(each.metric_names for each in CRITICS.values())]
METRIC_NAMES = frozenset(_OWN.union(*_OF_PARTS))


@dataclass(frozen=True)
class Transitions:
    """A mini-batch. ``terminateds`` is 1 where the episode really ended; a time limit (truncation) is 0 and bootstraps."""

    obs: Tensor
    actions: Tensor
    rewards: Tensor
    next_obs: Tensor
    terminateds: Tensor

    def __post_init__(self) -> None:
        batch = len(self.obs)
        shapes = {name: tuple(getattr(self, name).shape) for name in ("obs", "actions", "rewards", "next_obs", "terminateds")}
        flat, wide = shapes["rewards"] == shapes["terminateds"] == (batch,), shapes["next_obs"] == shapes["obs"]
        if not (flat and wide and len(shapes["actions"]) == 2 and shapes["actions"][0] == batch):
            raise ValueError(f"transitions must be obs and next_obs (B, C), actions (B, D), rewards and terminateds (B,), got {shapes}.")


class SAC:
    """The networks, their optimisers and the update that joins them; :meth:`build` makes them all.

    ``normal`` supplies all randomness (:class:`ShardedNormal`). ``average`` replaces tensors, in place, by their mean over learners;
    the default leaves them alone.
    """

    def __init__(
        self,
        policy: Sampler,
        networks: LearnerNetworks,
        optimisers: dict[LossName, torch.optim.Adam],
        config: SACConfig,
        *,
        normal: Normal,
        average: Average = alone,
    ) -> None:
        self.policy, self.networks, self.config = policy, networks, config
        self.normal, self.average = normal, average
        self.entropy, self.critic, self.temperature = networks.entropy, networks.critic, networks.temperature
        self.optimisers = {
            name: GuardedOptimiser(name, optimiser, patience=config.max_non_finite, average=average)
            for name, optimiser in optimisers.items()
        }

    @classmethod
    def build(cls, obs_dim: int, action_dim: int, config: SACConfig, *, seed: int = 0, device: str = "cpu") -> "SAC":
        """Policy, critics, entropy source and optimisers of ``config``, with first weights and noise of ``seed``.

        Seeds torch's global generator, from which first weights come.
        """
        torch.manual_seed(seed)
        policy = build_policy(obs_dim, action_dim, config)
        networks = LearnerNetworks(policy, obs_dim, config).to(device)
        generator = torch.Generator(device).manual_seed(seed + 1)
        return cls(policy.to(device), networks, build_optimisers(policy, networks, config), config, normal=ShardedNormal(generator))

    def update(self, batch: Transitions) -> Metrics:
        """Fit the score, then critics, policy, temperature and target critics, once each. Returns what to log, as scalar tensors.

        With ``policy_delay`` the score, the policy and the temperature wait for every so manyth update, from the first on.
        """
        turn = int(self.networks.num_updates) % self.config.policy_delay == 0
        steps = self.config.score.fits_per_step
        metrics = self.entropy.fit(self.optimisers.get("score"), self.policy, batch.obs, self.normal, steps=steps) if turn else {}
        target, log_prob, of_target = self._target(batch)
        metrics = metrics | of_target | self._update_critics(batch, target)
        if turn:
            metrics = metrics | self._update_policy(batch.obs) | self._update_temperature(log_prob)
        self._update_target_critics()
        self.networks.num_updates += 1
        return metrics | {SKIPPED: torch.tensor(float(sum(each.skipped for each in self.optimisers.values())))}

    def _update_critics(self, batch: Transitions, target: Tensor) -> Metrics:
        loss, metrics = self.critic.loss(batch.obs, batch.actions, target - self._offset())
        return metrics | self._descend("critic", loss)

    @torch.no_grad()
    def _target(self, batch: Transitions) -> tuple[Tensor, Tensor, Metrics]:
        """y = r + gamma (1 - terminated) (min_k Q'_k(s', a') + B - alpha log pi(a'|s')), (B,), and log pi(a'|s'); B is the calibration."""
        x, log_density, metrics = self._one_each(self.entropy.draw_with_log_prob, batch.next_obs)
        pre_tanh = x.squeeze(1)
        log_prob = log_density.squeeze(1) - log_det_tanh(pre_tanh)
        discount = self.config.gamma * (1 - batch.terminateds)
        entropy_part = -discount * self.temperature() * log_prob
        if self.config.target_calibration:
            self._calibrate(entropy_part)
            metrics = metrics | {"calibration": self.networks.calibration_mean.clone()}
        value = self.networks.target_critic.value(batch.next_obs, pre_tanh.tanh()) + self._offset()
        metrics = {"entropy": -log_prob.mean(), "alpha": self.temperature(), **metrics}
        return batch.rewards + discount * value + entropy_part, log_prob, metrics

    def _one_each(self, draw: Callable[..., Draw], obs: Tensor) -> Draw:
        """One action before tanh per state, (B, 1, D)."""
        return draw(self.policy, obs, self.normal(len(obs), 1, self.policy.noise_dim), self.normal)

    def _calibrate(self, entropy_part: Tensor) -> None:
        """B: cumulative average, over all samples seen, of the entropy part of the target.

        Q + B, online and target alike, is the value; the networks learn what is left. The policy sees grad_a Q, which B leaves alone.
        (The authors' code adds B to the online Q only, which shifts every target.)
        """
        batch_mean = entropy_part.mean()
        self.average([batch_mean])
        if batch_mean.isfinite():
            self.networks.calibration_count += 1
            self.networks.calibration_mean += (batch_mean - self.networks.calibration_mean) / self.networks.calibration_count

    def _offset(self) -> Tensor | float:
        return self.networks.calibration_mean if self.config.target_calibration else 0.0

    def _update_policy(self, obs: Tensor) -> Metrics:
        x, entropy, metrics = self._one_each(self.entropy.draw_with_entropy, obs)
        pre_tanh = x.squeeze(1)
        entropy_of_action = entropy + log_det_tanh(pre_tanh).mean()
        metrics = metrics | _far_out(pre_tanh) | ({} if self.entropy.is_exact else _outward_force(x, entropy_of_action))
        value = self.critic.value(obs, pre_tanh.tanh(), fixed=True)
        loss = -self.temperature() * entropy_of_action - value.mean()
        if self.config.jacobian_clamping is not None and not self.policy.has_density:
            clamping, watched = self._clamping(self.config.jacobian_clamping, obs)
            loss, metrics = loss + clamping, metrics | watched
        return metrics | self._descend("actor", loss)

    def _clamping(self, clamp: JacobianClampingConfig, obs: Tensor) -> tuple[Tensor, Metrics]:
        """lambda_i L_reg on the action after tanh."""
        noise_dim = self.policy.noise_dim
        noise, directions = self.normal(len(obs), 1, noise_dim), self.normal(len(obs), clamp.perturbations, noise_dim)
        stretch = jacobian_stretch(lambda eps: self.policy.draw(obs, eps).tanh(), noise, directions, clamp.xi)
        loss = clamping_loss(stretch, clamp.eta)
        weight = clamping_weight(self.networks.num_updates, clamp.nu, clamp.weight_max)
        watched = {"clamping_loss": loss.detach(), "clamping_weight": weight, "jacobian_stretch": stretch.detach().mean()}
        return weight * loss, watched

    def _update_temperature(self, log_prob: Tensor) -> Metrics:
        """Raise alpha where the entropy -E[log pi] is below its target, lower it above.

        log pi is the critic target's, at the next states: the same law of states as the replay buffer's, at no further cost.
        """
        if "temperature" not in self.optimisers:
            return {}
        target = -float(self.policy.dim) if self.config.target_entropy is None else self.config.target_entropy
        return self._descend("temperature", -self.temperature.log_alpha * (log_prob + target).mean())

    @torch.no_grad()
    def _update_target_critics(self) -> None:
        torch._foreach_lerp_(list(self.networks.target_critic.parameters()), list(self.critic.parameters()), self.config.tau)

    def _descend(self, name: LossName, loss: Tensor) -> Metrics:
        return {f"{name}_loss": self.optimisers[name].step(loss)}


@torch.no_grad()
def _far_out(pre_tanh: Tensor) -> Metrics:
    """How far actions (B, D) before the tanh reach."""
    sizes = pre_tanh.detach().abs().flatten()
    p99 = sizes.kthvalue(math.ceil(0.99 * len(sizes))).values
    return {"pre_tanh_max": sizes.max(), "pre_tanh_p99": p99, "saturated": (sizes > math.atanh(_SATURATED)).float().mean()}


def _outward_force(x: Tensor, entropy: Tensor) -> Metrics:
    """The part along u of the entropy's gradient, -(score + 2 tanh u), at the outermost of u = ``x`` (B, 1, D): does it drive them out?

    At the soft optimum of any bounded Q it is around 0 or below there.
    """
    u, of_mean = (each.squeeze(1) for each in (x.detach(), *torch.autograd.grad(entropy, x, retain_graph=True)))
    distances = u.norm(dim=-1)
    far = distances.topk(max(1, round(_OUTERMOST * len(u)))).indices
    return {"outward_force": len(u) * ((of_mean[far] * u[far]).sum(-1) / distances[far]).mean()}
