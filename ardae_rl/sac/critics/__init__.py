"""Critics by the name that ``critic.kind`` gives them.

Contract, B transitions, state (B, C), action (B, D) in (-1, 1): ``value(obs, action, fixed=...)`` is what the policy climbs and the target
bootstraps from, (B,), ``fixed`` taking the critic as a given function; ``loss(obs, action, target)`` a scalar, and what to watch.
"""

from dataclasses import asdict

from ardae_rl.sac.config import CriticConfig
from ardae_rl.sac.critics.twin import TwinCritic

CRITICS: dict[str, type[TwinCritic]] = {"twin": TwinCritic}


def build_critic(obs_dim: int, action_dim: int, config: CriticConfig) -> TwinCritic:
    options = asdict(config)
    return CRITICS[options.pop("kind")](obs_dim, action_dim, **options)
