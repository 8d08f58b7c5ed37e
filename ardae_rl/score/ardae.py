"""Amortised residual denoising autoencoder: the score of a law we can sample from but not evaluate.

Notation: B contexts, K samples per context, D dimension of a sample, C of a context; x (B, K, D), context (B, C). Without a context,
x is (N, D) and counts as one context of N samples. u ~ N(0, I), sigma ~ N(0, delta^2): symmetric, so that sigma = 0 is interpolated.
Identity: the minimiser of E||u + sigma f(x + sigma u; sigma)||^2 is the score of p convolved with N(0, sigma^2 I); at 0, of p.
Not here: optimisers, samplers, log Z (``partition.py``).
Reference: [Lim2020] arXiv:2006.05164, section 4; standardisation ``per_context`` is this project's.
"""

import contextlib
import logging
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ardae_rl.score.networks import PotentialNet, ResidualNet, ScoreBody
from ardae_rl.score.partition import LogPartition, log_partition
from ardae_rl.score.standardise import Frame, Standardisation, frame_of

logger = logging.getLogger(__name__)
Normal = Callable[..., Tensor]  # normal(B, K, D) -> standard normal tensor of that shape


def denoising_loss(network: nn.Module, x: Tensor, context: Tensor | None, sigma: Tensor, u: Tensor) -> Tensor:
    """||u + sigma f(x + sigma u; sigma)||^2 per sample, (B, K). No division by sigma: sigma = 0 is legal (and carries no signal)."""
    residual = u + sigma * network(x + sigma * u, context, sigma)
    return residual.square().sum(-1)


