"""How good samples of a fitted law are, against exact ones.

Every distance between finitely many samples comes with its floor, the same between independent exact sets, and both are means over pairs of
sets that share no sample: the distance between two single sets of an exact law varies by a fifth and more.
Notation: N samples, D dimension; x (N, D).
"""

import json
import math
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import get_args

import torch
from torch import Tensor

from ardae_rl.tasks.distances import earth_movers_distance, energy_distance, random_directions, sliced_wasserstein_2
from ardae_rl.tasks.energy.config import TargetName
from ardae_rl.tasks.energy.potentials import PlanarTarget, Target, target
from ardae_rl.tasks.task import Metrics

SLICED_SAMPLES, DIRECTIONS = 10_000, 128
PAIRS, FLOOR_PAIRS = 4, 16  # of sets, of a sampler's distance and of a floor that the table of floors lacks
COVERED = 0.2  # of its true share: what a region must hold to count
_REFERENCE_SEED, _DIRECTIONS_SEED = 1_500_007, 1_700_021
_SETS_OF_A_TARGET = 10_000

Distance = Callable[[Tensor, Tensor], float]


def distances(name: str, x: Tensor, emd_samples: int) -> Metrics:
    """``emd``, ``sliced_w2``, their floors, ``emd_over_floor``, and ``energy_distance``, whose floor is 0; NaN for samples not finite.

    ``x`` holds at least ``PAIRS`` sets of the larger of ``emd_samples`` and ``SLICED_SAMPLES``.
    """
    emd, emd_floor = mean_distance(name, x, emd_samples, earth_movers_distance), floor(name, "emd", emd_samples)
    return {
        "emd": emd,
        "emd_floor": emd_floor,
        "emd_over_floor": emd / emd_floor,
        "sliced_w2": mean_distance(name, x, SLICED_SAMPLES, sliced),
        "sliced_w2_floor": floor(name, "sliced_w2", SLICED_SAMPLES),
        "energy_distance": mean_distance(name, x, emd_samples, energy_distance),
    }


def final_emd(name: str, x: Tensor | None, samples: int) -> Metrics:
    """``final_emd``, its floor and their ratio; NaN where ``x`` is None, for it is too soon, or not finite."""
    if x is None:
        return dict.fromkeys(("final_emd", "final_emd_floor", "final_emd_over_floor"), math.nan)
    emd, emd_floor = mean_distance(name, x, samples, earth_movers_distance), floor(name, "emd", samples)
    return {"final_emd": emd, "final_emd_floor": emd_floor, "final_emd_over_floor": emd / emd_floor}


def mean_distance(name: str, x: Tensor, samples: int, distance: Distance) -> float:
    """Mean over ``PAIRS`` pairs of ``samples`` rows of ``x`` and as many exact samples, all different; NaN where ``x`` is not finite.

    Raises ValueError where ``x`` has fewer than ``PAIRS * samples`` rows.
    """
    if len(x) < PAIRS * samples:
        raise ValueError(f"x must hold {PAIRS} sets of {samples} samples, got {len(x)} rows.")
    if not x.isfinite().all():
        return math.nan
    ours = x[: PAIRS * samples].split(samples)
    return sum(distance(some, reference(name, samples, number)) for number, some in enumerate(ours)) / len(ours)


def floor(name: str, distance: str, samples: int) -> float:
    """Mean distance between two exact sets of ``samples``: from the table that ``floors.py`` makes, or of 16 pairs if it is not there."""
    known = _table().get(name, {}).get(distance, {}).get(str(samples))
    return known["mean"] if known else sum(between_exact_sets(name, distance, samples, FLOOR_PAIRS)) / FLOOR_PAIRS


@cache
def between_exact_sets(name: str, distance: str, samples: int, pairs: int) -> tuple[float, ...]:
    """Distances of ``pairs`` pairs of exact sets, none of them one that samplers are compared with."""
    sets = [reference(name, samples, PAIRS + number) for number in range(2 * pairs)]
    return tuple(DISTANCES[distance](a, b) for a, b in zip(sets[::2], sets[1::2], strict=True))


@cache
def _table() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    return json.loads(files("ardae_rl.tasks.energy").joinpath("floors.json").read_text(encoding="utf-8"))["floors"]


def reference(name: str, samples: int, number: int) -> Tensor:
    """An exact set (samples, D); each target and ``number`` has its own."""
    seed = _REFERENCE_SEED + _SETS_OF_A_TARGET * get_args(TargetName).index(name) + number
    return target(name).sample(samples, torch.Generator().manual_seed(seed))


def sliced(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein-2 over directions that are always the same."""
    return sliced_wasserstein_2(a, b, random_directions(DIRECTIONS, a.shape[-1], torch.Generator().manual_seed(_DIRECTIONS_SEED)))


DISTANCES: dict[str, Distance] = {"emd": earth_movers_distance, "sliced_w2": sliced}


def coverage(law: Target, x: Tensor) -> Metrics:
    """``coverage``: share of the regions that hold a fifth of their true mass or more; ``worst_region``: the least of mass / true mass.

    NaN for samples not finite.
    """
    if not x.isfinite().all():
        return {"coverage": math.nan, "worst_region": math.nan}
    held = torch.bincount(law.region(x), minlength=len(law.regions)) / len(x)
    relative = held / law.regions
    return {"coverage": float((relative >= COVERED).float().mean()), "worst_region": float(relative.min())}


def divergence(law: Target, x: Tensor) -> Metrics:
    """``reverse_kl`` in nats, by histogram; NaN for a target that is not in the plane."""
    known = isinstance(law, PlanarTarget) and bool(x.isfinite().all())
    return {"reverse_kl": law.divergence(x) if known and isinstance(law, PlanarTarget) else math.nan}
