"""Environment steps per second against env runners and vectorised environments, and what one costs the process that collects them.

HalfCheetah with plain SAC. Without updates, sampling, its transport and the replay buffer are all there is to pay for; with updates, env
runners of their own sample while the collecting process, which is the learner, too, works.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.progress import track

from benchmark.report import Row, row
from benchmark.rl import plain_sac, running
from benchmark.timing import in_fresh_process

SETTLE_ENV_STEPS = 500
_HARDLY = 1e-5


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """``collector_cpu_s`` is CPU time of the process that holds replay buffer and learner; without env runners it samples, too."""

    env_steps: int
    seconds: float
    collector_cpu_s: float


def run(
    *, runners: Sequence[int], vector_envs: Sequence[int], repeats: int, env_steps: int, updates_per_env_step: float = 0.0
) -> list[Row]:
    """Every combination, ``repeats`` times round and round; 0 env runners: sampling happens in the collecting process."""
    plan = [(count, envs, i) for i in range(repeats) for count in runners for envs in vector_envs]
    measured: dict[tuple[int, int], list[Sampling]] = {}
    for count, envs, seed in track(plan, "sampling", transient=True):
        measured.setdefault((count, envs), []).append(in_fresh_process(time_sampling, count, envs, env_steps, seed, updates_per_env_step))
    return [each for (count, envs), found in measured.items() for each in _rows(f"{count} env runners of {envs} environments", found)]


def _rows(name: str, found: Sequence[Sampling]) -> list[Row]:
    rate = [each.env_steps / each.seconds for each in found]
    cost = [1e6 * each.collector_cpu_s / each.env_steps for each in found]
    return [row(name, rate, "env steps/s"), row(f"{name}, collecting process", cost, "CPU µs/env step")]


def time_sampling(runners: int, vector_envs: int, env_steps: int, seed: int, updates_per_env_step: float = 0.0) -> Sampling:
    rate = updates_per_env_step or _HARDLY
    training = {"alpha": 0.2, "warmup_env_steps": 100, "updates_per_env_step": rate, "report_every_env_steps": SETTLE_ENV_STEPS}
    with running(plain_sac(runners, vector_envs, seed, **training), num_cpus=runners + 1) as algorithm:
        while algorithm.env_steps < SETTLE_ENV_STEPS:
            algorithm.train()
        first, cpu, started = algorithm.env_steps, time.process_time(), time.perf_counter()
        while algorithm.env_steps < first + env_steps:
            algorithm.train()
        return Sampling(
            env_steps=algorithm.env_steps - first,
            seconds=time.perf_counter() - started,
            collector_cpu_s=time.process_time() - cpu,
        )
