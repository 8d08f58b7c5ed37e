"""Runs that something happens to, and the record of how they got over it."""

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.experiment.conftest import launch as launch

Record = Callable[..., None]


@pytest.fixture(scope="session")
def record() -> Iterator[Record]:
    """``record(fault, recovery_s=, lost_env_steps=, checkpoint_every=)``; written to the CSV file that FAULTS_CSV names, if it does."""
    rows: list[dict[str, object]] = []

    def add(fault: str, *, recovery_s: float, lost_env_steps: int, checkpoint_every: int) -> None:
        row = {"fault": fault, "recovery_s": round(recovery_s, 1), "lost_env_steps": lost_env_steps, "checkpoint_every": checkpoint_every}
        rows.append(row)

    yield add
    if rows and "FAULTS_CSV" in os.environ:
        path = Path(os.environ["FAULTS_CSV"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
