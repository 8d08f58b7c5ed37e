"""Every number of one soft actor-critic update, as frozen dataclasses. Plain data: no Ray.

The same classes are what a YAML file is validated against, what :class:`ardae_rl.sac.update.SAC` is built from, and what a checkpoint
records. Defaults are this project's; those of [Lim2020] Table 7 are in ``tune_configs``.

Reference: [Lim2020] arXiv:2006.05164.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from ardae_rl.entropy import EntropyName
from ardae_rl.nn.settings import Activation, Rule, Settings, setting
from ardae_rl.samplers import GaussianSampler, ImplicitSampler, RadialFlowSampler, Sampler, SplineFlowSampler
from ardae_rl.samplers.implicit import Initialisation
from ardae_rl.score.settings import FitSettings

PolicyName = Literal["implicit", "gaussian", "flow"]


@dataclass(frozen=True, kw_only=True)
class ImplicitPolicyConfig(Settings):
    """u = head(encoder(s), noise) with noise from N(0, I): a sampler without a density. Layers are hidden ones."""

    noise_dim: int = setting(10, "Noise dimensions; at least the number of action dimensions, else the policy has no density", at_least=1)
    encoder_layers: int = setting(1, "Layers on the state (the policy's m_enc in Table 7)", at_least=1)
    head_layers: int = setting(
        2, "Layers on the encoded state together with the noise (its m_fc); with one, two modes do not part", at_least=1
    )
    width: int = setting(256, "Units of each layer on the state", at_least=1)
    head_width: int | None = setting(128, "Units of each layer after it, where the noise joins. null: as `width`", at_least=1)
    activation: Activation = setting("elu", "Of every hidden layer")
    initialisation: Initialisation = setting(
        "lecun",
        "`lecun`: weights behind the noise from N(0, 1 / fan-in); u starts around 0 with a spread a little below 1. `released`, as in the "
        "authors' code: the last weight from N(0, 1), which saturates many first actions "
        "([environments.md](environments.md#the-first-actions-of-an-implicit-policy))",
    )


@dataclass(frozen=True, kw_only=True)
class GaussianPolicyConfig(Settings):
    """u ~ N(mu(s), diag(std(s)^2)), from a ReLU network."""

    hidden_layers: int = setting(2, "Hidden layers", at_least=1)
    width: int = setting(256, "Units of each", at_least=1)
    log_std_min: float = setting(-20.0, "Lower end of the range to which log std is clamped")
    log_std_max: float = setting(2.0, "Upper end")

    def rules(self) -> Iterator[Rule]:
        yield self.log_std_min < self.log_std_max, "log_std_min", f"below log_std_max = {self.log_std_max}"


@dataclass(frozen=True, kw_only=True)
class FlowPolicyConfig(Settings):
    """The Gaussian of ``gaussian``, made more flexible by invertible maps with a known density."""

    kind: Literal["radial", "spline"] = setting(
        "radial",
        "`radial`: SAC-NF's radial maps after the Gaussian, the same for every state (Mazoure et al. 2019, "
        "[arXiv:1905.06893](https://arxiv.org/abs/1905.06893)). `spline`: a neural spline flow of the Gaussian's noise, conditioned on the "
        "state (Durkan et al. 2019, [arXiv:1906.04032](https://arxiv.org/abs/1906.04032))",
    )
    flows: int = setting(3, "Number of maps", at_least=1)
    bins: int = setting(8, "`spline`: bins of each spline", at_least=2)
    hidden_layers: int = setting(2, "`spline`: hidden layers of the network behind each map", at_least=1)
    width: int = setting(64, "`spline`: their units", at_least=1)


@dataclass(frozen=True, kw_only=True)
class CriticConfig(Settings):
    """Q-networks."""

    kind: Literal["twin"] = setting("twin", "`twin`: two with ReLU; the smaller value counts")
    hidden_layers: int = setting(2, "Hidden layers", at_least=1)
    width: int = setting(256, "Units of each", at_least=1)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(FitSettings):
    """AR-DAE of u given s (section 4), and the log-density of u, with its log Z by importance sampling (Appendix G).

    The defaults follow a policy that moves at the price of plain SAC: many small fits ([performance.md](performance.md)).
    """

    layers: int = setting(2, "Hidden layers where state and action meet (m_fc in Table 7)", at_least=1)
    context_layers: int = setting(1, "Hidden layers on the state before that (m_enc); 0: the raw state", at_least=0)
    input_layers: int = setting(0, "Hidden layers on the action before that. m_enc = 5, 1, 0 in Table 7 are 5/5, 1/0, 0/0", at_least=0)
    width: int = setting(64, "Units of each layer", at_least=1)
    whitener_width: int | None = setting(64, "Units of the three layers of `amortised`'s network. null: twice `width`", at_least=1)
    student_dof: float | None = setting(
        3.0,
        "Degrees of freedom of Student's t in the place of the Gaussian residual, and in the proposal of log Z; null: the Gaussian, whose "
        "score far out is too strong and may drive a policy to the bound",
        above=0,
    )
    anchors: int = setting(
        4,
        "Draws of noise, fixed once and for all, whose actions are shown to f beside the state, so that it follows the policy",
        at_least=0,
    )
    delta_scale: float = setting(0.2, "δ, standard deviation of σ", above=0)
    samples_per_context: int = setting(4, "n_a, fresh actions per state in each of its losses", at_least=2)
    fits_per_step: int = setting(8, "N_d, its steps before each step of the policy", at_least=1)
    share_contexts: bool = setting(
        True, "Each of the N_d steps has its share of the states of the mini-batch, B / N_d of them; false: all of them"
    )
    lr: float = setting(1e-3, "Learning rate of the score network and the network that learns its coordinates", above=0)
    beta1: float = setting(0.5, "β₁ of its Adam; a long memory lags behind a policy that moves", at_least=0, below=1)
    importance_samples: int = setting(
        8, "n_Z, samples behind each estimate of log Z; see `learner/log_z_error` in [metrics.md](metrics.md)", at_least=1
    )
    proposal_std: float | None = setting(
        None,
        "Scale of the proposal, a Gaussian or Student's t around the origin of the coordinates: in units of u with `fixed` (null: e⁻¹, the "
        "paper's), else in standardised ones (null: 1.2, for Student's t 1)",
        above=0,
    )

    def rules(self) -> Iterator[Rule]:
        yield from super().rules()
        yield self.form == "gradient", "form", "'gradient': the critic's target needs a log-density"


@dataclass(frozen=True, kw_only=True)
class JacobianClampingConfig(Settings):
    """Keeps an implicit policy from collapsing to a point (section 6.3, Appendix G).

    Added to the policy's loss at update i, v ~ N(0, I): λ E[min(‖a(s, ε + ξv) − a(s, ε)‖² / (ξ²‖v‖²) − η, 0)²],
    λ = min(1 + i^ν / 1000, ``weight_max``).
    """

    xi: float = setting(0.01, "ξ, size of the perturbation of the noise", above=0)
    eta: float = setting(
        0.1,
        "η, squared stretch below which the policy is penalised. The default is for six actions: with one or two take much less, or "
        "`jacobian_clamping: null` ([environments.md](environments.md))",
        above=0,
    )
    nu: float = setting(1.1, "ν, how fast the weight grows", above=0)
    perturbations: int = setting(10, "Draws of v per state (n_perturb)", at_least=1)
    weight_max: float = setting(1e5, "Cap of the weight, from the released code", above=0)


@dataclass(frozen=True, kw_only=True)
class SACConfig(Settings):
    """One SAC update: which policy, where its entropy gradient comes from, and every step size."""

    policy: PolicyName = setting(
        "implicit",
        "`implicit`: u = g(s, ε), a network without a density, whose entropy gradient AR-DAE estimates (SAC-AR-DAE, section 6.3). The "
        "baselines: `gaussian`, plain SAC, and `flow`, SAC-NF",
    )
    entropy: EntropyName | None = setting(
        None,
        "Where the entropy of the policy and its gradient come from: its `density`, or an estimator of its score, such as `ardae`, "
        "settings `score`. null: the density where there is one, else `ardae`",
    )
    implicit: ImplicitPolicyConfig = setting(text="Network of `policy: implicit`", factory=ImplicitPolicyConfig)
    gaussian: GaussianPolicyConfig = setting(
        text="Network of `policy: gaussian`, and of the Gaussian in `policy: flow`", factory=GaussianPolicyConfig
    )
    flow: FlowPolicyConfig = setting(text="The flow of `policy: flow`", factory=FlowPolicyConfig)
    critic: CriticConfig = setting(text="Q-networks", factory=CriticConfig)
    score: ScoreConfig = setting(text="AR-DAE; read where the entropy comes from a score", factory=ScoreConfig)
    jacobian_clamping: JacobianClampingConfig | None = setting(None, "Regulariser of a policy without a density, the paper's; null: none")
    alpha: float | Literal["auto"] = setting(
        "auto",
        "Temperature α of the entropy in the target, y = r + γ (1 − d) (min Q′(s′, a′) − α log π(a′ given s′)), and in the policy's loss. "
        "`auto`: learned (Haarnoja et al. 2018, [arXiv:1812.05905](https://arxiv.org/abs/1812.05905))",
        at_least=0,
    )
    initial_alpha: float = setting(1.0, "α at the beginning, with `alpha: auto`", above=0)
    target_entropy: float | None = setting(
        None, "Entropy of a in nats towards which `alpha: auto` moves. null: −D. No distribution on (−1, 1)^D has more than D ln 2"
    )
    gamma: float = setting(0.99, "Discount γ", at_least=0, at_most=1)
    tau: float = setting(0.005, "Target critics after each update: Q′ ← (1 − τ) Q′ + τ Q", above=0, at_most=1)
    policy_delay: int = setting(2, "Updates of the critics for each of score, policy and temperature", at_least=1)
    actor_lr: float = setting(6e-4, "Learning rate of the policy; with `policy: flow`, of its Gaussian", above=0)
    flow_lr: float = setting(3e-4, "Of the flow's parameters, with `policy: flow`", above=0)
    critic_lr: float = setting(3e-4, "Of both Q-networks", above=0)
    alpha_lr: float = setting(3e-4, "Of log α, with `alpha: auto`", above=0)
    target_calibration: bool = setting(
        False, "Fit Q + B to y, where B is the running average of −γ (1 − d) α log π(a′ given s′) (the paper's Hopper)"
    )
    max_non_finite: int = setting(
        100,
        "An optimiser step with a NaN or infinite loss or gradient is skipped, a transition with one is not stored. After this many in a "
        "row, of one loss or one environment, the trial fails",
        at_least=1,
    )

    def rules(self) -> Iterator[Rule]:
        if self.policy == "implicit":
            yield self.entropy != "density", "entropy", "an estimator such as ardae for policy implicit, which has no density"
        yield self.entropy != "auxiliary", "entropy", "density or an estimator: no policy here has the hidden cause of the auxiliary bound"


def build_policy(obs_dim: int, action_dim: int, config: SACConfig) -> Sampler:
    if config.policy == "implicit":
        return ImplicitSampler(obs_dim, action_dim, **asdict(config.implicit))
    gaussian, flow = GaussianSampler(obs_dim, action_dim, **asdict(config.gaussian)), config.flow
    if config.policy == "gaussian":
        return gaussian
    if flow.kind == "radial":
        return RadialFlowSampler(gaussian, flows=flow.flows)
    return SplineFlowSampler(gaussian, obs_dim, flows=flow.flows, bins=flow.bins, hidden_layers=flow.hidden_layers, width=flow.width)
