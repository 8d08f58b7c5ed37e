"""Processes watched from outside, and a table of what was seen."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

TUNE = str(Path(__file__).parents[1] / "scripts" / "tune.py")  # wherever this is called from


def role_of(process: psutil.Process, roles: Mapping[str, str]) -> str | None:
    """The role of the first name that its command line has in it."""
    title = " ".join(process.cmdline())
    return next((role for name, role in roles.items() if name in title), None)


def own_memory_mb(process: psutil.Process) -> float:
    """Resident set minus what is shared with other processes, so that Ray's object store does not count for each of them."""
    memory = process.memory_info()
    return (memory.rss - memory.shared) / 2**20


def write_table(path: Path, rows: Sequence[Any]) -> None:
    """A CSV file with a row per dataclass."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
