"""A point in the plane and four equal goals: does a policy hold all ways to succeed, or one?

Notation: x (2,) position, a (2,) action, the step in units of the longest one per coordinate.
Reference: the multi-goal problem of Haarnoja et al. 2017, arXiv:1702.08165, section 5.1; the numbers are this project's.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

ARENA = 7.0
GOALS = np.array([[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0], [0.0, -5.0]])
GOAL_RADIUS = 1.0
STEP = 3.0
START_STD, STEP_NOISE_STD = 0.1, 0.1
DISTANCE_COST, ACTION_COST, GOAL_REWARD = 0.2, 0.5, 1.0


class MultiGoalEnv(gym.Env[np.ndarray, np.ndarray]):
    """Observation (2,): the position in [-7, 7]^2. Action (2,) in [-1, 1]^2: moves by three times that, plus N(0, 0.1^2) noise.

    Starts at N(0, 0.1^2), or where ``options={"position": (x, y)}`` says. Goals at (+-5, 0) and (0, +-5); within 1 of one the episode
    ends, and ``info["goal"]`` is its number, counted from the right, counter-clockwise; -1 before.
    Reward: -0.2 d^2 - 0.5 |a|^2, d the distance to the nearest goal after the step, and 1 on arrival. All of it is symmetric under
    quarter turns, so the best soft policy is, too: from the origin it reaches each goal with probability 1/4. Steps are large and
    goals few, so the first one decides, and heading between two goals costs. A single Gaussian has to choose one goal at a low
    temperature, or two opposite ones, where tanh presses it to both ends of an axis.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's class attribute)

    def __init__(self) -> None:
        self.observation_space = Box(-ARENA, ARENA, (2,), np.float64)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.position = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        start = (options or {}).get("position")
        self.position = START_STD * self.np_random.standard_normal(2) if start is None else np.asarray(start, np.float64)
        return self.position.copy(), {"goal": -1}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        moved = self.position + STEP * action + STEP_NOISE_STD * self.np_random.standard_normal(2)
        self.position = moved.clip(-ARENA, ARENA)
        distances = np.linalg.norm(GOALS - self.position, axis=1)
        nearest, distance = int(distances.argmin()), float(distances.min())
        arrived = distance <= GOAL_RADIUS
        reward = GOAL_REWARD * arrived - DISTANCE_COST * distance**2 - ACTION_COST * float(np.square(action).sum())
        return self.position.copy(), reward, arrived, False, {"goal": nearest if arrived else -1}
