"""Make the table of floors: ``python -m ardae_rl.tasks.energy.floors`` (some half an hour on two cores; into ``floors.json``).

The floor of a distance is its mean between two independent sets of exact samples. It depends on the target and the number of samples alone,
so it is measured once, of many pairs, and not by every trial again.
"""

import json
import math
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import get_args

import torch
from rich.progress import track

from ardae_rl.run.provenance import provenance
from ardae_rl.tasks.energy.config import EnergySettings, TargetName
from ardae_rl.tasks.energy.metrics import SLICED_SAMPLES, between_exact_sets

PAIRS = {("emd", EnergySettings.emd_samples): 64, ("emd", EnergySettings.final_emd_samples): 16, ("sliced_w2", SLICED_SAMPLES): 64}


def measured(name: str, distance: str, samples: int, pairs: int) -> dict[str, float]:
    """``mean`` and its standard error ``sem``, over ``pairs``; ``std`` is that of one pair."""
    values = between_exact_sets(name, distance, samples, pairs)
    std = statistics.stdev(values)
    return {"mean": statistics.fmean(values), "sem": std / math.sqrt(pairs), "std": std, "pairs": pairs}


def main() -> None:
    chosen = [(name, *which) for name in get_args(TargetName) for which in PAIRS]
    floors: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    with ProcessPoolExecutor(initializer=torch.set_num_threads, initargs=(1,)) as pool:
        results = pool.map(measured, *zip(*chosen, strict=True), [PAIRS[distance, samples] for _, distance, samples in chosen])
        for (name, distance, samples), result in track(zip(chosen, results, strict=True), "floors", total=len(chosen)):
            floors.setdefault(name, {}).setdefault(distance, {})[str(samples)] = result
    made_by = provenance() | {"command": "python -m ardae_rl.tasks.energy.floors"}
    (Path(__file__).parent / "floors.json").write_text(json.dumps({"provenance": made_by, "floors": floors}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
