"""The tasks by the name that ``run:`` gives them in a YAML file."""

from dataclasses import dataclass
from importlib import import_module

from ardae_rl.tasks.energy.config import EnergySettings
from ardae_rl.tasks.maxent.config import MaxEntSettings
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.task import Task


@dataclass(frozen=True)
class TaskKind:
    """The class of a task's settings, and where the task is: "package.module:Class", imported only once it is about to run."""

    settings: type
    path: str

    def task(self) -> type[Task]:
        module, _, name = self.path.partition(":")
        task: type[Task] = getattr(import_module(module), name)
        return task


TASKS: dict[str, TaskKind] = {
    "energy": TaskKind(EnergySettings, "ardae_rl.tasks.energy.task:EnergyTask"),
    "maxent": TaskKind(MaxEntSettings, "ardae_rl.tasks.maxent.task:MaxEntTask"),
    "score_error": TaskKind(ScoreErrorSettings, "ardae_rl.tasks.score_error.task:ScoreErrorTask"),
}
