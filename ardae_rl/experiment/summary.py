"""The closing table: last and best evaluation return of every seed, and their mean over seeds with a 95% interval."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from scipy import stats

from ardae_rl.experiment.display import number
from ardae_rl.experiment.plan import trial_name

CURVE_FILE = "evaluations.csv"
STEPS_COLUMN = "env_steps"
RETURN_COLUMN = "return_mean"


@dataclass(frozen=True)
class Evaluation:
    """The mean return of one evaluation, and after how many environment steps it was made."""

    env_steps: int
    return_mean: float


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """How one trial went, in ``env_steps`` and the ``seconds`` they took, sampling, learning and evaluating, over all its restarts.

    ``assignment`` is its grid values and its seed; ``failure`` the cause in one line, None if it did not fail.
    """

    assignment: Mapping[str, Any]
    status: str
    env_steps: int
    seconds: float
    evaluations: Sequence[Evaluation]
    folder: Path
    failure: str | None = None

    @property
    def name(self) -> str:
        return trial_name(self.assignment)

    @property
    def steps_per_s(self) -> float:
        return self.env_steps / self.seconds if self.seconds else math.nan

    @property
    def last(self) -> Evaluation | None:
        return self.evaluations[-1] if self.evaluations else None

    @property
    def best(self) -> Evaluation | None:
        return max(self.evaluations, key=lambda evaluation: evaluation.return_mean, default=None)


def read_evaluations(folder: Path) -> list[Evaluation]:
    """What a trial recorded so far in its ``evaluations.csv``, oldest first; empty if it never evaluated."""
    path = folder / CURVE_FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Evaluation(int(row[STEPS_COLUMN]), float(row[RETURN_COLUMN])) for row in csv.DictReader(file)]


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 95% confidence interval (Student's t; NaN for fewer than two values)."""
    mean = math.fsum(values) / len(values) if values else math.nan
    if len(values) < 2:
        return mean, math.nan
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * math.sqrt(variance / len(values))


def closing_table(trials: Sequence[TrialSummary]) -> Table:
    """One row per trial, and one per grid point that ran with several seeds."""
    table = Table("trial", "status", "env steps", "steps/s", "last evaluation", "best evaluation", title="Evaluation return")
    for point, members in _by_grid_point(trials).items():
        for trial in members:
            steps, rate = f"{trial.env_steps:,}", number(trial.steps_per_s)
            table.add_row(trial.name, trial.status, steps, rate, _at_steps(trial.last), _at_steps(trial.best))
        if len(members) > 1:
            lasts = [trial.last.return_mean for trial in members if trial.last]
            bests = [trial.best.return_mean for trial in members if trial.best]
            table.add_row(
                f"{point + ', ' if point else ''}mean of seeds", "", "", "", _spread(lasts), _spread(bests), style="bold", end_section=True
            )
    return table


def _by_grid_point(trials: Sequence[TrialSummary]) -> dict[str, list[TrialSummary]]:
    groups: dict[str, list[TrialSummary]] = {}
    for trial in sorted(trials, key=lambda trial: trial.assignment["seed"]):
        point = {path: value for path, value in trial.assignment.items() if path != "seed"}
        groups.setdefault(trial_name(point), []).append(trial)
    return groups


def _at_steps(evaluation: Evaluation | None) -> str:
    return f"{number(evaluation.return_mean)} at {evaluation.env_steps:,}" if evaluation else "-"


def _spread(values: Sequence[float]) -> str:
    mean, half_width = mean_interval(values)
    return f"{number(mean)} ± {number(half_width)}" if len(values) > 1 else number(mean)
