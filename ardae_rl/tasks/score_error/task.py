"""Train score estimators on draws of one law and measure how far they are from the truth.

Notation: B contexts, K samples per context, D dimension; x (B, K, D), context (B, C) or None.
Metrics: ``score_error`` E||f - grad log p|| (the paper's), ``relative_score_error`` sqrt(E||f - grad log p||^2 / E||grad log p||^2) over
all samples, ``mean_context_error`` the same of each context, averaged (where scales differ the first is ruled by the narrowest laws),
``log_density_error`` root mean square in nats, log Z included. Suffix ``@sigma`` where several noise levels are measured.
"""

import math
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ardae_rl.nn.optimiser import GuardedOptimiser
from ardae_rl.score import (
    ARDAE,
    KernelDensityScore,
    ReconstructionDAE,
    ResidualDAE,
    ScoreEstimator,
    SpectralSteinScore,
    SteinScore,
    build_estimator,
)
from ardae_rl.tasks.averaging import averaged
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.hypernetwork import HyperNetwork
from ardae_rl.tasks.score_error.laws import LAWS, ConditionalMixture, Law
from ardae_rl.tasks.task import Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KERNELS = {"kernel_density": KernelDensityScore, "stein": SteinScore, "spectral_stein": SpectralSteinScore}
TEST_CONTEXTS, TEST_SAMPLES = 512, 1000  # in all, for a law with contexts per context as many as in training; for one without, 1000
IMPORTANCE_SAMPLES = 100
# Streams of their own for what would otherwise all start from the trial's seed: the law's weights, the networks', and these.
_DRAWS_SEED, _EVALUATION_SEED = 500_009, 1_000_003


