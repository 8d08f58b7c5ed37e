"""What samplers are fitted to: energies U with exact samples, a known normalising constant, and parts that can be missed.

Notation: N points, D dimension, R regions; x (N, D); p(x) = exp(-U(x)) / Z.
Identity: in the plane, cells of a grid fine against every detail of U carry mass exp(-U) h^2 / Z, and the midpoint rule converges faster
than any power of h for a smooth p that falls to zero: sampling a cell, then a point in it, inverts the distribution function.
Not here: distances between samples.
Reference: Rezende & Mohamed 2015, arXiv:1505.05770, Table 1; the soft box and the way to use them: [Lim2020] arXiv:2006.05164, Appendix E.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from scipy.linalg import hadamard
from scipy.stats import norm
from torch import Tensor

HALF_WIDTH, CELLS = 10.0, 1000  # of the grid: beyond, the soft box leaves a share of 1e-8; a cell is 0.02 wide, the narrowest ridge 0.35
BINS = 250  # of histograms against the exact law, along each axis


class Target(Protocol):
    """``regions`` (R,) are the true shares of its parts; ``plane`` (D, 2) projects to where it can be looked at; ``log_z`` in nats."""

    dim: int
    log_z: float
    regions: Tensor
    plane: Tensor

    def energy(self, x: Tensor) -> Tensor:
        """U(x), (N,) for x (N, D)."""
        ...

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Exact samples, (count, D), on the CPU."""
        ...

    def region(self, x: Tensor) -> Tensor:
        """Which part each point lies in, (N,) integers below R."""
        ...


def soft_box(x: Tensor) -> Tensor:
    """sum_i relu(|x_i| - 6)^2: without it potentials 2 to 4 do not end."""
    return (x.abs() - 6).relu().square().sum(-1)


def two_moons(x: Tensor) -> Tensor:
    """Potential 1: a ring of radius 2, cut into two halves."""
    first = x[..., 0]
    halves = torch.logaddexp(-0.5 * ((first - 2) / 0.6).square(), -0.5 * ((first + 2) / 0.6).square())
    return 0.5 * ((x.norm(dim=-1) - 2) / 0.4).square() - halves


def wave(x: Tensor) -> Tensor:
    """Potential 2: a ridge along a sine."""
    return 0.5 * ((x[..., 1] - _w1(x)) / 0.4).square()


def parting_wave(x: Tensor) -> Tensor:
    """Potential 3: the ridge splits in two around x1 = 1, and joins again."""
    above = x[..., 1] - _w1(x)
    return -torch.logaddexp(-0.5 * (above / 0.35).square(), -0.5 * ((above + _w2(x)) / 0.35).square())


def forked_wave(x: Tensor) -> Tensor:
    """Potential 4: the ridge splits in two at x1 = 1 for good."""
    above = x[..., 1] - _w1(x)
    return -torch.logaddexp(-0.5 * (above / 0.4).square(), -0.5 * ((above + _w3(x)) / 0.35).square())


def _w1(x: Tensor) -> Tensor:
    return torch.sin(0.5 * math.pi * x[..., 0])


def _w2(x: Tensor) -> Tensor:
    return 3 * torch.exp(-0.5 * ((x[..., 0] - 1) / 0.6).square())


def _w3(x: Tensor) -> Tensor:
    return 3 * torch.sigmoid((x[..., 0] - 1) / 0.3)


def _left_right(x: Tensor) -> Tensor:
    return (x[..., 0] > 0).long()


def _quarters(x: Tensor) -> Tensor:
    return torch.bucketize(x[..., 0].contiguous(), x.new_tensor([-3.0, 0.0, 3.0]))


def _trunks_and_branches(x: Tensor) -> Tensor:
    """Left trunk, lower branch, upper branch, right trunk."""
    upper = x[..., 1] > _w1(x) - 0.5 * _w2(x)
    return torch.where(x[..., 0] < 0.1, 0, torch.where(x[..., 0] > 1.9, 3, 1 + upper.long()))


def _trunk_and_branches(x: Tensor) -> Tensor:
    """Trunk, lower branch, upper branch."""
    upper = x[..., 1] > _w1(x) - 0.5 * _w3(x)
    return torch.where(x[..., 0] < 1, 0, 1 + upper.long())


