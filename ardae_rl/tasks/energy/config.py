"""Settings of the ``energy`` task. Plain data: no torch, no Ray."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal, get_args

from ardae_rl.tasks.settings import one_of, positive

TargetName = Literal["potential_1", "potential_2", "potential_3", "potential_4", "funnel_10d", "mixture_32d"]
MethodName = Literal["implicit_ardae", "hierarchical_ardae", "hierarchical_auxiliary", "flow"]
MIN_EMD_SAMPLES, MAX_EMD_SAMPLES = 100, 50_000


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """AR-DAE in residual form, read by the methods ``*_ardae``; fields as in :class:`ardae_rl.score.ARDAE`.

    ``fits_per_step``: N_d, gradient steps of AR-DAE before each one of the sampler, every one on fresh samples.
    ``standardisation``: ``fixed`` about the origin; the others have their statistics from the batches of the last steps.
    ``adaptive_delta``: sigma in standard deviations of those batches; else in standardised units (of x itself, with ``fixed`` and
    scale 1). ``compile`` runs the loss through ``torch.compile``, ``autocast`` in bfloat16.
    """

    layers: int = 3
    width: int = 256
    activation: Literal["elu", "softplus", "tanh", "silu"] = "softplus"
    standardisation: Literal["fixed", "per_context", "samples"] = "fixed"
    scale: float = 1.0
    gaussian_residual: bool | None = None
    delta: float = 0.1
    adaptive_delta: bool = False
    sigmas_per_sample: int = 10
    antithetic: bool = False
    fits_per_step: int = 5
    lr: float = 1e-3
    compile: bool = False
    autocast: bool = False

    def __post_init__(self) -> None:
        positive(self, "layers", "width", "scale", "delta", "sigmas_per_sample", "fits_per_step", "lr")
        if self.gaussian_residual and self.standardisation == "fixed":
            raise ValueError("gaussian_residual must be false or null with standardisation fixed, got true")


@dataclass(frozen=True, kw_only=True)
class EnergySettings:
    """A sampler trained to minimise alpha E[U(x)] - H(x). Defaults: Appendix E of [Lim2020].

    ``method``: the sampler, implicit x = g(z) with ``noise_dim`` numbers z or hierarchical x ~ N(mu(z), s^2(z)) with ``latent_dim``, and
    where its entropy comes from, AR-DAE or the auxiliary variational bound; ``flow``: a spline flow with as many parameters as the
    implicit sampler would have, and its density. ``layers`` hidden ReLU layers of ``width``.
    Schedules are shares of the run, so that changing ``steps`` changes nothing else: ``alpha`` rises linearly from ``alpha_start`` to 1
    over the first ``anneal`` of it (the authors' code: 20,000 of 100,000 steps), and the sampler's ``lr`` is halved ``lr_halvings``
    times at equal distances (the paper: every 5000 steps). ``beta1`` is Adam's, of every optimiser.
    ``ema_decay``: measure an exponential moving average of the sampler's weights; null: the weights themselves, as in the paper.
    ``emd_samples``: of each side at every evaluation; ``final_emd_samples``: once more at the end.
    """

    target: TargetName = "potential_1"
    method: MethodName = "implicit_ardae"
    noise_dim: int = 10
    latent_dim: int = 2
    layers: int = 3
    width: int = 256
    score: ScoreSettings = field(default_factory=ScoreSettings)
    batch_size: int = 1024
    lr: float = 1e-3
    lr_halvings: int = 20
    beta1: float = 0.5
    ema_decay: float | None = None
    alpha_start: float = 0.01
    anneal: float = 0.2
    steps: int = 100_000
    report_every_steps: int = 100
    evaluate_every_steps: int = 10_000
    emd_samples: int = 2000
    final_emd_samples: int = 10_000

    def __post_init__(self) -> None:
        one_of(self, "target", get_args(TargetName))
        one_of(self, "method", get_args(MethodName))
        positive(self, "noise_dim", "latent_dim", "layers", "width", "lr", "alpha_start", "steps")
        positive(self, "report_every_steps", "evaluate_every_steps")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size!r}")
        if self.lr_halvings < 0:
            raise ValueError(f"lr_halvings must be at least 0, got {self.lr_halvings!r}")
        if not 0 <= self.beta1 < 1:
            raise ValueError(f"beta1 must be at least 0 and below 1, got {self.beta1!r}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must be between 0 and 1, or null, got {self.ema_decay!r}")
        if not 0 <= self.anneal <= 1:
            raise ValueError(f"anneal must be between 0 and 1, the share of the run over which alpha rises, got {self.anneal!r}")
        for name in ("emd_samples", "final_emd_samples"):
            if not MIN_EMD_SAMPLES <= getattr(self, name) <= MAX_EMD_SAMPLES:
                raise ValueError(
                    f"{name} must be between {MIN_EMD_SAMPLES} (the distance of fewer is mostly chance) and {MAX_EMD_SAMPLES} (that of "
                    f"more takes hours), got {getattr(self, name)!r}"
                )

    def smoke(self) -> "EnergySettings":
        """Ten steps and one evaluation, of few samples."""
        few = MIN_EMD_SAMPLES
        return dataclasses.replace(self, steps=10, report_every_steps=5, evaluate_every_steps=10, emd_samples=few, final_emd_samples=few)
