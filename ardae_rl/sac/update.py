"""One soft actor-critic update, for any policy and any source of its entropy: Algorithm 2 of [Lim2020].

Notation: B transitions; obs, next_obs (B, C), actions (B, D) in (-1, 1), rewards, terminateds (B,). u is the action before tanh.
Reference: [Lim2020] arXiv:2006.05164, section 6.3, Appendix G; Haarnoja et al. 2018, arXiv:1812.05905, for the learned temperature.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ardae_rl.sac.build import LearnerNetworks, LossName, Policy, trained_parameters
from ardae_rl.sac.config import SACConfig
from ardae_rl.samplers import ImplicitSampler, clamping_loss, clamping_weight, jacobian_stretch
from ardae_rl.score.estimator import Normal

Metrics = dict[str, Tensor]
SKIPPED = "non_finite_skipped"  # optimiser steps in all
METRIC_NAMES = frozenset(
    (
        "score_loss",
        "whitening_loss",
        "critic_loss",
        "actor_loss",
        "temperature_loss",
        "q_mean",
        "entropy",
        "alpha",
        "calibration",
        SKIPPED,
    )
) | {"log_z_std", "log_z_error", "importance_ess", "stein_ratio", "clamping_loss", "clamping_weight", "jacobian_stretch"}


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


class NonFiniteError(RuntimeError):
    """A loss or its gradient stayed NaN or infinite for too long."""


class SAC:
    """The networks, their optimisers and the update that joins them.

    ``normal`` supplies all randomness (:class:`ShardedNormal`). ``average`` replaces tensors, in place, by their mean over learners;
    the default leaves them alone.
    """

    def __init__(
        self,
        policy: Policy,
        networks: LearnerNetworks,
        optimisers: dict[LossName, torch.optim.Adam],
        config: SACConfig,
        *,
        normal: Normal,
        average: Callable[[list[Tensor]], None] = lambda tensors: None,
    ) -> None:
        self.policy, self.networks, self.optimisers, self.config = policy, networks, optimisers, config
        self.normal, self.average = normal, average
        self.entropy, self.critic, self.temperature = networks.entropy, networks.critic, networks.temperature
        self.parameters = trained_parameters(policy, networks)
        self.non_finite_in_a_row: dict[str, int] = {}
        self.last_finite_update: dict[str, int] = {}
        self.non_finite_total = 0
        self._update_number = 0

    def update(self, batch: Transitions) -> Metrics:
        """Fit the score, then critics, policy, temperature and target critics, once each. Returns what to log, as scalar tensors."""
        metrics: Metrics = {}
        self._update_number = (self._update_number or int(self.networks.num_updates)) + 1
        for _ in range(self.config.score.fits_per_step):
            self._fit_score(batch.obs, metrics)
        log_prob = self._update_critics(batch, metrics)
        self._update_policy(batch.obs, metrics)
        self._update_temperature(log_prob, metrics)
        self._update_target_critics()
        self.networks.num_updates += 1
        return metrics

    def _fit_score(self, obs: Tensor, metrics: Metrics) -> None:
        losses = self.entropy.fit_losses(self.policy, obs, self.normal, self.average)
        if losses:
            self._descend("score", torch.stack(list(losses.values())).sum(), metrics)
            values = {f"{name}_loss": loss.detach().clone() for name, loss in losses.items()}
            self.average(list(values.values()))
            metrics |= values

    def _update_critics(self, batch: Transitions, metrics: Metrics) -> Tensor:
        target, log_prob = self._target(batch, metrics)
        values = self.critic(batch.obs, batch.actions)
        metrics["q_mean"] = values.detach().mean()
        self._descend("critic", (values + self._offset() - target).square().mean(1).sum(), metrics)
        return log_prob

    @torch.no_grad()
    def _target(self, batch: Transitions, metrics: Metrics) -> tuple[Tensor, Tensor]:
        """y = r + gamma (1 - terminated) (min_k Q'_k(s', a') + B - alpha log pi(a'|s')), (B,), and log pi(a'|s'); B is the calibration."""
        pre_tanh, log_prob, watched = self.entropy.sample_with_log_prob(self.policy, batch.next_obs, self.normal)
        discount = self.config.gamma * (1 - batch.terminateds)
        entropy_part = -discount * self.temperature() * log_prob
        if self.config.target_calibration:
            self._calibrate(entropy_part)
            metrics["calibration"] = self.networks.calibration_mean.clone()
        value = self.networks.target_critic(batch.next_obs, pre_tanh.tanh()).amin(0) + self._offset()
        metrics |= {"entropy": -log_prob.mean(), "alpha": self.temperature(), **watched}
        return batch.rewards + discount * value + entropy_part, log_prob

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

    def _update_policy(self, obs: Tensor, metrics: Metrics) -> None:
        pre_tanh, term, watched = self.entropy.sample_with_policy_term(self.policy, obs, self.normal)
        metrics |= watched
        value = self.critic(obs, pre_tanh.tanh(), fixed=True).amin(0)
        loss = self.temperature() * term - value.mean()
        if self.config.jacobian_clamping is not None and isinstance(self.policy, ImplicitSampler):
            loss = loss + self._clamping(self.policy, obs, metrics)
        self._descend("actor", loss, metrics)

    def _clamping(self, policy: ImplicitSampler, obs: Tensor, metrics: Metrics) -> Tensor:
        """lambda_i L_reg on the action after tanh."""
        clamp = self.config.jacobian_clamping
        assert clamp is not None
        noise, directions = self.normal(len(obs), 1, policy.noise_dim), self.normal(len(obs), clamp.perturbations, policy.noise_dim)
        stretch = jacobian_stretch(lambda eps: policy.draw(obs, eps).tanh(), noise, directions, clamp.xi)
        loss = clamping_loss(stretch, clamp.eta)
        weight = clamping_weight(self.networks.num_updates, clamp.nu, clamp.weight_max)
        metrics |= {"clamping_loss": loss.detach(), "clamping_weight": weight, "jacobian_stretch": stretch.detach().mean()}
        return weight * loss

    def _update_temperature(self, log_prob: Tensor, metrics: Metrics) -> None:
        """Raise alpha where the entropy -E[log pi] is below its target, lower it above.

        log pi is the critic target's, at the next states: the same law of states as the replay buffer's, at no further cost.
        """
        if "temperature" not in self.optimisers:
            return
        target = -float(self.policy.dim) if self.config.target_entropy is None else self.config.target_entropy
        self._descend("temperature", -self.temperature.log_alpha * (log_prob + target).mean(), metrics)

    @torch.no_grad()
    def _update_target_critics(self) -> None:
        torch._foreach_lerp_(list(self.networks.target_critic.parameters()), list(self.critic.parameters()), self.config.tau)

    def _descend(self, name: LossName, loss: Tensor, metrics: Metrics) -> None:
        """One optimiser step along the gradient averaged over learners; skipped, and counted, where that is not finite."""
        parameters = self.parameters[name]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
        value = loss.detach().clone()
        self.average([value, *gradients])
        metrics[f"{name}_loss"] = value
        if not self._is_finite(name, value + torch.nn.utils.get_total_norm(gradients), metrics):
            return
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimisers[name].step()

    def _is_finite(self, name: LossName, loss_plus_norm: Tensor, metrics: Metrics) -> bool:
        finite = bool(loss_plus_norm.isfinite())
        self.non_finite_in_a_row[name] = 0 if finite else self.non_finite_in_a_row.get(name, 0) + 1
        self.non_finite_total += not finite
        metrics[SKIPPED] = torch.tensor(float(self.non_finite_total))
        if finite:
            self.last_finite_update[name] = self._update_number
        elif self.non_finite_in_a_row[name] >= self.config.max_non_finite:
            raise NonFiniteError(
                f"the {name} loss or its gradient was not finite {self.non_finite_in_a_row[name]} times in a row; its last finite value "
                f"was at update {self.last_finite_update.get(name, 'none of this run')}. Look for NaN or huge rewards and observations in "
                f"the environment, or lower {name}'s learning rate."
            )
        return finite
