"""Settings of the ``maxent`` task. Plain data."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ardae_rl.entropy import EntropyName
from ardae_rl.nn.settings import Activation, Rule, Settings, setting
from ardae_rl.score.settings import FitSettings, Form

ProblemName = Literal["gaussian", "laplace", "uniform", "exponential"]
MethodName = Literal["implicit", "iaf"]
MIN_EMD_SAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(FitSettings):
    """AR-DAE, which sees samples whitened by the mean and covariance of those at hand."""

    form: Form = setting("residual", "f is the gradient of a scalar potential, or the network's outputs")
    width: int = setting(64, "Units of each layer", at_least=1)
    activation: Activation = setting("softplus", "Of every hidden layer; only smooth ones")
    gaussian_residual: bool | None = setting(
        True,
        "f is the score of a Gaussian plus a network that starts at 0. Where the answer is Gaussian this gives away what is to be learned; "
        "where tails are heavier, it drives the few samples there ever further out",
    )
    sigmas_per_sample: int = setting(4, "n_σ, draws of (σ, v) per sample", at_least=1)
    samples_per_context: int = setting(128, "Fresh samples in each of its losses", at_least=2)
    fits_per_step: int = setting(2, "N_d, its steps before each step of the sampler, every one on fresh samples", at_least=1)


@dataclass(frozen=True, kw_only=True)
class SamplerSettings(Settings):
    """The implicit sampler."""

    noise_dim: int = setting(10, "Standard normal numbers that go in", at_least=1)
    layers: int = setting(2, "Hidden ELU layers", at_least=1)
    width: int = setting(128, "Units of each", at_least=1)


@dataclass(frozen=True, kw_only=True)
class FlowSettings(Settings):
    """The inverse autoregressive flow.

    Defaults: as many numbers to train, without those that masks leave out, as the default implicit sampler (19 thousand in ten dimensions).
    """

    transforms: int = setting(3, "Affine steps in alternating order", at_least=1)
    layers: int = setting(2, "Hidden layers of the masked network of each", at_least=1)
    width: int = setting(93, "Units of each layer", at_least=1)


@dataclass(frozen=True, kw_only=True)
class MaxEntSettings(Settings):
    """Minimise -H(p) + sum_k <mu_k, E_p[r_k]> + lambda ||E_p[r_k]||^2 over a sampler's parameters, for ``repeats`` problems at once.

    The paper's objective: ``constraint_estimate`` batch, ``multiplier_rate`` 0, ``batch_size`` 128.
    """

    problem: ProblemName = setting("gaussian", "What is constrained, hence what the answer is (`tasks/maxent/problems.py`)")
    method: MethodName = setting("implicit", "`implicit`: any network of noise, entropy gradient by AR-DAE; `iaf`: a flow, exact entropy")
    entropy: EntropyName | None = setting(
        None, "Another source of the entropy: null is AR-DAE for an implicit sampler, the density for a flow"
    )
    dim: int = setting(10, "Dimensions: 10 for `gaussian` in the paper, 1 for others", at_least=1)
    repeats: int = setting(16, "Problems solved at once", at_least=1)
    sampler: SamplerSettings = setting(text="The implicit sampler", factory=SamplerSettings)
    flow: FlowSettings = setting(text="The flow", factory=FlowSettings)
    score: ScoreSettings = setting(text="AR-DAE", factory=ScoreSettings)
    batch_size: int = setting(256, "Draws that estimate entropy gradient and constraints", at_least=2)
    constraint_estimate: Literal["unbiased", "batch"] = setting(
        "unbiased", "How squares of means are estimated (`tasks/maxent/penalty.py`); `batch` in the paper"
    )
    penalty_start: float = setting(0.01, "λ at the beginning, from where it grows geometrically", above=0)
    penalty_end: float = setting(10.0, "λ at the end of that", above=0)
    penalty_ramp: float = setting(0.3, "Share of the steps over which it grows; then the multipliers μ move", at_least=0, at_most=1)
    multiplier_rate: float = setting(
        0.02, "By what share of Newton's step they move; decays with the learning rates", at_least=0, at_most=1
    )
    lr: float = setting(3e-3, "Learning rate of the sampler; decays to 0 along a cosine", above=0)
    steps: int = setting(3000, "Steps of the sampler", at_least=1)
    report_every_steps: int = setting(100, "From one row of `metrics.csv` to the next", at_least=1)
    evaluate_every_steps: int = setting(1000, "From one row of `evaluations.csv` to the next", at_least=1)
    emd_samples: int = setting(2000, "Samples of each side behind the earth mover's distance", at_least=MIN_EMD_SAMPLES)

    def rules(self) -> Iterator[Rule]:
        few = f"greater than dim = {self.dim}: of fewer samples the covariance has no inverse"
        yield self.batch_size > self.dim, "batch_size", few
        yield self.score.samples_per_context > self.dim, "score.samples_per_context", few
        yield self.penalty_end >= self.penalty_start, "penalty_end", f"at least penalty_start = {self.penalty_start}"
        plain = self.problem == "gaussian"
        yield plain or self.dim == 1, "dim", f"1 for problem {self.problem}"
        yield plain or self.method == "implicit", "method", f"implicit for problem {self.problem}"
        yield self.method != "iaf" or self.dim >= 2, "dim", "at least 2 for method iaf (in one dimension it is an affine map)"
        no_density = "with less noise than dimensions the samples have no density, and no entropy"
        yield self.sampler.noise_dim >= self.dim, "sampler.noise_dim", f"at least dim = {self.dim}: {no_density}"

    def smoke(self) -> "MaxEntSettings":
        """Twenty steps and one evaluation of few samples."""
        return dataclasses.replace(self, steps=20, report_every_steps=10, evaluate_every_steps=20, emd_samples=MIN_EMD_SAMPLES)
