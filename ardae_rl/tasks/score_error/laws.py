"""Laws with a known score, to measure estimates of it against.

Notation: B contexts, K samples per context, D dimension, C of a context, M mixture components; x (B, K, D), context (B, C) or None.
Identity: N(m, S) blurred by N(0, sigma^2 I) is N(m, S + sigma^2 I), and so for each component of a mixture; hence AR-DAE's optimum f* at
any sigma in closed form (section 3 of [Lim2020], arXiv:2006.05164).
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.datasets import make_swiss_roll
from torch import Tensor, nn


class Law(Protocol):
    """``contexts(B)`` draws contexts, None for a law without; ``centre`` (B, D) is a point of each law known without samples.

    ``score`` and ``log_density`` are the truth; a law for pictures only may lack them.
    """

    dim: int
    context_dim: int

    def contexts(self, batch: int, generator: torch.Generator) -> Tensor | None: ...

    def draw(self, context: Any, samples: int, generator: torch.Generator) -> Tensor: ...

    def centre(self, context: Any) -> Tensor: ...

    def score(self, x: Tensor, context: Any) -> Tensor: ...

    def log_density(self, x: Tensor, context: Any) -> Tensor: ...


class Unconditional:
    """One law, without a context. Its centre is the origin: the mean of a mini-batch would shift the coordinates from batch to batch."""

    context_dim = 0
    dim: int

    def contexts(self, batch: int, generator: torch.Generator) -> None:
        return None

    def centre(self, context: Tensor | None) -> Tensor:
        return torch.zeros(1, self.dim)


class Mixture(Unconditional):
    """Equally weighted Gaussians N(m_i, S_i): means (M, D) and covariances (M, D, D)."""

    def __init__(self, means: Tensor, covariances: Tensor) -> None:
        self.dim = means.shape[1]
        self.means, self.covariances = means, covariances

    def draw(self, context: Tensor | None, samples: int, generator: torch.Generator) -> Tensor:
        """(1, K, D)."""
        return mixture_draw(self.means[None], torch.linalg.cholesky(self.covariances)[None], samples, generator)

    def score(self, x: Tensor, context: Tensor | None = None, *, sigma: float = 0.0) -> Tensor:
        """grad log p_sigma, the shape of x: at sigma > 0 the optimum of AR-DAE, f*(x; sigma)."""
        factors = torch.linalg.cholesky(self.covariances + sigma**2 * torch.eye(self.dim, dtype=self.covariances.dtype))
        return mixture_score(x, self.means[None], factors[None])

    def log_density(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return mixture_log_density(x, self.means[None], torch.linalg.cholesky(self.covariances)[None])


class ConditionalMixture(nn.Module):
    """Gaussian components whose means, covariances and common scale are smooth random functions of a context of ``context_dim`` numbers.

    ``decades``: orders of magnitude over which the scale of the whole law varies with the context; 0: not at all.
    ``separation``: distance of the components' means from the centre, in units of a component's scale. ``seed`` fixes the law.
    ``phase`` (radians) turns the contexts before the law sees them: a law that moves while the distribution of contexts, and with it the
    difficulty, stays the same.
    """

    phase = 0.0

    def __init__(
        self, dim: int, *, components: int = 1, decades: float = 0.0, separation: float = 2.0, context_dim: int = 8, seed: int = 0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.dim, self.context_dim, self.components, self.decades = dim, context_dim, components, decades
        self.mean = random_map(context_dim, dim, generator)
        self.log_scale = random_map(context_dim, dim, generator, size=0.5)
        self.mixing = random_map(context_dim, dim * dim, generator, size=2 * 0.5 / dim**0.5)
        self.magnitude = random_map(context_dim, 1, generator)
        self.offset = random_map(context_dim, components * dim, generator, size=separation if components > 1 else 0.0)
        self.requires_grad_(False)

    def contexts(self, batch: int, generator: torch.Generator) -> Tensor:
        return torch.randn(batch, self.context_dim, generator=generator)

    def centre(self, context: Tensor) -> Tensor:
        """(B, D): what a sampler knows of its law without drawing from it, as g(0, c) of an implicit policy."""
        return self.mean(self._turned(context))

    def _turned(self, context: Tensor) -> Tensor:
        """Coordinates rotated in pairs by ``phase``: a standard normal stays one."""
        first, second = context.chunk(2, -1)
        cos, sin = math.cos(self.phase), math.sin(self.phase)
        return torch.cat([cos * first - sin * second, sin * first + cos * second], -1)

    def parts(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Means (B, M, D) and lower triangular factors (B, M, D, D) of the components."""
        context = self._turned(context)
        lower = torch.tril(self.mixing(context).view(-1, self.dim, self.dim), -1) + torch.eye(self.dim)
        factor = (self.log_scale(context) - 1).exp().unsqueeze(-1) * lower
        offsets = (factor.unsqueeze(1) @ self.offset(context).view(-1, self.components, self.dim, 1)).squeeze(-1)
        if self.decades:
            size = (0.5 * self.decades * math.log(10) * torch.erf(self.magnitude(context))).exp().unsqueeze(-1)
            factor, offsets = size * factor, size * offsets
        return self.mean(context).unsqueeze(1) + offsets, factor.unsqueeze(1).expand(-1, self.components, -1, -1)

    def draw(self, context: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        return mixture_draw(*self.parts(context), samples, generator)

    def score(self, x: Tensor, context: Tensor) -> Tensor:
        return mixture_score(x, *self.parts(context))

    def log_density(self, x: Tensor, context: Tensor) -> Tensor:
        return mixture_log_density(x, *self.parts(context))


class Ring(Unconditional):
    """A circle of radius r blurred by N(0, s^2 I): density exp(-(|x|^2 + r^2) / 2 s^2) I_0(r |x| / s^2) / (2 pi s^2)."""

    def __init__(self, radius: float = 1.0, std: float = 0.1) -> None:
        self.dim, self.radius, self.std = 2, radius, std

    def draw(self, context: Tensor | None, samples: int, generator: torch.Generator) -> Tensor:
        angle = 2 * math.pi * torch.rand(1, samples, generator=generator)
        circle = self.radius * torch.stack([angle.cos(), angle.sin()], -1)
        return circle + self.std * torch.randn(1, samples, 2, generator=generator)

    def score(self, x: Tensor, context: Tensor | None = None, *, sigma: float = 0.0) -> Tensor:
        variance = self.std**2 + sigma**2
        distance = x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        reach = self.radius * distance / variance
        bessel_ratio = torch.special.i1e(reach) / torch.special.i0e(reach)
        return (self.radius * bessel_ratio * x / distance - x) / variance

    def log_density(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        distance, variance = x.norm(dim=-1), self.std**2
        log_bessel = torch.special.i0e(self.radius * distance / variance).log()
        return log_bessel - (distance - self.radius).square() / (2 * variance) - math.log(2 * math.pi * variance)


class Banana(Unconditional):
    """x1 ~ N(0, 1), x2 = b (x1^2 - 1) + s N(0, 1): a Gaussian bent along a parabola."""

    def __init__(self, bend: float = 0.5, std: float = 0.2) -> None:
        self.dim, self.bend, self.std = 2, bend, std

    def draw(self, context: Tensor | None, samples: int, generator: torch.Generator) -> Tensor:
        first, second = torch.randn(2, 1, samples, generator=generator)
        return torch.stack([first, self.bend * (first.square() - 1) + self.std * second], -1)

    def score(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        first = x[..., 0]
        residual = (x[..., 1] - self.bend * (first.square() - 1)) / self.std**2
        return torch.stack([2 * self.bend * first * residual - first, -residual], -1)

    def log_density(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        residual = (x[..., 1] - self.bend * (x[..., 0].square() - 1)) / self.std
        return -0.5 * (x[..., 0].square() + residual.square()) - math.log(2 * math.pi * self.std)


class SwissRoll(Unconditional):
    """The authors' toy: scikit-learn's swiss roll with noise 0.5, coordinates 0 and 2, over 3. Its score is not known: for pictures."""

    dim = 2

    def draw(self, context: Tensor | None, samples: int, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        points = make_swiss_roll(samples, noise=0.5, random_state=seed)[0][:, [0, 2]] / 3
        return torch.from_numpy(points.astype(np.float32)).unsqueeze(0)


def mixture_draw(means: Tensor, factors: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """(B, K, D) from equally weighted N(m_i, L_i L_i^T): means (B, M, D), factors (B, M, D, D)."""
    batch, components, dim = means.shape
    which = torch.randint(components, (batch, samples), generator=generator)
    noise = torch.randn(batch, samples, dim, generator=generator)
    rows = torch.arange(batch).unsqueeze(1)
    if components == 1:
        return means + noise @ factors[:, 0].mT
    return means[rows, which] + (factors[rows, which] @ noise.unsqueeze(-1)).squeeze(-1)


def mixture_log_density(x: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """(B, K) for x (B, K, D)."""
    log_parts, _ = _component_log_densities(x, means, factors)
    return torch.logsumexp(log_parts, 1) - math.log(means.shape[1])


def mixture_score(x: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """sum_i P(i | x) S_i^-1 (m_i - x), (B, K, D)."""
    log_parts, white = _component_log_densities(x, means, factors)
    pulls = -torch.linalg.solve_triangular(factors.mT, white.mT, upper=True).mT
    return (torch.softmax(log_parts, 1).unsqueeze(-1) * pulls).sum(1)


def _component_log_densities(x: Tensor, means: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """log N(x; m_i, S_i), (B, M, K), and L_i^-1 (x - m_i), (B, M, K, D)."""
    centred = x.unsqueeze(1) - means.unsqueeze(2)
    white = torch.linalg.solve_triangular(factors, centred.mT, upper=False).mT
    log_det = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
    return -0.5 * white.square().sum(-1) - log_det - 0.5 * x.shape[-1] * math.log(2 * math.pi), white


def random_map(inputs: int, outputs: int, generator: torch.Generator, *, size: float = 1.0) -> nn.Sequential:
    """A smooth random function: one tanh layer of 32, outputs with a standard deviation of about 0.6 ``size``."""
    layers = nn.Linear(inputs, 32), nn.Linear(32, outputs)
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
        nn.init.normal_(layer.bias, std=0.1, generator=generator)
    with torch.no_grad():
        layers[1].weight.mul_(size), layers[1].bias.mul_(size)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1])


def _grid() -> Mixture:
    axis = torch.arange(-2.0, 3.0)
    means = torch.cartesian_prod(axis, axis)
    return Mixture(means, (0.1**2 * torch.eye(2)).expand(len(means), 2, 2))


LAWS: dict[str, Callable[[int], Any]] = {
    "mixture_1d": lambda seed: Mixture(torch.tensor([[2.0], [-2.0]]), torch.full((2, 1, 1), 0.25)),
    "ring": lambda seed: Ring(),
    "banana": lambda seed: Banana(),
    "grid": lambda seed: _grid(),
    "swiss_roll": lambda seed: SwissRoll(),
    "gaussian_4d": lambda seed: ConditionalMixture(4, seed=seed),
    "gaussian_4d_3_decades": lambda seed: ConditionalMixture(4, decades=3, seed=seed),
    "mixture_4d": lambda seed: ConditionalMixture(4, components=3, seed=seed),
    "gaussian_17d": lambda seed: ConditionalMixture(17, seed=seed),
    "mixture_17d": lambda seed: ConditionalMixture(17, components=3, seed=seed),
    "gaussian_50d": lambda seed: ConditionalMixture(50, seed=seed),
    "mixture_50d": lambda seed: ConditionalMixture(50, components=3, seed=seed),
}
