"""Seconds per step of fitting an implicit sampler to an energy at the paper's settings, against the same mathematics written naively.

Batch 1024, ten sigmas per sample, N_d = 5 steps of AR-DAE per step of the sampler: Appendix E. Every variant runs in its own fresh process,
one after the other and round and round. As in ``update.py`` the naive one is timed as a plain script would run, denormals not flushed.
"""

from collections.abc import Callable
from functools import partial

from rich.progress import track

from ardae_rl.bench.naive_energy import NaiveEnergy, NaiveEnergyConfig
from ardae_rl.bench.report import Row, in_fresh_process, row
from ardae_rl.bench.update import median_seconds, prepare, prepare_ours
from ardae_rl.tasks.energy.config import EnergySettings, ScoreSettings, TargetName
from ardae_rl.tasks.energy.potentials import target
from ardae_rl.tasks.energy.task import EnergyTask

TARGET: TargetName = "potential_1"


def run(*, repeats: int, seed: int, threads: int) -> list[Row]:
    """All variants, ``repeats`` times each."""
    measures: dict[str, Callable[..., float]] = {
        "naive": partial(time_naive, flush_denormal=False),
        "naive, denormals flushed": partial(time_naive, flush_denormal=True),
        "ardae-rl, float32": partial(time_ours, compiled=False, autocast=False),
        "ardae-rl, float32, compiled": partial(time_ours, compiled=True, autocast=False),
        "ardae-rl, bfloat16 autocast, compiled": partial(time_ours, compiled=True, autocast=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for i, name in track([(i, name) for i in range(repeats) for name in measures], "one step", transient=True):
        seconds[name].append(in_fresh_process(measures[name], seed=seed + i, threads=threads))
    naive = row("naive", seconds.pop("naive"), "s/step")
    return [naive, *(row(name, values, "s/step", baseline=naive) for name, values in seconds.items())]


def time_naive(*, flush_denormal: bool, seed: int, threads: int) -> float:
    prepare(seed, threads, flush_denormal=flush_denormal)
    naive = NaiveEnergy(NaiveEnergyConfig(), target(TARGET).energy)
    return median_seconds(lambda: naive.step(alpha=1.0), warmup=2, updates=6)


def time_ours(*, compiled: bool, autocast: bool, seed: int, threads: int) -> float:
    prepare_ours(seed, threads)
    task = build(NaiveEnergyConfig(), seed, compiled=compiled, autocast=autocast)
    return median_seconds(task.step, warmup=3, updates=10)


def build(config: NaiveEnergyConfig, seed: int, *, compiled: bool, autocast: bool) -> EnergyTask:
    """The library's task with the sizes of ``config``."""
    score = ScoreSettings(
        layers=config.layers,
        width=config.width,
        delta_scale=config.delta_scale,
        sigmas_per_sample=config.sigmas_per_sample,
        fits_per_step=config.fits_per_step,
        lr=config.lr,
        compile=compiled,
        autocast=autocast,
    )
    settings = EnergySettings(
        target=TARGET,
        noise_dim=config.noise_dim,
        layers=config.layers,
        width=config.width,
        score=score,
        batch_size=config.batch_size,
        lr=config.lr,
        beta1=config.beta1,
    )
    return EnergyTask(settings, seed=seed)
