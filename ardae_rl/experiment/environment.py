"""Whether SAC can act in an environment, found out before anything starts: it is made, reset and stepped as a trial would."""

import io
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing, redirect_stdout
from difflib import get_close_matches
from typing import Any

import gymnasium as gym

import ardae_rl.envs
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.validation import shown
from ardae_rl.rllib.settings import TrainingSettings
from ardae_rl.rllib.spaces import CheckedEnv, EnvironmentFaultError, beyond_memory, unfit
from ardae_rl.sac.config import SACConfig

TRIED_STEPS, TRIED_S = 400, 1.0  # whichever comes first
ATTEMPTS = 3  # a simulator may fail now and then

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
            excess = beyond_memory(*found, settings.replay.capacity)
            problems |= {Problem(source, "config.replay.capacity", excess): None} if excess else {}
    if problems:
        raise InvalidExperimentError(problems)


def _spaces(env: str, kwargs: dict[str, object], source: str) -> tuple[Any, Any] | Problem:
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # environments print
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
    """Resets and steps, of spaces that SAC can act in. Raises EnvironmentFaultError, or what the environment does in every first step.

    A failure later on may be one in a thousand, which a trial survives.
    """
    if any(unfit(env.observation_space, env.action_space, TrainingSettings().sac)):
        return
    end = time.monotonic() + TRIED_S
    for attempt in range(ATTEMPTS):
        made = 0
        try:
            for made, _ in enumerate(_steps(CheckedEnv(env, name)), 1):
                if made >= TRIED_STEPS or time.monotonic() > end:
                    return
        except EnvironmentFaultError:
            raise
        except Exception:
            if made:
                return
            if attempt == ATTEMPTS - 1:
                raise


def _steps(env: CheckedEnv) -> Iterator[None]:
    """Random ones, from one episode to the next."""
    env.action_space.seed(0)
    over = True
    while True:
        if over:
            env.reset(seed=0)
        _, _, *ends, _ = env.step(env.action_space.sample())
        over = any(ends)
        yield


def _nearest_envs(env: str) -> str:
    close = get_close_matches(env, gym.registry, n=3, cutoff=0.6)
    nearest = f"Nearest ids: {', '.join(close)}." if close else "See gymnasium.pprint_registry() for the ids there are."
    return nearest if ":" in env else f"{nearest} One that Gymnasium does not import itself stands behind its module: module:{env}."


def _problems(observations: Any, actions: Any, sac: SACConfig, env: str, source: str) -> Iterator[Problem]:
    for key, message in unfit(observations, actions, sac):
        yield Problem(source, "env", f"{env} {message}") if key == "env" else Problem(source, f"config.sac.{key}", f"{message} ({env})")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
