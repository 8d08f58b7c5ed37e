"""The runs of a continuous-control study, read from the folders of its experiments: what is there, and what is not.

Notation: a *run* is one seed of one method on one environment. Only finished runs count: comparing one that is half-way with one that
ended would favour the latter.
"""

import json
import math
from collections.abc import Sequence
from functools import cache
from itertools import takewhile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ardae_rl.experiment.plan import trial_name
from ardae_rl.experiment.preflight import RECORD
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.report.paper import unlike_the_paper
from ardae_rl.report.records import EVALUATIONS, PARAMS, check_rows, value_at
from ardae_rl.rllib.evaluation import random_returns
from ardae_rl.sac.names import METHODS, method_name

RUN = ["env", "method", "seed"]
_COLUMNS = ["seed", "env_steps", "updates", "return_mean", "returns"]
_OF_EVALUATIONS = ["experiment", *_COLUMNS[1:], "due_env_steps", "folder", "stopped_early", "unlike_paper", "random_return"]
_PRECISION = 1e-4  # of the returns in a record, six digits, as compared with their mean


def read_runs(experiments: Sequence[tuple[Path, dict[str, Any]]]) -> tuple[pd.DataFrame, list[Problem]]:
    """All evaluations of all finished runs of these (folder, experiment file), and a problem for everything left out.

    Columns: ``env``, ``method`` (:func:`ardae_rl.sac.names.method_name`, told apart where needed), ``seed``, ``experiment``,
    ``env_steps``, ``updates``, ``return_mean``, ``returns``, a row per evaluation; ``due_env_steps``, the multiple of the run's
    evaluation interval at which it was due; and of its run ``folder`` and ``stopped_early``: did it end by reaching its target return?
    ``unlike_paper``: :func:`ardae_rl.report.paper.unlike_the_paper`. ``random_return``: mean return of ten episodes of uniformly random
    actions, played now; NaN if the environment cannot be made here.
    Raises InvalidExperimentError, with all problems, where no run is finished.
    """
    trials: list[pd.DataFrame] = []
    problems: list[Problem] = []
    for folder, experiment in experiments:
        try:
            found, wrong = _read_experiment(folder, experiment)
        except (AttributeError, KeyError, TypeError) as error:
            found, wrong = [], [Problem(str(folder / RECORD), "", f"is damaged, {type(error).__name__}: {error}: left out")]
        trials, problems = trials + found, problems + wrong
    if not trials:
        raise InvalidExperimentError(problems or [Problem("", "", "there is nothing to report")])
    rows = _with_methods(pd.concat(trials, ignore_index=True))
    repeated = rows["folder"] != rows.groupby(RUN)["folder"].transform("first")
    for (env, method, seed), twice in rows[repeated].groupby(RUN):
        message = f"a second run of {method} on {env} with this seed: left out. Give runs of the same method different seeds"
        problems.append(Problem(twice["experiment"].iloc[0], f"seed {seed}", message))
    order = rows["base"].map({name: number for number, name in enumerate(METHODS)}).fillna(len(METHODS))
    kept = rows[~repeated].assign(order=order).sort_values(["env", "order", *RUN[1:], "env_steps"], kind="stable")
    return kept[[*RUN, *_OF_EVALUATIONS]].reset_index(drop=True), problems


def _read_experiment(folder: Path, experiment: dict[str, Any]) -> tuple[list[pd.DataFrame], list[Problem]]:
    trials, problems = [], []
    folders = sorted({path.parent for name in (EVALUATIONS, PARAMS) for path in folder.glob(f"*/{name}")})
    for trial in folders:
        try:
            rows = _read_trial(trial, experiment)
            lost = rows["return_mean"].isna()
            trials += [] if lost.all() else [rows[~lost]]
            if lost.any():
                what = f"{lost.sum()} of {len(rows)} evaluations have no mean, as not all returns are finite: left out"
                problems.append(Problem(str(trial), "", what))
        except (OSError, KeyError, TypeError, ValueError) as error:
            what = f"has no {error} in {PARAMS}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
            problems.append(Problem(str(trial), "", f"{what}: left out"))
    seeds = experiment["seeds"]
    expected = (seeds if isinstance(seeds, int) else len(seeds)) * prod(map(len, experiment["grid_search"].values()))
    if len(folders) < expected:
        problems.append(Problem(str(folder), "", f"{expected - len(folders)} of {expected} trials have not started: left out"))
    return trials, problems


