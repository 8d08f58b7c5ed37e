"""Amortised residual denoising autoencoder: the score of a law we can sample from but not evaluate.

Notation: B contexts, K samples per context, D dimension; u ~ N(0, I), sigma ~ N(0, delta^2): symmetric, so that sigma = 0 is interpolated.
Identity: the minimiser of E||u + sigma f(x + sigma u; sigma)||^2 is the score of p convolved with N(0, sigma^2 I); at 0, of p.
Not here: coordinates and log-densities (``estimator.py``), ``torch.compile`` (``compiled.py``), optimisers, samplers.
Reference: [Lim2020] arXiv:2006.05164, section 4; the standardisations but for ``fixed``, and antithetic noise, are this project's.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from ardae_rl.score.closed_form import Found, denoising_gradients
from ardae_rl.score.compiled import CompiledFunction
from ardae_rl.score.estimator import Normal, ScoreEstimator
from ardae_rl.score.networks import in_closed_form
from ardae_rl.score.settings import ARDAEOptions, ARDAESettings, NetworkSettings
from ardae_rl.score.standardise import Frame


def denoising_loss(network: nn.Module, x: Tensor, context: Tensor | None, sigma: Tensor, u: Tensor) -> Tensor:
    """||u + sigma f(x + sigma u; sigma)||^2 per sample, (B, K). No division by sigma: sigma = 0 is legal (and carries no signal)."""
    residual = u + sigma * network(x + sigma * u, context, sigma)
    return residual.square().sum(-1)


class ARDAE(ScoreEstimator):
    """AR-DAE: one network conditioned on sigma, trained under random sigma, used at sigma = 0.

    Options are those of :class:`.settings.ARDAESettings`. ``delta_scale`` is in sample standard deviations of the context
    (``adaptive_delta``) or in standardised units, which for coordinates that whiten are the same. ``antithetic``: near sigma = 0 the noise
    of the loss's gradient, of order sigma, cancels within a pair of u and -u at the same x and sigma; where draws do not go round, the
    samples that get one are chosen at random. ``squared_sigma``: blurring is diffusion for a time of sigma^2 / 2, so f* is even in sigma
    and near 0 linear in its square; what the network cannot resolve in sigma ends up as bias at 0.

    >>> _ = torch.manual_seed(0)
    >>> estimator = ARDAE(2)
    >>> loss, score = estimator.loss(torch.randn(64, 2)), estimator.score(torch.randn(5, 2))
    >>> score.shape
    torch.Size([5, 2])
    """

    settings = ARDAESettings

    def __init__(self, dim: int, context_dim: int = 0, *, anchors: int = 0, **options: Unpack[ARDAEOptions]) -> None:
        chosen = ARDAESettings(**options)
        of_network: Any = {each.name: getattr(chosen, each.name) for each in fields(NetworkSettings)}
        squared = chosen.standardisation != "fixed" if chosen.squared_sigma is None else chosen.squared_sigma
        super().__init__(dim, context_dim, sigma_unit=chosen.delta_scale if squared else None, anchors=anchors, **of_network)
        self.delta_scale, self.adaptive_delta, self.sigmas_per_sample = chosen.delta_scale, chosen.adaptive_delta, chosen.sigmas_per_sample
        self.antithetic, self.autocast = chosen.antithetic, chosen.autocast
        self._loss: Callable[..., Tensor] = denoising_loss
        if chosen.compile:
            self.compile()

    @classmethod
    def paper(cls, dim: int, context_dim: int = 0, **options: Unpack[ARDAEOptions]) -> "ARDAE":
        """With the paper's settings for control (Table 7): fixed scale s = 10000, none of this project's options; ``options`` on top."""
        settings: Any = {"layers": 5, "standardisation": "fixed", "scale": 10_000.0, "antithetic": False, "squared_sigma": False}
        return cls(dim, context_dim, **{**settings, **options})

    def blurred_score(
        self, x: Tensor, context: Tensor | None = None, *, sigma: float, centre: Tensor | None = None, frame: Frame | None = None
    ) -> Tensor:
        """The score of the distribution convolved with N(0, sigma^2 I), sigma in standardised units, at x: the shape of x."""
        points = self._checked(x, "x", context)
        coordinates = self._coordinates_at(points, context, centre, frame)
        standard = self._standard(coordinates, points)
        field = self.network(standard, self._shown(context, coordinates), torch.full_like(standard[..., :1], sigma))
        return coordinates.score(field.to(x.dtype)).view(x.shape)

    def compile(self, *args: Any, **options: Any) -> None:
        """Run the loss through ``torch.compile``, with its arguments; where that cannot work, warn once and stay eager."""
        self._loss = CompiledFunction(denoising_loss, *args, **options)

    def gradients(
        self, samples: Tensor, context: Tensor | None, frame: Frame, *, parts: int, normal: Normal
    ) -> Iterator[tuple[Tensor, Found]]:
        """In closed form, where there is one."""
        if self._loss is not denoising_loss or self.autocast or not in_closed_form(self.network):
            yield from super().gradients(samples, context, frame, parts=parts, normal=normal)
            return
        x, shown, sigma, u = self._noisy(samples.detach(), self._shown(context, frame), frame, normal)
        for part in range(parts):
            share = slice(part, None, parts)
            yield denoising_gradients(self.network, x[share], None if shown is None else shown[share], sigma[share], u[share])

    def _standard_loss(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> Tensor:
        noisy = self._noisy(x, context, frame, draw)
        with self._precision(x):
            return self._loss(self.network, *noisy).mean()

    def _noisy(self, x: Tensor, context: Tensor | None, frame: Frame, draw: Normal) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """What the loss takes: standardised samples, their contexts, sigma and u."""
        x, delta = self._standard(frame, x), self.delta_scale * self._noise_unit(frame)
        repeats = self.sigmas_per_sample
        x = half_of_the_rows(x, repeats, draw) if self.antithetic else x.repeat_interleave(repeats, 1)
        sigma, u = delta * draw(*x.shape[:-1], 1), draw(*x.shape)
        if self.antithetic:
            x, sigma, u = torch.cat([x, x], 1), torch.cat([sigma, sigma], 1), torch.cat([u, -u], 1)
        return x, context, sigma.to(x.dtype), u.to(x.dtype)

    def _noise_unit(self, frame: Frame) -> Tensor | float:
        if not self.adaptive_delta:
            return 1.0
        if frame.spread is None:
            raise ValueError("adaptive_delta needs the samples' spread, which a frame made without samples lacks: leave frame out.")
        return frame.spread

    def _precision(self, x: Tensor) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(x.device.type, torch.bfloat16) if self.autocast else contextlib.nullcontext()


def half_of_the_rows(x: Tensor, repeats: int, draw: Normal) -> Tensor:
    """Of ``repeats`` copies of samples x (B, K, D) half, rounded up, (B, ceil(K repeats / 2), D): each sample as often as the others.

    What an odd number leaves over goes to samples that ``draw`` chooses anew for each context.
    """
    whole = x.repeat_interleave(repeats // 2, 1)
    if repeats % 2 == 0:
        return whole
    chosen = draw(*x.shape[:2]).argsort(1)[:, : (x.shape[1] + 1) // 2]
    return torch.cat([whole, x.take_along_dim(chosen.unsqueeze(-1), 1)], 1)
