"""``run:`` the name of a task: a plain-torch experiment (:mod:`ardae_rl.tasks`), trained by its one adapter to Tune."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from typing import Any, ClassVar

from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import CheckpointSettings, Experiment, Reporting, ResourceSettings, require
from ardae_rl.tasks.registry import TASKS


@dataclass(frozen=True, kw_only=True)
class TaskStop:
    """A trial ends after ``steps`` training steps, whatever ``config.steps`` says."""

    steps: int

    def __post_init__(self) -> None:
        require((self.steps > 0, "steps", "greater than 0", self.steps))


@dataclass(frozen=True, kw_only=True)
class TaskCheckpoints(CheckpointSettings):
    """A checkpoint with the first report at or after every ``every_steps`` training steps (and at the end)."""

    every_steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        require((self.every_steps > 0, "every_steps", "greater than 0", self.every_steps))


@dataclass(frozen=True, kw_only=True)
class TaskResources(ResourceSettings):
    """What one trial is given: CPUs, as many threads, and GPUs (0: it trains on the CPU; a fraction shares one)."""

    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.cpus_per_trial > 0, "cpus_per_trial", "greater than 0", self.cpus_per_trial),
            (self.gpus_per_trial >= 0, "gpus_per_trial", "0 or greater", self.gpus_per_trial),
        )


@dataclass(frozen=True, kw_only=True)
class TaskExperiment(Experiment):
    """One of the tasks; :func:`task_experiment` gives ``config`` the type of its settings."""

    stop: TaskStop | None = None
    checkpoint: TaskCheckpoints = field(default_factory=TaskCheckpoints)
    resources: TaskResources = field(default_factory=TaskResources)

    reuses_processes: ClassVar[bool] = True
    resource_advice: ClassVar[str] = "lower resources.cpus_per_trial or resources.gpus_per_trial"

    def __post_init__(self) -> None:
        super().__post_init__()
        varied = "steps" in self.grid_search
        require((self.stop is None or not varied, "stop", "left out where grid_search varies the number of steps", self.stop))

    @property
    def reporting(self) -> Reporting:
        headline = TASKS[self.run].task().headline
        return Reporting(
            steps="steps",
            steps_per_s="steps_per_s",
            watched={headline: f"evaluation/{headline}"},
            evaluation=headline,
            title=f"{headline} (lower is better)",
            best=min,
            style=".4g",
        )

    @property
    def title(self) -> str:
        return f"{self.run}, {max(self.total_steps(point) for point in self.grid_points()):,} steps"

    @property
    def subject(self) -> dict[str, str]:
        return {"run": self.run}

    @property
    def checkpoint_every(self) -> int:
        return self.checkpoint.every_steps

    def settings(self, point: Mapping[str, Any]) -> Any:
        return super().settings({**point, "steps": self.stop.steps} if self.stop else point)

    def total_steps(self, point: Mapping[str, Any]) -> int:
        return int(self.settings(point).steps)

    def stop_criteria(self) -> dict[str, float]:
        """None: a trial knows its own number of steps and says when it is done."""
        return {}

    def trainable(self) -> Any:
        from ray import tune

        from ardae_rl.tasks.trainable import TaskTrial

        return tune.with_resources(TaskTrial, {"CPU": self.resources.cpus_per_trial, "GPU": self.resources.gpus_per_trial})

    def check(self, source: str) -> None:
        """Ask the settings of every grid point that have something to check, such as data on disk."""
        for point in self.grid_points():
            settings = self.settings(point)
            try:
                getattr(settings, "check", lambda: None)()
            except (OSError, ValueError) as error:
                raise InvalidExperimentError([Problem(source, "config", str(error))]) from None

    def smoke(self) -> "TaskExperiment":
        return dataclasses.replace(self, stop=None, config=self.settings(next(self.grid_points())).smoke())


def task_experiment(run: str) -> type[TaskExperiment]:
    """The experiment class of the task named ``run``."""
    settings = TASKS[run].settings
    config = ("config", settings, field(default_factory=settings))
    return make_dataclass(f"TaskExperiment[{run}]", [config], bases=(TaskExperiment,), frozen=True, kw_only=True)
