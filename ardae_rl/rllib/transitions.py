"""From episode chunks to transitions, and the environments whose transitions are NaN or infinite one after the other."""

from collections import Counter

import numpy as np
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from ardae_rl.rllib.env_runner import ENVIRONMENT
from ardae_rl.sac import NonFiniteError


def transitions_of(episodes: list[SingleAgentEpisode]) -> dict[str, np.ndarray]:
    """Columns of all steps in these episode chunks. A truncated chunk's last step is not terminated, so it bootstraps."""
    chunks = [episode for episode in episodes if len(episode)]
    terminateds = [np.zeros(len(chunk), np.float32) for chunk in chunks]
    for flags, chunk in zip(terminateds, chunks, strict=True):
        flags[-1] = chunk.is_terminated
    observations = [np.asarray(chunk.get_observations(), np.float32) for chunk in chunks]
    return {
        Columns.OBS: np.concatenate([obs[:-1] for obs in observations]),
        Columns.NEXT_OBS: np.concatenate([obs[1:] for obs in observations]),
        Columns.ACTIONS: np.concatenate([np.asarray(chunk.get_actions(), np.float32) for chunk in chunks]),
        Columns.REWARDS: np.concatenate([np.asarray(chunk.get_rewards(), np.float32) for chunk in chunks]),
        Columns.TERMINATEDS: np.concatenate(terminateds),
    }


def finite_rows(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Which transitions are without NaN or infinity in any column."""
    return np.logical_and.reduce([np.isfinite(column).reshape(len(column), -1).all(1) for column in columns.values()])


def learner_by_learner(column: np.ndarray, mini_batches: int, learners: int) -> np.ndarray:
    """(K, L, rows, ...) -> (L, K, rows, ...), flattened."""
    return column.reshape(mini_batches, learners, -1, *column.shape[1:]).swapaxes(0, 1).reshape(column.shape)


class Environments:
    """Those of ``env`` by their runner and index in it, and how many steps in a row of each were dropped."""

    def __init__(self, env: object, max_non_finite: int) -> None:
        self._env, self._max_non_finite = env, max_non_finite
        self.dropped_in_a_row: Counter[tuple[int, int]] = Counter()

    def check(self, episodes: list[SingleAgentEpisode], finite: np.ndarray) -> None:
        """Raise NonFiniteError once one made ``max_non_finite`` steps in a row that were dropped: others may well be sound."""
        start = 0
        for chunk in episodes:
            kept, environment = finite[start : start + len(chunk)], chunk.custom_data[ENVIRONMENT]
            start += len(chunk)
            dropped = int(kept[::-1].argmax()) if kept.any() else self.dropped_in_a_row[environment] + len(kept)
            self.dropped_in_a_row[environment] = dropped
            if dropped >= self._max_non_finite:
                raise NonFiniteError(
                    f"the last {dropped} steps of environment {environment[1]} of env runner {environment[0]} "
                    f"were all NaN or infinite in observation, action or reward (max_non_finite is {self._max_non_finite}). "
                    f"Look for what makes {self._env} fail and not end."
                )
