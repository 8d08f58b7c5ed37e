"""Posteriors q(z | x) one can draw from: diagonal Gaussian, hierarchical, implicit.

Notation: B images, K latents each, D latent dimension, E noise dimension, F features; x (B, pixels), noise (B, K, E), z (B, K, D).
Contract: that of a sampler (``ardae_rl.samplers``), with x as the context. ``draw`` is ``push`` of the image's ``encode``, which is made
once per image however often its posterior is drawn from.
Reference: [Lim2020] arXiv:2006.05164, section 6.2 and Table 5; Ranganath et al. 2016, arXiv:1511.02386.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.nn.mlp import Dense
from ardae_rl.tasks.vae.networks import Architecture


class DiagonalGaussian(NamedTuple):
    """``mean`` and ``log_variance`` (..., D)."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """In nats, (...)."""
        distance = (z - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (distance + self.log_variance + math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        return 0.5 * (self.log_variance + math.log(2 * math.pi) + 1).sum(-1)

    def kl_from_prior(self) -> Tensor:
        """KL(self || N(0, I)), (...)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(-1)


class GaussianOut(nn.Module):
    """Mean and log-variance as two linear maps of a hidden layer (..., W); the second between soft bounds where they are given.

    A ceiling: an auxiliary latent pays nothing for being wide, and the exponential of a few wide ones overflows. Soft, so that a
    log-variance beyond it still has a gradient to come back by.
    """

    def __init__(self, width: int, dim: int, floor: float | None, ceiling: float | None) -> None:
        super().__init__()
        self.mean, self.log_variance = Dense(width, dim), Dense(width, dim)
        self.floor, self.ceiling = floor, ceiling

    def forward(self, hidden: Tensor) -> DiagonalGaussian:
        log_variance = self.log_variance(hidden)
        if self.floor is not None:
            log_variance = functional.softplus(log_variance + self.floor) - self.floor
        if self.ceiling is not None:
            log_variance = self.ceiling - functional.softplus(self.ceiling - log_variance)
        return DiagonalGaussian(self.mean(hidden), log_variance)


class Posterior(nn.Module, ABC):
    """Base of the posteriors. ``hidden_dim``: size of what :meth:`hidden` says about x."""

    dim: int
    noise_dim: int
    hidden_dim: int

    def __init__(self, parts: Architecture) -> None:
        super().__init__()
        self.trunk = parts.trunk()
        self.hidden_dim = parts.width

    def encode(self, x: Tensor) -> Tensor:
        """Features (B, F) of x (B, pixels)."""
        return self.trunk(x)

    @abstractmethod
    def push(self, features: Tensor, noise: Tensor) -> Tensor:
        """z (B, K, D) from noise (B, K, E), differentiable in both and in the parameters."""

    @abstractmethod
    def hidden(self, features: Tensor) -> Tensor:
        """The last hidden layer at zero noise, (B, ``hidden_dim``)."""

    def draw(self, context: Tensor, noise: Tensor) -> Tensor:
        """(B, K, D)."""
        return self.push(self.encode(context), noise)

    def centre(self, context: Tensor) -> Tensor:
        """b(x) = g(0, x), (B, D)."""
        return self.centre_of(self.encode(context))

    def centre_of(self, features: Tensor) -> Tensor:
        """The same from features, (B, D)."""
        return self.push(features, features.new_zeros(len(features), 1, self.noise_dim)).squeeze(1)


class GaussianPosterior(Posterior):
    """N(mu(x), diag sigma^2(x))."""

    def __init__(self, parts: Architecture, dim: int, *, floor: float | None = None, ceiling: float | None = None) -> None:
        super().__init__(parts)
        self.dim = self.noise_dim = dim
        self.head, self.out = parts.head(), GaussianOut(parts.width, dim, floor, ceiling)

    def law(self, features: Tensor) -> DiagonalGaussian:
        """(B, 1, D)."""
        return self.out(self.head(features).unsqueeze(1))

    def push(self, features: Tensor, noise: Tensor) -> Tensor:
        return self.law(features).draw(noise)

    def hidden(self, features: Tensor) -> Tensor:
        return self.head(features)


