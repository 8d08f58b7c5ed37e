"""Whether SAC can act in an environment, found out before anything starts: it is made, reset and stepped as a trial would."""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from difflib import get_close_matches
from typing import Any

import gymnasium as gym

import ardae_rl.envs
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.validation import shown
from ardae_rl.rllib.settings import TrainingSettings
from ardae_rl.rllib.spaces import CheckedEnv, EnvironmentFaultError, unfit
from ardae_rl.run.ray_internals import memory_of_this_machine
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
                _try(made, env)
    except gym.error.UnregisteredEnv as error:
        return Problem(source, "env", f"{_first_line(error)} {_nearest_envs(env)}")
    except EnvironmentFaultError as error:
        return Problem(source, "env", str(error))
    except Exception as error:  # an environment may fail in any way: whatever it says goes to the user
        words = f"{type(error).__name__}: {_first_line(error)}"
        return Problem(source, "env", f"{env!r} with env_config {shown(kwargs)} cannot be created, reset and stepped: {words}")
    return made.observation_space, made.action_space


def _try(env: gym.Env[Any, Any], name: str) -> None:
    """A reset and a few steps, of spaces that SAC can act in. Raises what the environment does, or EnvironmentFaultError."""
    if any(unfit(env.observation_space, env.action_space, TrainingSettings().sac)):
        return
    checked = CheckedEnv(env, name)
    checked.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(STEPS):
        _, _, terminated, truncated, _ = checked.step(env.action_space.sample())
        if terminated or truncated:
            checked.reset()


def _nearest_envs(env: str) -> str:
    close = get_close_matches(env, gym.registry, n=3, cutoff=0.6)
    nearest = f"Nearest ids: {', '.join(close)}." if close else "See gymnasium.pprint_registry() for the ids there are."
    return nearest if ":" in env else f"{nearest} One that Gymnasium does not import itself stands behind its module: module:{env}."


def _problems(observations: Any, actions: Any, sac: SACConfig, env: str, source: str) -> Iterator[Problem]:
    for key, message in unfit(observations, actions, sac):
        yield Problem(source, "env", f"{env} {message}") if key == "env" else Problem(source, f"config.sac.{key}", f"{message} ({env})")


def _beyond_memory(observations: Any, actions: Any, capacity: int, source: str) -> Iterator[Problem]:
    size = 4 * capacity * (2 * math.prod(observations.shape or ()) + math.prod(actions.shape or ()) + 2)
    memory = memory_of_this_machine()
    if size > memory:
        amounts = f"full it takes {size / 2**30:,.1f} GiB, and this machine has {memory / 2**30:,.1f}"
        yield Problem(source, "config.replay.capacity", f"is more than there is memory for, got {capacity:,}: {amounts}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
