"""Settings of the ``score_error`` task. Plain data."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ardae_rl.nn.settings import Activation, Rule, Settings, setting
from ardae_rl.score.settings import ARDAESettings, EstimatorName, Standardisation

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
MeasuredName = Literal[
    EstimatorName,
    "residual_dae",
    "residual_dae_annealed",
    "reconstruction_dae",
    "reconstruction_dae_annealed",
    "score_matching",
    "kernel_density",
    "stein",
    "spectral_stein",
]


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(ARDAESettings):
    """The score network and AR-DAE's noise. Defaults: section 3's, a softplus potential 256-256-256."""

    activation: Activation = setting("softplus", "Of every hidden layer; only smooth ones")
    standardisation: Standardisation | None = setting("fixed", "Coordinates in which f sees samples, as for all estimators")
    scale: float = setting(1.0, "The paper's s, with `fixed`", above=0)
    delta_scale: float = setting(0.05, "δ, standard deviation of σ", above=0)
    adaptive_delta: bool = setting(False, "δ is in standard deviations of the samples; false: in standardised units")
    antithetic: bool = setting(False, "Half as many draws, each used with v and with −v")
    sigma_input: Literal["input", "hypernetwork", "hypernetwork_abs"] = setting(
        "input",
        "How AR-DAE sees σ: as one more input, or through a hypernetwork of σ or of |σ| (Figure S2), a residual network of two softplus "
        "layers of 16, whatever the other fields say",
    )


@dataclass(frozen=True, kw_only=True)
class ScoreErrorSettings(Settings):
    """One estimator trained on draws of one law whose score is known. Defaults: Figure 3 of [Lim2020] but for ``score.sigmas_per_sample``
    and ``halve_lr_every``."""

    law: LawName = setting("mixture_1d", "The distribution")
    estimator: MeasuredName = setting("ardae", "The estimator")
    score: ScoreSettings = setting(text="Network and noise", factory=ScoreSettings)
    sigmas: list[float] = setting(
        text="AR-DAE trains once and is measured at each; the other autoencoders train one network per σ, together or, `annealed`, one "
        "after the other from the largest down, each starting from the last and all sharing the `steps`",
        factory=lambda: [0.1],
        above=0,
    )
    contexts: int = setting(1, "Contexts of a mini-batch (of a law without a context: 1, whatever it says)", at_least=1)
    samples_per_context: int = setting(256, "Draws of each, and what a kernel estimator gets", at_least=1)
    steps: int = setting(10_000, "Training steps", at_least=1)
    lr: float = setting(1e-3, "Learning rate", above=0)
    halve_lr_every: int | None = setting(
        None,
        "Halve it every so many of `steps` (annealed: proportionally sooner in each level's share of them); null: cosine decay to 0, or "
        "constant where the law drifts",
        at_least=1,
    )
    ema_decay: float | None = setting(None, "Measure an exponential moving average of the weights", above=0, below=1)
    drift: float = setting(0.0, "Radians per update by which a conditional law's contexts turn")
    fits_per_update: int = setting(1, "Training steps between two moves of the law", at_least=1)
    report_every_steps: int = setting(500, "From one row of `metrics.csv` to the next", at_least=1)
    evaluate_every_steps: int = setting(1000, "From one row of `evaluations.csv` to the next", at_least=1)

    def rules(self) -> Iterator[Rule]:
        conditional, score = self.law in CONDITIONAL, self.score
        yield len(set(self.sigmas)) == len(self.sigmas) > 0, "sigmas", "one or more different numbers"
        plain = score.sigma_input == "input" or (self.estimator == "ardae" and score.form == "residual" and not conditional)
        yield plain, "score.sigma_input", "'input' unless estimator is ardae, score.form residual and the law has no context"
        yield (
            not conditional or score.standardisation != "samples",
            "score.standardisation",
            f"amortised for {self.law}, which has contexts",
        )
        yield conditional or not self.drift, "drift", f"0 for a law without contexts such as {self.law}"

    def smoke(self) -> "ScoreErrorSettings":
        """Twenty steps and one evaluation."""
        return dataclasses.replace(self, steps=20, report_every_steps=10, evaluate_every_steps=20)
