"""``run: SAC-AR-DAE``: soft actor-critic on a Gymnasium environment, trained by RLlib."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ardae_rl.experiment.schema import CheckpointSettings, Experiment, Reporting, require
from ardae_rl.rllib.settings import TrainingSettings

SMOKE_WARMUP_ENV_STEPS = 300
SMOKE_UPDATES = 8
RETURNS = Reporting(
    steps="env_steps",
    steps_per_s="env_steps_per_s",
    watched={"return": "episode_return_mean", "evaluation": "evaluation_return_mean"},
    evaluation="return_mean",
    title="Evaluation return",
    best=max,
    style=".1f",
)


@dataclass(frozen=True, kw_only=True)
class ControlStop:
    """When a trial ends: after ``env_steps`` environment steps, or earlier once an evaluation reaches ``evaluation_return_mean``."""

    env_steps: int
    evaluation_return_mean: float | None = None

    def __post_init__(self) -> None:
        require((self.env_steps > 0, "env_steps", "greater than 0", self.env_steps))


@dataclass(frozen=True, kw_only=True)
class ControlCheckpoints(CheckpointSettings):
    """A checkpoint every ``every_env_steps`` environment steps (and at the end)."""

    every_env_steps: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require((self.every_env_steps > 0, "every_env_steps", "greater than 0", self.every_env_steps))


@dataclass(frozen=True, kw_only=True)
class ControlExperiment(Experiment):
    """Returns on environment ``env`` against environment steps."""

    env: str
    stop: ControlStop
    config: TrainingSettings = field(default_factory=TrainingSettings)
    checkpoint: ControlCheckpoints = field(default_factory=ControlCheckpoints)

    reuses_processes: ClassVar[bool] = False
    resource_advice: ClassVar[str] = "lower config.env_runners or config.learners"

    def __post_init__(self) -> None:
        super().__post_init__()
        require((self.env != "", "env", "the id of a Gymnasium environment, such as 'Pendulum-v1'", self.env))

    @property
    def reporting(self) -> Reporting:
        return RETURNS

    @property
    def title(self) -> str:
        return f"{self.run} on {self.env}, {self.stop.env_steps:,} env steps"

    @property
    def subject(self) -> dict[str, str]:
        return {"env": self.env}

    @property
    def checkpoint_every(self) -> int:
        return self.checkpoint.every_env_steps

    def total_steps(self, point: Mapping[str, Any]) -> int:
        return self.stop.env_steps

    def stop_criteria(self) -> dict[str, float]:
        return {metric: value for metric, value in dataclasses.asdict(self.stop).items() if value is not None}

    def trainable(self) -> Any:
        from ardae_rl.rllib.trial import SACARDAETrial

        return SACARDAETrial

    def smoke(self) -> "ControlExperiment":
        """A short warm-up, a few updates, an evaluation, a checkpoint."""
        config = self.settings(next(self.grid_points()))
        warmup = max(SMOKE_WARMUP_ENV_STEPS, config.replay.batch_size)
        env_steps = warmup + max(1, round(SMOKE_UPDATES / config.replay.updates_per_env_step))
        config = dataclasses.replace(
            config,
            replay=dataclasses.replace(config.replay, warmup_env_steps=warmup),
            evaluation=dataclasses.replace(config.evaluation, every_env_steps=env_steps, episodes=2),
            report_every_env_steps=max(1, env_steps // 4),
        )
        return dataclasses.replace(
            self,
            stop=dataclasses.replace(self.stop, env_steps=env_steps),
            config=config,
            checkpoint=dataclasses.replace(self.checkpoint, every_env_steps=env_steps),
        )

    def check(self, source: str) -> None:
        from ardae_rl.experiment.environment import check_environment

        check_environment(self, source)