def _read_trial(folder: Path, experiment: dict[str, Any]) -> pd.DataFrame:
    params = json.loads((folder / PARAMS).read_text(encoding="utf-8"))
    settings = params["settings"]
    rows = _read_evaluations(folder / EVALUATIONS, params["seed"])
    every = settings["evaluation"]["every_env_steps"]
    complete = _check_finished(rows, experiment["stop"], every)
    due = rows["env_steps"] // every * every
    rows, due = rows[(due > 0) & ~due.duplicated()], due[(due > 0) & ~due.duplicated()]  # not the one before training, nor that of the end
    point = {path: value_at(settings, path) for path in experiment["grid_search"]}
    env, base = params["env"], method_name(settings["sac"])
    if env != experiment["env"]:
        raise ValueError(f"its environment is {env}, and {experiment['env']} that of the experiment")
    labels = {
        "env": env,
        "experiment": experiment["name"],
        "base": base,
        "point": trial_name(point),
        "folder": str(folder),
        "stopped_early": not complete,
        "random_return": _random_return(env, json.dumps(settings["env_config"]), settings["evaluation"]["max_episode_steps"]),
        "unlike_paper": unlike_the_paper(env, base, settings, experiment["stop"]),
        "due_env_steps": due,
    }
    return rows.assign(**labels)


@cache
def _random_return(env: str, env_config: str, max_episode_steps: int) -> float:
    """``env_config`` in JSON. NaN where the environment cannot be made or stepped here."""
    try:
        return float(np.mean(random_returns(env, json.loads(env_config), max_episode_steps=max_episode_steps)))
    except Exception:  # a package that is missing, a constructor that changed: whatever an environment raises
        return math.nan


def _read_evaluations(path: Path, seed: int) -> pd.DataFrame:
    """The records of one trial. Raises ValueError for a file that says less, or other, than was measured."""
    if not path.is_file():
        raise ValueError(f"no {EVALUATIONS} yet")
    check_rows(path, steps="env_steps", seed=seed)
    rows = pd.read_csv(path)
    absent = [name for name in _COLUMNS if name not in rows]
    if absent:
        raise ValueError(f"{path.name} has no column {', '.join(absent)}")
    for number, row in enumerate(rows.itertuples(), 2):
        if not _is_sound(row):
            raise ValueError(f"line {number} of {path.name} is damaged: its return_mean is not the mean of its returns")
    return rows[_COLUMNS]


def _is_sound(row: Any) -> bool:
    try:
        returns = [float(value) for value in str(row.returns).split()]
        steps, mean = int(row.env_steps), float(row.return_mean)
    except (OverflowError, ValueError):
        return False
    scale = float(np.abs(returns).max(initial=1.0, where=np.isfinite(returns)))
    known = math.isnan(mean) != bool(np.isfinite(returns).all())  # with a return that is not finite there is no mean
    return steps >= 0 and bool(returns) and known and not abs(np.mean(returns) - mean) > _PRECISION * scale


def _check_finished(rows: pd.DataFrame, stop: dict[str, Any], every: int) -> bool:
    """Whether the run got as far as its steps go; if not, it reached its target return before. Raises ValueError if neither."""
    steps, goal = int(rows["env_steps"].max()) if len(rows) else 0, stop.get("evaluation_return_mean")
    reached = goal is not None and rows["return_mean"].max() >= goal
    complete = steps + every > int(stop["env_steps"])
    if not reached and not complete:
        raise ValueError(f"evaluated up to {steps:,} of {stop['env_steps']:,} env steps")
    return complete


def _with_methods(rows: pd.DataFrame) -> pd.DataFrame:
    """Column ``method``: ``base``, and in brackets what tells two apart that would share it: grid values, or how experiments are named."""
    names = {}
    for (_, base), members in rows.groupby(["env", "base"]):
        kinds = sorted(set(zip(members["experiment"], members["point"], strict=True)))
        experiments = sorted(set(members["experiment"]))
        start = sum(takewhile(bool, (len(set(letters)) == 1 for letters in zip(*experiments, strict=False))))  # letters that all share
        for experiment, point in kinds:
            several = sum(other == experiment for other, _ in kinds) > 1
            details = [*filter(None, (experiment[start:].strip("_-."), point if several else ""))]
            names[members["env"].iloc[0], base, experiment, point] = f"{base} ({', '.join(details)})" if details else base
    keys = zip(rows["env"], rows["base"], rows["experiment"], rows["point"], strict=True)
    return rows.assign(method=[names[key] for key in keys])
