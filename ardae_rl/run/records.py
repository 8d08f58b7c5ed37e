"""Our own records of a run, CSV files of one row per report or evaluation: Tune's progress.csv loses columns and repeats evaluations."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ardae_rl.run.disk import append_whole, replace_file
from ardae_rl.run.folder import RunFolder


class RecordFile:
    """A CSV file that grows by rows and can be cut back to a checkpoint, so a resumed run neither repeats nor loses a row.

    ``steps`` names the column that counts training steps. Without ``columns`` they are those of the first row. Waits while the disk is
    full or away; if it stays so, raises OSError, the file being what it was.
    """

    def __init__(self, folder: RunFolder, name: str, columns: Sequence[str] = (), *, steps: str) -> None:
        self.path, self.columns, self._steps, self._folder = folder.path / name, tuple(columns), steps, folder

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; a value left out stays empty. Raises ValueError for one that has no column."""
        if rows:
            self._folder.patiently(lambda: self._append(rows))

    def _append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        new = self._is_empty()
        self.columns = self.columns or (tuple(rows[0]) if new else self._header())
        self._check(rows)
        append_whole(self.path, _csv(rows, self.columns, header=new))

    def cut_after(self, steps: int) -> None:
        """Drop rows of later steps, and what is no row, as a crash leaves it; the file is replaced whole or not at all."""
        self._folder.patiently(lambda: self._cut_after(steps))

    def _cut_after(self, steps: int) -> None:
        if self._is_empty():
            return
        whole_lines = self.path.read_bytes().rpartition(b"\n")
        text = (whole_lines[0] + whole_lines[1]).decode(errors="replace").replace("\0", "")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        kept = [row for row in reader if self._count(row) <= steps]
        columns = self.columns or reader.fieldnames or ()
        replace_file(self.path, _csv(kept, columns, header=bool(columns)))

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

    def _header(self) -> tuple[str, ...]:
        with self.path.open(newline="") as file:
            return tuple(next(csv.reader(file)))

    def _check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        unknown = {name: None for row in rows for name in row if name not in self.columns}
        if unknown:
            there = ", ".join(self.columns)
            raise ValueError(f"{self.path.name} has no column for {', '.join(unknown)} (it has {there}); report them from the first row on")


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, header: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
