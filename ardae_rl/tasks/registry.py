"""The tasks by the name that ``run:`` gives them in a YAML file."""

from dataclasses import dataclass
from importlib import import_module

from ardae_rl.tasks.energy.config import EnergySettings
from ardae_rl.tasks.maxent.config import MaxEntSettings
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.task import Task
from ardae_rl.tasks.vae.config import VAESettings


@dataclass(frozen=True)
class TaskKind:
    """The class of a task's settings, and where the task is: "package.module:Class", imported only once it is about to run.

    ``method_field``: the setting, if there is one, that says which of several methods is at work; monitoring shows it.
    ``report``: the module, if there is one, whose ``contents`` say what a report of such an experiment shows.
    """

    settings: type
    path: str
    method_field: str | None = None
    report: str | None = None

    def task(self) -> type[Task]:
        module, _, name = self.path.partition(":")
        task: type[Task] = getattr(import_module(module), name)
        return task


TASKS: dict[str, TaskKind] = {
    "energy": TaskKind(EnergySettings, "ardae_rl.tasks.energy.task:EnergyTask", "method", report="ardae_rl.report.energy"),
    "maxent": TaskKind(MaxEntSettings, "ardae_rl.tasks.maxent.task:MaxEntTask", "method", report="ardae_rl.report.maxent"),
    "score_error": TaskKind(
        ScoreErrorSettings, "ardae_rl.tasks.score_error.task:ScoreErrorTask", "estimator", "ardae_rl.report.score_error"
    ),
    "vae": TaskKind(VAESettings, "ardae_rl.tasks.vae.task:VAETask", "posterior", report="ardae_rl.report.vae"),
}
