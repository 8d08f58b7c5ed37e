"""``run: SAC-AR-DAE``: soft actor-critic on a Gymnasium environment, trained by RLlib."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import CheckpointSettings, Experiment, Reporting
from ardae_rl.nn.settings import Rule, Settings, setting
from ardae_rl.rllib.settings import MAX_SEED, TrainingSettings

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
class ControlStop(Settings):
    """When a trial ends."""

    env_steps: int = setting(
        text="A trial ends with the first report at or after this many environment steps, warm-up included", at_least=1
    )
    evaluation_return_mean: float | None = setting(None, "Ends it earlier, once the mean return of an evaluation reaches this")


@dataclass(frozen=True, kw_only=True)
class ControlCheckpoints(CheckpointSettings):
    """How often, and how many are kept."""

    every_env_steps: int = setting(
        10_000,
        "One with the first report at or after each multiple of this, half an hour after the last one, and at the end. Each holds the "
        "replay buffer; parts of it that have not changed are hard links",
        at_least=1,
    )


@dataclass(frozen=True, kw_only=True)
class ControlExperiment(Experiment):
    """Returns on environment ``env`` against environment steps."""

    env: str = setting(
        text="Id of a Gymnasium environment with a vector as observation and a bounded vector as action: "
        "[environments.md](environments.md), [your own](configuration.md#your-own-environment). Its arguments are in `config.env_config`"
    )
    stop: ControlStop = setting(text="When a trial ends")
    config: TrainingSettings = setting(text="Everything about training", factory=TrainingSettings)
    checkpoint: ControlCheckpoints = setting(text="How often, and how many are kept", factory=ControlCheckpoints)

    reuses_processes: ClassVar[bool] = False
    resource_advice: ClassVar[str] = "lower config.env_runners or config.learners"

    def rules(self) -> Iterator[Rule]:
        yield from super().rules()
        yield self.env != "", "env", "the id of a Gymnasium environment, such as 'Pendulum-v1'"
        yield isinstance(self.seeds, int) or max(self.seeds, default=0) <= MAX_SEED, "seeds", f"at most {MAX_SEED:,} each with SAC"

    @property
    def reporting(self) -> Reporting:
        return RETURNS

    @property
    def title(self) -> str:
        return f"{self.run} on {self.env}, {self.stop.env_steps:,} env steps"

    @property
    def subject(self) -> dict[str, Any]:
        return {"env": self.env, "env_steps": self.stop.env_steps}

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

    def check(self, source: str, *, here: bool = True) -> None:
        from ardae_rl.experiment.environment import check_environment

        each = list(map(self.settings, self.grid_points()))
        check_environment(self.env, each, source, here=here)
        longest = max(settings.replay.warmup_env_steps for settings in each)
        if longest >= self.stop.env_steps:
            message = f"must be below stop.env_steps = {self.stop.env_steps:,}, got {longest:,}: nothing would be learned"
            raise InvalidExperimentError([Problem(source, "config.replay.warmup_env_steps", message)])
