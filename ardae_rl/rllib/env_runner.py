"""RLlib's single-agent env runner with random streams that never coincide."""

import traceback
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

import ardae_rl.envs
from ardae_rl.rllib.spaces import CheckedEnv
from ardae_rl.run.ray_internals import TellsOfNewEpisodes, begin_anew, chunks_for_metrics, seed_next_reset

gym.register_envs(ardae_rl.envs)  # in every process that steps environments

ENVIRONMENT = "environment"  # in an episode's custom_data: (index of its runner, index of its sub-environment)


class SeededEnvRunner(TellsOfNewEpisodes, SingleAgentEnvRunner):
    """RLlib seeds sub-environment i of runner w with ``seed + w + i``, so neighbours share streams; here each gets its own.

    An episode says in its ``custom_data`` in which sub-environment it took place.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reseed(0)
        self._failures = 0

    def make_env(self) -> None:
        """RLlib's. Each environment is checked as it goes. Raises ValueError for an ``autoreset_mode`` that corrupts transitions."""
        super().make_env()
        if self.env is not None and isinstance(self.env.unwrapped, gym.vector.SyncVectorEnv):
            self.env.unwrapped.envs = [CheckedEnv(env, str(self.config.env)) for env in self.env.unwrapped.envs]
        mode = self.env.metadata.get("autoreset_mode") if self.env is not None else None
        if mode not in (None, AutoresetMode.NEXT_STEP):
            raise ValueError(
                f"the vector environment's autoreset_mode must be NEXT_STEP, Gymnasium's default, got {mode.name}: RLlib would store an "
                "episode's first observation as the last of the one before. Leave autoreset_mode out of env_config['vector_kwargs']."
            )

    def __repr__(self) -> str:
        """What Ray's dashboard and logs call this process."""
        return f"{type(self).__name__}({self.config.env}, seed={self.config.seed}, runner {self.worker_index})"

    def reseed(self, salt: int) -> None:
        """Seed torch (exploration noise) and the next initial reset of every sub-environment, unless the config has no seed.

        From (config seed, runner index, training or evaluation, ``salt``); a restored run passes its step count, not to repeat its start.
        """
        if self.config.seed is None:
            return
        entropy = (self.config.seed, self.worker_index, int(bool(self.config.in_evaluation)), salt)
        noise, *environments = (np.random.SeedSequence(entropy).generate_state(1 + self.num_envs) >> 1).tolist()
        torch.manual_seed(noise)
        seed_next_reset(self, environments)

    def try_sample(self) -> tuple[list[SingleAgentEpisode], dict[str, Any]] | str:
        """The next chunk and the metrics so far; where an environment raised instead, the traceback, and all of them begin anew."""
        try:
            chunks, metrics = self.sample(), self.get_metrics()
            self._forget_past_chunks()
            return chunks, metrics
        except Exception as raised:  # whatever a simulator raises
            return "".join(traceback.format_exception(self.recover(raised)))

    def recover(self, raised: BaseException) -> BaseException:
        """Have every sub-environment begin anew, with other seeds: the same could lead to the same failure. What it was raised from."""
        while raised.__cause__:  # RLlib raises one of its own, without a word, from it
            raised = raised.__cause__
        self._failures += 1
        self.reseed(self._failures)
        begin_anew(self)
        return raised

    def _forget_past_chunks(self) -> None:
        """RLlib keeps every chunk of an episode until it ends, for the sums alone. Here a chunk is a step, and an episode may never end."""
        for past in chunks_for_metrics(self):
            past[:] = [_Past(past)]

    def on_new_episode(self, env_index: int, episode: SingleAgentEpisode) -> None:
        episode.custom_data[ENVIRONMENT] = (self.worker_index, env_index)


class _Past:
    """What RLlib's metrics ask of the chunks of an episode so far: their sums."""

    def __init__(self, chunks: list[Any]) -> None:
        self._steps = sum(map(len, chunks))
        self._return, self._seconds = sum(chunk.get_return() for chunk in chunks), sum(chunk.get_duration_s() for chunk in chunks)

    def __len__(self) -> int:
        return self._steps

    def get_return(self) -> float:
        return self._return

    def get_duration_s(self) -> float:
        return self._seconds
