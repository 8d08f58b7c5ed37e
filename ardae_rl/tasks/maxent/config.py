"""Settings of the ``maxent`` task. Plain data: no torch, no Ray."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal, get_args

from ardae_rl.tasks.settings import one_of, positive

ProblemName = Literal["gaussian", "laplace", "uniform", "exponential"]
MethodName = Literal["implicit", "iaf"]
MIN_EMD_SAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """AR-DAE in residual form; fields as in :class:`ardae_rl.score.ARDAE`, ``delta`` its ``delta_scale``.

    It sees samples whitened by the mean and covariance of those at hand. ``gaussian_residual``: a Gaussian's score is added to the
    network's, to which what is not Gaussian is left. Where the answer is Gaussian this gives away what is to be learned, so
    ``maxent.yaml`` has it off. Off, too, where tails are heavier: its score grows with distance, and drives a few samples in a tail,
    too few to correct the network there, ever further out.
    Fitted to ``batch_size`` fresh draws, ``fits_per_step`` times per step of the sampler (the paper's N_d).
    """

    layers: int = 3
    width: int = 64
    activation: Literal["elu", "softplus", "tanh", "silu"] = "softplus"
    gaussian_residual: bool = True
    delta: float = 0.1
    sigmas_per_sample: int = 4
    antithetic: bool = True
    batch_size: int = 128
    fits_per_step: int = 2
    lr: float = 1e-3

    def __post_init__(self) -> None:
        positive(self, "layers", "width", "delta", "sigmas_per_sample", "fits_per_step", "lr")
        _at_least_two(self)


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """The implicit sampler: ``noise_dim`` standard normal numbers through ``layers`` ELU layers of ``width``."""

    noise_dim: int = 10
    layers: int = 2
    width: int = 128

    def __post_init__(self) -> None:
        positive(self, "noise_dim", "layers", "width")


@dataclass(frozen=True, kw_only=True)
class FlowSettings:
    """The inverse autoregressive flow: ``transforms`` affine steps in alternating order, each a masked network of ``layers`` of ``width``.

    Defaults: as many numbers to train, without those that masks leave out, as the default implicit sampler (19 thousand in ten dimensions).
    """

    transforms: int = 3
    layers: int = 2
    width: int = 93

    def __post_init__(self) -> None:
        positive(self, "transforms", "layers", "width")


@dataclass(frozen=True, kw_only=True)
class MaxEntSettings:
    """Minimise -H(p) + sum_k <mu_k, E_p[r_k]> + lambda ||E_p[r_k]||^2 over a sampler's parameters, for ``repeats`` problems at once.

    ``problem``: what is constrained, hence what the answer is (``problems.py``); ``dim`` is 10 for ``gaussian`` in the paper, 1 for others.
    ``method``: ``implicit`` (any network of noise, entropy gradient by AR-DAE) or ``iaf`` (a flow, exact entropy).
    ``batch_size`` draws estimate entropy gradient and constraints; ``constraint_estimate``: how (``penalty.py``), ``batch`` in the paper.
    lambda grows geometrically from ``penalty_start`` to ``penalty_end`` over the first ``penalty_ramp`` of the ``steps``; from there on the
    multipliers mu move, by ``multiplier_rate`` of Newton's step, a rate that decays with the learning rates.
    The paper's objective: ``constraint_estimate`` batch, ``multiplier_rate`` 0, ``batch_size`` 128.
    Learning rates decay to 0 along a cosine. ``emd_samples`` of each side enter the earth mover's distance.
    """

    problem: ProblemName = "gaussian"
    method: MethodName = "implicit"
    dim: int = 10
    repeats: int = 16
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    batch_size: int = 256
    constraint_estimate: Literal["unbiased", "batch"] = "unbiased"
    penalty_start: float = 0.01
    penalty_end: float = 10.0
    penalty_ramp: float = 0.3
    multiplier_rate: float = 0.02
    lr: float = 3e-3
    steps: int = 3000
    report_every_steps: int = 100
    evaluate_every_steps: int = 1000
    emd_samples: int = 2000

    def __post_init__(self) -> None:
        one_of(self, "problem", get_args(ProblemName))
        one_of(self, "method", get_args(MethodName))
        positive(self, "dim", "repeats", "penalty_start", "lr", "steps", "report_every_steps", "evaluate_every_steps")
        _at_least_two(self)
        if min(self.batch_size, self.score.batch_size) <= self.dim:
            raise ValueError(
                f"batch_size and score.batch_size must be greater than dim = {self.dim}, got {self.batch_size} and "
                f"{self.score.batch_size}: of fewer samples the covariance has no inverse"
            )
        if not 0 <= self.multiplier_rate <= 1:
            raise ValueError(f"multiplier_rate must be a share of Newton's step, between 0 and 1, got {self.multiplier_rate}")
        if self.penalty_end < self.penalty_start:
            raise ValueError(f"penalty_end must be at least penalty_start = {self.penalty_start}, got {self.penalty_end}")
        if not 0 <= self.penalty_ramp <= 1:
            raise ValueError(f"penalty_ramp must be a share of the steps, between 0 and 1, got {self.penalty_ramp}")
        if self.emd_samples < MIN_EMD_SAMPLES:
            raise ValueError(
                f"emd_samples must be at least {MIN_EMD_SAMPLES}, got {self.emd_samples}: with fewer, sampling error is all there is to see"
            )
        if self.problem != "gaussian" and (self.dim, self.method) != (1, "implicit"):
            raise ValueError(f"problem {self.problem} is for dim 1 and method implicit, got dim {self.dim} and method {self.method}")
        if self.method == "iaf" and self.dim < 2:
            raise ValueError(f"dim must be at least 2 for method iaf (in one dimension it is an affine map), got {self.dim}")
        if self.sampler.noise_dim < self.dim:
            raise ValueError(
                f"sampler.noise_dim must be at least dim = {self.dim}, got {self.sampler.noise_dim}: with less noise than dimensions the "
                "samples have no density, and no entropy"
            )

    def smoke(self) -> "MaxEntSettings":
        """Twenty steps and one evaluation of few samples."""
        return dataclasses.replace(self, steps=20, report_every_steps=10, evaluate_every_steps=20, emd_samples=MIN_EMD_SAMPLES)


def _at_least_two(owner: "ScoreSettings | MaxEntSettings") -> None:
    if owner.batch_size < 2:
        raise ValueError(f"batch_size must be at least 2, for spreads and unbiased squares need pairs of samples, got {owner.batch_size}")
