"""What can be known to fail before anything starts: the environment, the folder to write to, the experiment already in it."""

import os
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import gymnasium as gym
import yaml
from gymnasium.spaces import Box

from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import Experiment, to_yaml
from ardae_rl.experiment.validation import shown
from ardae_rl.rllib.settings import TrainingSettings

RECORD = "experiment.yaml"


def check_environment(experiment: Experiment, source: str) -> None:
    """Make sure that SAC can act in ``experiment.env``, for every grid point.

    Raises:
        InvalidExperimentError: no such environment (with the nearest ids), one that cannot be created, actions or observations that are
            not vectors of bounded or real numbers, or a policy with fewer noise dimensions than there are actions.
    """
    problems: dict[Problem, None] = {}
    spaces: dict[str, tuple[Any, Any] | Problem] = {}
    for point in experiment.grid_points():
        settings = experiment.settings(point)
        kwargs = repr(settings.env_config)
        if kwargs not in spaces:
            spaces[kwargs] = _spaces(experiment.env, settings.env_config, source)
        found = spaces[kwargs]
        for problem in [found] if isinstance(found, Problem) else _space_problems(*found, settings, experiment.env, source):
            problems[problem] = None
    if problems:
        raise InvalidExperimentError(problems)


def check_folder(experiment: Experiment, *, resume: bool, source: str) -> None:
    """Make sure that the results can be written where they should go, and that nothing is overwritten or resumed by mistake.

    Raises:
        InvalidExperimentError: an unwritable path; an experiment already there without ``resume``; with it, none there or a different one.
    """
    folder = experiment.folder
    obstacle = _write_obstacle(folder)
    if obstacle:
        raise InvalidExperimentError([Problem(source, "storage_path", obstacle)])
    started = has_run(folder)
    if resume and not started:
        raise InvalidExperimentError([Problem("--resume", "", _nothing_to_resume(folder))])
    if started and not resume:
        advice = "add --resume to continue it, or start another with --set name=NAME or --storage-path DIR"
        raise InvalidExperimentError([Problem(source, "name", f"there is an experiment in {folder} already; {advice}")])
    if resume:
        _check_unchanged(experiment, folder)


def has_run(folder: Path) -> bool:
    """Whether ``folder`` holds a Tune experiment that got far enough to be resumed."""
    return (folder / "tuner.pkl").is_file() and any(folder.glob("experiment_state-*.json"))


def _spaces(env: str, kwargs: dict[str, object], source: str) -> tuple[Any, Any] | Problem:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = gym.make(env, **kwargs)  # type: ignore[arg-type]
    except gym.error.UnregisteredEnv as error:
        return Problem(source, "env", f"{_first_line(error)} {_nearest_envs(env)}")
    except Exception as error:  # an environment may fail in any way: whatever it says goes to the user
        return Problem(
            source, "env", f"{env!r} with env_config {shown(kwargs)} cannot be created: {type(error).__name__}: {_first_line(error)}"
        )
    made.close()
    return made.observation_space, made.action_space


def _nearest_envs(env: str) -> str:
    close = get_close_matches(env, gym.registry, n=3, cutoff=0.6)
    return f"Nearest ids: {', '.join(close)}." if close else "See gymnasium.pprint_registry() for the ids there are."


def _space_problems(observations: Any, actions: Any, settings: TrainingSettings, env: str, source: str) -> list[Problem]:
    problems = []
    if not (isinstance(observations, Box) and len(observations.shape) == 1):
        problems.append(Problem(source, "env", f"{env} observes {observations}; expected a vector (a one-dimensional Box)"))
    if not (isinstance(actions, Box) and len(actions.shape) == 1 and actions.is_bounded()):
        problems.append(Problem(source, "env", f"{env} acts in {actions}; SAC needs continuous actions: a bounded one-dimensional Box"))
    elif settings.sac.policy == "implicit" and settings.sac.implicit.noise_dim < actions.shape[0]:
        message = f"must be at least the {actions.shape[0]} action dimensions of {env}, got {settings.sac.implicit.noise_dim}"
        problems.append(Problem(source, "config.sac.implicit.noise_dim", f"{message} (fewer cannot reach every action)"))
    return problems


def _write_obstacle(folder: Path) -> str | None:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        return f"cannot write to {folder}: {nearest} is not a directory"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"cannot write to {folder}: no permission to write in {nearest}; choose another with --storage-path DIR"
    return None


def _nothing_to_resume(folder: Path) -> str:
    others = sorted(child.name for child in folder.parent.glob("*") if has_run(child))
    there = f"; {folder.parent} holds: {', '.join(others)}" if others else ""
    return f"there is no experiment in {folder}{there}. Start it without --resume"


def _check_unchanged(experiment: Experiment, folder: Path) -> None:
    """Tune continues what it stored and would silently ignore whatever the file says differently by now."""
    record = folder / RECORD
    if not record.is_file():
        return
    before, now = (_flat(yaml.safe_load(text)) for text in (record.read_text(encoding="utf-8"), to_yaml(experiment)))
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key) and key != "storage_path"]
    problems = []
    for key in changed:
        difference = f"was {shown(before.get(key))} when {folder} was started and is {shown(now.get(key))} now"
        problems.append(Problem("--resume", key, f"{difference}; put it back, for instance with --set {key}=VALUE"))
    if problems:
        raise InvalidExperimentError(problems)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not (isinstance(value, dict) and value):
        return {prefix: value}
    return {key: leaf for name, child in value.items() for key, leaf in _flat(child, f"{prefix}.{name}" if prefix else str(name)).items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
