"""Whether SAC can act in an environment of these spaces with these settings: judged before a run, and where one is built in Python."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from ardae_rl.sac.config import SACConfig


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
