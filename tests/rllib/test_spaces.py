"""What cannot work is refused where an algorithm is built in Python, in the words of the check before a run."""

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from ardae_rl.rllib import SACARDAEConfig
from ardae_rl.rllib.sampling import EnvRunnerError
from ardae_rl.sac import ImplicitPolicyConfig
from tests.rllib.small import LineEnv, small_config

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "gausian"}, "policy must be 'implicit' or 'gaussian' or 'flow', got 'gausian'"),
        ({"policy": 3}, "policy must be 'implicit' or 'gaussian' or 'flow', got 3"),
        ({"batch_size": 64.5}, "batch_size must be a whole number, got 64.5"),
        ({"report_every_env_steps": -5}, "report_every_env_steps must be 1 or greater, got -5"),
        ({"report_every_env_steps": 0}, "report_every_env_steps must be 1 or greater, got 0"),
        ({"tau": 2.0}, r"tau must be in \(0, 1\], got 2.0"),
    ],
)
def test_settings_are_checked_from_python(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SACARDAEConfig().training(**options)
    with pytest.raises(TypeError, match="no setting named 'polcy'"):
        SACARDAEConfig().training(polcy="gaussian")


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        ("CartPole-v1", {}, "the environment acts in Discrete"),
        ("FrozenLake-v1", {}, "the environment observes Discrete"),
        ("HalfCheetah-v5", {"implicit": ImplicitPolicyConfig(noise_dim=5)}, "noise_dim must be at least the 6 action dimensions, got 5"),
        ("Pendulum-v1", {"alpha": "auto", "target_entropy": 0.7}, "target_entropy must be below 1 ln 2 = 0.693, got 0.7"),
    ],
)
def test_spaces_are_judged_from_python(env: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_config("implicit", env=env, **options).build_algo()


def test_an_entropy_within_reach_is_taken() -> None:
    config = dataclasses.replace(small_config("gaussian").sac, alpha="auto", target_entropy=0.69)
    small_config("gaussian").training(sac=config).build_algo().stop()


class Growing(LineEnv):
    """Its observations gain a number at its step 60."""

    def _obs(self) -> np.ndarray:
        return np.append(super()._obs(), np.zeros(int(self.steps_taken >= 60)))


class Unrewarding(LineEnv):
    """Its reward is None from its step 60 on."""

    def step(self, action: np.ndarray) -> Any:
        obs, reward, *rest = super().step(action)
        return obs, None if self.steps_taken >= 60 else reward, *rest


gym.register("Growing-v0", Growing)  # type: ignore[arg-type]
gym.register("Unrewarding-v0", Unrewarding)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("Growing-v0", r"Growing-v0: the observation of .* must be of its space's shape \(2,\), got shape \(3,\)"),
        ("Unrewarding-v0", r"Unrewarding-v0: the reward of step\(\) must be a number, got None"),
    ],
)
def test_what_an_environment_returns_wrong_while_it_trains_is_named(env: str, message: str) -> None:
    algorithm = small_config("gaussian", env=env, warmup_env_steps=10_000).build_algo()
    with pytest.raises(EnvRunnerError, match=message):
        for _ in range(20):
            algorithm.train()
    algorithm.stop()