class Member:
    """One estimator with its optimiser, learning-rate schedule and, where asked for, averaged weights."""

    def __init__(self, estimator: ScoreEstimator, settings: ScoreErrorSettings, steps: int) -> None:
        self.estimator = estimator
        adam = torch.optim.Adam(estimator.parameters(), lr=settings.lr, fused=True)
        self.optimiser = GuardedOptimiser("estimator", adam, schedule=lambda adam: _schedule(adam, settings, steps))
        self.average = averaged(estimator, settings.ema_decay)

    def fit(self, x: Tensor, context: Tensor | None, centre: Tensor | None) -> Tensor:
        loss = self.optimiser.step(self.estimator.loss(x, context, centre=centre))
        if self.average is not None:
            self.average.update_parameters(self.estimator)
        return loss

    @property
    def measured(self) -> ScoreEstimator:
        return self.estimator if self.average is None else cast(ScoreEstimator, self.average.module)

    def state_dict(self) -> dict[str, Any]:
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {"estimator": self.estimator.state_dict(), "optimiser": self.optimiser.state_dict(), **average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.estimator.load_state_dict(state["estimator"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


class ScoreErrorTask:
    headline = "relative_score_error"

    def __init__(self, settings: ScoreErrorSettings, *, seed: int, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.settings, self.device = settings, device
        self.law: Law = LAWS[settings.law](seed)
        self.sigmas = sorted(settings.sigmas, reverse=True)
        self.annealed = settings.estimator.endswith("_annealed")
        self.kernel = KERNELS[settings.estimator]() if settings.estimator in KERNELS else None
        estimators = _estimators(settings, self.law, self.sigmas)
        self.members = [Member(each.to(device), settings, self._steps_of_one()) for each in estimators]
        self.draws = torch.Generator().manual_seed(_DRAWS_SEED + seed)
        self.evaluation_seed = _EVALUATION_SEED + seed
        self.steps_done = 0

    def step(self) -> Metrics:
        """One gradient step of every network that is being trained, all on the same fresh draws."""
        self._move_law(self.steps_done)
        losses = []
        if self.members:
            context = self.law.contexts(self.settings.contexts, self.draws)
            x = self.law.draw(context, self.settings.samples_per_context, self.draws)
            batch = self._on_device(x, context, self.law.centre(context))
            losses = [member.fit(*batch) for member in self._trained_now()]
        self.steps_done += 1
        return {"loss": float(torch.stack(losses).mean())} if losses else {}

    def _move_law(self, step: int) -> None:
        """To where it is during this step, and until the next."""
        if isinstance(self.law, ConditionalMixture):
            self.law.phase = self.settings.drift * (step // self.settings.fits_per_update)

    def _on_device(self, x: Tensor, context: Tensor | None, centre: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        return x.to(self.device), None if context is None else context.to(self.device), centre.to(self.device)

    @torch.no_grad()
    def evaluate(self) -> Metrics:
        if not hasattr(self.law, "score"):
            return {}
        generator = torch.Generator().manual_seed(self.evaluation_seed)
        context = self.law.contexts(TEST_CONTEXTS, generator)
        known = self.law.draw(context, self.settings.samples_per_context, generator)
        x = self.law.draw(context, self.settings.samples_per_context if self.law.context_dim else TEST_SAMPLES, generator)
        truth = self.law.score(x, context)
        if self.kernel is not None:
            return _errors(self.kernel.score(x.double(), known.double()).to(x), truth)
        # The same names at every evaluation, levels of sigma yet to come included.
        metrics: Metrics = {}
        for sigma in self.sigmas if self.annealed else ():
            metrics |= _labelled(dict.fromkeys(("score_error", "relative_score_error"), math.nan), sigma)
        for member in self._begun():
            metrics |= self._errors_of(member, x, known, context, truth)
        if isinstance(self.members[0].estimator, ARDAE) and self.law.context_dim and self.settings.score.form == "gradient":
            metrics["log_density_error"] = self._log_density_error(x, known, context, generator)
        return metrics

    def _errors_of(self, member: Member, x: Tensor, known: Tensor, context: Tensor | None, truth: Tensor) -> Metrics:
        """Of one network: labelled by its sigma, AR-DAE's by each sigma it is asked at; without a label at its own, for AR-DAE 0."""
        estimator = member.measured
        points, context, centre = self._on_device(x, context, self.law.centre(context))
        coordinates = self._coordinates(estimator, known, context, centre)
        errors = _errors(estimator.score(points, context, **coordinates).cpu(), truth)
        if isinstance(estimator, ResidualDAE | ReconstructionDAE):
            return errors | _labelled(errors, estimator.sigma)
        labelled: Metrics = {}
        if isinstance(estimator, ARDAE) and context is None:
            for sigma in self.sigmas:
                blurred = estimator.blurred_score(points, sigma=sigma, **coordinates).cpu()
                labelled |= _labelled(_errors(blurred, truth), sigma)
        return errors | labelled

    def _coordinates(self, estimator: ScoreEstimator, known: Tensor, context: Tensor | None, centre: Tensor) -> dict[str, Any]:
        """Those of training; where they were each context's own samples', those of as many that are ``known``."""
        if estimator.standardisation != "per_context" or context is None:
            return {"centre": centre}
        return {"frame": estimator.frame(known.to(self.device), context=context, centre=centre)}

    def _log_density_error(self, x: Tensor, known: Tensor, context: Tensor | None, generator: torch.Generator) -> float:
        estimator = self.members[0].measured
        truth = self.law.log_density(x, context)
        points, context, centre = self._on_device(x, context, self.law.centre(context))
        coordinates = self._coordinates(estimator, known, context, centre)
        noise = lambda *shape: torch.randn(shape, generator=generator).to(self.device)  # noqa: E731
        log_z = estimator.log_partition(context, samples=IMPORTANCE_SAMPLES, normal=noise).log_z
        error = (estimator.log_density(points, context, **coordinates) - log_z.unsqueeze(1)).cpu() - truth
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
        return member.measured.score(x.to(self.device), centre=self.law.centre(None).to(self.device)).cpu()

    def _kernel_field(self, x: Tensor) -> Tensor:
        assert self.kernel is not None
        return self.kernel.score(x.double(), self._known(self.settings.samples_per_context).double()).to(x)

    def _known(self, samples: int) -> Tensor:
        return self.law.draw(None, samples, torch.Generator().manual_seed(self.evaluation_seed))[0]

    def state_dict(self) -> dict[str, Any]:
        return {
            "members": [member.state_dict() for member in self.members],
            "draws": self.draws.get_state(),
            "steps_done": self.steps_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for member, saved in zip(self.members, state["members"], strict=True):
            member.load_state_dict(saved)
        self.draws.set_state(state["draws"])
        self.steps_done = state["steps_done"]
        self._move_law(max(self.steps_done - 1, 0))

    def _steps_of_one(self) -> int:
        return max(1, self.settings.steps // len(self.sigmas)) if self.annealed else self.settings.steps

    def _level(self, step: int) -> int:
        """That of the step after ``step`` others."""
        return min(max(step, 0) // self._steps_of_one(), len(self.members) - 1)

    def _begun(self) -> list[Member]:
        """Networks that have been trained at all: where sigma is annealed not those of levels to come."""
        return self.members[: self._level(self.steps_done - 1) + 1] if self.annealed else self.members

    def _trained_now(self) -> list[Member]:
        """All, or where sigma is annealed the one of the present level, which starts from the level before."""
        if not self.annealed:
            return self.members
        level = self._level(self.steps_done)
        if level and self.steps_done == level * self._steps_of_one():
            self.members[level].estimator.load_state_dict(self.members[level - 1].estimator.state_dict())
        return [self.members[level]]


def _errors(estimate: Tensor, truth: Tensor) -> Metrics:
    difference = estimate - truth
    relative = (difference.square().sum() / truth.square().sum()).sqrt()
    of_contexts = (difference.square().sum((1, 2)) / truth.square().sum((1, 2))).sqrt()
    errors = {"score_error": float(difference.norm(dim=-1).mean()), "relative_score_error": float(relative)}
    return errors | ({"mean_context_error": float(of_contexts.mean())} if len(truth) > 1 else {})


def _labelled(errors: Metrics, sigma: float) -> Metrics:
    return {f"{name}@{sigma:g}": errors[name] for name in ("score_error", "relative_score_error")}


def _estimators(settings: ScoreErrorSettings, law: Law, sigmas: list[float]) -> list[ScoreEstimator]:
    name = settings.estimator.removesuffix("_annealed")
    if name in KERNELS:
        return []
    each = [{"sigma": sigma} for sigma in sigmas] if name.endswith("_dae") else [{}]
    estimators = [build_estimator(name, law.dim, law.context_dim, settings.score, **options) for options in each]
    if settings.score.sigma_input != "input":
        estimators[0].network = HyperNetwork(law.dim, absolute=settings.score.sigma_input == "hypernetwork_abs")
    return estimators


def _schedule(optimiser: torch.optim.Optimizer, settings: ScoreErrorSettings, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.halve_lr_every is not None:
        return torch.optim.lr_scheduler.StepLR(optimiser, max(1, settings.halve_lr_every * steps // settings.steps), gamma=0.5)
    if settings.drift:
        return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
