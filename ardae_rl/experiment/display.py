"""Show running trials: a live table on a terminal, one line per report elsewhere (a log file, a job's output)."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

REFRESH_PERIOD_S = 0.5


@dataclass(kw_only=True)
class Row:
    """The latest of one trial, with Tune's word for its status. Returns are NaN until there is one; ``steps_per_s`` is 0 until measured."""

    name: str
    total_env_steps: int
    status: str = "PENDING"
    env_steps: int = 0
    episode_return: float = float("nan")
    evaluation_return: float = float("nan")
    steps_per_s: float = 0.0

    @property
    def remaining_env_steps(self) -> int:
        return max(0, self.total_env_steps - self.env_steps) if self.status in ("PENDING", "RUNNING") else 0

    def cells(self) -> tuple[str, ...]:
        eta = duration(self.remaining_env_steps / self.steps_per_s) if self.steps_per_s and self.status == "RUNNING" else ""
        progress = f"{self.env_steps:,}/{self.total_env_steps:,}"
        speed = f"{self.steps_per_s:.1f}" if self.steps_per_s else ""
        status = {"TERMINATED": "finished", "ERROR": "failed"}.get(self.status, self.status.lower())
        return self.name, status, progress, number(self.episode_return), number(self.evaluation_return), speed, eta


class Display:
    """Rows by trial name, drawn on ``console``. Use as a context manager around the run; ``note`` prints above the table."""

    HEADER = ("trial", "status", "env steps", "return", "evaluation", "steps/s", "ETA")

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._rows: dict[str, Row] = {}
        self._start = self._drawn = time.monotonic()

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, row: Row) -> None:
        """Take in what a trial reported. Where no episode ended since the last report, the last return stays."""
        before = self._rows.get(row.name)
        if before and math.isnan(row.episode_return):
            row.episode_return = before.episode_return
        self._rows[row.name] = row
        if not self._live:
            name, _, progress, episode_return, evaluation, speed, eta = row.cells()
            self.note(f"{name}  {progress} env steps  return {episode_return}  evaluation {evaluation}  {speed} steps/s  ETA {eta or '-'}")

    def note(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

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
        speed = sum(row.steps_per_s for row in self._rows.values() if row.status == "RUNNING")
        left = f", about {duration(sum(row.remaining_env_steps for row in self._rows.values()) / speed)} left" if speed else ""
        table = Table(*self.HEADER, caption=f"{duration(elapsed_s)} elapsed{left}   Ctrl-C: stop and keep a checkpoint")
        for row in self._rows.values():
            table.add_row(*row.cells())
        return table


def duration(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def number(value: float) -> str:
    """A return with one decimal, or "-" where there is none yet."""
    return "-" if math.isnan(value) else f"{value:.1f}"
