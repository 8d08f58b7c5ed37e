"""``run:`` the name of a task: a plain-torch experiment (:mod:`ardae_rl.tasks`), trained by its one adapter to Tune."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, make_dataclass
from typing import Any, ClassVar

from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import CheckpointSettings, Experiment, Reporting, ResourceSettings
from ardae_rl.nn.settings import Rule, Settings, setting
from ardae_rl.tasks.registry import TASKS


@dataclass(frozen=True, kw_only=True)
class TaskStop(Settings):
    """Where it is left out, ``config.steps`` says how long a trial is."""

    steps: int = setting(text="Takes the place of `config.steps`. Not together with `steps` in `grid_search`", at_least=1)


@dataclass(frozen=True, kw_only=True)
class TaskCheckpoints(CheckpointSettings):
    """How often, and how many are kept."""

    every_steps: int = setting(
        1000, "One with the first report at or after each multiple of this, half an hour after the last one, and at the end", at_least=1
    )


@dataclass(frozen=True, kw_only=True)
class TaskResources(ResourceSettings):
    """What one trial is given."""

    cpus_per_trial: float = setting(1.0, "CPUs of a trial, and its torch threads", above=0)
    gpus_per_trial: float = setting(0.0, "GPUs of a trial; 0: it trains on the CPU, a fraction shares one", at_least=0)


@dataclass(frozen=True, kw_only=True)
class TaskExperiment(Experiment):
    """One of the tasks; :func:`task_experiment` gives ``config`` the type of its settings."""

    stop: TaskStop | None = setting(None, "May be left out: `config.steps` says how long a trial is")
    checkpoint: TaskCheckpoints = setting(text="How often, and how many are kept", factory=TaskCheckpoints)
    resources: TaskResources = setting(text="What one trial is given", factory=TaskResources)

    reuses_processes: ClassVar[bool] = True
    resource_advice: ClassVar[str] = "lower resources.cpus_per_trial or resources.gpus_per_trial"

    def rules(self) -> Iterator[Rule]:
        yield from super().rules()
        yield self.stop is None or "steps" not in self.grid_search, "stop", "left out where grid_search varies the number of steps"

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
    def subject(self) -> dict[str, Any]:
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

    def check(self, source: str, *, here: bool = True) -> None:
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
