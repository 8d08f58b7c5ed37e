"""RLlib's single-agent env runner with environment seeds that never coincide, and evaluation that does not favour short episodes."""

from typing import Any

import numpy as np
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

_CHUNK_STEPS = 64  # environment steps per sub-environment between looks at which evaluation episodes are done


class SeededEnvRunner(SingleAgentEnvRunner):
    """RLlib seeds sub-environment i of runner w with ``seed + w + i``, so neighbours share streams; here each gets its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.config.seed is not None:
            self._seed = self.environment_seeds()

    def environment_seeds(self) -> list[int]:
        """One seed per sub-environment, from (seed, runner index, training or evaluation)."""
        entropy = (self.config.seed, self.worker_index, int(bool(self.config.in_evaluation)))
        return [int(seed) for seed in np.random.SeedSequence(entropy).generate_state(self.num_envs) >> 1]


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
            return list(returns.values())
        chunks = runner.sample(num_timesteps=episodes * _CHUNK_STEPS, explore=False)
