"""What all trained score estimators share: coordinates, network, shapes, log-density and log Z.

Notation: B contexts, K samples per context, D dimension of a sample, C of a context; x (B, K, D), context (B, C). Without a context,
x is (N, D) and counts as one context of N samples. x~ are standardised coordinates (``standardise.py``).
Contract: ``loss(x, context)`` to be minimised, ``score(x, context)``; every argument and result is in the sampler's own coordinates.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from ardae_rl.nn.optimiser import Average, alone
from ardae_rl.nn.settings import Settings, setting
from ardae_rl.score.body import ScoreBody
from ardae_rl.score.checks import check_form, check_values
from ardae_rl.score.closed_form import Found
from ardae_rl.score.networks import GaussianResidual, PotentialNet, ResidualNet
from ardae_rl.score.partition import LogPartition, log_mean_weight, proposal
from ardae_rl.score.settings import NetworkOptions, NetworkSettings, Standardisation
from ardae_rl.score.standardise import Frame, Moments, frame_of, frame_of_moments, scaled_frame, whitening_frame
from ardae_rl.score.whitening import Whitener, Whitening

Normal = Callable[..., Tensor]  # normal(B, K, D) -> standard normal tensor of that shape
_PROPOSAL_STD = 1.2  # in standardised coordinates: a little wider than the distribution itself
# Calls of the loss that the remembered moments reach back. As coordinates they follow a sampler that moves. Under a whitening network they
# are a choice of units, and every move of theirs is noise to it.
_CALLS, _CALLS_UNDER_WHITENER = 20, 1000
_FAR = 5.0  # in standardised coordinates: an anchor farther out is shown there
_UNKNOWN, _MEAN, _CENTRE, _FRAME = range(4)  # where a loss had the origin of its coordinates from


class ScoreEstimator(nn.Module, ABC):
    """Base of the estimators that train a network f on samples alone; a subclass says by which loss.

    Args:
        dim: D, at least 1.
        context_dim: C; 0 for a distribution without a context.
        sigma_unit: see :class:`.body.ScoreBody`; for subclasses.
        anchors: M, points of each distribution that the network is shown beside the context, see :meth:`frame`.
        options: those of :class:`.settings.NetworkSettings`, which explains them, by name.

    The loss gives no gradient to the samples. Samples are float32 or float64, whatever the network is in; results have the type of x.
    Where moments of the samples are remembered (buffers), the loss updates them in training mode only.
    Cost: the loss is linear in the number of samples, in time and memory; no two samples ever meet.

    Raises:
        ValueError: for a choice or a range that is not met; by the methods, for shapes that do not fit together.
    """

    settings: ClassVar[type[NetworkSettings]] = NetworkSettings
    fixed: ClassVar[frozenset[str]] = frozenset()  # options that a subclass decides itself
    origin: Tensor

    def __init_subclass__(cls) -> None:
        """Shows ``help`` and editors the options under their names."""
        own = [each for each in inspect.signature(cls.__init__).parameters.values() if each.kind is not each.VAR_KEYWORD][1:]
        named = cls.fixed | {each.name for each in own}
        if "anchors" not in named:
            own.append(inspect.Parameter("anchors", inspect.Parameter.KEYWORD_ONLY, default=0, annotation=int))
        options = [
            inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
            for each in fields(cls.settings)
            if each.name not in named
        ]
        cls.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]

    def __init__(
        self, dim: int, context_dim: int = 0, *, sigma_unit: float | None = None, anchors: int = 0, **options: Unpack[NetworkOptions]
    ) -> None:
        super().__init__()
        _Sizes(dim=dim, context_dim=context_dim)
        chosen = NetworkSettings(**options)
        self.dim, self.context_dim, self.form, self.scale = dim, context_dim, chosen.form, chosen.scale
        self.standardisation = _coordinates(chosen.standardisation, context_dim)
        sizes = {name: getattr(chosen, name) for name in ("layers", "context_layers", "input_layers", "width", "activation")}
        if anchors and not context_dim:
            raise ValueError(f"anchors must be 0 without a context, which they are shown beside, got {anchors}.")
        self.anchors = anchors
        body, width = ScoreBody(dim, context_dim + anchors * dim, sigma_unit=sigma_unit, **sizes), chosen.width
        network = PotentialNet(body, width) if chosen.form == "gradient" else ResidualNet(body, width, dim)
        residual = self.standardisation == "amortised" if chosen.gaussian_residual is None else chosen.gaussian_residual
        # May be replaced: (x, context, sigma) -> f.
        self.network: Any = GaussianResidual(network, chosen.student_dof) if residual else network
        self.whitener = (
            Whitener(dim, context_dim, width=chosen.whitener_width or 2 * width) if self.standardisation == "amortised" else None
        )
        calls = _CALLS_UNDER_WHITENER if self.whitener else _CALLS
        self.moments = Moments(dim, calls) if self.whitener or not context_dim else None
        self.register_buffer("origin", torch.tensor(_UNKNOWN, dtype=torch.int8))  # of the coordinates in the last loss
        self._origin: int | None = None  # the same; None after loading, for a GPU waits for a look
        self._known_outer: tuple[Tensor, int, torch.dtype, Frame] | None = None

    def loss(
        self,
        samples: Tensor,
        context: Tensor | None = None,
        *,
        centre: Tensor | None = None,
        frame: Frame | None = None,
        normal: Normal | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Scalar loss: the sum of :meth:`losses`, whose arguments are the same.

        Raises:
            ValueError: for samples that are not finite, too large to be squared, or all equal (in a context with more than one), and for
                a context that is not finite; TypeError for samples that are neither float32 nor float64.
        """
        check_values(self._checked(samples, "samples", context), context)
        parts = self.losses(samples, context, centre=centre, frame=frame, normal=normal, generator=generator)
        return torch.stack(list(parts.values())).sum()

    def losses(
        self,
        samples: Tensor,
        context: Tensor | None = None,
        *,
        centre: Tensor | None = None,
        frame: Frame | None = None,
        anchors: Tensor | None = None,
        normal: Normal | None = None,
        generator: torch.Generator | None = None,
        average: Average | None = None,
    ) -> dict[str, Tensor]:
        """``score``: the loss of the score network; where there is a whitening network, ``whitening``: its loss. Scalars.

        Args:
            samples: (B, K, D), or (N, D) without a context.
            context: (B, C).
            centre: (B, D) or, for one context, (D,): the point that becomes the origin, b(c) = g(0, c) of a sampler that knows it. None:
                the mean, of the samples or as learned. :meth:`score` then wants the centre, too.
            frame: coordinates to train in, of :meth:`frame`; the estimator then learns none of its own from these samples.
            anchors: as in :meth:`frame`, for an estimator with anchors and no frame.
            normal: ``normal(*shape)`` supplies the noise; ``generator`` draws it otherwise (None: torch's own).
            average: replaces moments of the samples, in place, by their means over learners.

        Samples that are not finite give a loss that is not: no look at them, which a GPU would have to wait for.
        """
        x, middle = self._checked(samples.detach(), "samples", context), self._checked_centre(centre)
        draw = normal or self._normal(generator, x.device)
        if frame is not None:
            self._note(_FRAME)
            known = self._belonging(frame, x, context, centre)
            return {"score": self._standard_loss(x, self._shown(context, known), known, draw)}
        coordinates, whitening = self.learn_coordinates(x, context, centre=middle, anchors=anchors, average=average)
        score = {"score": self._standard_loss(x, self._shown(context, coordinates), coordinates, draw)}
        return score if whitening is None else score | {"whitening": whitening}

    def learn_coordinates(
        self,
        samples: Tensor,
        context: Tensor | None = None,
        *,
        centre: Tensor | None = None,
        anchors: Tensor | None = None,
        average: Average | None = None,
    ) -> tuple[Frame, Tensor | None]:
        """The first half of :meth:`losses`, with the same arguments: coordinates of the samples, and the loss of the whitening network."""
        x, middle = self._checked(samples.detach(), "samples", context), self._checked_centre(centre)
        self._note(_MEAN if centre is None else _CENTRE)
        self._remember(x, middle, average)
        if self.whitener is None:
            frame = self._sample_frame(x, middle) if self.context_dim else self._moments_frame(middle, x.dtype)
            return replace(frame, anchors=anchors), None
        whitening = self._whitening(context, middle, x.dtype)
        return replace(whitening.frame(), anchors=anchors), whitening.negative_log_likelihood(x)

    def gradients(
        self, samples: Tensor, context: Tensor | None, frame: Frame, *, parts: int, normal: Normal
    ) -> Iterator[tuple[Tensor, Found]]:
        """The second half, in so many parts: the loss of the score network on a share of the contexts, and its gradient in each parameter.

        Each part is worked out when it is asked for, so that a step can be made along the one before. A share is every so manyth context:
        of a mini-batch that is split over learners, the shares of its pieces make up that of the whole.
        """
        parameters = list(self.network.parameters())
        for part in range(parts):
            share = slice(part, None, parts)
            own = frame.of(share)
            shown = self._shown(None if context is None else context[share], own)
            loss = self._standard_loss(samples[share].detach(), shown, own, normal)
            found = zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True)
            yield loss.detach(), [(parameter, gradient) for parameter, gradient in found if gradient is not None]

    def score(self, x: Tensor, context: Tensor | None = None, *, centre: Tensor | None = None, frame: Frame | None = None) -> Tensor:
        """Estimate of grad_x log p(x | context), the shape of x, in 1 / units of x.

        Args:
            x: (B, K, D), or (N, D) without a context: any points, samples or not.
            context: (B, C).
            centre: as in :meth:`losses`, and given if and only if it was given there.
            frame: other coordinates than the remembered ones, from :meth:`frame` for these contexts. ``per_context`` needs one.

        Raises:
            ValueError: for a frame of other contexts, or a centre or a frame that the last loss had and this call lacks.
        """
        points = self._checked(x, "x", context)
        coordinates = self._coordinates_at(points, context, centre, frame)
        field = self._standard_score(self._standard(coordinates, points), self._shown(context, coordinates))
        return coordinates.score(field.to(x.dtype)).view(x.shape)

    def log_density(self, x: Tensor, context: Tensor | None = None, *, centre: Tensor | None = None, frame: Frame | None = None) -> Tensor:
        """log p(x | context) up to the log Z of the context, x.shape[:-1], in nats. Gradient form only. Arguments as of :meth:`score`."""
        points = self._checked(x, "x", context)
        coordinates = self._coordinates_at(points, context, centre, frame)
        potential = self._potential(self._standard(coordinates, points), self._shown(context, coordinates))
        return coordinates.log_density(potential.to(x.dtype)).view(x.shape[:-1])

    def frame(
        self,
        samples: Tensor | None = None,
        *,
        context: Tensor | None = None,
        centre: Tensor | None = None,
        anchors: Tensor | None = None,
    ) -> Frame:
        """Coordinates to score or train in other than those that the estimator would take itself.

        ``samples`` (B, K, D) or (N, D) of the distributions at hand, whose mean and spread they are; ``amortised`` has those from the
        ``context`` (B, C) alone. None: the coordinates that :meth:`score` takes. ``centre`` as in :meth:`losses`. ``anchors`` (B, M, D):
        where the sampler puts M fixed noises, of an estimator that is shown them.
        """
        middle = self._checked_centre(centre)
        if samples is None:
            self._check_origin(centre, _FRAME)
            return replace(self._remembered(context, centre), anchors=anchors)
        x = self._with_contexts(samples, "samples")
        self._check_centre(x, middle)
        self._check_context(x, context)
        coordinates = self._sample_frame(x, middle) if self.whitener is None else self._whitening(context, middle, x.dtype).frame()
        return replace(coordinates, context=context, anchors=anchors)

    def log_partition(
        self,
        context: Tensor | None = None,
        *,
        samples: int,
        proposal_std: float | None = None,
        contexts: int = 1,
        normal: Normal | None = None,
        generator: torch.Generator | None = None,
    ) -> LogPartition:
        """log Z of each context by importance sampling from a :func:`.partition.proposal` around the centre.

        Subtract it from :meth:`log_density`. The proposal is a Gaussian, or with ``student_dof`` Student's t of as many degrees of freedom,
        rounded down. ``proposal_std`` is its scale, in the sampler's units for ``fixed`` (default exp(-1), the paper's) and in standardised
        ones otherwise (default 1.2, for Student's t 1). ``contexts`` counts the contexts where context is None.
        """
        seen = self._seen_alone(context)
        draws, log_proposal = self._proposal(contexts if context is None else len(context), samples, proposal_std, normal, generator)
        return log_mean_weight(self._potential(draws, seen) - log_proposal)

    def log_prob(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        samples: int,
        proposal_std: float | None = None,
        centre: Tensor | None = None,
        frame: Frame | None = None,
        normal: Normal | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, LogPartition]:
        """:meth:`log_density` less the log Z of :meth:`log_partition`, x.shape[:-1], in nats, and that; in one pass through the network."""
        points = self._checked(x, "x", context)
        coordinates = self._coordinates_at(points, context, centre, frame)
        draws, log_proposal = self._proposal(len(points), samples, proposal_std, normal, generator)
        both = torch.cat([self._standard(coordinates, points), draws], 1)
        at_points, at_draws = self._potential(both, self._shown(context, coordinates)).split((points.shape[1], samples), 1)
        partition = log_mean_weight(at_draws - log_proposal)
        log_prob = coordinates.log_density((at_points - partition.log_z.unsqueeze(1)).to(x.dtype))
        return log_prob.view(x.shape[:-1]), partition

    @abstractmethod
    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        """Scalar loss on samples (B, K, D) in the sampler's coordinates; the context in the network's type."""

    def _standard_score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The score in standardised coordinates at standardised points (B, K, D)."""
        return self.network(x, context)

    def _standard(self, frame: Frame, x: Tensor) -> Tensor:
        """x in the frame, as the network takes it: x keeps its digits until it is near 0."""
        return frame.standardise(x).to(self._parameter.dtype)

    def _potential(self, x: Tensor, context: Tensor | None) -> Tensor:
        if self.form == "residual":
            raise ValueError("a residual-form estimator has no potential, hence no log-density: build it with form='gradient'.")
        return self.network.potential(x, context)

    def _seen_alone(self, context: Tensor | None) -> Tensor | None:
        """The context as the networks take it, where there are no samples that it must go with."""
        if (context is None and self.context_dim) or (context is not None and context.shape[1:] != (self.context_dim,)):
            received = None if context is None else tuple(context.shape)
            raise ValueError(f"context must have shape {('B', self.context_dim) if self.context_dim else None}, got {received}.")
        if self.anchors:
            raise ValueError("log Z of an estimator with anchors depends on them: take log_prob with a frame.")
        return self._seen(context)

    def _proposal(
        self, contexts: int, samples: int, std: float | None, normal: Normal | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        if samples < 1 or (std is not None and std <= 0):
            raise ValueError(f"samples must be at least 1 and proposal_std above 0, got samples={samples} and proposal_std={std}.")
        dof = getattr(self.network, "student_dof", None)
        whole = None if dof is None else max(1, math.floor(dof))
        if self.standardisation == "fixed":
            std = self.scale * (math.exp(-1) if std is None else std)
        else:
            std = (_PROPOSAL_STD if dof is None else 1.0) if std is None else std
        draw = normal or self._normal(generator, self._parameter.device)
        return proposal(draw(contexts, samples, self.dim + (whole or 0)).to(self._parameter.dtype), std, dof=whole)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._origin = None

    @property
    def _parameter(self) -> Tensor:
        """One of them, for the type and device of all; of a network that has none, one of what torch makes by default."""
        return next(self.network.parameters(), torch.empty(0, device=self.origin.device))

    def _normal(self, generator: torch.Generator | None, device: torch.device) -> Normal:
        dtype = self._parameter.dtype
        return lambda *shape: torch.randn(shape, device=device, dtype=dtype, generator=generator)

    # Coordinates.

    def _note(self, origin: int) -> None:
        if self.training and self._origin != origin:
            self._origin = origin
            self.origin.fill_(origin)

    def _remember(self, x: Tensor, centre: Tensor | None, average: Average | None) -> None:
        if self.training and self.moments is not None:
            away = x if centre is None or self.whitener is None else x - centre.unsqueeze(1)
            self.moments.update(away.flatten(0, 1), average or alone)

    def _coordinates_at(self, x: Tensor, context: Tensor | None, centre: Tensor | None, frame: Frame | None) -> Frame:
        if frame is not None:
            return self._belonging(frame, x, context, centre)
        self._check_centre(x, self._checked_centre(centre))
        self._check_origin(centre)
        return self._remembered(context, centre, x.dtype)

    def _remembered(self, context: Tensor | None, centre: Tensor | None, dtype: torch.dtype | None = None) -> Frame:
        """The coordinates that need no samples."""
        middle, dtype = self._checked_centre(centre), dtype or self._parameter.dtype
        if self.whitener is not None:
            if context is None:
                raise ValueError(f"context must have shape {('B', self.context_dim)}, got None.")
            return replace(self._whitening(context, middle, dtype).frame(), context=context)
        if not self.context_dim:
            return self._moments_frame(middle, dtype)
        if self.standardisation == "fixed" and middle is not None:
            return Frame(middle.unsqueeze(1), torch.full_like(middle[:, :1], 1 / self.scale).unsqueeze(1), None, context=context)
        needed = "a centre for every context: pass centre=, or " if self.standardisation == "fixed" else "samples of every context: pass "
        raise ValueError(
            f"standardisation {self.standardisation!r} needs {needed}frame=estimator.frame(samples, context=context) with samples "
            f"(contexts, samples per context, {self.dim}). An estimator with standardisation='amortised' needs neither."
        )

    def _whitening(self, context: Tensor | None, centre: Tensor | None, dtype: torch.dtype) -> Whitening:
        assert self.whitener is not None and self.moments is not None and context is not None
        seen = self._seen(context)
        assert seen is not None
        return self.whitener(seen, self._outer(centre, dtype), centred=centre is not None)

    def _outer(self, centre: Tensor | None, dtype: torch.dtype) -> Frame:
        """Coordinates that are white for all contexts together; around the mean they are made once for every state of the moments."""
        assert self.moments is not None
        mean, covariance = self.moments.mean, self.moments.covariance
        if centre is not None:
            return frame_of_moments(centre.unsqueeze(1), (covariance + torch.outer(mean, mean)).unsqueeze(0), dtype)
        known = self._known_outer
        if known is None or known[0] is not mean or known[1:3] != (mean._version, dtype):
            known = self._known_outer = mean, mean._version, dtype, frame_of_moments(mean.view(1, 1, -1), covariance.unsqueeze(0), dtype)
        return known[3]

    def _moments_frame(self, centre: Tensor | None, dtype: torch.dtype) -> Frame:
        """Of a distribution without a context."""
        assert self.moments is not None
        middle = self.moments.mean.view(1, 1, -1) if centre is None else centre.unsqueeze(1)
        if self.standardisation == "samples":
            return frame_of_moments(middle, self.moments.covariance.unsqueeze(0), dtype)
        spread = self.moments.covariance.diagonal().sqrt().mean().to(dtype).view(1, 1, 1)
        return scaled_frame(middle.to(dtype), spread, self._fixed_scale)

    def _sample_frame(self, x: Tensor, centre: Tensor | None) -> Frame:
        """Of the samples alone."""
        if self.standardisation == "samples":
            own = whitening_frame(x)
            return own if centre is None else replace(own, centre=centre.unsqueeze(1))
        return frame_of(x, scale=self._fixed_scale, centre=centre)

    @property
    def _fixed_scale(self) -> float | None:
        return self.scale if self.standardisation == "fixed" else None

    # Checks.

    def _checked(self, x: Tensor, name: str, context: Tensor | None) -> Tensor:
        """x as (B, K, D), once it and the context are what they must be."""
        points = self._with_contexts(x, name)
        self._check_context(points, context)
        return points

    def _with_contexts(self, x: Tensor, name: str) -> Tensor:
        points = x.unsqueeze(0) if x.dim() == 2 and self.context_dim == 0 else x
        if points.dim() != 3 or points.shape[-1] != self.dim:
            expected = f"(N, {self.dim}) or (B, K, {self.dim})" if self.context_dim == 0 else f"(contexts, samples per context, {self.dim})"
            raise ValueError(f"{name} must have shape {expected}, got {tuple(x.shape)}.")
        check_form(name, points, self._parameter.device)
        return points

    def _check_context(self, x: Tensor, context: Tensor | None) -> None:
        expected = (len(x), self.context_dim) if self.context_dim else None
        received = None if context is None else tuple(context.shape)
        if received != expected:
            raise ValueError(f"context must have shape {expected} for x of shape {tuple(x.shape)}, got {received}.")
        if context is not None:
            check_form("context", context, self._parameter.device)

    def _seen(self, context: Tensor | None) -> Tensor | None:
        """The context as the networks take it."""
        return None if context is None else context.to(self._parameter.dtype)

    def _shown(self, context: Tensor | None, frame: Frame) -> Tensor | None:
        """What the score network is shown beside the samples: the context, and the anchors in these coordinates."""
        seen = self._seen(context)
        if not self.anchors:
            return seen
        if frame.anchors is None or seen is None or frame.anchors.shape != (len(seen), self.anchors, self.dim):
            received = None if frame.anchors is None else tuple(frame.anchors.shape)
            raise ValueError(f"anchors must have shape (contexts, {self.anchors}, {self.dim}), got {received}: make a frame with anchors=.")
        return torch.cat([seen, self._standard(frame, frame.anchors).clamp(-_FAR, _FAR).flatten(1)], 1)

    def _checked_centre(self, centre: Tensor | None) -> Tensor | None:
        """(B, D) of (B, D) or, for one context, (D,)."""
        if centre is None:
            return None
        middle = centre.detach() if centre.dim() == 2 else centre.detach().unsqueeze(0)
        if middle.shape[1:] != (self.dim,):
            raise ValueError(f"centre must have shape (contexts, {self.dim}), got {tuple(centre.shape)}.")
        check_form("centre", middle, self._parameter.device)
        return middle

    def _check_centre(self, x: Tensor, centre: Tensor | None) -> None:
        if centre is not None and len(centre) != len(x):
            raise ValueError(f"centre must have shape {(len(x), self.dim)}, one point per context, got {tuple(centre.shape)}.")

    def _check_origin(self, centre: Tensor | None, *others: int) -> None:
        """A network that was trained around one origin knows nothing of others."""
        if self._origin is None:
            self._origin = int(self.origin)
        if self._origin not in (_UNKNOWN, _MEAN if centre is None else _CENTRE, *others):
            name = "frame" if self._origin == _FRAME else "centre"
            was, now = ("not given", "given") if self._origin == _MEAN else ("given", "missing")
            raise ValueError(
                f"{name} was {was} to the loss and is {now} here: pass it to both, or to neither, or make a frame for this call."
            )

    def _belonging(self, frame: Frame, x: Tensor, context: Tensor | None, centre: Tensor | None) -> Frame:
        """The frame, once it is known to be one of these contexts."""
        if centre is not None:
            raise ValueError("centre and frame exclude each other: pass centre to frame().")
        if frame.centre.shape[0] != len(x) or frame.centre.shape[-1] != self.dim:
            raise ValueError(
                f"frame must be one of the {len(x)} contexts of x of shape {tuple(x.shape)}, got coordinates of {frame.centre.shape[0]} in "
                f"{frame.centre.shape[-1]} dimensions: make it by frame(samples, context=context) with samples of the same contexts."
            )
        mine, its = context, frame.context
        if mine is not None and its is not None and mine is not its and not torch.equal(mine, its):
            raise ValueError("frame belongs to other contexts: make it by frame(samples, context=context) with the same context.")
        return frame


@dataclass(frozen=True, kw_only=True)
class _Sizes(Settings):
    dim: int = setting(at_least=1)
    context_dim: int = setting(at_least=0)


def _coordinates(standardisation: Standardisation | None, context_dim: int) -> Standardisation:
    """The default, and what there is of ``amortised`` without anything to amortise over."""
    if standardisation == "samples" and context_dim:
        raise ValueError("standardisation 'samples' is for one distribution without a context: with context_dim above 0 use 'amortised'.")
    return "samples" if standardisation in (None, "amortised") and not context_dim else standardisation or "amortised"
