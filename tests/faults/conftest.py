"""Runs that something happens to, and the record of how they got over it."""

import csv
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from ardae_rl.run.provenance import provenance
from tests.experiment.conftest import launch as launch

Record = Callable[..., None]
PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[PASSED] = report.when == "call" and report.passed
    return report


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    """``record(fault, recovery_s=, lost_env_steps=, checkpoint_every=)``; kept in the CSV file FAULTS_CSV names, if the test passes."""
    rows: list[dict[str, object]] = []

    def add(fault: str, *, recovery_s: float, lost_env_steps: int, checkpoint_every: int) -> None:
        row = {"fault": fault, "recovery_s": round(recovery_s, 1), "lost_env_steps": lost_env_steps, "checkpoint_every": checkpoint_every}
        rows.append(row | {"commit": str(origin["git_commit"])[:7], "load": origin["load_average_1min"]})

    origin = provenance()
    yield add
    if rows and request.node.stash[PASSED] and "FAULTS_CSV" in os.environ:
        merge(Path(os.environ["FAULTS_CSV"]), rows)


def merge(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Put ``rows`` into a CSV file, each in the place of the one there with the same fault."""
    merged: dict[object, Mapping[str, object]] = {}
    if path.exists():
        with path.open(newline="") as file:
            merged = {row["fault"]: row for row in csv.DictReader(file)}
    merged |= {row["fault"]: row for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in merged.values() for name in row)), restval="")
        writer.writeheader()
        writer.writerows(merged.values())
