"""Settings of the ``score_error`` task. Plain data: no torch, no Ray."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from ardae_rl.tasks.settings import positive

LawName = Literal[
    "mixture_1d",
    "ring",
    "banana",
    "grid",
    "swiss_roll",
    "gaussian_4d",
    "gaussian_4d_3_decades",
    "mixture_4d",
    "gaussian_17d",
    "mixture_17d",
    "gaussian_50d",
    "mixture_50d",
]
CONDITIONAL = ("gaussian_4d", "gaussian_4d_3_decades", "mixture_4d", "gaussian_17d", "mixture_17d", "gaussian_50d", "mixture_50d")
EstimatorName = Literal[
    "ardae",
    "residual_dae",
    "residual_dae_annealed",
    "reconstruction_dae",
    "reconstruction_dae_annealed",
    "score_matching",
    "sliced_score_matching",
    "kernel_density",
    "stein",
    "spectral_stein",
]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The score network; fields as in :class:`ardae_rl.score.ScoreEstimator`. Defaults: section 3's, a softplus potential 256-256-256.

    ``sigma_input``: how AR-DAE sees sigma: as one more ``input``, or through a ``hypernetwork`` of sigma or of |sigma| (Figure S2): a
    residual network of two softplus layers of 16, whatever the other fields say.
    """

    form: Literal["gradient", "residual"] = "gradient"
    layers: int = 3
    width: int = 256
    activation: Literal["elu", "softplus", "tanh", "silu"] = "softplus"
    standardisation: Literal["fixed", "per_context", "samples", "amortised"] = "fixed"
    scale: float = 1.0
    gaussian_residual: bool | None = None
    sigma_input: Literal["input", "hypernetwork", "hypernetwork_abs"] = "input"

    def __post_init__(self) -> None:
        positive(self, "layers", "width", "scale")


@dataclass(frozen=True, kw_only=True)
class ScoreErrorSettings:
    """One estimator trained on draws of one law whose score is known. Defaults are those of Figure 3 of [Lim2020] but for
    ``sigmas_per_sample`` and ``halve_lr_every``.

    ``sigmas``: AR-DAE trains once and is measured at each; the other autoencoders train one network per sigma, together or, ``annealed``,
    one after the other from the largest down, each starting from the last and all sharing the ``steps``.
    ``delta``: standard deviation of AR-DAE's sigma, in units of standardised samples. ``sigmas_per_sample``,
    ``antithetic`` and ``squared_sigma`` as in ``ARDAE``.
    ``contexts`` (of a law without a context: 1, whatever it says) x ``samples_per_context`` draws make a mini-batch (and are what a kernel
    estimator gets).
    ``halve_lr_every`` halves the learning rate every so many of ``steps`` (annealed: proportionally sooner in each level's share of them);
    null: cosine decay to 0, or constant where the law drifts.
    ``ema_decay``: measure an exponential moving average of the weights. ``drift``: radians per update by which a conditional law's
    contexts turn (a law that moves); ``fits_per_update`` training steps are made between two moves.
    """

    law: LawName = "mixture_1d"
    estimator: EstimatorName = "ardae"
    network: NetworkSettings = field(default_factory=NetworkSettings)
    sigmas: list[float] = field(default_factory=lambda: [0.1])
    delta: float = 0.05
    adaptive_delta: bool = False
    sigmas_per_sample: int = 1
    antithetic: bool = False
    squared_sigma: bool | None = None
    contexts: int = 1
    samples_per_context: int = 256
    steps: int = 10_000
    lr: float = 1e-3
    halve_lr_every: int | None = None
    ema_decay: float | None = None
    drift: float = 0.0
    fits_per_update: int = 1
    report_every_steps: int = 500
    evaluate_every_steps: int = 1000

    def __post_init__(self) -> None:
        positive(self, "delta", "sigmas_per_sample", "contexts", "samples_per_context", "steps", "lr", "fits_per_update")
        positive(self, "report_every_steps", "evaluate_every_steps")
        if not self.sigmas or any(sigma <= 0 for sigma in self.sigmas) or len(set(self.sigmas)) < len(self.sigmas):
            raise ValueError(f"sigmas must be one or more different numbers greater than 0, got {self.sigmas!r}")
        if self.halve_lr_every is not None:
            positive(self, "halve_lr_every")
        if self.network.sigma_input != "input" and (
            self.estimator != "ardae" or self.network.form != "residual" or self.law in CONDITIONAL
        ):
            raise ValueError(
                f"network.sigma_input must be 'input' unless estimator is ardae, network.form residual and the law has no context, "
                f"got {self.network.sigma_input!r} with {self.estimator}, {self.network.form} and {self.law}"
            )
        if self.squared_sigma and self.adaptive_delta and self.network.standardisation == "fixed":
            raise ValueError("squared_sigma must be false or null with adaptive_delta and network.standardisation fixed, got true")
        if self.network.standardisation == "samples" and self.law in CONDITIONAL:
            raise ValueError(f"network.standardisation must not be samples for a law with contexts such as {self.law}: use amortised")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must be between 0 and 1, got {self.ema_decay!r}")
        if self.drift and self.law not in CONDITIONAL:
            raise ValueError(f"drift must be 0 for a law without contexts such as {self.law}, got {self.drift!r}")

    def smoke(self) -> "ScoreErrorSettings":
        """Twenty steps and one evaluation."""
        return dataclasses.replace(self, steps=20, report_every_steps=10, evaluate_every_steps=20)
