"""How far apart two sets of samples are. Each distance is read next to its floor: the same between two sets from one law.

Notation: N, M points, D dimension, P projections; a (N, D), b (M, D).
"""

import ot
import torch
from torch import Tensor

MAX_ITERATIONS = 10_000_000  # of the network simplex: it ends at the optimum long before


def earth_movers_distance(a: Tensor, b: Tensor) -> float:
    """Exact Wasserstein-1 distance between the empirical laws, Euclidean ground distance, by network simplex (POT).

    With 2000 points each it takes one second, with 10,000 half a minute and 2 GB. Raises ValueError for no points, or not finite ones.
    """
    for name, points in (("a", a), ("b", b)):
        if not len(points):
            raise ValueError(f"{name} must hold at least one point, got shape {tuple(points.shape)}.")
        if not points.isfinite().all():
            raise ValueError(f"{name} must be finite, got {int((~points.isfinite()).sum())} NaN or infinite of {points.numel()} numbers.")
    costs = torch.cdist(a.double(), b.double()).numpy()
    distance, log = ot.emd2([], [], costs, numItermax=MAX_ITERATIONS, log=True)
    if log["warning"]:
        raise RuntimeError(f"the transport between {len(a)} and {len(b)} points was not solved: {log['warning']}")
    return float(distance)


def sliced_wasserstein_2(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """Root mean square, over unit ``directions`` (P, D), of the Wasserstein-2 distance of the projections; as many a as b."""
    if a.shape != b.shape:
        raise ValueError(f"a and b must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}.")
    difference = (a @ directions.T).sort(0).values - (b @ directions.T).sort(0).values
    return float(difference.square().mean().sqrt())


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'|, every pair of different points counted once: unbiased, so it may be a little below 0.

    Raises ValueError for fewer than two points on a side.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a and b must hold two points or more each, got {len(a)} and {len(b)}.")
    between, within_a, within_b = (torch.cdist(left, right).double() for left, right in ((a, b), (a, a), (b, b)))
    return float(2 * between.mean() - within_a.sum() / (len(a) * (len(a) - 1)) - within_b.sum() / (len(b) * (len(b) - 1)))


def random_directions(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """Unit vectors, uniform on the sphere, (count, dim)."""
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=-1)
