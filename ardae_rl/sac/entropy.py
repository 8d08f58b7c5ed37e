"""Where the entropy of the policy, and its gradient, come from: the one choice that separates SAC from SAC-AR-DAE.

Notation: B states, n_a samples per state, D action dimension; state (B, C), pre-tanh action u (B, D).
Contract: ``fit_losses`` (by name; none where nothing is to be fitted), ``log_prob(policy, obs, u, normal) -> (B,)``,
``sample_with_log_prob(policy, obs, normal)`` for the critic's target and ``sample_with_policy_term(policy, obs, normal)`` for the actor:
a scalar whose gradient in the policy is E[grad_u log pi . du/dphi], and what to watch. All log-densities are those of a = tanh u.
``normal(B, ...)`` supplies standard normal noise; ``average`` replaces tensors, in place, by their means over learners.
Reference: [Lim2020] arXiv:2006.05164, section 6.3 and Appendix G.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ardae_rl.sac.config import ScoreConfig
from ardae_rl.sac.tanh import log_det_tanh
from ardae_rl.score import ARDAE, entropy_surrogate, stein_ratio
from ardae_rl.score.estimator import Normal
from ardae_rl.score.standardise import Average


class Sampler(Protocol):
    """What an entropy needs of a policy; see ``ardae_rl.samplers``."""

    dim: int
    noise_dim: int

    def draw(self, context: Tensor, noise: Tensor) -> Tensor: ...

    def centre(self, context: Tensor) -> Tensor: ...


class LogProb(NamedTuple):
    """One pre-tanh action per state (B, D), log pi of its tanh (B,) in nats, and what to watch."""

    action: Tensor
    log_prob: Tensor
    metrics: dict[str, Tensor]


class PolicyTerm(NamedTuple):
    """One pre-tanh action per state (B, D), differentiable in the policy, the scalar of the actor's loss, and what to watch."""

    action: Tensor
    term: Tensor
    metrics: dict[str, Tensor]


class TractableEntropy(nn.Module):
    """The policy has a density (``log_prob`` and ``draw_with_log_prob``): use it."""

    def fit_losses(self, policy: Sampler, obs: Tensor, normal: Normal, average: Average) -> dict[str, Tensor]:
        return {}

    def log_prob(self, policy: Any, obs: Tensor, action: Tensor, normal: Normal) -> Tensor:
        return policy.log_prob(obs, action.unsqueeze(1)).squeeze(1) - log_det_tanh(action)

    def sample_with_log_prob(self, policy: Any, obs: Tensor, normal: Normal) -> LogProb:
        action, log_prob = (part.squeeze(1) for part in policy.draw_with_log_prob(obs, normal(len(obs), 1, policy.noise_dim)))
        return LogProb(action, log_prob - log_det_tanh(action), {})

    def sample_with_policy_term(self, policy: Any, obs: Tensor, normal: Normal) -> PolicyTerm:
        action, log_prob, _ = self.sample_with_log_prob(policy, obs, normal)
        return PolicyTerm(action, log_prob.mean(), {})


class ScoreEntropy(nn.Module):
    """The policy has no density: AR-DAE estimates its score, and its log-density up to log Z, from samples of the pre-tanh action."""

    def __init__(self, estimator: ARDAE, settings: ScoreConfig) -> None:
        super().__init__()
        self.estimator, self.settings = estimator, settings

    def fit_losses(self, policy: Sampler, obs: Tensor, normal: Normal, average: Average) -> dict[str, Tensor]:
        """AR-DAE's losses on fresh samples of the policy at these states; no gradient reaches the policy."""
        with torch.no_grad():
            samples, centre = self._samples(policy, obs, normal), policy.centre(obs)
        return self.estimator.losses(samples, obs, centre=centre, normal=normal, average=average)

    @torch.no_grad()
    def log_prob(self, policy: Sampler, obs: Tensor, action: Tensor, normal: Normal) -> Tensor:
        return self._log_prob(policy, obs, action, normal)[0]

    @torch.no_grad()
    def sample_with_log_prob(self, policy: Sampler, obs: Tensor, normal: Normal) -> LogProb:
        action = policy.draw(obs, normal(len(obs), 1, policy.noise_dim)).squeeze(1)
        log_prob, metrics = self._log_prob(policy, obs, action, normal)
        return LogProb(action, log_prob, metrics)

    def sample_with_policy_term(self, policy: Sampler, obs: Tensor, normal: Normal) -> PolicyTerm:
        action = policy.draw(obs, normal(len(obs), 1, policy.noise_dim))
        with torch.no_grad():
            score = self.estimator.score(action, obs, **self._coordinates(policy, obs, normal))
            ratio = stein_ratio(action, score, centre=policy.centre(obs))
        term = -entropy_surrogate(action, score) - log_det_tanh(action).mean()
        return PolicyTerm(action.squeeze(1), term, {"stein_ratio": ratio})

    def _log_prob(self, policy: Sampler, obs: Tensor, action: Tensor, normal: Normal) -> tuple[Tensor, dict[str, Tensor]]:
        unnormalised = self.estimator.log_density(action.unsqueeze(1), obs, **self._coordinates(policy, obs, normal)).squeeze(1)
        log_z, ess, error = self.estimator.log_partition(
            obs, samples=self.settings.importance_samples, proposal_std=self.settings.proposal_std, normal=normal
        )
        metrics = {"log_z_std": log_z.std(), "log_z_error": error.mean(), "importance_ess": ess.mean()}
        return unnormalised - log_z - log_det_tanh(action), metrics

    @torch.no_grad()
    def _coordinates(self, policy: Sampler, obs: Tensor, normal: Normal) -> dict[str, Any]:
        """What the estimator wants to know of the policy's distributions besides the states."""
        centre = policy.centre(obs)
        if self.estimator.standardisation != "per_context":
            return {"centre": centre}
        return {"frame": self.estimator.frame(self._samples(policy, obs, normal), context=obs, centre=centre)}

    def _samples(self, policy: Sampler, obs: Tensor, normal: Normal) -> Tensor:
        return policy.draw(obs, normal(len(obs), self.settings.samples_per_context, policy.noise_dim))
