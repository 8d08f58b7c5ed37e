"""Our own record of a run, one CSV row per evaluation and per report: Tune's progress.csv loses columns and repeats evaluations."""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EVALUATION_COLUMNS = ("seed", "env_steps", "updates", "return_mean", "return_std", "return_min", "return_max", "returns")


def evaluation_row(seed: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``evaluations.csv`` from one entry of ``SACARDAE.evaluations``; ``returns`` are separated by spaces."""
    returns = record["returns"]
    mean = sum(returns) / len(returns)
    variance = sum((value - mean) ** 2 for value in returns) / max(len(returns) - 1, 1)
    return {
        "seed": seed,
        "env_steps": record["env_steps"],
        "updates": record["num_updates"],
        "return_mean": mean,
        "return_std": math.sqrt(variance),
        "return_min": min(returns),
        "return_max": max(returns),
        "returns": " ".join(f"{value:.6g}" for value in returns),
    }


class RecordFile:
    """A CSV file that grows by rows and can be cut back to a checkpoint, so a resumed run neither repeats nor loses a row."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, tuple(columns)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerows(rows)

    def cut_after(self, env_steps: int) -> None:
        """Drop rows of later environment steps; the file is replaced whole or not at all."""
        if not self.path.exists():
            return
        with self.path.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if int(row["env_steps"] or 0) <= env_steps]
        aside = self.path.with_suffix(".partial")
        with aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
        os.replace(aside, self.path)
