"""What SAC asks of an environment: of its spaces, beside the settings, and of what it returns."""

import math
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

from ardae_rl.sac.config import SACConfig


class EnvironmentFaultError(ValueError):
    """An environment returned what Gymnasium's functions, or its own spaces, do not allow."""


class CheckedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """Raises :class:`EnvironmentFaultError`, which names the environment and the quantity, where ``env`` returns what nothing can use."""

    def __init__(self, env: gym.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        self.name = name

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return self._checked(self.env.reset(**kwargs), "reset()", "observation, info")

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        returned = self._checked(self.env.step(action), "step()", "observation, reward, terminated, truncated, info")
        if not isinstance(returned[1], float) and (np.ndim(returned[1]) or np.asarray(returned[1]).dtype.kind not in "biuf"):
            raise self._fault("the reward of step()", "a number", repr(returned[1]))
        return returned

    def _checked(self, returned: Any, method: str, names: str) -> Any:
        if not isinstance(returned, tuple) or len(returned) != names.count(",") + 1:
            got = f"{len(returned)} values" if isinstance(returned, tuple) else f"one {type(returned).__name__}"
            raise self._fault(f"what {method} returns", f"({names}), as Gymnasium has it and Gym had not", got)
        space = self.env.observation_space
        if isinstance(space, Box) and np.shape(returned[0]) != space.shape:
            raise self._fault(f"the observation of {method}", f"of its space's shape {space.shape}", f"shape {np.shape(returned[0])}")
        return returned

    def _fault(self, what: str, must: str, got: str) -> EnvironmentFaultError:
        return EnvironmentFaultError(f"{self.name}: {what} must be {must}, got {got:.100}")


def unfit(observations: Any, actions: Any, sac: SACConfig) -> Iterator[tuple[str, str]]:
    """Of what cannot work: whose it is, ``env`` or a key of ``sac``, and what is wrong with it."""
    if not (isinstance(observations, Box) and len(observations.shape) == 1 and observations.shape[0]):
        yield "env", f"observes {observations}; expected a vector (a one-dimensional Box)"
    if not (isinstance(actions, Box) and len(actions.shape) == 1 and actions.shape[0] and actions.is_bounded()):
        yield "env", f"acts in {actions}; SAC needs continuous actions: a bounded one-dimensional Box"
    elif actions.dtype not in (np.float32, np.float64):
        yield "env", f"acts in {actions}; its dtype must be float32 or float64, got {actions.dtype}"
    else:
        yield from _unfit_settings(actions.shape[0], sac)


def _unfit_settings(dim: int, sac: SACConfig) -> Iterator[tuple[str, str]]:
    if sac.policy == "implicit" and sac.implicit.noise_dim < dim:
        yield (
            "implicit.noise_dim",
            f"must be at least the {dim} action dimensions, got {sac.implicit.noise_dim}: fewer cannot reach all actions",
        )
    most, asked = dim * math.log(2), sac.target_entropy
    if sac.alpha == "auto" and asked is not None and asked >= most:
        reason = f"no distribution of {dim} actions in (-1, 1) has more, and alpha would grow without end"
        yield "target_entropy", f"must be below {dim} ln 2 = {most:.3g}, got {asked:g}: {reason}"


def beyond_memory(observations: Any, actions: Any, capacity: int) -> str | None:
    """What is wrong with the capacity of a replay buffer that this machine has no memory for."""
    from ardae_rl.run.ray_internals import memory_of_this_machine

    size = 4 * capacity * (2 * math.prod(observations.shape or ()) + math.prod(actions.shape or ()) + 2)
    memory = memory_of_this_machine()
    amounts = f"full it takes {size / 2**30:,.1f} GiB, and this machine has {memory / 2**30:,.1f}"
    return f"is more than there is memory for, got {capacity:,}: {amounts}" if size > memory else None
