"""What is refused from Python, in the words that a file would be refused with: settings, spaces, and what an environment returns."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from ardae_rl.rllib import SACARDAEConfig
from ardae_rl.rllib.sampling import EnvRunnerError
from ardae_rl.rllib.settings import ReplaySettings, TrainingSettings
from ardae_rl.sac import SACConfig
from tests.rllib.small import LineEnv, small_config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy": "gausian"}, "policy must be 'implicit' or 'gaussian' or 'flow', got 'gausian'"),
        ({"policy": 3}, "policy must be 'implicit' or 'gaussian' or 'flow', got 3"),
        ({"batch_size": 64.5}, r"batch_size must be a whole number, got 64\.5"),
        ({"report_every_env_steps": -5}, "report_every_env_steps must be 1 or greater, got -5"),
        ({"report_every_env_steps": 0}, "report_every_env_steps must be 1 or greater, got 0"),
        ({"report_every_env_steps": "often"}, "report_every_env_steps must be a whole number, got 'often'"),
        ({"episodes": 0}, "episodes must be 1 or greater, got 0"),
        ({"sac": {"policy": "gausian"}}, r"sac\.policy must be 'implicit' or 'gaussian' or 'flow', got 'gausian'"),
        ({"sac": ReplaySettings()}, "sac must be a section of"),
        ({"replay": 3}, "replay must be a section of"),
    ],
)
def test_a_setting_that_is_not_what_it_must_be_is_refused_at_once(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SACARDAEConfig().training(**values)


def test_plain_data_stands_for_the_settings_it_describes() -> None:
    assert SACARDAEConfig().training(sac={"alpha": 1}, policy="gaussian").sac == SACConfig(  # type: ignore[arg-type]
        alpha=1.0, policy="gaussian"
    )
    assert TrainingSettings(replay={"capacity": 1e4}).replay == ReplaySettings(capacity=10_000)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="capacity must be at least batch_size = 256, got 3"):
        TrainingSettings(replay={"capacity": 3})  # type: ignore[arg-type]


def test_settings_are_checked_beside_each_other_when_the_algorithm_is_built() -> None:
    config = small_config("gaussian").training(batch_size=15).learners(num_learners=2)
    with pytest.raises(ValueError, match=r"replay\.batch_size must be divisible by learners\.num_learners = 2, got 15"):
        config.validate()
    with pytest.raises(ValueError, match=r"env_config\.render_mode must be another than human, .*, got 'human'"):
        small_config().environment(env_config={"render_mode": "human"}).validate()
    with pytest.raises(ValueError, match="num_cpus_per_env_runner must be greater than 0, got 0"):
        small_config().env_runners(num_env_runners=1, num_cpus_per_env_runner=0).validate()
    with pytest.raises(ValueError, match=r"seed must be in \[0, 4000000000\], got 4294967295"):
        small_config(seed=2**32 - 1).validate()
    config = small_config("gaussian")
    config.report_every_env_steps = -5
    with pytest.raises(ValueError, match="report_every_env_steps must be 1 or greater, got -5"):
        config.validate()


@pytest.mark.parametrize(
    ("env", "training", "message"),
    [
        ("CartPole-v1", {}, r"^the environment acts in Discrete\(2\); SAC needs continuous actions: a bounded one-dimensional Box\.$"),
        ("Blackjack-v1", {}, r"^the environment observes Tuple\(.*expected a vector"),
        ("HalfCheetah-v5", {}, r"^implicit\.noise_dim must be at least the 6 action dimensions, got 3"),
        ("Pendulum-v1", {"alpha": "auto", "target_entropy": 5.0}, r"^target_entropy must be below 1 ln 2 = 0\.693, got 5"),
        (
            "Pendulum-v1",
            {"capacity": 10**15},
            r"^replay\.capacity is more than there is memory for, got 1,0.*: full it takes 33,527,612\.7 GiB",
        ),
    ],
)
@pytest.mark.usefixtures("local_ray")
def test_an_environment_that_sac_cannot_act_in_is_refused(env: str, training: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_config(env=env, **training).build_algo()


@pytest.mark.usefixtures("local_ray")
def test_env_runners_of_their_own_are_refused_in_the_same_words() -> None:
    with pytest.raises(ValueError, match=r"^the environment acts in Discrete\(2\)"):
        small_config(env="CartPole-v1").env_runners(num_env_runners=1).build_algo()


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
@pytest.mark.usefixtures("local_ray")
def test_what_an_environment_returns_wrong_while_it_trains_is_named(env: str, message: str) -> None:
    algorithm = small_config("gaussian", env=env, warmup_env_steps=10_000).build_algo()
    with pytest.raises(EnvRunnerError, match=message):
        for _ in range(20):
            algorithm.train()
    algorithm.stop()
