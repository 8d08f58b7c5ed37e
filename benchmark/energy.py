"""Seconds per step of fitting an implicit sampler to an energy at the paper's settings, against the same mathematics written naively.

Batch 1024, ten sigmas per sample, N_d = 5 steps of AR-DAE per step of the sampler: Appendix E. Every variant runs in its own fresh process,
one after the other and round and round. As in ``update.py`` the naive one is timed as a plain script would run, denormals not flushed.
"""

from ardae_rl.tasks.energy.config import EnergySettings, ScoreSettings, TargetName
from ardae_rl.tasks.energy.potentials import target
from ardae_rl.tasks.energy.task import EnergyTask
from benchmark.naive_energy import NaiveEnergy, NaiveEnergyConfig
from benchmark.report import Row, beside_the_first
from benchmark.timing import OURS, measured, median_seconds, prepare, prepare_ours, variants

TARGET: TargetName = "potential_1"


def run(*, repeats: int, seed: int, threads: int) -> list[Row]:
    """All variants, ``repeats`` times each."""
    measures = variants(time_naive, time_ours, OURS)
    return beside_the_first(measured(measures, "one step", repeats=repeats, seed=seed, threads=threads), "s/step")


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
