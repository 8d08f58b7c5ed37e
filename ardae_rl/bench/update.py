"""Seconds per SAC-AR-DAE update at the paper's HalfCheetah settings, against the same mathematics written naively.

n_a = 64 and n_Z = 10 are the released code's. Every variant runs in its own fresh process, one after the other and round and round. The
naive one is timed as a plain script would run: denormals are not flushed (ardae-rl does flush them); a second naive row shows what
flushing alone is worth on this processor.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from rich.progress import track
from torch import Tensor

from ardae_rl.bench.naive import NaiveConfig, NaiveUpdate
from ardae_rl.bench.report import Row, in_fresh_process, row
from ardae_rl.run.process import prepare_training_process
from ardae_rl.sac import (
    SAC,
    LearnerNetworks,
    SACConfig,
    ScoreConfig,
    ScoreEntropy,
    ShardedNormal,
    Transitions,
    build_optimisers,
    build_policy,
)

BATCH, OBS_DIM, ACTION_DIM = 256, 17, 6
SCORE = ScoreConfig(standardisation="fixed", antithetic=False, samples_per_context=64, importance_samples=10)
AMORTISED = replace(SCORE, standardisation="amortised")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Median seconds per update, and for autocast how far the bfloat16 score is from the float32 one, relative to its size."""

    seconds: float
    score_difference: float | None = None


def run(*, repeats: int, seed: int, threads: int, updates: int = 8) -> list[Row]:
    """All variants, ``repeats`` times each."""
    measures: dict[str, Callable[..., Timing]] = {
        "naive": partial(time_naive, flush_denormal=False),
        "naive, denormals flushed": partial(time_naive, flush_denormal=True),
        "ardae-rl, float32": partial(time_ours, compiled=False, autocast=False),
        "ardae-rl, float32, compiled": partial(time_ours, compiled=True, autocast=False),
        "ardae-rl, bfloat16 autocast, compiled": partial(time_ours, compiled=True, autocast=True),
        "ardae-rl, bfloat16 autocast, compiled, amortised": partial(time_ours, compiled=True, autocast=True, score=AMORTISED),
    }
    timings: dict[str, list[Timing]] = {name: [] for name in measures}
    for i, name in track([(i, name) for i in range(repeats) for name in measures], "one update", transient=True):
        timings[name].append(in_fresh_process(measures[name], seed=seed + i, threads=threads, updates=updates))
    return _rows(timings)


def _rows(timings: dict[str, list[Timing]]) -> list[Row]:
    seconds = {name: [t.seconds for t in repeats] for name, repeats in timings.items()}
    naive = row("naive", seconds.pop("naive"), "s/update")
    rows = [naive, *(row(name, values, "s/update", baseline=naive) for name, values in seconds.items())]
    for name, repeats in timings.items():
        differences = [t.score_difference for t in repeats if t.score_difference is not None]
        if differences:
            rows.append(row(f"score network run in bfloat16, difference from float32 ({name})", differences, "of its norm"))
    return rows


def time_naive(*, flush_denormal: bool, seed: int, threads: int, updates: int) -> Timing:
    prepare(seed, threads, flush_denormal=flush_denormal)
    naive = NaiveUpdate(NaiveConfig())
    batch = synthetic_batch(BATCH, OBS_DIM, ACTION_DIM)
    columns = {
        "obs": batch.obs,
        "actions": batch.actions,
        "rewards": batch.rewards,
        "new_obs": batch.next_obs,
        "terminateds": batch.terminateds,
    }
    return Timing(seconds=median_seconds(lambda: naive.update(columns), warmup=1, updates=max(2, updates // 2)))


def time_ours(*, compiled: bool, autocast: bool, seed: int, threads: int, updates: int, score: ScoreConfig = SCORE) -> Timing:
    prepare_ours(seed, threads)
    config = SACConfig(policy="implicit", score=replace(score, compile=compiled, autocast=autocast))
    sac, batch = build_sac(config, OBS_DIM, ACTION_DIM, seed=seed), synthetic_batch(BATCH, OBS_DIM, ACTION_DIM)
    seconds = median_seconds(lambda: sac.update(batch), warmup=4, updates=updates)
    return Timing(seconds=seconds, score_difference=_score_difference(sac, batch.obs) if autocast else None)


def build_sac(config: SACConfig, obs_dim: int, action_dim: int, *, seed: int, device: str = "cpu") -> SAC:
    policy, networks = build_policy(obs_dim, action_dim, config).to(device), LearnerNetworks(obs_dim, action_dim, config).to(device)
    normal = ShardedNormal(torch.Generator(device).manual_seed(seed))
    return SAC(policy, networks, build_optimisers(policy, networks, config), config, normal=normal)


def synthetic_batch(size: int, obs_dim: int, action_dim: int, *, device: str = "cpu") -> Transitions:
    """Transitions of these shapes; their values do not change the cost."""
    return Transitions(
        obs=torch.randn(size, obs_dim, device=device),
        actions=torch.rand(size, action_dim, device=device) * 2 - 1,
        rewards=torch.randn(size, device=device),
        next_obs=torch.randn(size, obs_dim, device=device),
        terminateds=torch.zeros(size, device=device),
    )


def prepare(seed: int, threads: int, *, flush_denormal: bool) -> None:
    """Before any work: worker threads of torch inherit the flushing mode of the thread that starts them."""
    torch.set_flush_denormal(flush_denormal)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)


def prepare_ours(seed: int, threads: int) -> None:
    """As a trial of the library does."""
    prepare_training_process()
    prepare(seed, threads, flush_denormal=True)


def has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def median_seconds(update: Callable[[], object], *, warmup: int, updates: int) -> float:
    for _ in range(warmup):
        update()
    seconds = []
    for _ in range(updates):
        start = time.perf_counter()
        update()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@torch.no_grad()
def _score_difference(sac: SAC, obs: Tensor) -> float:
    """||bfloat16 score - float32 score|| / ||float32 score|| over fresh actions of the policy, by the network that was just trained.

    The loss runs the network in bfloat16; the scores that reach the policy are always float32.
    """
    assert isinstance(sac.entropy, ScoreEntropy)
    estimator = sac.entropy.estimator
    samples = sac.policy.draw(obs, torch.randn(len(obs), SCORE.samples_per_context, sac.policy.noise_dim))
    points = estimator.frame(context=obs, centre=sac.policy.centre(obs)).standardise(samples)
    exact = estimator.network(points, obs).double()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = estimator.network(points, obs).double()
    return float((rounded - exact).norm() / exact.norm())
