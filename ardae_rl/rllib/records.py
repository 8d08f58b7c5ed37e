"""A row of ``evaluations.csv``."""

import math
from collections.abc import Mapping
from typing import Any

EVALUATION_COLUMNS = ("seed", "env_steps", "updates", "return_mean", "return_std", "return_min", "return_max", "returns")


def evaluation_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """All but the seed, from one entry of ``SACARDAE.evaluations``; ``returns`` are separated by spaces."""
    returns = record["returns"]
    mean = sum(returns) / len(returns)
    variance = sum((value - mean) ** 2 for value in returns) / max(len(returns) - 1, 1)
    return {
        "env_steps": record["env_steps"],
        "updates": record["num_updates"],
        "return_mean": mean,
        "return_std": math.sqrt(variance),
        "return_min": min(returns),
        "return_max": max(returns),
        "returns": " ".join(f"{value:.6g}" for value in returns),
    }
