"""How the other tests of this room measure and keep what they measured."""

import csv
from pathlib import Path

import pytest

from tests.faults.conftest import merge
from tests.faults.sweep import lost_steps


@pytest.mark.parametrize(
    ("reports", "lost"), [([], 0), ([100, 200, 300], 0), ([100, 200, 300, 300, 400], 100), ([100, 200, 300, 200, 300, 400, 300], 200)]
)
def test_steps_that_are_reported_again_were_lost(reports: list[int], lost: int) -> None:
    assert lost_steps(reports) == lost


def test_a_new_measurement_replaces_that_of_the_same_fault_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "recovery.csv"
    merge(path, [{"fault": "a", "recovery_s": 1.0}, {"fault": "b", "recovery_s": 2.0}])
    merge(path, [{"fault": "b", "recovery_s": 3.0, "commit": "c0ffee"}, {"fault": "c", "recovery_s": 4.0, "commit": "c0ffee"}])
    with path.open(newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [("a", "1.0", ""), ("b", "3.0", "c0ffee"), ("c", "4.0", "c0ffee")]
