"""Seconds per training step of an implicit autoencoder at the paper's MNIST settings, and per image for log p(x), against naive ones.

B = 128 images, n_z = 625 latents each, N_d = 1, gradient form 256 wide: Table 6. Every variant runs in its own fresh process, one after
the other and round and round. As in ``update.py`` the naive one is timed as a plain script would run, denormals not flushed. Bfloat16 is
timed where the processor has instructions for it: emulated, it is much slower than float32.
"""

from collections.abc import Callable
from typing import Any

import torch

from ardae_rl.nn.optimiser import GuardedOptimiser
from ardae_rl.tasks.vae.build import build_method
from ardae_rl.tasks.vae.config import NetworkSettings, ScoreSettings, VAESettings
from ardae_rl.tasks.vae.data import Images
from ardae_rl.tasks.vae.evaluate import log_likelihood
from ardae_rl.tasks.vae.methods import Method
from benchmark.naive_vae import NaiveVAE, NaiveVAEConfig
from benchmark.report import Row, beside_the_first
from benchmark.timing import BFLOAT16, COMPILED, FLOAT32, has_bfloat16, measured, median_seconds, prepare, prepare_ours, variants

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
    amortised, eager = {"standardisation": "amortised"}, {"compiled": False, "autocast": True}
    options: dict[str, dict[str, Any]] = {
        "float32": FLOAT32,
        "float32, compiled": COMPILED,
        "float32, compiled, amortised": COMPILED | amortised,
    }
    if has_bfloat16():
        options |= {"bfloat16 autocast": eager, "bfloat16 autocast, compiled": BFLOAT16}
        options |= {"bfloat16 autocast, compiled, amortised": BFLOAT16 | amortised}
    steps = variants(time_naive_step, time_step, options)
    evaluations: dict[str, Callable[..., float]] = {"log p(x), naive": time_naive_evaluation, "log p(x), ardae-rl": time_evaluation}
    return [
        *beside_the_first(measured(steps, "s/step", repeats=repeats, seed=seed, threads=threads), "s/step"),
        *beside_the_first(measured(evaluations, "s/image", repeats=repeats, seed=seed, threads=threads), "s/image"),
    ]


def time_naive_step(*, flush_denormal: bool, seed: int, threads: int) -> float:
    prepare(seed, threads, flush_denormal=flush_denormal)
    naive, x = NaiveVAE(NaiveVAEConfig()), _images(BATCH)
    return median_seconds(lambda: naive.update(x), warmup=1, updates=3)


def time_step(*, compiled: bool, autocast: bool, standardisation: str = "fixed", seed: int, threads: int) -> float:
    prepare_ours(seed, threads)
    method, x = build(compiled=compiled, autocast=autocast, standardisation=standardisation), _images(BATCH)
    model = GuardedOptimiser("model", torch.optim.Adam(method.model.parameters(), lr=1e-4, betas=(0.5, 0.999), fused=True))
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