class Hierarchy(NamedTuple):
    """One draw through both levels: ``first`` q(z0 | x) (B, 1, D0), ``z0`` (B, K, D0), ``second`` q(z | z0, x) and ``z`` (B, K, D)."""

    first: DiagonalGaussian
    z0: Tensor
    second: DiagonalGaussian
    z: Tensor


class HierarchicalPosterior(Posterior):
    """z0 ~ N(mu0(x), diag sigma0^2(x)), z ~ N(mu(z0, x), diag sigma^2(z0, x)): a density that is an integral.

    Noise is [eps0, eps], ``auxiliary_dim`` + ``dim`` numbers. Features are those of both levels, (B, 2 F), where each has a trunk.
    """

    def __init__(
        self, parts: Architecture, dim: int, auxiliary_dim: int, *, floor: float | None = None, ceiling: float | None = None
    ) -> None:
        super().__init__(parts)
        self.dim, self.auxiliary_dim, self.noise_dim = dim, auxiliary_dim, auxiliary_dim + dim
        self.second_trunk = parts.trunk() if parts.own_trunks else None
        self.first_head, self.first_out = parts.head(), GaussianOut(parts.width, auxiliary_dim, floor, ceiling)
        self.mixer, self.out = parts.mixer(auxiliary_dim), GaussianOut(parts.width, dim, floor, ceiling)
        self.hidden_of_both = parts.hidden_of_both
        self.hidden_dim = 2 * parts.width if parts.hidden_of_both else parts.width

    def encode(self, x: Tensor) -> Tensor:
        features = self.trunk(x)
        return features if self.second_trunk is None else torch.cat([features, self.second_trunk(x)], -1)

    def _of_each_level(self, features: Tensor) -> tuple[Tensor, Tensor]:
        if self.second_trunk is None:
            return features, features
        first, second = features.chunk(2, -1)
        return first, second

    def through(self, features: Tensor, noise: Tensor) -> Hierarchy:
        of_first, of_second = self._of_each_level(features)
        eps0, eps = noise.split((self.auxiliary_dim, self.dim), -1)
        first = self.first_out(self.first_head(of_first).unsqueeze(1))
        z0 = first.draw(eps0)
        second = self.out(self.mixer(of_second, z0))
        return Hierarchy(first, z0, second, second.draw(eps))

    def push(self, features: Tensor, noise: Tensor) -> Tensor:
        return self.through(features, noise).z

    def hidden(self, features: Tensor) -> Tensor:
        of_first, of_second = self._of_each_level(features)
        first = self.first_head(of_first)
        second = self.mixer(of_second, self.first_out(first).mean.unsqueeze(1)).squeeze(1)
        return torch.cat([first, second], -1) if self.hidden_of_both else second


class ImplicitPosterior(Posterior):
    """z = g(eps, x), any network of both: no density to evaluate."""

    def __init__(self, parts: Architecture, dim: int, noise_dim: int) -> None:
        super().__init__(parts)
        self.dim, self.noise_dim = dim, noise_dim
        self.mixer, self.out = parts.implicit(noise_dim, dim)

    def push(self, features: Tensor, noise: Tensor) -> Tensor:
        return self.out(self.mixer(features, noise))

    def hidden(self, features: Tensor) -> Tensor:
        return self.mixer(features, features.new_zeros(len(features), 1, self.noise_dim)).squeeze(1)


class AuxiliaryModel(nn.Module):
    """h(z0 | z, x), which closes the gap of the auxiliary bound as far as a diagonal Gaussian can."""

    def __init__(self, parts: Architecture, dim: int, auxiliary_dim: int, *, ceiling: float | None = None) -> None:
        super().__init__()
        self.trunk = parts.trunk() if parts.own_trunks else None
        self.mixer, self.out = parts.mixer(dim), GaussianOut(parts.width, auxiliary_dim, None, ceiling)

    def forward(self, x: Tensor, features: Tensor, z: Tensor) -> DiagonalGaussian:
        """(B, K, D0) for x (B, pixels) and z (B, K, D). ``features``: the posterior's, read where h has no trunk of its own."""
        return self.out(self.mixer(features if self.trunk is None else self.trunk(x), z))