class PlanarTarget:
    """A potential on the plane with the soft box; all that is known about it comes from the grid, in float64."""

    dim = 2
    plane = torch.eye(2)

    def __init__(self, potential: Callable[[Tensor], Tensor], region: Callable[[Tensor], Tensor]) -> None:
        self._potential, self.region = potential, region
        self._cell = 2 * HALF_WIDTH / CELLS
        middles = -HALF_WIDTH + self._cell * (torch.arange(CELLS, dtype=torch.float64) + 0.5)
        points = torch.cartesian_prod(middles, middles)
        unnormalised = 2 * math.log(self._cell) - self.energy(points)
        self.log_z = float(torch.logsumexp(unnormalised, 0))
        log_mass = unnormalised - self.log_z
        self._cumulative = log_mass.exp().cumsum(0)
        labels = region(points)
        self.regions = torch.zeros(int(labels.max()) + 1, dtype=torch.float64).index_add_(0, labels, log_mass.exp()).float()
        side = CELLS // BINS
        self._log_mass_of_bins = torch.logsumexp(log_mass.view(BINS, side, BINS, side), (1, 3)).flatten()

    def energy(self, x: Tensor) -> Tensor:
        return self._potential(x) + soft_box(x)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        place, within = torch.rand(count, 3, dtype=torch.float64, generator=generator).split((1, 2), -1)
        cell = torch.searchsorted(self._cumulative, place.squeeze(-1) * self._cumulative[-1]).clamp_max(CELLS**2 - 1)
        corner = torch.stack([cell // CELLS, cell % CELLS], -1)
        return (-HALF_WIDTH + self._cell * (corner + within)).float()

    def divergence(self, x: Tensor) -> float:
        """KL(q || p) in nats from samples x (N, 2) of q, by a histogram of ``BINS`` x ``BINS`` cells against their exact masses.

        Binning can only lower it, by what q varies inside a cell of 0.08; the plug-in's upward bias is taken off to first order
        (Miller & Madow 1955: occupied cells - 1, over 2 N). Points beyond the grid count as at its edge.
        """
        place = ((x.double() + HALF_WIDTH) * (BINS / (2 * HALF_WIDTH))).long().clamp(0, BINS - 1)
        cells, counts = (place[:, 0] * BINS + place[:, 1]).unique(return_counts=True)
        share = counts.double() / len(x)
        plug_in = (share * (share.log() - self._log_mass_of_bins[cells])).sum()
        return float(plug_in) - (len(cells) - 1) / (2 * len(x))


class Funnel:
    """v ~ N(0, 1.5^2) and x_i | v ~ N(0, e^v): a neck a seventh as wide as its mouth between v = -2 and 2 (Neal 2003, with 3 for 1.5).

    Regions: v below one standard deviation (the neck), within, above.
    """

    std = 1.5
    log_z = 0.0

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.regions = torch.tensor([norm.cdf(-1), norm.cdf(1) - norm.cdf(-1), norm.cdf(-1)], dtype=torch.float32)
        self.plane = torch.eye(dim)[:, :2]

    def energy(self, x: Tensor) -> Tensor:
        v, rest = x[..., 0], x[..., 1:]
        log_normaliser = 0.5 * self.dim * math.log(2 * math.pi) + math.log(self.std)
        return 0.5 * ((v / self.std).square() + rest.square().sum(-1) * torch.exp(-v) + (self.dim - 1) * v) + log_normaliser

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(count, self.dim, generator=generator)
        v = self.std * noise[:, :1]
        return torch.cat([v, noise[:, 1:] * torch.exp(0.5 * v)], -1)

    def region(self, x: Tensor) -> Tensor:
        return torch.bucketize(x[..., 0].contiguous(), x.new_tensor([-self.std, self.std]))


class OrthogonalMixture:
    """Equal parts N(m_k, I) with means at distance ``radius`` from the origin in directions orthogonal to each other and to no axis.

    Regions: the nearest mean. Looked at in the plane of the first two means.
    """

    log_z = 0.0

    def __init__(self, dim: int, components: int, radius: float) -> None:
        self.dim = dim
        directions = torch.tensor(hadamard(dim)[1 : components + 1], dtype=torch.float32) / math.sqrt(dim)
        self.means = radius * directions
        self.regions = torch.full((components,), 1 / components)
        self.plane = directions[:2].T.contiguous()

    def energy(self, x: Tensor) -> Tensor:
        log_normaliser = 0.5 * self.dim * math.log(2 * math.pi) + math.log(len(self.means))
        return log_normaliser - torch.logsumexp(-0.5 * self._squared_distances(x), -1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        which = torch.randint(len(self.means), (count,), generator=generator)
        return self.means[which] + torch.randn(count, self.dim, generator=generator)

    def region(self, x: Tensor) -> Tensor:
        return self._squared_distances(x).argmin(-1)

    def _squared_distances(self, x: Tensor) -> Tensor:
        means = self.means.to(x)
        return x.square().sum(-1, keepdim=True) - 2 * x @ means.T + means.square().sum(-1)


_MAKERS: dict[str, Callable[[], Target]] = {
    "potential_1": lambda: PlanarTarget(two_moons, _left_right),
    "potential_2": lambda: PlanarTarget(wave, _quarters),
    "potential_3": lambda: PlanarTarget(parting_wave, _trunks_and_branches),
    "potential_4": lambda: PlanarTarget(forked_wave, _trunk_and_branches),
    "funnel_10d": lambda: Funnel(10),
    "mixture_32d": lambda: OrthogonalMixture(32, components=8, radius=5.0),
}


@cache
def target(name: str) -> Target:
    """The target of that name, made once per process: its grid takes half a second. Raises ValueError for an unknown name."""
    if name not in _MAKERS:
        raise ValueError(f"target must be one of {', '.join(_MAKERS)}, got {name!r}")
    return _MAKERS[name]()
