"""Train score estimators on draws of one law and measure how far they are from the truth.

Notation: B contexts, K samples per context, D dimension; x (B, K, D), context (B, C) or None.
Metrics: ``score_error`` E||f - grad log p|| (the paper's), ``relative_score_error`` sqrt(E||f - grad log p||^2 / E||grad log p||^2),
``log_density_error`` root mean square in nats, log Z included. Suffix ``@sigma`` where several noise levels are measured.
"""

import copy
import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ardae_rl.score import (
    ARDAE,
    Frame,
    ImplicitScoreMatching,
    KernelDensityScore,
    ReconstructionDAE,
    ResidualDAE,
    ScoreEstimator,
    SpectralSteinScore,
    SteinScore,
)
from ardae_rl.score.hypernetwork import HyperNetwork
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.laws import LAWS, ConditionalMixture, Law
from ardae_rl.tasks.task import Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KERNELS = {"kernel_density": KernelDensityScore, "stein": SteinScore, "spectral_stein": SpectralSteinScore}
TEST_CONTEXTS, TEST_SAMPLES = 512, 1000  # in all, for a law with contexts per context as many as in training; for one without, 1000
IMPORTANCE_SAMPLES = 100
_EVALUATION_SEED = 1_000_003


class Member:
    """One estimator with its optimiser, learning-rate schedule and, where asked for, averaged weights."""

    def __init__(self, estimator: ScoreEstimator, settings: ScoreErrorSettings, steps: int) -> None:
        self.estimator = estimator
        self.optimiser = torch.optim.Adam(estimator.parameters(), lr=settings.lr, fused=True)
        self.schedule = _schedule(self.optimiser, settings, steps)
        self.average = _averaged(estimator, settings.ema_decay)

    def fit(self, x: Tensor, context: Tensor | None, centre: Tensor | None) -> Tensor:
        loss = self.estimator.loss(x, context, centre=centre)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.estimator)
        return loss.detach()

    @property
    def measured(self) -> ScoreEstimator:
        return self.estimator if self.average is None else cast(ScoreEstimator, self.average.module)

    def state_dict(self) -> dict[str, Any]:
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {
            "estimator": self.estimator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            **average,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.estimator.load_state_dict(state["estimator"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


class ScoreErrorTask:
    headline = "relative_score_error"

    def __init__(self, settings: ScoreErrorSettings, *, seed: int, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.settings = settings
        self.law: Law = LAWS[settings.law](seed)
        self.sigmas = sorted(settings.sigmas, reverse=True)
        self.annealed = settings.estimator.endswith("_annealed")
        self.kernel = KERNELS[settings.estimator]() if settings.estimator in KERNELS else None
        self.members = [Member(each, settings, self._steps_of_one()) for each in _estimators(settings, self.law, self.sigmas)]
        self.draws = torch.Generator().manual_seed(seed)
        self.evaluation_seed = _EVALUATION_SEED + seed
        self.steps_done = 0

    def step(self) -> Metrics:
        """One gradient step of every network that is being trained, all on the same fresh draws."""
        if isinstance(self.law, ConditionalMixture):
            self.law.phase = self.settings.drift * (self.steps_done // self.settings.fits_per_update)
        losses = []
        if self.members:
            context = self.law.contexts(self.settings.contexts, self.draws)
            x = self.law.draw(context, self.settings.samples_per_context, self.draws)
            losses = [member.fit(x, context, self.law.centre(context)) for member in self._trained_now()]
        self.steps_done += 1
        return {"loss": float(torch.stack(losses).mean())} if losses else {}

    @torch.no_grad()
    def evaluate(self) -> Metrics:
        generator = torch.Generator().manual_seed(self.evaluation_seed)
        conditional = self.law.context_dim > 0
        context = self.law.contexts(TEST_CONTEXTS, generator)
        known = self.law.draw(context, self.settings.samples_per_context, generator)
        x = self.law.draw(context, self.settings.samples_per_context if conditional else TEST_SAMPLES, generator)
        if not hasattr(self.law, "score"):
            return {}
        truth = self.law.score(x, context)
        if self.kernel is not None:
            return _errors(self.kernel.score(x.double(), known.double()).to(x), truth)
        return self._network_errors(x, known, context, truth, generator)

    def _network_errors(self, x: Tensor, known: Tensor, context: Tensor | None, truth: Tensor, generator: torch.Generator) -> Metrics:
        """Of all networks; those of the smallest sigma (of AR-DAE: at sigma 0) without a suffix."""
        centre = self.law.centre(context)
        metrics: Metrics = {}
        if not isinstance(self.members[0].estimator, ARDAE):
            for member in self.members:
                frame = member.measured.frame(known, centre, context=context)
                metrics |= _errors(member.measured.score(x, context, frame=frame), truth)
                if isinstance(member.estimator, ResidualDAE | ReconstructionDAE):
                    metrics |= _labelled(metrics, member.estimator.sigma)
            return metrics
        estimator = self.members[0].measured
        assert isinstance(estimator, ARDAE)
        frame = estimator.frame(known, centre, context=context)
        for sigma in self.sigmas if context is None else ():
            metrics |= _labelled(_errors(estimator.blurred_score(x, context, frame=frame, sigma=sigma), truth), sigma)
        metrics |= _errors(estimator.score(x, context, frame=frame), truth)
        if self.settings.network.form == "gradient":
            metrics["log_density_error"] = self._log_density_error(estimator, x, context, frame, generator)
        return metrics

    def _log_density_error(self, estimator: ARDAE, x: Tensor, context: Tensor | None, frame: Frame, generator: torch.Generator) -> float:
        log_z = estimator.log_partition(
            context, samples=IMPORTANCE_SAMPLES, normal=lambda *shape: torch.randn(shape, generator=generator)
        ).log_z
        error = estimator.log_density(x, context, frame=frame) - log_z.unsqueeze(1) - self.law.log_density(x, context)
        return float(error.square().mean().sqrt())

    def figures(self) -> "dict[str, Figure]":
        """The estimated fields of a law on a line or in the plane, one per network."""
        from ardae_rl.tasks.score_error.figures import field_in_the_plane, field_on_a_line

        draw = {1: field_on_a_line, 2: field_in_the_plane}.get(self.law.dim)
        if draw is None or self.law.context_dim:
            return {}
        if self.kernel is not None:
            return {"score": draw(self.law, self._kernel_field, self.settings.estimator)}
        figures = {}
        for member in self.members:
            sigma = getattr(member.estimator, "sigma", None)
            title = self.settings.estimator if sigma is None else f"{self.settings.estimator}, sigma = {sigma:g}"
            figures["score" if sigma is None else f"score_sigma={sigma:g}"] = draw(self.law, partial(self._network_field, member), title)
        return figures

    @torch.no_grad()
    def _network_field(self, member: Member, x: Tensor) -> Tensor:
        """The estimate at points (N, D)."""
        return member.measured.score(x, frame=member.measured.frame(self._known(TEST_SAMPLES)))

    def _kernel_field(self, x: Tensor) -> Tensor:
        assert self.kernel is not None
        return self.kernel.score(x.double(), self._known(self.settings.samples_per_context).double()).to(x)

    def _known(self, samples: int) -> Tensor:
        return self.law.draw(None, samples, torch.Generator().manual_seed(self.evaluation_seed))[0]

    def state_dict(self) -> dict[str, Any]:
        return {
            "members": [member.state_dict() for member in self.members],
            "draws": self.draws.get_state(),
            "noise": torch.get_rng_state(),
            "steps_done": self.steps_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for member, saved in zip(self.members, state["members"], strict=True):
            member.load_state_dict(saved)
        self.draws.set_state(state["draws"])
        torch.set_rng_state(state["noise"])
        self.steps_done = state["steps_done"]

    def _steps_of_one(self) -> int:
        return max(1, self.settings.steps // len(self.sigmas)) if self.annealed else self.settings.steps

    def _trained_now(self) -> list[Member]:
        """All, or where sigma is annealed the one of the present level, which starts from the level before."""
        if not self.annealed:
            return self.members
        level = min(self.steps_done // self._steps_of_one(), len(self.members) - 1)
        if level and self.steps_done == level * self._steps_of_one():
            self.members[level].estimator.load_state_dict(self.members[level - 1].estimator.state_dict())
        return [self.members[level]]


def _errors(estimate: Tensor, truth: Tensor) -> Metrics:
    difference = estimate - truth
    relative = (difference.square().sum() / truth.square().sum()).sqrt()
    return {"score_error": float(difference.norm(dim=-1).mean()), "relative_score_error": float(relative)}


def _labelled(errors: Metrics, sigma: float) -> Metrics:
    return {f"{name}@{sigma:g}": errors[name] for name in ("score_error", "relative_score_error")}


def _estimators(settings: ScoreErrorSettings, law: Law, sigmas: list[float]) -> list[ScoreEstimator]:
    options = dataclasses.asdict(settings.network)
    sigma_input = options.pop("sigma_input")
    sizes = (law.dim, law.context_dim)
    match settings.estimator.removesuffix("_annealed"):
        case "ardae":
            ardae = ARDAE(
                *sizes,
                delta_scale=settings.delta,
                adaptive_delta=settings.adaptive_delta,
                sigmas_per_sample=settings.sigmas_per_sample,
                **options,
            )
            if sigma_input != "input":
                ardae.network = HyperNetwork(law.dim, absolute=sigma_input == "hypernetwork_abs")
            return [ardae]
        case "residual_dae":
            return [ResidualDAE(*sizes, sigma=sigma, **options) for sigma in sigmas]
        case "reconstruction_dae":
            del options["form"]
            return [ReconstructionDAE(*sizes, sigma=sigma, **options) for sigma in sigmas]
        case "score_matching":
            return [ImplicitScoreMatching(*sizes, trace="exact", **options)]
        case "sliced_score_matching":
            return [ImplicitScoreMatching(*sizes, trace="sliced", **options)]
        case _:
            return []


def _schedule(optimiser: torch.optim.Optimizer, settings: ScoreErrorSettings, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.halve_lr_every is not None:
        return torch.optim.lr_scheduler.StepLR(optimiser, settings.halve_lr_every, gamma=0.5)
    if settings.drift:
        return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)


def _averaged(estimator: ScoreEstimator, decay: float | None) -> AveragedModel | None:
    if decay is None:
        return None
    return AveragedModel(copy.deepcopy(estimator), multi_avg_fn=get_ema_multi_avg_fn(decay))
