"""What an estimator of a score can be told, declared once: the keys of ``score:`` in every experiment, and ARDAE's options by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict

from ardae_rl.nn.settings import Activation, Rule, Settings, setting

EstimatorName = Literal["ardae", "adversarial", "sliced_score_matching"]  # those that learn from samples and settings alone
Form = Literal["gradient", "residual"]
Standardisation = Literal["fixed", "per_context", "samples", "amortised"]


class NetworkOptions(TypedDict, total=False):
    """:class:`NetworkSettings` as keyword arguments."""

    form: Form
    layers: int
    context_layers: int
    input_layers: int
    width: int
    activation: Activation
    standardisation: Standardisation | None
    scale: float
    gaussian_residual: bool | None
    student_dof: float | None
    whitener_width: int | None


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Settings):
    """The network f and the coordinates it sees, of every trained estimator."""

    form: Form = setting("gradient", "f is the gradient of a scalar potential, which also gives a log-density, or the network's outputs")
    layers: int = setting(3, "Hidden layers where context and sample meet", at_least=1)
    context_layers: int = setting(1, "Hidden layers on the context before that; 0: the raw context", at_least=0)
    input_layers: int = setting(0, "Hidden layers on the sample before that", at_least=0)
    width: int = setting(256, "Units of each layer", at_least=1)
    activation: Activation = setting("elu", "Of every hidden layer; only smooth ones")
    standardisation: Standardisation | None = setting(
        None,
        "Coordinates in which f sees samples. `amortised`: whitened by a mean and covariance that a network regresses on the context. "
        "`samples`, without a context: whitened by those of the samples of the last losses. `per_context`: divided by the standard "
        "deviation of the context's own samples. `fixed`, the paper's: times `scale`. null: `amortised`, without a context `samples`",
    )
    scale: float = setting(10_000.0, "The paper's s, with `fixed`, in 1 / units of the samples", above=0)
    gaussian_residual: bool | None = setting(
        None, "f is the score of a Gaussian plus a network that starts at 0; not with `fixed`. null: with `amortised`"
    )
    student_dof: float | None = setting(
        None, "With a Gaussian residual: Student's t of so many degrees of freedom instead, for samplers free to grow tails", above=0
    )
    whitener_width: int | None = setting(None, "Units of the three layers of `amortised`'s network. null: twice `width`", at_least=1)

    def rules(self) -> Iterator[Rule]:
        white = not self.gaussian_residual or self.standardisation != "fixed"
        yield white, "gaussian_residual", "false or null with standardisation 'fixed': it needs samples of unit scale"


class ARDAEOptions(NetworkOptions, total=False):
    """:class:`ARDAESettings` as keyword arguments."""

    delta_scale: float
    adaptive_delta: bool
    sigmas_per_sample: int
    antithetic: bool
    squared_sigma: bool | None
    compile: bool
    autocast: bool


@dataclass(frozen=True, kw_only=True)
class ARDAESettings(NetworkSettings):
    """AR-DAE: how noisy the samples are on which f learns, and how its loss is computed."""

    delta_scale: float = setting(0.1, "δ, standard deviation of σ", above=0)
    adaptive_delta: bool = setting(True, "δ is in standard deviations of the context's samples; false: in standardised units")
    sigmas_per_sample: int = setting(1, "n_σ, draws of (σ, v) per sample", at_least=1)
    antithetic: bool = setting(True, "Half as many draws, each used with v and with −v: the same cost, less noise in the gradient")
    squared_sigma: bool | None = setting(None, "f sees (σ/δ)² in the place of σ. null: unless `fixed`")
    compile: bool = setting(False, "`torch.compile` for the loss; where no compiler works, a warning and no compilation")
    autocast: bool = setting(False, "bfloat16 in the loss; scores and log-densities stay in full precision")

    def rules(self) -> Iterator[Rule]:
        yield from super().rules()
        sized = not (self.adaptive_delta and self.standardisation == "fixed")
        yield sized or not self.squared_sigma, "squared_sigma", "false or null with standardisation 'fixed' unless adaptive_delta is false"


@dataclass(frozen=True, kw_only=True)
class FitSettings(ARDAESettings):
    """AR-DAE trained along with a sampler."""

    samples_per_context: int = setting(64, "Fresh samples per context in each of its losses", at_least=2)
    fits_per_step: int = setting(1, "N_d, its steps before each step of the sampler, every one on fresh samples", at_least=1)
    lr: float = setting(1e-3, "Its learning rate", above=0)
