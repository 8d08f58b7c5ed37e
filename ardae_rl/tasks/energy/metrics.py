"""How good samples of a fitted law are, against exact ones.

Every distance between samples comes with its floor: the mean distance between other exact sets and the very one that samplers are compared
with. That set is the same for all trials, so that its own deviation from the law is in floor and distance alike.
Notation: N samples, D dimension; x (N, D).
"""

import math
from functools import cache

import torch
from torch import Tensor

from ardae_rl.tasks.distances import earth_movers_distance, energy_distance, random_directions, sliced_wasserstein_2
from ardae_rl.tasks.energy.potentials import PlanarTarget, Target, target
from ardae_rl.tasks.task import Metrics

SLICED_SAMPLES, DIRECTIONS = 10_000, 128
FLOOR_SETS = 4
COVERED = 0.2  # of its true share: what a region must hold to count
_REFERENCE_SEED = 1_500_007


def distances(name: str, x: Tensor, emd_samples: int) -> Metrics:
    """``emd``, ``sliced_w2``, their floors, ``emd_over_floor``, and ``energy_distance``, whose floor is 0; NaN for samples not finite."""
    floor = {"emd_floor": emd_floor(name, emd_samples), "sliced_w2_floor": sliced_floor(name)}
    if not x.isfinite().all():
        return {"emd": math.nan, "emd_over_floor": math.nan, "sliced_w2": math.nan, "energy_distance": math.nan, **floor}
    few, exact = x[:emd_samples], reference(name, emd_samples)
    emd = earth_movers_distance(few, exact)
    return {
        "emd": emd,
        "emd_over_floor": emd / floor["emd_floor"],
        "sliced_w2": _sliced(x[:SLICED_SAMPLES], reference(name, SLICED_SAMPLES)),
        "energy_distance": energy_distance(few, exact),
        **floor,
    }


def final_emd(name: str, x: Tensor | None, samples: int) -> Metrics:
    """``final_emd``, its floor and their ratio; NaN where ``x`` is None, for it is too soon, or not finite."""
    if x is None or not x.isfinite().all():
        return dict.fromkeys(("final_emd", "final_emd_floor", "final_emd_over_floor"), math.nan)
    emd, floor = earth_movers_distance(x[:samples], reference(name, samples)), emd_floor(name, samples)
    return {"final_emd": emd, "final_emd_floor": floor, "final_emd_over_floor": emd / floor}


def coverage(law: Target, x: Tensor) -> Metrics:
    """``coverage``: share of the regions that hold a fifth of their true mass or more; ``worst_region``: the least of mass / true mass."""
    held = torch.bincount(law.region(x), minlength=len(law.regions)) / len(x)
    relative = held / law.regions
    return {"coverage": float((relative >= COVERED).float().mean()), "worst_region": float(relative.min())}


def divergence(law: Target, x: Tensor) -> Metrics:
    """``reverse_kl`` in nats, by histogram; NaN for a target that is not in the plane."""
    known = isinstance(law, PlanarTarget) and bool(x.isfinite().all())
    return {"reverse_kl": law.divergence(x) if known and isinstance(law, PlanarTarget) else math.nan}


@cache
def emd_floor(name: str, samples: int) -> float:
    exact = reference(name, samples)
    return sum(earth_movers_distance(reference(name, samples, another), exact) for another in range(1, FLOOR_SETS + 1)) / FLOOR_SETS


@cache
def sliced_floor(name: str) -> float:
    exact = reference(name, SLICED_SAMPLES)
    return sum(_sliced(reference(name, SLICED_SAMPLES, another), exact) for another in range(1, FLOOR_SETS + 1)) / FLOOR_SETS


def reference(name: str, samples: int, another: int = 0) -> Tensor:
    """An exact set; ``another`` numbers independent ones."""
    return target(name).sample(samples, torch.Generator().manual_seed(_REFERENCE_SEED + another))


def _sliced(a: Tensor, b: Tensor) -> float:
    directions = random_directions(DIRECTIONS, a.shape[-1], torch.Generator().manual_seed(_REFERENCE_SEED))
    return sliced_wasserstein_2(a, b, directions)
