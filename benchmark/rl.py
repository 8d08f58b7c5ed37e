"""Environment steps per second of plain SAC on HalfCheetah-v5 at one update per environment step: ours, RLlib's own, Stable-Baselines3's.

Everyone trains a 256x256 diagonal-Gaussian policy and twin critics with automatic temperature on mini-batches of 256 uniform transitions,
in its own fresh process, one after the other and round and round, so that a slow spell of the machine hits all of them. Timing starts
after the warm-up and the first updates. RLlib's critic cannot be made a plain 256x256: observation and action get one 256-wide layer
each before the two common ones, the lightest its catalogue allows.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import torch
from rich.progress import track

from benchmark.report import Row, row
from benchmark.timing import in_fresh_process

ENV = "HalfCheetah-v5"
VECTOR_ENVS = 16
WARMUP_ENV_STEPS = 1000
SETTLE_ENV_STEPS = 200  # with updates, untimed: first calls allocate and initialise. RLlib, ten times slower, settles on half of it
_NEVER = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A timed stretch of training."""

    env_steps: int
    updates: int
    seconds: float


Contender = Callable[[int, int, int], Slice]  # (env steps to time, torch threads, seed)


def run(*, repeats: int, seed: int, threads: Sequence[int], time_scale: float = 1.0) -> list[Row]:
    """Every contender with every number of torch threads, ``repeats`` times; ``time_scale`` stretches what each is timed over."""
    contenders: dict[str, tuple[Contender, int]] = {
        "ardae-rl": (time_ours, 2400),
        "Stable-Baselines3": (time_stable_baselines3, 2000),
        "RLlib": (time_rllib, 240),
    }
    plan = [(name, count, seed + i) for i in range(repeats) for count in threads for name in contenders]
    rates: dict[tuple[str, int], list[float]] = {}
    for name, count, slice_seed in track(plan, "HalfCheetah-v5", transient=True):
        contender, env_steps = contenders[name]
        measured = in_fresh_process(contender, int(env_steps * time_scale), count, slice_seed)
        _check_one_update_per_step(name, measured)
        rates.setdefault((name, count), []).append(measured.env_steps / measured.seconds)
    return [r for count in threads for r in _rows({name: rates[name, count] for name in contenders}, count)]


def _rows(rates: dict[str, list[float]], threads: int) -> list[Row]:
    suffix = f"SAC, {threads} torch thread{'s' if threads > 1 else ''}"
    unit = "env steps/s"
    ours = rates.pop("ardae-rl")
    baselines = [row(f"{name} {suffix}", values, unit) for name, values in rates.items()]
    return baselines + [row(f"ardae-rl {suffix}", ours, unit, baseline=b, higher_is_better=True) for b in baselines]


def _check_one_update_per_step(name: str, measured: Slice) -> None:
    ratio = measured.updates / measured.env_steps
    if abs(ratio - 1) > 0.02:
        raise RuntimeError(f"{name} made {ratio:.3f} updates per environment step instead of 1: its number would mean nothing.")


def time_ours(env_steps: int, threads: int, seed: int) -> Slice:
    """Through all of Ray: env runners, replay, learner group, as ``scripts/tune.py`` runs it."""
    training = {"alpha": "auto", "batch_size": 256, "warmup_env_steps": WARMUP_ENV_STEPS, "report_every_env_steps": SETTLE_ENV_STEPS}
    with running(plain_sac(0, VECTOR_ENVS, seed, **training)) as algorithm:
        torch.set_num_threads(threads)
        return _time_algorithm(algorithm.train, _our_counters, env_steps)


def plain_sac(runners: int, vector_envs: int, seed: int, **training: Any) -> Any:
    """The configuration of ours with the Gaussian policy, which never evaluates."""
    from ardae_rl.rllib import SACARDAEConfig

    return (
        SACARDAEConfig()
        .environment(ENV)
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=vector_envs)
        .training(policy="gaussian", every_env_steps=_NEVER, **training)
        .debugging(seed=seed, log_level="ERROR")
    )


@contextmanager
def running(config: Any, **options: Any) -> Iterator[Any]:
    """The algorithm on a Ray of its own, which goes with it."""
    import ray

    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", **options)
    algorithm = config.build_algo()
    try:
        yield algorithm
    finally:
        algorithm.stop()
        ray.shutdown()


def _our_counters(result: dict[str, Any]) -> tuple[int, int]:
    return result["progress"]["env_steps"], result["progress"]["updates"]


def time_stable_baselines3(env_steps: int, threads: int, seed: int) -> Slice:
    """One environment, train_freq 1, gradient_steps 1: Stable-Baselines3's own way."""
    from stable_baselines3 import SAC

    torch.set_num_threads(threads)
    model = SAC(
        "MlpPolicy",
        gymnasium.make(ENV),
        batch_size=256,
        learning_starts=WARMUP_ENV_STEPS,
        train_freq=1,
        gradient_steps=1,
        ent_coef="auto",
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )
    model.learn(WARMUP_ENV_STEPS + SETTLE_ENV_STEPS)
    start = time.perf_counter(), model.num_timesteps, model._n_updates
    model.learn(env_steps, reset_num_timesteps=False)
    return Slice(seconds=time.perf_counter() - start[0], env_steps=model.num_timesteps - start[1], updates=model._n_updates - start[2])


def time_rllib(env_steps: int, threads: int, seed: int) -> Slice:
    """RLlib's SAC on the new API stack with uniform replay, sampling and learning in this process."""
    from ray.rllib.algorithms.sac import SACConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    networks = DefaultModelConfig(
        fcnet_hiddens=[256], fcnet_activation="relu", head_fcnet_hiddens=[256], fusionnet_hiddens=[], fusionnet_activation="relu"
    )
    config = (
        SACConfig()
        .environment(ENV)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=VECTOR_ENVS)
        .learners(num_learners=0)
        .rl_module(model_config=networks)
        .training(
            train_batch_size_per_learner=256,
            training_intensity=256,
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1_000_000},
            num_steps_sampled_before_learning_starts=WARMUP_ENV_STEPS,
            actor_lr=3e-4,
            critic_lr=3e-4,
            alpha_lr=3e-4,
        )
        .reporting(min_time_s_per_iteration=None, min_sample_timesteps_per_iteration=SETTLE_ENV_STEPS // 2)
        .debugging(seed=seed, log_level="ERROR")
    )
    with running(config) as algorithm:
        torch.set_num_threads(threads)
        return _time_algorithm(algorithm.train, _rllib_counters, env_steps)


def _rllib_counters(result: dict[str, Any]) -> tuple[int, int]:
    learner = result.get("learners", {}).get("default_policy", {})
    return int(result["num_env_steps_sampled_lifetime"]), int(learner.get("num_module_steps_trained_lifetime", 0)) // 256


def _time_algorithm(train: Callable[[], dict[str, Any]], counters: Callable[[dict[str, Any]], tuple[int, int]], env_steps: int) -> Slice:
    """Call ``train()`` past warm-up and settling, then time it for at least ``env_steps`` steps."""
    steps = updates = 0
    while steps < WARMUP_ENV_STEPS + SETTLE_ENV_STEPS / 2 or updates == 0:
        steps, updates = counters(train())
    start = time.perf_counter(), steps, updates
    while steps < start[1] + env_steps:
        steps, updates = counters(train())
    return Slice(seconds=time.perf_counter() - start[0], env_steps=steps - start[1], updates=updates - start[2])