class ARDAE(nn.Module):
    """A score estimator trained on samples alone.

    ``form``: ``gradient`` (f is the gradient of a scalar potential: also gives a log-density) or ``residual`` (f is the network).
    ``standardisation``: ``fixed`` multiplies by ``scale``; ``per_context`` divides by the sample standard deviation of the context.
    ``delta_scale``: standard deviation of sigma, in sample standard deviations of the context (``adaptive_delta``) or in standardised
    units. ``sigmas_per_sample`` noise draws per sample. ``autocast`` runs the network in bfloat16 inside the loss, where
    nearly all the work is; scores and log-densities, few by comparison, are always computed in full precision.

    Every method takes and returns quantities in the sampler's own coordinates. The loss gives no gradient to the samples.

    >>> _ = torch.manual_seed(0)
    >>> estimator = ARDAE(2)
    >>> x = torch.randn(64, 2)
    >>> estimator.score(x, frame=estimator.frame(x)).shape
    torch.Size([64, 2])
    """

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
        standardisation: Standardisation = "per_context",
        scale: float = 10_000.0,
        delta_scale: float = 0.1,
        adaptive_delta: bool = True,
        sigmas_per_sample: int = 1,
        autocast: bool = False,
    ) -> None:
        super().__init__()
        if dim < 1 or context_dim < 0:
            raise ValueError(f"dim must be at least 1 and context_dim at least 0, got dim={dim} and context_dim={context_dim}.")
        if standardisation not in ("fixed", "per_context"):
            raise ValueError(f"standardisation must be 'fixed' or 'per_context', got {standardisation!r}.")
        if form not in ("gradient", "residual"):
            raise ValueError(f"form must be 'gradient' or 'residual', got {form!r}.")
        for name, value in (("layers", layers), ("width", width), ("scale", scale), ("delta_scale", delta_scale)):
            if value <= 0:
                raise ValueError(f"{name} must be greater than 0, got {value}.")
        if sigmas_per_sample < 1:
            raise ValueError(f"sigmas_per_sample must be at least 1, got {sigmas_per_sample}.")
        self.dim, self.context_dim, self.form = dim, context_dim, form
        self.standardisation, self.scale = standardisation, scale
        self.delta_scale, self.adaptive_delta, self.sigmas_per_sample = delta_scale, adaptive_delta, sigmas_per_sample
        self.autocast = autocast
        body = ScoreBody(
            dim, context_dim, layers=layers, context_layers=context_layers, input_layers=input_layers, width=width, activation=activation
        )
        self.network = PotentialNet(body, width) if form == "gradient" else ResidualNet(body, width, dim)
        self._loss: Callable[..., Tensor] = denoising_loss

    def frame(self, samples: Tensor, centre: Tensor | None = None) -> Frame:
        """Standardised coordinates for the law that ``samples`` (B, K, D) or (N, D) come from; ``centre`` (B, D) or (D,); None: mean."""
        x = self._with_contexts(samples, "samples")
        middle = centre if centre is None or centre.dim() == 2 else centre.unsqueeze(0)
        if middle is not None and middle.shape != (len(x), self.dim):
            raise ValueError(f"centre must have shape {(len(x), self.dim)}, one point per context, got {tuple(middle.shape)}.")
        return frame_of(x, standardisation=self.standardisation, scale=self.scale, centre=middle)

    def loss(self, samples: Tensor, context: Tensor | None = None, *, frame: Frame | None = None, normal: Normal | None = None) -> Tensor:
        """Scalar AR-DAE loss. ``frame`` None: that of the samples. ``normal(*shape)`` supplies the noise (default: torch's generator)."""
        x = self._with_contexts(samples.detach(), "samples")
        self._check_context(x, context)
        frame = frame or self.frame(x)
        x = frame.standardise(x).repeat_interleave(self.sigmas_per_sample, 1)
        draw = normal or (lambda *shape: torch.randn(shape, device=x.device, dtype=x.dtype))
        delta = self.delta_scale * (frame.spread if self.adaptive_delta else 1.0)
        sigma, u = delta * draw(*x.shape[:-1], 1), draw(*x.shape)
        with self._precision(x):
            return self._loss(self.network, x, context, sigma, u).mean()

    def score(self, x: Tensor, context: Tensor | None = None, *, frame: Frame | None = None) -> Tensor:
        """Estimate of grad_x log p(x | context) at sigma = 0, the shape of x."""
        points = self._with_contexts(x, "x")
        self._check_context(points, context)
        frame = self._known_frame(points, frame)
        return frame.score(self.network(frame.standardise(points), context)).view(x.shape)

    def log_density(self, x: Tensor, context: Tensor | None = None, *, frame: Frame | None = None) -> Tensor:
        """log p(x | context) up to the log Z of the context, x.shape[:-1], in nats. Gradient form only."""
        points = self._with_contexts(x, "x")
        self._check_context(points, context)
        frame = self._known_frame(points, frame)
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

        Subtract it from :meth:`log_density`. ``proposal_std`` is in sample standard deviations for ``per_context`` (default 1.2) and in
        the sampler's units for ``fixed`` (default exp(-1), the paper's). ``contexts`` counts the contexts where context is None.
        """
        if samples < 1 or (proposal_std is not None and proposal_std <= 0):
            raise ValueError(f"samples must be at least 1 and proposal_std above 0, got samples={samples} and proposal_std={proposal_std}.")
        if (context is None and self.context_dim) or (context is not None and context.shape[1:] != (self.context_dim,)):
            received = None if context is None else tuple(context.shape)
            raise ValueError(f"context must have shape {('B', self.context_dim) if self.context_dim else None}, got {received}.")
        reference = self.network.out.weight
        batch = contexts if context is None else len(context)
        draw = normal or (lambda *shape: torch.randn(shape, device=reference.device, dtype=reference.dtype))
        if self.standardisation == "fixed":
            std = self.scale * (math.exp(-1) if proposal_std is None else proposal_std)
        else:
            std = 1.2 if proposal_std is None else proposal_std
        return log_partition(lambda a: self._potential(a, context), draw(batch, samples, self.dim), std)

    def compile(self) -> None:  # type: ignore[override]
        """Run the loss through ``torch.compile``; where that cannot work, warn once and stay eager."""
        self._loss = _compiled_with_fallback(denoising_loss)

    def _potential(self, x: Tensor, context: Tensor | None) -> Tensor:
        if not isinstance(self.network, PotentialNet):
            raise ValueError("a residual-form AR-DAE has no potential, hence no log-density: build it with form='gradient'.")
        return self.network.potential(x, context)

    def _precision(self, x: Tensor) -> contextlib.AbstractContextManager:
        return torch.autocast(x.device.type, torch.bfloat16) if self.autocast else contextlib.nullcontext()

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

    def _known_frame(self, x: Tensor, frame: Frame | None) -> Frame:
        if frame is not None:
            return frame
        raise ValueError(
            "the score lives in the coordinates of the sampler's law: pass frame=estimator.frame(samples) with samples of shape "
            f"(contexts, samples per context, {self.dim}) drawn for the same contexts."
        )


def _compiled_with_fallback(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.compile, falling back to eager with a warning at the first call that fails to compile (no compiler, unsupported platform)."""
    compiled, state = torch.compile(function), {"eager": False}

    def call(*args: object) -> Tensor:
        if not state["eager"]:
            try:
                return compiled(*args)
            except Exception as error:  # torch.compile raises many unrelated types; an error of the function itself recurs eagerly below
                logger.warning("torch.compile does not work here (%s: %s); going on without it.", type(error).__name__, str(error)[:200])
                state["eager"] = True
        return function(*args)

    return call
