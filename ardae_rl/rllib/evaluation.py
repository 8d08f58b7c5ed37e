"""How a trained policy does in its environment: the returns of whole episodes, and a film of one.

The episodes of a seed depend on nothing but the policy and the seed, which gives the environment and the policy's noise a stream each.
"""

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch

import ardae_rl.envs
from ardae_rl.sac.export import PolicyDescription, TrainedPolicy, in_a_line

if TYPE_CHECKING:
    from ardae_rl.rllib.env_runner import SeededEnvRunner

logger = logging.getLogger(__name__)
Env = gym.Env[Any, Any]
Act = Callable[[np.ndarray], np.ndarray]
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
    max_episode_steps: int | None = None,
    film: Path | None = None,
) -> dict[int, list[float]]:
    """Undiscounted returns of ``episodes`` episodes for each seed, at zero noise or, not ``deterministic``, with noise.

    An episode in an environment without a time limit of its own ends after ``max_episode_steps`` steps (None: those of the evaluations
    during training). ``film`` names an MP4 or GIF file for the first episode of the
    first seed. Raises ValueError where the environment cannot be made or is another, RenderingError where it cannot be drawn.
    """
    env = _drawable(policy) if film else _made(policy)
    _check_shapes(policy.description, env)
    limit = time_limit(env) or max_episode_steps or policy.description.max_episode_steps
    returns: dict[int, list[float]] = {}
    for seed in seeds:
        env_seed, noise_seed = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))
        generator = None if deterministic else torch.Generator().manual_seed(noise_seed)
        filmed = film if seed == seeds[0] else None
        returns[seed] = _returns(env, partial(_action, policy, generator), episodes, env_seed, limit, filmed)
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
    returns = _returns(made, lambda _: made.action_space.sample(), episodes, seed, time_limit(made) or max_episode_steps)
    made.close()
    return returns


def evaluate_returns(runner: "SeededEnvRunner", episodes: int, *, max_episode_steps: int) -> list[float]:
    """Undiscounted returns of the first episode of each of the runner's ``episodes`` sub-environments, at zero noise.

    Taking the first k episodes to *finish* would favour short ones. One step in every sub-environment names the k first episodes; from
    then on only theirs count. Without a time limit of the environment's, an episode counts for its first ``max_episode_steps`` steps.
    Where a simulator fails, or somebody resets it meanwhile, those that were running are NaN, with a warning in its words.
    """
    limit, news = time_limit(runner.env) or max_episode_steps, _News()
    returns: dict[str, float] = {}
    steps: Counter[str] = Counter()
    running: list[str] | None = None
    try:
        while running is None or running:
            chunks = {chunk.id_: chunk for chunk in runner.sample(num_timesteps=episodes, explore=False, force_reset=running is None)}
            running = list(chunks) if running is None else running
            if not chunks.keys() >= set(running):
                raise RuntimeError("its environments were reset while it was running")
            for name in running:
                rewards = chunks[name].get_rewards()[: limit - steps[name]]
                returns[name] = returns.get(name, 0.0) + float(np.sum(rewards))
                steps[name] += len(rewards)
            running = [name for name in running if not chunks[name].is_done and steps[name] < limit]
            news.tell(episodes, len(running), steps.total())
    except Exception as error:  # whatever a simulator raises
        cause = runner.recover(error)
        failed = running if running is not None else list(map(str, range(episodes)))
        logger.warning("%d of %d evaluation episodes failed (%s: %s)", len(failed), episodes, type(cause).__name__, in_a_line(cause))
        returns |= dict.fromkeys(failed, math.nan)
    runner.get_metrics()  # empties the runner's list of finished episodes, which would grow for ever
    return list(returns.values())


class _News:
    """Of an evaluation that takes long: after a minute, two, four, ..."""

    def __init__(self) -> None:
        self._started, self._after_s = time.monotonic(), 60.0

    def tell(self, episodes: int, running: int, steps: int) -> None:
        if time.monotonic() - self._started > self._after_s:
            over = f"{episodes - running} of {episodes} episodes are over, {steps:,} steps made"
            logger.warning("an evaluation has been under way for %.0f s: %s", self._after_s, over)
            self._after_s *= 2


