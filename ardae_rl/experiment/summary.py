"""The closing table: last and best evaluation of every seed, and their mean over seeds with a 95% interval."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from scipy import stats

from ardae_rl.experiment.plan import trial_name
from ardae_rl.experiment.schema import Reporting
from ardae_rl.run.records import read_rows

CURVE_FILE = "evaluations.csv"


class Evaluation(NamedTuple):
    """The result of one evaluation, and after how many steps it was made."""

    steps: int
    value: float


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """How one trial went, in ``steps`` and the ``seconds`` they took, sampling, learning and evaluating, over all its restarts.

    ``assignment`` is its grid values and its seed; ``failure`` the cause in one line, None if it did not fail; ``restarts`` after crashes.
    """

    assignment: Mapping[str, Any]
    status: str
    steps: int
    seconds: float
    evaluations: Sequence[Evaluation]
    folder: Path
    failure: str | None = None
    restarts: int = 0

    @property
    def name(self) -> str:
        return trial_name(self.assignment)

    @property
    def steps_per_s(self) -> float:
        return self.steps / self.seconds if self.seconds else math.nan

    @property
    def last(self) -> Evaluation | None:
        return self.evaluations[-1] if self.evaluations else None

    def best(self, choose: Callable[..., Any]) -> Evaluation | None:
        """By ``choose``, max or min; an evaluation that came out as NaN is never the best."""
        numbers = [evaluation for evaluation in self.evaluations if not math.isnan(evaluation.value)]
        best: Evaluation | None = choose(numbers, key=lambda evaluation: evaluation.value, default=None)
        return best


def read_evaluations(folder: Path, reporting: Reporting) -> list[Evaluation]:
    """What a trial recorded so far in its ``evaluations.csv``, oldest first, without rows that are damaged; empty if it never evaluated."""
    path = folder / CURVE_FILE
    if not path.is_file():
        return []
    rows, _ = read_rows(path, steps=reporting.steps)
    return [Evaluation(int(row[reporting.steps]), float(row[reporting.evaluation])) for row in rows]


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 95% confidence interval (Student's t; NaN for fewer than two values)."""
    mean = math.fsum(values) / len(values) if values else math.nan
    if len(values) < 2:
        return mean, math.nan
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * math.sqrt(variance / len(values))


def closing_table(trials: Sequence[TrialSummary], reporting: Reporting) -> Table:
    """One row per trial, and one per grid point that ran with several seeds."""
    table = Table("trial", "status", reporting.unit, "steps/s", "last evaluation", "best evaluation", "restarts", title=reporting.title)
    for point, members in _by_grid_point(trials).items():
        lasts, bests = [trial.last for trial in members], [trial.best(reporting.best) for trial in members]
        for trial, last, best in zip(members, lasts, bests, strict=True):
            steps, rate = f"{trial.steps:,}", f"{trial.steps_per_s:.1f}" if trial.steps else "-"
            results = _at_steps(last, reporting), _at_steps(best, reporting)
            table.add_row(trial.name, trial.status, steps, rate, *results, str(trial.restarts))
        if len(members) > 1:
            name = f"{point + ', ' if point else ''}mean of seeds"
            table.add_row(name, "", "", "", _spread(lasts, reporting), _spread(bests, reporting), style="bold", end_section=True)
            table.caption = "±: half a 95% interval over seeds (Student's t)"
    return table


def _by_grid_point(trials: Sequence[TrialSummary]) -> dict[str, list[TrialSummary]]:
    groups: dict[str, list[TrialSummary]] = {}
    for trial in sorted(trials, key=lambda trial: trial.assignment["seed"]):
        point = {path: value for path, value in trial.assignment.items() if path != "seed"}
        groups.setdefault(trial_name(point), []).append(trial)
    return groups


def _at_steps(evaluation: Evaluation | None, reporting: Reporting) -> str:
    return f"{evaluation.value:{reporting.style}} at {evaluation.steps:,}" if evaluation else "-"


def _spread(evaluations: Sequence[Evaluation | None], reporting: Reporting) -> str:
    values = [evaluation.value for evaluation in evaluations if evaluation]
    mean, half_width = mean_interval(values)
    return f"{reporting.number(mean)} ± {reporting.number(half_width)}" if len(values) > 1 else reporting.number(mean)
