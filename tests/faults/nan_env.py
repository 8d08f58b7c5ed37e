"""A pendulum whose sensor and reward fail for a while. Importing this module registers ``NanBurst-v0``."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv

FIRST, LAST = 300, 319  # of an environment's life, in steps


class NanBurst(PendulumEnv):
    """NaN observations and rewards in steps FIRST ... LAST; a NaN action is not passed on, so the pendulum itself stays sound."""

    _steps = 0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(np.nan_to_num(action))
        self._steps += 1
        if FIRST <= self._steps <= LAST:
            obs, reward = np.full_like(obs, np.nan), np.nan
        return obs, reward, terminated, truncated, info


gym.register("NanBurst-v0", f"{__name__}:NanBurst", max_episode_steps=200)
