"""Seconds per training step of an implicit autoencoder at the paper's MNIST settings, and per image for log p(x), against naive ones.

B = 128 images, n_z = 625 latents each, N_d = 1, gradient form 256 wide: Table 6. Every variant runs in its own fresh process, one after
the other and round and round. As in ``update.py`` the naive one is timed as a plain script would run, denormals not flushed. Bfloat16 is
timed where the processor has instructions for it: emulated, it is much slower than float32.
"""

from collections.abc import Callable
from functools import partial

import torch
from rich.progress import track

from ardae_rl.bench.naive_vae import NaiveVAE, NaiveVAEConfig
from ardae_rl.bench.report import Row, in_fresh_process, row
from ardae_rl.bench.update import has_bfloat16, median_seconds, prepare, prepare_ours
from ardae_rl.tasks.descent import Descent
from ardae_rl.tasks.vae.build import build_method
from ardae_rl.tasks.vae.config import NetworkSettings, ScoreSettings, VAESettings
from ardae_rl.tasks.vae.data import Images
from ardae_rl.tasks.vae.evaluate import log_likelihood
from ardae_rl.tasks.vae.methods import Method

BATCH, PIXELS = 128, 784
EVALUATED, SAMPLES = 32, 256
PAPER = ScoreSettings(
    context="centre",
    samples_per_context=625,
    layers=5,
    context_layers=5,
    input_layers=5,
    width=256,
    standardisation="fixed",
    antithetic=False,
    optimiser="rmsprop",
    lr=1e-4,
)


def run(*, repeats: int, seed: int, threads: int) -> list[Row]:
    """All variants, ``repeats`` times each."""
    fixed, amortised = partial(time_step, standardisation="fixed"), partial(time_step, standardisation="amortised")
    steps: dict[str, Callable[..., float]] = {
        "naive": partial(time_naive_step, flush_denormal=False),
        "naive, denormals flushed": partial(time_naive_step, flush_denormal=True),
        "ardae-rl, float32": partial(fixed, compiled=False, autocast=False),
        "ardae-rl, float32, compiled": partial(fixed, compiled=True, autocast=False),
        "ardae-rl, float32, compiled, amortised": partial(amortised, compiled=True, autocast=False),
    }
    if has_bfloat16():
        steps |= {
            "ardae-rl, bfloat16 autocast": partial(fixed, compiled=False, autocast=True),
            "ardae-rl, bfloat16 autocast, compiled": partial(fixed, compiled=True, autocast=True),
            "ardae-rl, bfloat16 autocast, compiled, amortised": partial(amortised, compiled=True, autocast=True),
        }
    evaluations: dict[str, Callable[..., float]] = {
        "log p(x), naive": time_naive_evaluation,
        "log p(x), ardae-rl": time_evaluation,
    }
    return [
        *_measured(steps, "s/step", repeats=repeats, seed=seed, threads=threads),
        *_measured(evaluations, "s/image", repeats=repeats, seed=seed, threads=threads),
    ]


def _measured(measures: dict[str, Callable[..., float]], unit: str, *, repeats: int, seed: int, threads: int) -> list[Row]:
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for i, name in track([(i, name) for i in range(repeats) for name in measures], unit, transient=True):
        seconds[name].append(in_fresh_process(measures[name], seed=seed + i, threads=threads))
    return _rows(seconds, unit)


def _rows(seconds: dict[str, list[float]], unit: str) -> list[Row]:
    (first, values), *others = seconds.items()
    naive = row(first, values, unit)
    return [naive, *(row(name, rest, unit, baseline=naive) for name, rest in others)]


def time_naive_step(*, flush_denormal: bool, seed: int, threads: int) -> float:
    prepare(seed, threads, flush_denormal=flush_denormal)
    naive, x = NaiveVAE(NaiveVAEConfig()), _images(BATCH)
    return median_seconds(lambda: naive.update(x), warmup=1, updates=3)


def time_step(*, compiled: bool, autocast: bool, standardisation: str, seed: int, threads: int) -> float:
    prepare_ours(seed, threads)
    method, x = build(compiled=compiled, autocast=autocast, standardisation=standardisation), _images(BATCH)
    model = Descent("model", torch.optim.Adam(method.model.parameters(), lr=1e-4, betas=(0.5, 0.999), fused=True))
    return median_seconds(lambda: model.step(method.loss(x, 1.0)[0]), warmup=2, updates=4)


def time_naive_evaluation(*, seed: int, threads: int) -> float:
    prepare(seed, threads, flush_denormal=False)
    naive, x = NaiveVAE(NaiveVAEConfig()), _images(EVALUATED)
    return median_seconds(lambda: naive.log_likelihood(x, SAMPLES), warmup=1, updates=3) / EVALUATED


def time_evaluation(*, seed: int, threads: int) -> float:
    prepare_ours(seed, threads)
    method, x = build(compiled=False, autocast=False, standardisation="fixed"), _images(EVALUATED)

    def measure() -> None:
        log_likelihood(method.vae, x, samples=SAMPLES, normal=_normal, fit_samples=SAMPLES)  # as many as the naive one fits to

    return median_seconds(measure, warmup=1, updates=3) / EVALUATED


def build(*, compiled: bool, autocast: bool, standardisation: str, config: NaiveVAEConfig | None = None) -> Method:
    """The library's model and method of the sizes of ``config``, the paper's by default."""
    sizes = config or NaiveVAEConfig()
    score = {
        **vars(PAPER),
        "compile": compiled,
        "autocast": autocast,
        "standardisation": standardisation,
        "samples_per_context": sizes.samples_per_image,
        "width": sizes.score_width,
        "scale": sizes.scale,
        **dict.fromkeys(("layers", "context_layers", "input_layers"), sizes.score_layers),
    }
    settings = VAESettings(
        latent_dim=sizes.latent_dim,
        noise_dim=sizes.noise_dim,
        network=NetworkSettings(width=sizes.width),
        score=ScoreSettings(**score),
    )
    blank = torch.zeros(1, sizes.pixels)
    return build_method(settings, Images(blank, blank, blank, dynamic=True, device="cpu"), _normal, "cpu")


def _images(count: int) -> torch.Tensor:
    """Pixels of MNIST's density; their values do not change the cost."""
    return (torch.rand(count, PIXELS) < 0.13).float()


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape)
