"""What an experiment's folder says: its file, and one table of all evaluations of all its trials."""

import json
from functools import reduce
from itertools import product
from operator import getitem
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ardae_rl.experiment.preflight import RECORD
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.record import KEY, check_version
from ardae_rl.experiment.schema import is_folder_name
from ardae_rl.run.records import read_rows

EVALUATIONS, PARAMS = "evaluations.csv", "params.json"
DAMAGE = (KeyError, OSError, TypeError, ValueError)  # of pandas and json as well


def read_experiment(folder: Path) -> dict[str, Any]:
    """The experiment file stored in ``folder``. Raises InvalidExperimentError where there is none, or it is damaged or of another version.

    One that states no version, of older code, is read: seeds and grid are all that is asked of it, settings stand in each trial's folder.
    """
    path = folder / RECORD
    if not path.is_file():
        message = f"there is no {RECORD} in it; give the folder of an experiment, such as runs/score_error"
        raise InvalidExperimentError([Problem(str(folder), "", message)])
    try:
        experiment = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        experiment = None
    if not (isinstance(experiment, dict) and _says_which(experiment)):
        raise InvalidExperimentError([Problem(str(path), "", "is damaged: it does not say which experiment this is")])
    if KEY in experiment:
        check_version(experiment, str(path))
    return experiment


def _says_which(experiment: dict[Any, Any]) -> bool:
    """Its name must be one of a folder: reports are written into a folder of that name."""
    name, run, grid = (experiment.get(key, {}) for key in ("name", "run", "grid_search"))
    return isinstance(name, str) and is_folder_name(name) and isinstance(run, str) and isinstance(grid, dict)


def read_evaluations(folder: Path, grid: dict[str, list[Any]]) -> tuple[pd.DataFrame, list[Problem]]:
    """One row per evaluation of each trial: its grid values, ``seed``, ``steps``, ``seconds`` of training by then, and its metrics.

    In the order of ``grid`` (path: values), as the experiment file has it, without the trials whose records cannot be used: a problem for
    each. Raises InvalidExperimentError where no trial has evaluated yet.
    """
    trials, problems = [], []
    for path in sorted(folder.glob(f"*/{EVALUATIONS}")):
        try:
            trials.append(_trial(path.parent, grid))
        except DAMAGE as error:
            what = f"there is no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
            problems.append(Problem(str(path.parent), "", f"its records are damaged, {what}: left out"))
    if not trials:
        raise InvalidExperimentError(problems or [Problem(str(folder), "", "none of its trials has been evaluated yet")])
    return _in_order(pd.concat(trials, ignore_index=True), grid, ["seed", "steps"]), problems


def read_figures(folder: Path, grid: dict[str, list[Any]], name: str) -> pd.DataFrame:
    """One row per trial that has drawn its figure ``name``: its grid values, ``seed``, and the ``path`` of the PNG; ordered by ``grid``."""
    rows = []
    for path in sorted(folder.glob(f"*/figures/{name}.png")):
        try:
            trial = _trial(path.parents[1], grid)
        except DAMAGE:  # read_evaluations says so
            continue
        rows += [{**{key: trial[key].iloc[0] for key in [*grid, "seed"]}, "path": path}] if len(trial) else []
    return _in_order(pd.DataFrame(rows, columns=[*grid, "seed", "path"], dtype=object), grid, ["seed"])  # else null is NaN


def final(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The last evaluation of every finished trial: those that got as far as the furthest."""
    return evaluations[evaluations["steps"] == evaluations["steps"].max()].reset_index(drop=True)


def expected(experiment: dict[str, Any]) -> pd.DataFrame:
    """One row per trial that the experiment asks for, finished or not: its grid values and ``seed``, in the order of the file."""
    grid, seeds = experiment["grid_search"], experiment["seeds"]
    values = [[_plain(value) for value in column] for column in grid.values()]
    rows = product(*values, range(seeds) if isinstance(seeds, int) else seeds)
    return pd.DataFrame(rows, columns=[*grid, "seed"])


def _in_order(rows: pd.DataFrame, grid: dict[str, list[Any]], then: list[str]) -> pd.DataFrame:
    """Sorted by where in the experiment file each grid value stands, and then by these columns."""
    order = pd.DataFrame({path: rows[path].map([_plain(value) for value in values].index) for path, values in grid.items()}, rows.index)
    return rows.loc[order.join(rows[then]).sort_values([*grid, *then]).index].reset_index(drop=True)


def _trial(folder: Path, grid: dict[str, list[Any]]) -> pd.DataFrame:
    """Raises KeyError, TypeError or ValueError where the files of a trial say less than they should, or other."""
    params = json.loads((folder / PARAMS).read_text(encoding="utf-8"))
    check_rows(folder / EVALUATIONS, steps="steps", seed=params["seed"])
    evaluations = pd.read_csv(folder / EVALUATIONS).astype({"seed": int, "steps": int, "seconds": float})
    labels = {path: _value(params["settings"], path, values) for path, values in grid.items()}
    return pd.concat([pd.DataFrame([labels] * len(evaluations), dtype=object).infer_objects(), evaluations], axis=1)


def check_rows(path: Path, *, steps: str, seed: int) -> None:
    """Raises ValueError for a record of which anything is damaged."""
    _, damage = read_rows(path, steps=steps, seed=seed)
    if damage:
        raise ValueError(f"{damage[0]} of {path.name}" + (f", and {len(damage) - 1} more" if damage[1:] else ""))


def _value(settings: dict[str, Any], path: str, values: list[Any]) -> Any:
    """The one of the ``values`` that the settings have."""
    stored = value_at(settings, path)
    for each in values:
        if _is(stored, each):
            return _plain(each)
    raise ValueError(f"{path} is {stored}, which the experiment does not have")


def _is(stored: object, given: object) -> bool:
    """Whether settings hold what a grid gives: a section there need not name what keeps its default."""
    if isinstance(stored, dict) and isinstance(given, dict):
        return all(name in stored and _is(stored[name], value) for name, value in given.items())
    return bool(stored == given)


def _plain(value: Any) -> Any:
    """Lists and mappings as text: they are labels from here on."""
    return str(value) if isinstance(value, list | dict) else value


def value_at(data: Any, path: str) -> Any:
    """The setting at a path with dots."""
    return reduce(getitem, path.split("."), data)
