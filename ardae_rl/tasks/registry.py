"""The tasks by the name that ``run:`` gives them in a YAML file."""

from typing import NamedTuple

from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.task import ScoreErrorTask


class TaskKind(NamedTuple):
    """A task and the class of its settings."""

    task: type
    settings: type


TASKS: dict[str, TaskKind] = {"score_error": TaskKind(ScoreErrorTask, ScoreErrorSettings)}
