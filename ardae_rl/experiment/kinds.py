"""The kinds of run there are, and the one way from a file to an experiment of the kind it names."""

import dataclasses
from difflib import get_close_matches
from typing import Any

from ardae_rl.experiment.control import ControlExperiment
from ardae_rl.experiment.plan import trial_assignments, trial_name, with_stored_grid
from ardae_rl.experiment.problems import Problem
from ardae_rl.experiment.record import KEY, MISSING, check_version, missing_keys
from ardae_rl.experiment.schema import CONTROL_RUN, Experiment, as_record
from ardae_rl.experiment.task import task_experiment
from ardae_rl.experiment.validation import shown, unknown_path, validate
from ardae_rl.experiment.yaml_file import Document
from ardae_rl.tasks.registry import TASKS

KINDS: dict[str, type[Experiment]] = {CONTROL_RUN: ControlExperiment, **{run: task_experiment(run) for run in TASKS}}


def parse(document: Document) -> tuple[Experiment | None, list[Problem]]:
    """The experiment in ``document``, or None and every mistake in it (grid values included).

    A file without ``run``, or with a misspelt one, is read as the nearest kind; where no kind is near, only ``run`` can be judged.
    One that states its ``schema`` is a record and must say everything. Raises InvalidExperimentError for one of another version.
    """
    if KEY in document.data:
        check_version(document.data, document.place(KEY))
    settings = {key: value for key, value in document.data.items() if key != KEY}
    experiment, problems = _parse(dataclasses.replace(document, data=settings))
    if experiment is not None and KEY in document.data:
        problems = [Problem(document.place(key), key, MISSING) for key in missing_keys(as_record(experiment), document.data)]
    return (None if problems else experiment), problems


def _of_another_tool(data: dict[str, Any]) -> str | None:
    """What a file is that is meant for one; None if it is not known for such."""
    sections = [value for value in data.values() if isinstance(value, dict)]
    if "run" in data or "name" in data:
        return None
    if any("n_timesteps" in section for section in sections):
        return "hyperparameters of rl-zoo3, by environment"
    return "an experiment of RLlib's" if any({"env", "run"} <= section.keys() for section in sections) else None


def _parse(document: Document) -> tuple[Experiment | None, list[Problem]]:
    tool = _of_another_tool(document.data)
    if tool:
        return None, [Problem(document.source, "", f"is {tool}; docs/configuration.md says what a file here looks like")]
    if document.data.get("run") == "SAC":
        hint = f"plain SAC is run: {CONTROL_RUN} with config.sac.policy: gaussian"
        return None, [Problem(document.place("run"), "run", f"must be one of {', '.join(KINDS)}, got SAC; {hint}")]
    run = document.data.get("run", CONTROL_RUN)
    near = get_close_matches(str(run), KINDS, n=1, cutoff=0.6)
    experiment, problems = validate(KINDS[near[0]] if near else ControlExperiment, document)
    if experiment is None:
        return None, problems if near else [problem for problem in problems if problem.key == "run"]
    problems = _grid_problems(experiment, document)
    return (None, problems) if problems else (with_stored_grid(experiment), [])


def _grid_problems(experiment: Experiment, document: Document) -> list[Problem]:
    problems = [
        problem for path, values in experiment.grid_search.items() for problem in _axis_problems(experiment, path, values, document)
    ]
    if not problems:  # values that fit on their own may still not fit together
        misfits = _overlaps(experiment) or dict.fromkeys(
            misfit for point in experiment.grid_points() for misfit in _misfits(experiment, point)
        )
        problems = [Problem(document.place("grid_search"), "grid_search", misfit) for misfit in misfits or _shared_names(experiment)]
    return problems


def _overlaps(experiment: Experiment) -> list[str]:
    """Axes of which one varies a part of what another varies as a whole."""
    paths = list(experiment.grid_search)
    pairs = ((outer, inner) for outer in paths for inner in paths if inner.startswith(f"{outer}."))
    return [f"varies both {outer!r} and {inner!r}, which is a part of it; vary the one or the other" for outer, inner in pairs]


def _shared_names(experiment: Experiment) -> list[str]:
    """Trials that would write to the same folder."""
    trials: dict[str, list[dict[str, Any]]] = {}
    for assignment in trial_assignments(experiment):
        trials.setdefault(trial_name(assignment), []).append(assignment)
    name, several = next(((name, several) for name, several in trials.items() if len(several) > 1), ("", []))
    return [f"{', '.join(map(shown, several))} would share the folder {name!r}; leave all but one out"] if several else []


def _axis_problems(experiment: Experiment, path: str, values: list[Any], document: Document) -> list[Problem]:
    messages = []
    unknown = unknown_path(type(experiment.config), path)
    if unknown:
        messages.append(f"paths are relative to config; write {path[7:]!r}" if path.startswith("config.") else unknown)
    elif not values or any(value in values[:index] for index, value in enumerate(values)):
        messages.append(f"must list one or more different values, got {shown(values)}")
    else:
        messages += [misfit.removeprefix(f"{path}: ") for value in values for misfit in _misfits(experiment, {path: value})]
    key = f"grid_search.{path}"
    return [Problem(document.place(key), key, message) for message in messages]


def _misfits(experiment: Experiment, point: dict[str, Any]) -> list[str]:
    try:
        experiment.settings(point)
    except ValueError as error:
        return str(error).splitlines()
    return []
