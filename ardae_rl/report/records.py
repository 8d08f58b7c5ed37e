"""What an experiment's folder says: its file, and one table of all evaluations of all its trials."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ardae_rl.experiment.preflight import RECORD
from ardae_rl.experiment.problems import InvalidExperimentError, Problem

EVALUATIONS, METRICS, PARAMS = "evaluations.csv", "metrics.csv", "params.json"


def read_experiment(folder: Path) -> dict[str, Any]:
    """The experiment file stored in ``folder``. Raises InvalidExperimentError where there is none, or it is damaged."""
    path = folder / RECORD
    if not path.is_file():
        message = f"there is no {RECORD} in it; give the folder of an experiment, such as runs/score_error"
        raise InvalidExperimentError([Problem(str(folder), "", message)])
    try:
        experiment = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        experiment = None
    if not isinstance(experiment, dict) or not {"name", "run"} <= experiment.keys():
        raise InvalidExperimentError([Problem(str(path), "", "is damaged: it does not say which experiment this is")])
    return experiment


def read_evaluations(folder: Path, grid: dict[str, list[Any]]) -> pd.DataFrame:
    """One row per evaluation of each trial: its grid values, ``seed``, ``steps``, ``seconds`` of training by then, and its metrics.

    In the order of ``grid`` (path: values), as the experiment file has it. Raises InvalidExperimentError where no trial has evaluated yet.
    """
    trials = [_trial(path.parent, list(grid)) for path in sorted(folder.glob(f"*/{EVALUATIONS}"))]
    if not trials:
        raise InvalidExperimentError([Problem(str(folder), "", "none of its trials has been evaluated yet")])
    rows = pd.concat(trials, ignore_index=True)
    return _in_order(rows, grid, ["seed", "steps"])


def read_figures(folder: Path, grid: dict[str, list[Any]], name: str) -> pd.DataFrame:
    """One row per trial that has drawn its figure ``name``: its grid values, ``seed``, and the ``path`` of the PNG; ordered by ``grid``."""
    rows = []
    for path in sorted(folder.glob(f"*/figures/{name}.png")):
        params = json.loads((path.parents[1] / PARAMS).read_text(encoding="utf-8"))
        values = {key: _plain(_at(params["settings"], key)) for key in grid}
        rows.append({**values, "seed": params["seed"], "path": path})
    return _in_order(pd.DataFrame(rows, columns=[*grid, "seed", "path"]), grid, ["seed"])


def final(evaluations: pd.DataFrame, grid_paths: list[str]) -> pd.DataFrame:
    """The last evaluation of every finished trial: those that got as far as the furthest."""
    return evaluations[evaluations["steps"] == evaluations["steps"].max()].reset_index(drop=True)


def expected(experiment: dict[str, Any]) -> pd.DataFrame:
    """One row per trial that the experiment asks for, finished or not: its grid values and ``seed``, in the order of the file."""
    grid, seeds = experiment["grid_search"], experiment["seeds"]
    values = [[_plain(value) for value in column] for column in grid.values()]
    rows = product(*values, range(seeds) if isinstance(seeds, int) else seeds)
    return pd.DataFrame(rows, columns=[*grid, "seed"])


def summary(rows: pd.DataFrame, grid_paths: list[str], metrics: list[str]) -> pd.DataFrame:
    """Mean and standard error over seeds of each grid point, as columns (metric, mean | sem), and their number (seeds,).

    NaN where it is NaN for one of the seeds: a run that diverged does not improve the mean of the others.
    """
    if not grid_paths:
        rows, grid_paths = rows.assign(all="all"), ["all"]
    grouped = rows.groupby(grid_paths, dropna=False, sort=False)
    table = grouped[metrics].agg([("mean", lambda values: values.mean(skipna=False)), ("sem", lambda values: values.sem(skipna=False))])
    table[("seeds", "")] = grouped["seed"].nunique()
    return table


def _in_order(rows: pd.DataFrame, grid: dict[str, list[Any]], then: list[str]) -> pd.DataFrame:
    """Sorted by where in the experiment file each grid value stands, and then by these columns."""
    order = pd.DataFrame({path: rows[path].map([_plain(value) for value in values].index) for path, values in grid.items()}, rows.index)
    return rows.loc[order.join(rows[then]).sort_values([*grid, *then]).index].reset_index(drop=True)


def _trial(folder: Path, grid_paths: list[str]) -> pd.DataFrame:
    evaluations = pd.read_csv(folder / EVALUATIONS).copy()  # in one piece: hundreds of columns are slow to add to otherwise
    params = json.loads((folder / PARAMS).read_text(encoding="utf-8"))
    for path in reversed(grid_paths):
        evaluations.insert(0, path, [_plain(_at(params["settings"], path))] * len(evaluations))
    return evaluations


def _plain(value: Any) -> Any:
    """Lists and mappings as text: they are labels from here on."""
    return str(value) if isinstance(value, list | dict) else value


def _at(data: Any, path: str) -> Any:
    for name in path.split("."):
        data = data[name]
    return data
