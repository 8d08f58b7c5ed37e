"""Seconds per update at HalfCheetah's sizes: plain SAC, SAC-AR-DAE by default and with the paper's settings, and those written naively.

A time is the mean over a policy delay, all fits included; plain SAC's is undelayed. Of the paper's settings n_a = 64 and n_Z = 10 are the
released code's. Every variant runs in its own fresh process, one after the other and round and round. The naive one is timed as a plain
script would run: denormals are not flushed (ardae-rl does flush them); a second naive row shows what flushing alone is worth here.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ardae_rl.entropy import ScoreEntropy
from ardae_rl.sac import SAC, ImplicitPolicyConfig, JacobianClampingConfig, SACConfig, ScoreConfig, Transitions
from benchmark.naive_update import NaiveConfig, NaiveUpdate
from benchmark.report import Row, beside_the_first, row
from benchmark.timing import BFLOAT16, OURS, measured, median_seconds, prepare, prepare_ours, variants

BATCH, OBS_DIM, ACTION_DIM = 256, 17, 6
PLAIN, DEFAULT = SACConfig(policy="gaussian", policy_delay=1), SACConfig()
SCORE = ScoreConfig(
    layers=5,
    context_layers=5,
    input_layers=5,
    width=256,
    whitener_width=None,
    anchors=0,
    standardisation="fixed",
    student_dof=None,
    delta_scale=0.1,
    antithetic=False,
    samples_per_context=64,
    fits_per_step=1,
    share_contexts=False,
    importance_samples=10,
)
AMORTISED = replace(SCORE, standardisation="amortised")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Median seconds per update, and for autocast how far the bfloat16 score is from the float32 one, relative to its size."""

    seconds: float
    score_difference: float | None = None


def run(*, repeats: int, seed: int, threads: int, updates: int = 8) -> list[Row]:
    """All variants, ``repeats`` times each."""
    amortised = {"bfloat16 autocast, compiled, amortised": BFLOAT16 | {"score": AMORTISED}}
    products = {"plain SAC": partial(time_config, config=PLAIN), "SAC-AR-DAE, defaults": partial(time_config, config=DEFAULT)}
    papers = {f"paper's settings, {name}": each for name, each in variants(time_naive, time_ours, OURS | amortised).items()}
    return _rows(measured(products | papers, "one update", repeats=repeats, seed=seed, threads=threads, updates=updates))


def _rows(timings: dict[str, list[Timing]]) -> list[Row]:
    rows = beside_the_first({name: [t.seconds for t in repeats] for name, repeats in timings.items()}, "s/update")
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


def time_config(*, config: SACConfig, seed: int, threads: int, updates: int) -> Timing:
    prepare_ours(seed, threads)
    sac, batch, turn = SAC.build(OBS_DIM, ACTION_DIM, config, seed=seed), synthetic_batch(BATCH, OBS_DIM, ACTION_DIM), config.policy_delay
    seconds = median_seconds(lambda: [sac.update(batch) for _ in range(turn)], warmup=4, updates=10 * updates)
    return Timing(seconds=seconds / turn)


def time_ours(*, compiled: bool, autocast: bool, seed: int, threads: int, updates: int, score: ScoreConfig = SCORE) -> Timing:
    prepare_ours(seed, threads)
    clamping, policy = JacobianClampingConfig(), ImplicitPolicyConfig(head_layers=1, head_width=None)
    score = replace(score, compile=compiled, autocast=autocast)
    config = SACConfig(implicit=policy, score=score, jacobian_clamping=clamping, alpha=0.05, policy_delay=1)
    sac, batch = SAC.build(OBS_DIM, ACTION_DIM, config, seed=seed), synthetic_batch(BATCH, OBS_DIM, ACTION_DIM)
    seconds = median_seconds(lambda: sac.update(batch), warmup=4, updates=updates)
    return Timing(seconds=seconds, score_difference=_score_difference(sac, batch.obs) if autocast else None)


def synthetic_batch(size: int, obs_dim: int, action_dim: int, *, device: str = "cpu") -> Transitions:
    """Transitions of these shapes; their values do not change the cost."""
    return Transitions(
        obs=torch.randn(size, obs_dim, device=device),
        actions=torch.rand(size, action_dim, device=device) * 2 - 1,
        rewards=torch.randn(size, device=device),
        next_obs=torch.randn(size, obs_dim, device=device),
        terminateds=torch.zeros(size, device=device),
    )


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
