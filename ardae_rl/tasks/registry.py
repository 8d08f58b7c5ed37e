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
    """

    settings: type
    path: str
    method_field: str | None = None

    def task(self) -> type[Task]:
        module, _, name = self.path.partition(":")
        task: type[Task] = getattr(import_module(module), name)
        return task


TASKS: dict[str, TaskKind] = {
    "energy": TaskKind(EnergySettings, "ardae_rl.tasks.energy.task:EnergyTask", "method"),
    "maxent": TaskKind(MaxEntSettings, "ardae_rl.tasks.maxent.task:MaxEntTask", "method"),
    "score_error": TaskKind(ScoreErrorSettings, "ardae_rl.tasks.score_error.task:ScoreErrorTask", "estimator"),
    "vae": TaskKind(VAESettings, "ardae_rl.tasks.vae.task:VAETask", "posterior"),
}
