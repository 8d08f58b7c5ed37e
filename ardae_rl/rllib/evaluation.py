"""How a trained policy does in its environment: the returns of whole episodes, and a film of one.

The episodes of a seed depend on nothing but the policy and the seed, which gives the environment and the policy's noise a stream each.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import ardae_rl.envs
from ardae_rl.sac.export import PolicyDescription, TrainedPolicy, in_a_line

FILM_SUFFIXES = (".mp4", ".gif")
GIF_MAX_FPS = 25  # players slow faster ones down
_FALLBACK_FPS = 30
_OFF_SCREEN = {"MUJOCO_GL": "egl", "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}

gym.register_envs(ardae_rl.envs)


class RenderingError(RuntimeError):
    """The environment cannot be drawn on this machine; says why, and what to do."""


def evaluate(
    policy: TrainedPolicy,
    *,
    episodes: int = 10,
    seeds: Sequence[int] = (0,),
    deterministic: bool = True,
    max_episode_steps: int = 1000,
    film: Path | None = None,
) -> dict[int, list[float]]:
    """Undiscounted returns of ``episodes`` episodes for each seed, at zero noise or, not ``deterministic``, with noise.

    An episode in an environment without a time limit of its own ends after ``max_episode_steps`` steps: give the trial's
    ``evaluation.max_episode_steps`` for returns like those it recorded. ``film`` names an MP4 or GIF file for the first episode of the
    first seed.

    Raises:
        ValueError: the environment cannot be made here, or is not one that the policy can act in.
        RenderingError: a film was asked for and the environment cannot be drawn here.
    """
    env = _drawable(policy) if film else _made(policy)
    _check_shapes(policy.description, env)
    limit = _limit(env, max_episode_steps)
    returns: dict[int, list[float]] = {}
    for seed in seeds:
        env_seed, noise_seed = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))
        generator = None if deterministic else torch.Generator().manual_seed(noise_seed)
        returns[seed] = []
        for episode in range(episodes):
            filmed = film if seed == seeds[0] and episode == 0 else None
            start = env.reset(seed=env_seed if episode == 0 else None)[0]
            returns[seed].append(_episode(partial(_action, policy, generator), env, start, limit, filmed))
    env.close()
    return returns


def random_returns(
    env: str, env_config: dict[str, Any], *, episodes: int = 10, seed: int = 0, max_episode_steps: int = 1000
) -> list[float]:
    """Undiscounted returns of ``episodes`` episodes of actions uniform in the box, which depend on ``seed`` alone.

    ``max_episode_steps`` as in :func:`evaluate`. Raises gymnasium.error.Error where the environment cannot be made.
    """
    made = gym.make(env, **env_config)
    made.action_space.seed(seed)
    starts = (made.reset(seed=seed if episode == 0 else None)[0] for episode in range(episodes))
    returns = [_episode(lambda _: made.action_space.sample(), made, start, _limit(made, max_episode_steps)) for start in starts]
    made.close()
    return returns


def _limit(env: gym.Env, otherwise: int) -> int:
    return (env.spec and env.spec.max_episode_steps) or otherwise


def _action(policy: TrainedPolicy, generator: torch.Generator | None, obs: np.ndarray) -> np.ndarray:
    """At zero noise without a generator."""
    noise = None if generator is None else torch.randn(1, policy.noise_dim, generator=generator)
    return policy(torch.as_tensor(obs, dtype=torch.float32).unsqueeze(0), noise).squeeze(0).numpy()


def _episode(act: Callable[[np.ndarray], np.ndarray], env: gym.Env, obs: np.ndarray, limit: int, film: Path | None = None) -> float:
    total, steps, over = 0.0, 0, False
    with _Film(film, env) as shoot:
        shoot()
        while not over and steps < limit:
            obs, reward, terminated, truncated, _ = env.step(act(obs))
            total, steps, over = total + float(reward), steps + 1, terminated or truncated
            shoot()
    return total


def choose_renderer() -> None:
    """On a machine without a screen draw off-screen: MuJoCo through EGL, Pygame in memory, unless the environment's variables differ.

    Call it before anything imports MuJoCo or Pygame.
    """
    if not os.environ.get("DISPLAY"):
        for name, value in _OFF_SCREEN.items():
            os.environ.setdefault(name, value)


def _made(policy: TrainedPolicy) -> gym.Env:
    try:
        return gym.make(policy.description.env, **policy.description.env_config)
    except Exception as error:  # not registered, not installed, no such argument: each fails in its own way
        raise ValueError(_cannot_be_made(policy.description, error)) from error


def _cannot_be_made(trained: PolicyDescription, error: Exception) -> str:
    return (
        f"{trained.env} with env_config {trained.env_config} cannot be made here ({type(error).__name__}: {in_a_line(error)}). Install the "
        "package that has it; one that Gymnasium does not import itself stands before the id, package:Name-v0"
    )


def _check_shapes(trained: PolicyDescription, env: gym.Env) -> None:
    """Another version of the environment, installed since, may have others: raises ValueError."""
    shapes, expected = (env.observation_space.shape, env.action_space.shape), ((trained.obs_dim,), (len(trained.action_low),))
    if shapes != expected:
        raise ValueError(
            f"{trained.env} is not what the policy was trained on: observations and actions should have the shapes {expected[0]} and "
            f"{expected[1]}, got {shapes[0]} and {shapes[1]}. Install the version of the environment that it was trained on"
        )


def _drawable(policy: TrainedPolicy) -> gym.Env:
    """The environment, after one picture of it: what cannot be drawn is known before the first episode."""
    name = policy.description.env
    try:
        env = gym.make(name, render_mode="rgb_array", **policy.description.env_config)
        env.reset(seed=0)
        env.render()
    except gym.error.UnregisteredEnv as error:
        raise ValueError(_cannot_be_made(policy.description, error)) from error
    except Exception as error:  # missing libraries, drivers and render modes each fail in their own way
        backend = os.environ.get("MUJOCO_GL", "not set")
        raise RenderingError(
            f"{name} cannot be drawn here: {type(error).__name__}: {in_a_line(error)}. If it is one of MuJoCo's, it needs an off-screen "
            f"OpenGL: MUJOCO_GL=egl (a GPU's driver, or Debian's libegl1) or MUJOCO_GL=osmesa (Debian's libosmesa6); it is {backend}. "
            "Without a film: leave out --video."
        ) from error
    return env


class _Film:
    """Writes the pictures of one episode as they come; entering it gives the shutter. Without a path it takes none."""

    def __init__(self, path: Path | None, env: gym.Env) -> None:
        self._path, self._env, self._steps = path, env, 0

    def __enter__(self) -> Callable[[], None]:
        if self._path is None:
            return lambda: None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fps = self._env.metadata.get("render_fps", _FALLBACK_FPS)
        self._every = -(-fps // GIF_MAX_FPS) if self._path.suffix == ".gif" else 1
        self._writer = _writer(self._path, fps / self._every)
        return self._shoot

    def _shoot(self) -> None:
        if self._steps % self._every == 0:
            self._writer.append_data(np.asarray(self._env.render()))
        self._steps += 1

    def __exit__(self, *exception: object) -> None:
        if self._path is not None:
            self._writer.close()


def _writer(path: Path, fps: float) -> Any:
    import imageio.v2

    if path.suffix == ".gif":
        return imageio.v2.get_writer(path, duration=1000 / fps, loop=0)
    return imageio.v2.get_writer(path, fps=fps, macro_block_size=2)  # a codec's least; 16, the default, would stretch the pictures
