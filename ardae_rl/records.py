"""Our own records of a run, CSV files of one row per report or evaluation: Tune's progress.csv loses columns and repeats evaluations."""

import csv
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ardae_rl.disk import append_whole, patiently, replace_file


class RecordFile:
    """A CSV file that grows by rows and can be cut back to a checkpoint, so a resumed run neither repeats nor loses a row.

    ``steps`` names the column that counts training steps. Without ``columns`` they are those of the first row. ``check`` raises OSError
    while the file must not be touched, because its folder is not the real one; that is waited for.
    """

    def __init__(self, path: Path, columns: Sequence[str] = (), *, steps: str, check: Callable[[], object] = lambda: None) -> None:
        self.path, self.columns, self._steps, self._check_folder = path, tuple(columns), steps, check

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; a value left out stays empty. Waits while the disk is full or away.

        Raises ValueError for a value that has no column; OSError, the file being what it was, if the disk stays full.
        """
        if rows:
            patiently(lambda: self._append(rows))

    def _append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._check_folder()
        new = self._is_empty()
        self.columns = self.columns or (tuple(rows[0]) if new else self._header())
        self._check(rows)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="")
        if new:
            writer.writeheader()
        writer.writerows(rows)
        append_whole(self.path, text.getvalue().encode())

    def cut_after(self, steps: int) -> None:
        """Drop rows of later steps, and what is no row, as a crash leaves it; the file is replaced whole or not at all.

        Waits while the disk is full or away; raises OSError, the file being what it was, if it stays so.
        """
        patiently(lambda: self._cut_after(steps))

    def _cut_after(self, steps: int) -> None:
        self._check_folder()
        if self._is_empty():
            return
        whole_lines = self.path.read_bytes().rpartition(b"\n")
        text = (whole_lines[0] + whole_lines[1]).decode(errors="replace").replace("\0", "")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        kept = [row for row in reader if self._count(row) <= steps]
        self._replace(kept, self.columns or reader.fieldnames or ())

    def _count(self, row: Mapping[str, Any]) -> float:
        """The training steps of a row; infinite if it is none."""
        try:
            return int(row[self._steps])
        except (TypeError, ValueError):
            return math.inf

    def _is_empty(self) -> bool:
        """Whether the file has yet to begin. Raises OSError while its folder is away: then nobody knows."""
        os.stat(self.path.parent)
        try:
            return os.stat(self.path).st_size == 0
        except FileNotFoundError:
            return True

    def _replace(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        if columns:
            writer.writeheader()
        writer.writerows(rows)
        replace_file(self.path, text.getvalue().encode())

    def _header(self) -> tuple[str, ...]:
        with self.path.open(newline="") as file:
            return tuple(next(csv.reader(file)))

    def _check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        unknown = {name: None for row in rows for name in row if name not in self.columns}
        if unknown:
            there = ", ".join(self.columns)
            raise ValueError(f"{self.path.name} has no column for {', '.join(unknown)} (it has {there}); report them from the first row on")
