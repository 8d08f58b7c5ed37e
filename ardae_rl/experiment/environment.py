"""Whether SAC can act in an environment, found out before anything starts: it is made, reset and stepped as a trial would."""

import math
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from difflib import get_close_matches
from typing import Any

import gymnasium as gym
import numpy as np

import ardae_rl.envs
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.validation import shown
from ardae_rl.rllib.settings import TrainingSettings
from ardae_rl.rllib.spaces import unfit
from ardae_rl.sac.config import SACConfig

STEPS = 3

gym.register_envs(ardae_rl.envs)


def check_environment(env: str, each: Iterable[TrainingSettings], source: str, *, here: bool = True) -> None:
    """Raise InvalidExperimentError unless SAC can act in ``env`` with ``each`` of these settings, on this machine if ``here``."""
    problems: dict[Problem, None] = {}
    spaces: dict[str, tuple[Any, Any] | Problem] = {}
    for settings in each:
        kwargs = repr(settings.env_config)
        if kwargs not in spaces:
            spaces[kwargs] = _spaces(env, settings.env_config, source)
        found = spaces[kwargs]
        if isinstance(found, Problem):
            problems[found] = None
            continue
        problems |= dict.fromkeys(_problems(*found, settings.sac, env, source))
        if here:
            problems |= dict.fromkeys(_beyond_memory(*found, settings.replay.capacity, source))
    if problems:
        raise InvalidExperimentError(problems)


def _spaces(env: str, kwargs: dict[str, object], source: str) -> tuple[Any, Any] | Problem:
    if kwargs.get("render_mode") == "human":
        return Problem(source, "config.env_config.render_mode", "must not be human: every copy of the environment would open a window")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = gym.make(env, disable_env_checker=True, **kwargs)  # type: ignore[arg-type]
            with closing(made):
                fault = next(_faults(made), None)
    except gym.error.UnregisteredEnv as error:
        return Problem(source, "env", f"{_first_line(error)} {_nearest_envs(env)}")
    except Exception as error:  # an environment may fail in any way: whatever it says goes to the user
        words = f"{type(error).__name__}: {_first_line(error)}"
        return Problem(source, "env", f"{env!r} with env_config {shown(kwargs)} cannot be created, reset and stepped: {words}")
    return Problem(source, "env", f"{env}: {fault}") if fault else (made.observation_space, made.action_space)


def _faults(env: Any) -> Iterator[str]:
    """What is wrong with what a reset and a few steps of it return; only of spaces that SAC can act in."""
    if any(unfit(env.observation_space, env.action_space, TrainingSettings().sac)):
        return
    answer = env.reset(seed=0)
    if not (isinstance(answer, tuple) and len(answer) == 2):
        yield f"reset() must return (observation, info), got {_kind(answer)}: Gymnasium's API since 0.26"
        return
    yield from _unlike_space("reset()", answer[0], env.observation_space)
    env.action_space.seed(0)
    for _ in range(STEPS):
        answer = env.step(env.action_space.sample())
        if not (isinstance(answer, tuple) and len(answer) == 5):
            yield f"step() must return (observation, reward, terminated, truncated, info), got {_kind(answer)}: Gymnasium's API since 0.26"
            return
        yield from _unlike_space("step()", answer[0], env.observation_space)
        if np.shape(answer[1]) or not isinstance(answer[1], (int, float, np.number, np.bool_)):
            yield f"the reward of step() must be a number, got {_kind(answer[1])}"
        if answer[2] or answer[3]:
            env.reset()


def _unlike_space(where: str, observation: Any, space: Any) -> Iterator[str]:
    if np.shape(observation) != space.shape:
        yield f"the observation of {where} must be of shape {space.shape}, as observation_space says, got {_kind(observation)}"


def _kind(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} values"
    return f"{type(value).__name__} of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)[:80]


def _nearest_envs(env: str) -> str:
    close = get_close_matches(env, gym.registry, n=3, cutoff=0.6)
    nearest = f"Nearest ids: {', '.join(close)}." if close else "See gymnasium.pprint_registry() for the ids there are."
    return nearest if ":" in env else f"{nearest} One that Gymnasium does not import itself stands behind its module: module:{env}."


def _problems(observations: Any, actions: Any, sac: SACConfig, env: str, source: str) -> Iterator[Problem]:
    for key, message in unfit(observations, actions, sac):
        yield Problem(source, "env", f"{env} {message}") if key == "env" else Problem(source, f"config.sac.{key}", f"{message} ({env})")


def _beyond_memory(observations: Any, actions: Any, capacity: int, source: str) -> Iterator[Problem]:
    size = 4 * capacity * (2 * math.prod(observations.shape or ()) + math.prod(actions.shape or ()) + 2)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        amounts = f"full it takes {size / 2**30:,.1f} GiB, and this machine has {memory / 2**30:,.1f}"
        yield Problem(source, "config.replay.capacity", f"is more than there is memory for, got {capacity:,}: {amounts}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
