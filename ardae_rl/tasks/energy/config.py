"""Settings of the ``energy`` task. Plain data."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ardae_rl.entropy import EntropyName
from ardae_rl.nn.settings import Activation, Settings, setting
from ardae_rl.score.settings import FitSettings, Form, Standardisation

TargetName = Literal["potential_1", "potential_2", "potential_3", "potential_4", "funnel_10d", "mixture_32d"]
MethodName = Literal["implicit_ardae", "hierarchical_ardae", "hierarchical_auxiliary", "flow"]
MIN_EMD_SAMPLES, MAX_EMD_SAMPLES = 100, 50_000


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(FitSettings):
    """AR-DAE, read by the methods ``*_ardae``. Defaults: the paper's."""

    form: Form = setting("residual", "f is the gradient of a scalar potential, or the network's outputs")
    activation: Activation = setting("softplus", "Of every hidden layer; only smooth ones")
    standardisation: Standardisation | None = setting("fixed", "Coordinates in which f sees samples, as for all estimators")
    scale: float = setting(1.0, "The paper's s, with `fixed`", above=0)
    adaptive_delta: bool = setting(False, "δ is in standard deviations of the samples; false: in standardised units")
    sigmas_per_sample: int = setting(10, "n_σ, draws of (σ, v) per sample", at_least=1)
    antithetic: bool = setting(False, "Half as many draws, each used with v and with −v")
    samples_per_context: int = setting(1024, "Fresh samples in each of its losses", at_least=2)
    fits_per_step: int = setting(5, "N_d, its steps before each step of the sampler, every one on fresh samples", at_least=1)


@dataclass(frozen=True, kw_only=True)
class EnergySettings(Settings):
    """A sampler trained to minimise alpha E[U(x)] - H(x). Defaults: Appendix E of [Lim2020].

    Schedules are shares of the run, so that changing ``steps`` changes nothing else.
    """

    target: TargetName = setting("potential_1", "The energy U")
    method: MethodName = setting(
        "implicit_ardae",
        "The sampler, implicit x = g(z) or hierarchical x ~ N(μ(z), s²(z)), and where its entropy comes from, AR-DAE or the auxiliary "
        "variational bound. `flow`: a spline flow with as many parameters as the implicit sampler would have, and its density",
    )
    entropy: EntropyName | None = setting(
        None, "Another source of the sampler's entropy than that of `method`; read with the settings `score` where it is an estimator"
    )
    noise_dim: int = setting(10, "Numbers z of an implicit sampler", at_least=1)
    latent_dim: int = setting(2, "Numbers z of a hierarchical sampler", at_least=1)
    layers: int = setting(3, "Hidden ReLU layers of the sampler", at_least=1)
    width: int = setting(256, "Units of each", at_least=1)
    score: ScoreSettings = setting(text="AR-DAE", factory=ScoreSettings)
    batch_size: int = setting(1024, "Samples in each of the sampler's steps", at_least=2)
    lr: float = setting(1e-3, "Learning rate of the sampler", above=0)
    lr_halvings: int = setting(20, "How often it is halved, at equal distances (the paper: every 5000 steps)", at_least=0)
    beta1: float = setting(0.5, "Of Adam, of every optimiser", at_least=0, below=1)
    ema_decay: float | None = setting(
        None, "Measure an exponential moving average of the sampler's weights; null: the weights, as in the paper", above=0, below=1
    )
    alpha_start: float = setting(0.01, "α at the beginning, from where it rises linearly to 1", above=0)
    anneal: float = setting(0.2, "Share of the run over which it does (the authors' code: 20,000 of 100,000 steps)", at_least=0, at_most=1)
    steps: int = setting(100_000, "Steps of the sampler", at_least=1)
    report_every_steps: int = setting(100, "From one row of `metrics.csv` to the next", at_least=1)
    evaluate_every_steps: int = setting(10_000, "From one row of `evaluations.csv` to the next", at_least=1)
    emd_samples: int = setting(
        2000,
        "Samples of each side behind the earth mover's distance of an evaluation: that of fewer is mostly chance, that of more takes hours",
        at_least=MIN_EMD_SAMPLES,
        at_most=MAX_EMD_SAMPLES,
    )
    final_emd_samples: int = setting(10_000, "The same once more at the end", at_least=MIN_EMD_SAMPLES, at_most=MAX_EMD_SAMPLES)

    def smoke(self) -> "EnergySettings":
        """Ten steps and one evaluation, of few samples."""
        few = MIN_EMD_SAMPLES
        return dataclasses.replace(self, steps=10, report_every_steps=5, evaluate_every_steps=10, emd_samples=few, final_emd_samples=few)
