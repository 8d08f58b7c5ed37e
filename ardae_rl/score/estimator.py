"""What all trained score estimators share: coordinates, network, shapes, log-density and log Z.

Notation: B contexts, K samples per context, D dimension of a sample, C of a context; x (B, K, D), context (B, C). Without a context,
x is (N, D) and counts as one context of N samples. x~ are standardised coordinates (``standardise.py``).
Contract: ``loss(samples, context)`` to be minimised, ``frame(samples)`` for the coordinates of a law, ``score(x, context, frame=)``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ardae_rl.score.networks import GaussianResidual, PotentialNet, ResidualNet, ScoreBody
from ardae_rl.score.partition import LogPartition, log_partition
from ardae_rl.score.standardise import Frame, Standardisation, frame_of
from ardae_rl.score.whitening import Whitener

Normal = Callable[..., Tensor]  # normal(B, K, D) -> standard normal tensor of that shape
_PROPOSAL_STD = 1.2  # in standardised coordinates: a little wider than the law itself


class ScoreEstimator(nn.Module, ABC):
    """Base of the estimators that train a network f on samples alone; a subclass says by which loss.

    ``form``: ``gradient`` (f is the gradient of a scalar potential: also gives a log-density) or ``residual`` (the network's outputs).
    ``layers`` hidden layers where context and sample meet, ``context_layers`` / ``input_layers`` before that, all of ``width``.
    ``standardisation``: ``fixed`` multiplies by ``scale`` (the paper's s); ``per_context`` divides by the sample standard deviation of the
    context; ``amortised`` whitens with a mean and covariance regressed on the context by a network of ``whitener_width``, trained along:
    statistics of a few samples are noisy, and their noise ends up in the score. None: ``amortised`` with a context, else ``per_context``.
    ``gaussian_residual``: f is the score of a standard Gaussian plus the network, which then starts at zero. None: with ``amortised``,
    where the Gaussian has the right covariance; see docs/method.md. ``student_dof``: with a Gaussian residual, Student's t of so many
    degrees of freedom in its place, for samplers free to grow heavy tails. ``sigma_unit``: see :class:`.networks.ScoreBody`.

    Every method takes and returns quantities in the sampler's own coordinates. The loss gives no gradient to the samples.
    """

    _apart = True  # whether a sample is trained on in coordinates made from the others of its context

    def __init__(
        self,
        dim: int,
        context_dim: int = 0,
        *,
        form: Literal["gradient", "residual"] = "gradient",
        layers: int = 3,
        context_layers: int = 1,
        input_layers: int = 0,
        width: int = 256,
        activation: str = "elu",
        standardisation: Standardisation | None = None,
        scale: float = 10_000.0,
        gaussian_residual: bool | None = None,
        student_dof: float | None = None,
        whitener_width: int = 512,
        sigma_unit: float | None = None,
    ) -> None:
        super().__init__()
        if dim < 1 or context_dim < 0:
            raise ValueError(f"dim must be at least 1 and context_dim at least 0, got dim={dim} and context_dim={context_dim}.")
        standardisation = standardisation or ("amortised" if context_dim else "per_context")
        if standardisation not in get_args(Standardisation):
            raise ValueError(f"standardisation must be one of {', '.join(get_args(Standardisation))}, got {standardisation!r}.")
        if form not in ("gradient", "residual"):
            raise ValueError(f"form must be 'gradient' or 'residual', got {form!r}.")
        for name, value in (("layers", layers), ("width", width), ("scale", scale), ("whitener_width", whitener_width)):
            require_positive(name, value)
        if student_dof is not None:
            require_positive("student_dof", student_dof)
        if gaussian_residual and standardisation == "fixed":
            raise ValueError(
                "gaussian_residual needs standardised samples of unit scale: use standardisation 'per_context' or 'amortised'."
            )
        if gaussian_residual is None:
            gaussian_residual = standardisation == "amortised"
        self.dim, self.context_dim, self.form = dim, context_dim, form
        self.standardisation: Standardisation = standardisation
        self.scale = scale
        body = ScoreBody(
            dim,
            context_dim,
            layers=layers,
            context_layers=context_layers,
            input_layers=input_layers,
            width=width,
            activation=activation,
            sigma_unit=sigma_unit,
        )
        network = PotentialNet(body, width) if form == "gradient" else ResidualNet(body, width, dim)
        # May be replaced: (x, context, sigma) -> f.
        self.network: Any = GaussianResidual(network, student_dof) if gaussian_residual else network
        self.whitener = Whitener(dim, context_dim, width=whitener_width) if standardisation == "amortised" else None

    def frame(self, samples: Tensor | None, centre: Tensor | None = None, *, context: Tensor | None = None) -> Frame:
        """Standardised coordinates for the law that ``samples`` (B, K, D) or (N, D) come from.

        ``centre`` (B, D) or (D,) maps to 0; None: the mean, of the samples or as learned. ``context`` is read by ``amortised`` only,
        which needs no more than one sample of each context, and corrects its scale by what more of them say. Samples None: ``fixed``
        coordinates around a ``centre``, for scores and densities; the loss, whose noise may follow the samples' spread, needs more.
        """
        if samples is None:
            return self._fixed_frame(centre)
        x = self._with_contexts(samples, "samples")
        centre = self._checked_centre(x, centre)
        if self.whitener is not None:
            self._check_context(x, context)
            return self.whitener(context, centre, len(x)).frame(x)
        return self._sample_frame(x, centre)

    def loss(
        self,
        samples: Tensor,
        context: Tensor | None = None,
        *,
        centre: Tensor | None = None,
        frame: Frame | None = None,
        normal: Normal | None = None,
    ) -> Tensor:
        """Scalar loss: the sum of :meth:`losses`, whose arguments are the same. Raises ValueError for samples that are not finite."""
        if not samples.isfinite().all():
            bad = int((~samples.isfinite()).sum())
            raise ValueError(
                f"samples must be finite, got {bad} NaN or infinite of {samples.numel()} numbers: look at the sampler's inputs."
            )
        parts = self.losses(samples, context, centre=centre, frame=frame, normal=normal)
        return torch.stack(list(parts.values())).sum()

    def losses(
        self,
        samples: Tensor,
        context: Tensor | None = None,
        *,
        centre: Tensor | None = None,
        frame: Frame | None = None,
        normal: Normal | None = None,
    ) -> dict[str, Tensor]:
        """``score``: the loss of the score network; where there is a whitening network, its ``whitening``, and where there are several
        samples of a context that of the ``misfit`` it predicts of itself, with that of the samples' tails. Scalars.

        ``centre`` as in :meth:`frame`; ``frame`` replaces the coordinates taken from these samples by others, from more samples, say.
        ``normal(*shape)`` supplies the noise (default: torch's generator). Samples that are not finite give a loss that is not: no
        look at them, which a GPU would have to wait for.
        """
        x = self._with_contexts(samples.detach(), "samples")
        self._check_context(x, context)
        centre = self._checked_centre(x, centre)
        draw = normal or (lambda *shape: torch.randn(shape, device=x.device, dtype=x.dtype))
        if self.whitener is None:
            return {"score": self._standard_loss(x, context, frame or self._sample_frame(x, centre), draw)}
        whitening = self.whitener(context, centre, len(x))
        score_loss = self._standard_loss(x, context, frame or whitening.frame(x, apart=self._apart), draw)
        parts = {"score": score_loss, "whitening": whitening.negative_log_likelihood(x)}
        return parts | ({"misfit": whitening.misfit_negative_log_likelihood(x) + whitening.tails_loss(x)} if x.shape[1] > 1 else {})

    def score(self, x: Tensor, context: Tensor | None = None, *, frame: Frame | None = None) -> Tensor:
        """Estimate of grad_x log p(x | context), the shape of x."""
        points = self._with_contexts(x, "x")
        self._check_context(points, context)
        frame = self._known_frame(frame)
        return frame.score(self._standard_score(frame.standardise(points), context)).view(x.shape)

    def log_density(self, x: Tensor, context: Tensor | None = None, *, frame: Frame | None = None) -> Tensor:
        """log p(x | context) up to the log Z of the context, x.shape[:-1], in nats. Gradient form only."""
        points = self._with_contexts(x, "x")
        self._check_context(points, context)
        frame = self._known_frame(frame)
        return frame.log_density(self._potential(frame.standardise(points), context)).view(x.shape[:-1])

    def log_partition(
        self,
        context: Tensor | None = None,
        *,
        samples: int,
        proposal_std: float | None = None,
        contexts: int = 1,
        normal: Normal | None = None,
    ) -> LogPartition:
        """log Z of each context by importance sampling from N(0, proposal_std^2 I) around the centre.

        Subtract it from :meth:`log_density`. ``proposal_std`` is in the sampler's units for ``fixed`` (default exp(-1), the paper's) and in
        standardised ones otherwise (default 1.2). ``contexts`` counts the contexts where context is None.
        """
        if samples < 1 or (proposal_std is not None and proposal_std <= 0):
            raise ValueError(f"samples must be at least 1 and proposal_std above 0, got samples={samples} and proposal_std={proposal_std}.")
        if (context is None and self.context_dim) or (context is not None and context.shape[1:] != (self.context_dim,)):
            received = None if context is None else tuple(context.shape)
            raise ValueError(f"context must have shape {('B', self.context_dim) if self.context_dim else None}, got {received}.")
        reference = next(self.network.parameters())
        batch = contexts if context is None else len(context)
        draw = normal or (lambda *shape: torch.randn(shape, device=reference.device, dtype=reference.dtype))
        if self.standardisation == "fixed":
            std = self.scale * (math.exp(-1) if proposal_std is None else proposal_std)
        else:
            std = _PROPOSAL_STD if proposal_std is None else proposal_std
        return log_partition(lambda a: self._potential(a, context), draw(batch, samples, self.dim), std)

    @abstractmethod
    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        """Scalar loss on samples (B, K, D) in the sampler's coordinates."""

    def _standard_score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The score in standardised coordinates at standardised points (B, K, D)."""
        return self.network(x, context)

    def _potential(self, x: Tensor, context: Tensor | None) -> Tensor:
        if self.form == "residual":
            raise ValueError("a residual-form estimator has no potential, hence no log-density: build it with form='gradient'.")
        return self.network.potential(x, context)

    def _sample_frame(self, x: Tensor, centre: Tensor | None) -> Frame:
        assert self.standardisation != "amortised"
        return frame_of(x, standardisation=self.standardisation, scale=self.scale, centre=centre)

    def _fixed_frame(self, centre: Tensor | None) -> Frame:
        if self.standardisation != "fixed" or centre is None:
            given = "none" if centre is None else f"one of shape {tuple(centre.shape)}"
            raise ValueError(
                f"a frame without samples needs standardisation 'fixed' and a centre, got {self.standardisation!r} and {given}: "
                "pass samples."
            )
        middle = self._detached_centre(centre)
        return Frame(middle.unsqueeze(1), torch.full_like(middle[:, :1], 1 / self.scale).unsqueeze(1), None)

    def _with_contexts(self, x: Tensor, name: str) -> Tensor:
        if x.dim() == 2 and self.context_dim == 0:
            x = x.unsqueeze(0)
        if x.dim() != 3 or x.shape[-1] != self.dim:
            expected = f"(N, {self.dim}) or (B, K, {self.dim})" if self.context_dim == 0 else f"(contexts, samples per context, {self.dim})"
            raise ValueError(f"{name} must have shape {expected}, got {tuple(x.shape)}.")
        return x

    def _check_context(self, x: Tensor, context: Tensor | None) -> None:
        expected = (len(x), self.context_dim) if self.context_dim else None
        received = None if context is None else tuple(context.shape)
        if received != expected:
            raise ValueError(f"context must have shape {expected} for x of shape {tuple(x.shape)}, got {received}.")

    def _checked_centre(self, x: Tensor, centre: Tensor | None) -> Tensor | None:
        if centre is None:
            return None
        middle = self._detached_centre(centre)
        if len(middle) != len(x):
            raise ValueError(f"centre must have shape {(len(x), self.dim)}, one point per context, got {tuple(middle.shape)}.")
        return middle

    def _detached_centre(self, centre: Tensor) -> Tensor:
        """(B, D) of (B, D) or, for one context, (D,)."""
        middle = centre.detach() if centre.dim() == 2 else centre.detach().unsqueeze(0)
        if middle.shape[1:] != (self.dim,):
            raise ValueError(f"centre must have shape (contexts, {self.dim}), got {tuple(centre.shape)}.")
        return middle

    def _known_frame(self, frame: Frame | None) -> Frame:
        if frame is not None:
            return frame
        context = ", context=context" if self.context_dim else ""
        raise ValueError(
            "the score lives in the coordinates of the sampler's law: "
            f"pass frame=estimator.frame(samples{context}) with samples of shape "
            f"(contexts, samples per context, {self.dim}) drawn for the same contexts."
        )


def require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0, got {value}.")
