"""Whether SAC can act in an environment, found out before anything starts."""

import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

import ardae_rl.envs
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.validation import shown
from ardae_rl.rllib.settings import TrainingSettings

gym.register_envs(ardae_rl.envs)


def check_environment(env: str, each: Iterable[TrainingSettings], source: str) -> None:
    """Raise InvalidExperimentError unless SAC can act in ``env`` with ``each`` of these settings."""
    problems: dict[Problem, None] = {}
    spaces: dict[str, tuple[Any, Any] | Problem] = {}
    for settings in each:
        kwargs = repr(settings.env_config)
        if kwargs not in spaces:
            spaces[kwargs] = _spaces(env, settings.env_config, source)
        found = spaces[kwargs]
        for problem in [found] if isinstance(found, Problem) else _space_problems(*found, settings, env, source):
            problems[problem] = None
    if problems:
        raise InvalidExperimentError(problems)


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
    elif actions.dtype not in (np.float32, np.float64):
        problems.append(Problem(source, "env", f"{env} acts in {actions}; its dtype must be float32 or float64, got {actions.dtype}"))
    elif settings.sac.policy == "implicit" and settings.sac.implicit.noise_dim < actions.shape[0]:
        message = f"must be at least the {actions.shape[0]} action dimensions of {env}, got {settings.sac.implicit.noise_dim}"
        problems.append(Problem(source, "config.sac.implicit.noise_dim", f"{message} (fewer cannot reach every action)"))
    return problems


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
