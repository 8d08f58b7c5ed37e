"""Every number of one soft actor-critic update, as frozen dataclasses. Plain data: no torch, no Ray.

The same classes are what a YAML file is validated against, what :class:`ardae_rl.sac.update.SAC` is built from, and what a checkpoint
records. Defaults are those of [Lim2020] Table 7, HalfCheetah column, with n_a and n_Z of the authors' released code (64 and 10 for the
table's 128 and 100) and except ``ScoreConfig.standardisation``, ``gaussian_residual`` and ``antithetic``, and
``ImplicitPolicyConfig.initialisation``, where the defaults are this project's.

Reference: [Lim2020] arXiv:2006.05164.
"""

from dataclasses import dataclass, field
from typing import Literal

Activation = Literal["elu", "softplus", "tanh", "silu"]
Standardisation = Literal["fixed", "per_context", "amortised"]


def _check(condition: bool, field_name: str, rule: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{field_name} must be {rule}, got {value!r}")


def _positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        _check(value > 0, name, "greater than 0", value)


def _non_negative(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        _check(value >= 0, name, "0 or greater", value)


@dataclass(frozen=True, kw_only=True)
class ImplicitPolicyConfig:
    """Pre-tanh action = head(encoder(state), noise): a sampler without a density.

    ``encoder_layers`` / ``head_layers`` are numbers of *hidden* layers (Table 7: m_enc / m_fc of the policy). ``width`` is that of the
    encoder, ``head_width`` that of the head; None: as ``width``.
    ``initialisation``: ``lecun`` starts with actions before the tanh around 0, of spread a little below 1; ``released`` as the authors'
    code, with many that the tanh saturates. See docs/environments.md.
    """

    noise_dim: int = 10
    encoder_layers: int = 1
    head_layers: int = 1
    width: int = 256
    head_width: int | None = None
    activation: Activation = "elu"
    initialisation: Literal["lecun", "released"] = "lecun"

    def __post_init__(self) -> None:
        _positive(self, "noise_dim", "encoder_layers", "head_layers", "width")
        if self.head_width is not None:
            _positive(self, "head_width")


@dataclass(frozen=True, kw_only=True)
class GaussianPolicyConfig:
    """Diagonal Gaussian before the tanh; ReLU network with log standard deviation clamped to a range."""

    hidden_layers: int = 2
    width: int = 256
    log_std_min: float = -20.0
    log_std_max: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, "hidden_layers", "width")
        _check(self.log_std_min < self.log_std_max, "log_std_min", f"below log_std_max = {self.log_std_max}", self.log_std_min)


@dataclass(frozen=True, kw_only=True)
class FlowPolicyConfig:
    """The Gaussian of ``gaussian`` made more flexible by ``flows`` invertible maps, its density kept.

    ``kind: radial`` is SAC-NF's: radial maps after the Gaussian, the same for every state. ``kind: spline`` is stronger: a neural spline
    flow given the state, inside the Gaussian; ``bins``, ``hidden_layers`` and ``width`` are those of its splines, read by no other kind.
    """

    kind: Literal["radial", "spline"] = "radial"
    flows: int = 3
    bins: int = 8
    hidden_layers: int = 2
    width: int = 64

    def __post_init__(self) -> None:
        _positive(self, "flows", "hidden_layers", "width")
        _check(self.bins >= 2, "bins", "2 or more", self.bins)


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """Twin Q-networks with ReLU hidden layers."""

    hidden_layers: int = 2
    width: int = 256

    def __post_init__(self) -> None:
        _positive(self, "hidden_layers", "width")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """AR-DAE of the pre-tanh action given the state, and how the update uses it.

    ``layers`` hidden layers after state and action meet (m_fc); ``state_layers`` / ``action_layers`` encode each before that, 0 meaning
    raw (Table 7 "m_enc": 5 is 5/5, 1 is 1/0, 0 is 0/0).
    ``samples_per_state`` n_a, ``sigmas_per_sample`` n_sigma, ``fits_per_update`` N_d, ``importance_samples`` n_Z. ``antithetic`` noise, in
    pairs u and -u, is not the paper's; it needs no more computation and learns faster.
    ``scale`` is the paper's s, read by ``standardisation: fixed`` only. ``proposal_std`` is that of the importance-sampling proposal: in
    units of the action for ``fixed`` (paper: exp(-1)), in standardised units otherwise; None takes exp(-1) or 1.2.
    ``amortised`` whitens with a covariance regressed on the state by a network of ``whitener_width`` (None: twice ``width``);
    ``gaussian_residual`` starts the score network from the score of a Gaussian (None: with ``amortised``; not possible with ``fixed``).
    See docs/method.md.
    """

    layers: int = 5
    state_layers: int = 5
    action_layers: int = 5
    width: int = 256
    activation: Activation = "elu"
    standardisation: Standardisation = "amortised"
    scale: float = 10_000.0
    gaussian_residual: bool | None = None
    whitener_width: int | None = None
    delta_scale: float = 0.1
    samples_per_state: int = 64
    sigmas_per_sample: int = 1
    antithetic: bool = True
    fits_per_update: int = 1
    importance_samples: int = 10
    proposal_std: float | None = None

    def __post_init__(self) -> None:
        _positive(self, "layers", "width", "scale", "delta_scale")
        _positive(self, "sigmas_per_sample", "fits_per_update", "importance_samples")
        _non_negative(self, "state_layers", "action_layers")
        _check(
            self.samples_per_state >= 2, "samples_per_state", "2 or more (a standard deviation is taken over them)", self.samples_per_state
        )
        _check(
            not (self.gaussian_residual and self.standardisation == "fixed"),
            "gaussian_residual",
            "false with standardisation 'fixed' (it needs samples of unit scale)",
            self.gaussian_residual,
        )
        for name in ("proposal_std", "whitener_width"):
            if getattr(self, name) is not None:
                _positive(self, name)


@dataclass(frozen=True, kw_only=True)
class JacobianClampingConfig:
    """Keep the policy from collapsing: xi, eta, nu of Table 7, n_perturb draws, and the released code's cap on the growing weight.

    ``eta``'s default is HalfCheetah's, of six actions: with one or two nothing satisfies it, see docs/environments.md.
    """

    xi: float = 0.01
    eta: float = 0.1
    nu: float = 1.1
    perturbations: int = 10
    weight_max: float = 1e5

    def __post_init__(self) -> None:
        _positive(self, "xi", "eta", "nu", "perturbations", "weight_max")


@dataclass(frozen=True, kw_only=True)
class SACConfig:
    """One SAC update: which policy, where its entropy gradient comes from, and every step size.

    ``policy`` picks the sampler and with it the entropy: ``gaussian`` (plain SAC) and ``flow`` (SAC-NF) have a density, ``implicit`` has
    none (SAC-AR-DAE). ``flow_lr`` is the step size of the flow's own parameters; the Gaussian under it moves with ``actor_lr``.
    ``alpha`` is the temperature; ``auto`` tunes it towards ``target_entropy`` (nats; None: minus the action dimension) from
    ``initial_alpha``. ``compile`` runs the score loss through ``torch.compile``; ``autocast`` runs the score network in bfloat16.
    """

    policy: Literal["implicit", "gaussian", "flow"] = "implicit"
    implicit: ImplicitPolicyConfig = field(default_factory=ImplicitPolicyConfig)
    gaussian: GaussianPolicyConfig = field(default_factory=GaussianPolicyConfig)
    flow: FlowPolicyConfig = field(default_factory=FlowPolicyConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    jacobian_clamping: JacobianClampingConfig | None = field(default_factory=JacobianClampingConfig)
    alpha: float | Literal["auto"] = 0.05
    initial_alpha: float = 1.0
    target_entropy: float | None = None
    gamma: float = 0.99
    tau: float = 0.005
    actor_lr: float = 3e-4
    flow_lr: float = 3e-4
    critic_lr: float = 3e-4
    score_lr: float = 3e-4
    alpha_lr: float = 3e-4
    target_calibration: bool = False
    max_non_finite: int = 100
    compile: bool = False
    autocast: bool = False

    def __post_init__(self) -> None:
        if self.alpha != "auto":
            _check(float(self.alpha) >= 0, "alpha", "0 or greater, or 'auto'", self.alpha)
        _positive(self, "initial_alpha", "actor_lr", "flow_lr", "critic_lr", "score_lr", "alpha_lr", "max_non_finite")
        _check(0 <= self.gamma <= 1, "gamma", "between 0 and 1", self.gamma)
        _check(0 < self.tau <= 1, "tau", "in (0, 1]", self.tau)
