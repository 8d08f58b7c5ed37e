"""Show running trials: a live table on a terminal, one line per report elsewhere (a log file, a job's output)."""

import math
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from typing_extensions import Self

from ardae_rl.experiment.schema import Reporting

REFRESH_PERIOD_S = 0.5
PLAIN_WIDTH = 140
_STATUS = {"TERMINATED": "finished", "ERROR": "failed"}
_FURNITURE_LINES = 8  # of a table: borders, header and caption


@dataclass(kw_only=True)
class Row:
    """The latest of one trial, with Tune's word for its status. ``watched``: metrics by heading; ``steps_per_s`` is 0 until measured."""

    name: str
    total_steps: int
    status: str = "PENDING"
    steps: int = 0
    watched: dict[str, float] = field(default_factory=dict)
    steps_per_s: float = 0.0

    @property
    def remaining_steps(self) -> int:
        return max(0, self.total_steps - self.steps) if self.status in ("PENDING", "RUNNING") else 0

    @property
    def progress(self) -> str:
        return f"{self.steps:,}/{self.total_steps:,}"

    @property
    def speed(self) -> str:
        return f"{self.steps_per_s:.1f}" if self.steps_per_s else ""

    @property
    def eta(self) -> str:
        return duration(self.remaining_steps / self.steps_per_s) if self.steps_per_s and self.status == "RUNNING" else ""


def console_of(stream: TextIO) -> Console:
    """A console on a stream, such as ``sys.stdout``: as wide as a terminal, or wide enough for a log file.

    What finds no room is lost: where it goes to a file on the same disk as the results, a full disk ends no run that waits for room.
    """
    return Console(file=_Lossy(stream), width=None if stream.isatty() else PLAIN_WIDTH)  # type: ignore[arg-type]


class _Lossy:
    """A stream of text, without OSError."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def print_line(console: Console, text: str) -> None:
    """As it is, however long: nothing in it is markup."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


class LiveDisplay:
    """Something to see on ``console`` while the context lasts: a table on a terminal, elsewhere lines. ``note`` is one anywhere."""

    def __init__(self, console: Console, **options: Any) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, **options) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def note(self, text: str) -> None:
        print_line(self._console, text)


class Display(LiveDisplay):
    """Rows by trial name."""

    def __init__(self, console: Console, reporting: Reporting) -> None:
        super().__init__(console, transient=True)
        self._reporting = reporting
        self._rows: dict[str, Row] = {}
        self._start = self._drawn = time.monotonic()

    def show(self, row: Row) -> None:
        """Take in what a trial reported. What it did not measure since its last report, a NaN, stays as it was."""
        before = self._rows.get(row.name)
        if before:
            row.watched = {heading: _latest(value, before.watched.get(heading)) for heading, value in row.watched.items()}
        self._rows[row.name] = row
        if not self._live:
            watched = "  ".join(f"{heading} {value}" for heading, value in self._watched(row).items())
            self.note(f"{row.name}  {row.progress} {self._reporting.unit}  {watched}  {row.speed} steps/s  ETA {row.eta or '-'}")

    def refresh(self, statuses: Iterable[tuple[str, str]]) -> None:
        """Redraw with each trial's current status; cheap to call often."""
        now = time.monotonic()
        if not self._live or now - self._drawn < REFRESH_PERIOD_S:
            return
        self._drawn = now
        for name, status in statuses:
            if name in self._rows:
                self._rows[name].status = status
        self._live.update(self._table(now - self._start), refresh=True)

    def expect(self, rows: Iterable[Row]) -> None:
        """Show trials before their first report in this process."""
        self._rows.update({row.name: row for row in rows})

    def _table(self, elapsed_s: float) -> Table:
        rows = list(self._rows.values())
        shown = _most_interesting(rows, max(1, self._console.height - _FURNITURE_LINES))
        table = Table("trial", "status", self._reporting.unit, *self._reporting.watched, "steps/s", "ETA")
        for row in shown:
            status = _STATUS.get(row.status, row.status.lower())
            table.add_row(row.name, status, row.progress, *self._watched(row).values(), row.speed, row.eta)
        table.caption = f"{_counted(rows) if len(shown) < len(rows) else ''}{self._time(elapsed_s)}   Ctrl-C: stop and keep a checkpoint"
        return table

    def _time(self, elapsed_s: float) -> str:
        rows = self._rows.values()
        speed = sum(row.steps_per_s for row in rows if row.status == "RUNNING")
        left = f", about {duration(sum(row.remaining_steps for row in rows) / speed)} left" if speed else ""
        return f"{duration(elapsed_s)} elapsed{left}"

    def _watched(self, row: Row) -> dict[str, str]:
        return {heading: self._reporting.number(row.watched.get(heading, math.nan)) for heading in self._reporting.watched}


def _latest(value: float, before: float | None) -> float:
    return before if math.isnan(value) and before is not None else value


def _most_interesting(rows: list[Row], count: int) -> list[Row]:
    """What fits on the screen, in the order of the trials: those running first, then failed, waiting and finished ones."""
    order = {"RUNNING": 0, "ERROR": 1, "PENDING": 2}
    ranked = sorted(range(len(rows)), key=lambda index: order.get(rows[index].status, 3))
    return [rows[index] for index in sorted(ranked[:count])]


def _counted(rows: list[Row]) -> str:
    counts = Counter(_STATUS.get(row.status, row.status.lower()) for row in rows)
    return f"{len(rows)} trials: {', '.join(f'{count} {status}' for status, count in counts.items())}\n"


def duration(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
