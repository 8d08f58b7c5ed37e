"""Small environments and configs that the tests of this room share."""

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from ray import tune

from ardae_rl.rllib import SACARDAEConfig
from ardae_rl.sac import CriticConfig, FlowPolicyConfig, GaussianPolicyConfig, ImplicitPolicyConfig, ScoreConfig


class LineEnv(gym.Env[Any, Any]):
    """Obs (position, time); action in [-limit, limit] moves; reward is the action taken.

    Episodes end as told, by termination or truncation; it raises at its steps in the range ``fails``. At step 15 it hangs for ever if it
    is the first to make the file ``hangs``.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        settings: dict[str, Any] = {"limit": 0.4, "length": 7, "ending": "truncate", "nan_from": None, "fails": (), "hangs": None}
        settings |= dict(config or {})
        self.limit, self.length, self.ending, self.nan_from = (settings[k] for k in ("limit", "length", "ending", "nan_from"))
        self.fails = range(*settings["fails"]) if settings["fails"] else ()
        self.hangs = settings["hangs"]
        self.action_space = gym.spaces.Box(-self.limit, self.limit, (2,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.steps_taken = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.time = self.np_random.normal(), 0
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.position, self.time, self.steps_taken = self.position + float(action[0]), self.time + 1, self.steps_taken + 1
        if self.steps_taken in self.fails:
            raise ArithmeticError(f"unstable at step {self.steps_taken}")
        if self.hangs is not None and self.steps_taken == 15:
            self._hang_if_first()
        over = self.time >= self.length
        reward = float(action[0]) if self.nan_from is None or self.steps_taken < self.nan_from else float("nan")
        return self._obs(), reward, over and self.ending == "terminate", over and self.ending == "truncate", {}

    def _hang_if_first(self) -> None:
        try:
            Path(self.hangs).touch(exist_ok=False)
        except FileExistsError:
            return
        time.sleep(1e6)

    def _obs(self) -> np.ndarray:
        return np.array([self.position, self.time], np.float64)


def small_config(policy: str = "implicit", *, env: Any = "Pendulum-v1", seed: int | None = 0, **training: Any) -> SACARDAEConfig:
    """Networks and batches of a few units: seconds, not minutes. ``policy``: a kind of flow stands for the flow policy of that kind."""
    values = {
        "policy": "flow" if policy in ("radial", "spline") else policy,
        "flow": FlowPolicyConfig(kind="spline" if policy == "spline" else "radial", flows=2, bins=4, width=16),
        "alpha": 0.2,
        "policy_delay": 1,
        "implicit": ImplicitPolicyConfig(noise_dim=3, width=16),
        "gaussian": GaussianPolicyConfig(width=16),
        "critic": CriticConfig(width=16),
        "score": ScoreConfig(layers=2, context_layers=1, input_layers=0, width=16, samples_per_context=4, importance_samples=4),
        "batch_size": 16,
        "capacity": 2000,
        "warmup_env_steps": 40,
        "every_env_steps": 10_000,
        "episodes": 2,
        "report_every_env_steps": 40,
    }
    config = SACARDAEConfig().debugging(seed=seed, log_level="ERROR").training(**(values | training))
    return config.environment(env).env_runners(num_envs_per_env_runner=4)


tune.register_env("ardae_rl_tests/Line-v0", LineEnv)
