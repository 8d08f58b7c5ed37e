"""RLlib's single-agent env runner with random streams that never coincide, and evaluation that does not favour short episodes."""

from typing import Any

import numpy as np
import torch
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

_CHUNK_STEPS = 64  # environment steps per sub-environment between looks at which evaluation episodes are done


class SeededEnvRunner(SingleAgentEnvRunner):
    """RLlib seeds sub-environment i of runner w with ``seed + w + i``, so neighbours share streams; here each gets its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reseed(0)

    def reseed(self, salt: int) -> None:
        """Seed torch (exploration noise) and the next initial reset of every sub-environment, unless the config has no seed.

        From (config seed, runner index, training or evaluation, ``salt``); a restored run passes its step count, not to repeat its start.
        """
        if self.config.seed is None:
            return
        entropy = (self.config.seed, self.worker_index, int(bool(self.config.in_evaluation)), salt)
        noise, *environments = (np.random.SeedSequence(entropy).generate_state(1 + self.num_envs) >> 1).tolist()
        torch.manual_seed(noise)
        self._seed = environments


def evaluate_returns(runner: SingleAgentEnvRunner, episodes: int) -> list[float]:
    """Undiscounted returns of the first episode of each of the runner's ``episodes`` sub-environments, at zero noise.

    Taking the first k episodes to *finish* would favour short ones. One step in every sub-environment names the k first episodes; from
    then on only theirs count.
    """
    chunks = runner.sample(num_timesteps=episodes, explore=False, force_reset=True)
    returns = {chunk.id_: 0.0 for chunk in chunks}
    running = set(returns)
    while True:
        for chunk in chunks:
            if chunk.id_ in running:
                returns[chunk.id_] += float(np.sum(chunk.get_rewards()))
                if chunk.is_done:
                    running.remove(chunk.id_)
        if not running:
            runner.get_metrics()  # empties the runner's list of finished episodes, which would grow for ever
            return list(returns.values())
        chunks = runner.sample(num_timesteps=episodes * _CHUNK_STEPS, explore=False)
