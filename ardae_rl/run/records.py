"""Our own records of a run, CSV files of one row per report or evaluation: Tune's progress.csv loses columns and repeats evaluations."""

import csv
import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ardae_rl.run.disk import append_whole, replace_file
from ardae_rl.run.folder import RunFolder

logger = logging.getLogger(__name__)


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
        """Drop rows of later steps, and with a warning what is damaged; the file is replaced whole or not at all."""
        self._folder.patiently(lambda: self._cut_after(steps))

    def _cut_after(self, steps: int) -> None:
        if self._is_empty():
            return
        rows, damage = read_rows(self.path, steps=self._steps)
        for what in damage:
            logger.warning("%s of %s: left out", what, self.path.name)
        kept = [row for row in rows if int(row[self._steps]) <= steps]
        columns = self.columns or self._header()
        replace_file(self.path, _csv(kept, columns, header=bool(columns)))

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


def read_rows(path: Path, *, steps: str, seed: int | None = None) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of a record, and in words what in it is damage: "line 7 has 3 of 5 fields".

    A row has every field, numbers in all but ``returns``, more ``steps`` than the one before, the trial's own ``seed`` (None: that of the
    first), and an end: a line that stops in the middle of a number looks like another number.
    """
    text = path.read_bytes().decode(errors="replace")
    header, *lines = text.splitlines(keepends=True) or [""]
    columns = next(csv.reader([header]), [])
    rows: list[dict[str, str]] = []
    damage: list[str] = []
    for number, line in enumerate(lines, 2):
        fields = next(csv.reader([line.replace("\0", "\ufffd")]), [])
        row = dict(zip(columns, fields, strict=False))
        before = rows[-1] if rows else row | {steps: "-1"} | ({} if seed is None else {"seed": str(seed)})
        fault = "has no end" if not line.endswith("\n") else _fault(row, len(fields), columns, before, steps)
        if fault:
            damage.append(f"line {number} {fault}")
        else:
            rows.append(row)
    return rows, damage


def _fault(row: Mapping[str, str], fields: int, columns: Sequence[str], before: Mapping[str, str], steps: str) -> str | None:
    if fields != len(columns):
        return f"has {fields} of {len(columns)} fields"
    wrong = next((name for name in columns if name != "returns" and row[name] and not _is_number(row[name])), None)
    if wrong or not row.get(steps, "").isdecimal():
        return f"has no number as {wrong or steps}"
    if row.get("seed") != before.get("seed"):
        return f"is of seed {row.get('seed')}, not {before.get('seed')}"
    return None if int(row[steps]) > int(before[steps]) else f"is of {row[steps]} {steps}, as far as the row before it or less"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, header: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