def evaluation_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``evaluations.csv``, all but the seed, from one entry of ``SACARDAE.evaluations``; ``returns`` are separated by spaces.

    With a return that is not finite the mean is NaN: one of survivors would make a diverging policy look better.
    """
    returns, finite = record["returns"], [value for value in record["returns"] if math.isfinite(value)]
    return {
        "env_steps": record["env_steps"],
        "updates": record["num_updates"],
        "return_mean": mean_return(returns),
        "return_std": float(np.std(returns, ddof=min(1, len(returns) - 1))) if len(finite) == len(returns) else math.nan,
        "return_min": min(finite, default=math.nan),
        "return_max": max(finite, default=math.nan),
        "failed_episodes": len(returns) - len(finite),
        "returns": " ".join(f"{value:.6g}" for value in returns),
    }


def mean_return(returns: Sequence[float]) -> float:
    """NaN unless all are finite."""
    return math.fsum(returns) / len(returns) if all(map(math.isfinite, returns)) else math.nan


def time_limit(env: Env | gym.vector.VectorEnv[Any, Any, Any]) -> int | None:
    """After how many steps ``env`` truncates episodes: the least of its TimeLimit wrappers; of a vector that shows none, what its id says.

    None if it does not, or cannot be known to. The one rule for training's evaluations, ``evaluate.py`` and random actions.
    """
    limit = env.spec.kwargs.get("max_episode_steps", env.spec.max_episode_steps) if env.spec else None
    limits = [limit] if limit and limit > 0 else []
    inner: Any = getattr(env.unwrapped, "envs", [env])[0]
    while isinstance(inner, gym.Wrapper):
        if isinstance(inner, gym.wrappers.TimeLimit):
            limits.append(inner._max_episode_steps)
        inner = inner.env
    return min(limits, default=None)


def _action(policy: TrainedPolicy, generator: torch.Generator | None, obs: np.ndarray) -> np.ndarray:
    """At zero noise without a generator."""
    noise = None if generator is None else torch.randn(1, policy.noise_dim, generator=generator)
    return policy(np.asarray(obs)[None], noise).squeeze(0).numpy()


def _returns(env: Env, act: Act, episodes: int, seed: int, limit: int, film: Path | None = None) -> list[float]:
    """Of episodes one after the other; ``seed`` begins the first, ``film`` shows it. NaN where the simulator failed, which is logged."""
    returns = []
    for episode in range(episodes):
        try:
            returns.append(_return(env, act, None if episode else seed, limit, None if episode else film))
        except RenderingError:
            raise
        except Exception as error:  # whatever a simulator raises
            logger.warning("episode %d failed (%s: %s)", episode, type(error).__name__, in_a_line(error))
            returns.append(math.nan)
    return returns


def _return(env: Env, act: Act, seed: int | None, limit: int, film: Path | None) -> float:
    obs, total, steps, over = env.reset(seed=seed)[0], 0.0, 0, False
    with _film(film, env) as shoot:
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


def _made(policy: TrainedPolicy) -> Env:
    try:
        return gym.make(policy.description.env, **policy.description.env_config)
    except Exception as error:  # not registered, not installed, no such argument: each fails in its own way
        raise ValueError(_cannot_be_made(policy.description, error)) from error


def _cannot_be_made(trained: PolicyDescription, error: Exception) -> str:
    return (
        f"{trained.env} with env_config {trained.env_config} cannot be made here ({type(error).__name__}: {in_a_line(error)}). Install the "
        "package that has it; one that Gymnasium does not import itself stands before the id, package:Name-v0"
    )


def _check_shapes(trained: PolicyDescription, env: Env) -> None:
    """Another version of the environment, installed since, may have others: raises ValueError."""
    shapes, expected = (env.observation_space.shape, env.action_space.shape), ((trained.obs_dim,), (len(trained.action_low),))
    if shapes != expected:
        raise ValueError(
            f"{trained.env} is not what the policy was trained on: observations and actions should have the shapes {expected[0]} and "
            f"{expected[1]}, got {shapes[0]} and {shapes[1]}. Install the version of the environment that it was trained on"
        )


def _drawable(policy: TrainedPolicy) -> Env:
    """The environment, after one picture of it: what cannot be drawn is known before the first episode."""
    name = policy.description.env
    try:
        env = gym.make(name, render_mode="rgb_array", **policy.description.env_config)
        env.reset(seed=0)
        picture = np.asarray(env.render())
        if picture.dtype != np.uint8 or picture.ndim != 3:
            raise TypeError(f"render() gave {picture.dtype} of shape {picture.shape}, no picture: uint8 of shape (height, width, 3)")
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


@contextmanager
def _film(path: Path | None, env: Env) -> Iterator[Callable[[], object]]:
    """Writes the pictures of one episode as they come; yields the shutter. Without a path it takes none."""
    if path is None:
        yield lambda: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fps, steps = env.metadata.get("render_fps", _FALLBACK_FPS), count()
    every = -(-fps // GIF_MAX_FPS) if path.suffix == ".gif" else 1
    with closing(_writer(path, fps / every)) as writer:
        yield lambda: next(steps) % every or writer.append_data(np.asarray(env.render()))


def _writer(path: Path, fps: float) -> Any:
    import imageio.v2

    if path.suffix == ".gif":
        return imageio.v2.get_writer(path, duration=1000 / fps, loop=0)
    return imageio.v2.get_writer(path, fps=fps, macro_block_size=2)  # a codec's least; 16, the default, would stretch the pictures
