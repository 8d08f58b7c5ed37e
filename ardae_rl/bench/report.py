"""What a benchmark hands back: rows, where they were measured, and how both are shown and stored."""

import json
import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from rich.table import Table

from ardae_rl.run.process import end_with_parent
from ardae_rl.run.provenance import provenance

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured quantity: the median of ``samples``, in ``unit``.

    ``ratio`` says how many times better than ``baseline`` it is: above 1 is better, whether the unit is a rate, a time or an error.
    Rows that are baselines themselves have neither.
    """

    name: str
    value: float
    unit: str
    samples: tuple[float, ...]
    baseline: str | None = None
    ratio: float | None = None


def row(name: str, samples: Sequence[float], unit: str, *, baseline: Row | None = None, higher_is_better: bool = False) -> Row:
    """The median of the samples, compared with the baseline's."""
    value = statistics.median(samples)
    if baseline is None:
        return Row(name=name, value=value, unit=unit, samples=tuple(samples))
    ratio = value / baseline.value if higher_is_better else baseline.value / value
    return Row(name=name, value=value, unit=unit, samples=tuple(samples), baseline=baseline.name, ratio=ratio)


def table(title: str, rows: Sequence[Row]) -> Table:
    """A table for the screen; the range column spans the repeats."""
    shown = Table(title=title)
    for heading in ("name", "baseline"):
        shown.add_column(heading)
    for heading in ("value", "range", "unit", "ratio"):
        shown.add_column(heading, justify="right")
    for r in rows:
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}x"
        shown.add_row(r.name, r.baseline or "", f"{r.value:.4g}", f"{min(r.samples):.4g} .. {max(r.samples):.4g}", r.unit, ratio)
    return shown


def save(path: Path, rows: Sequence[Row], *, seeds: Sequence[int], torch_threads: Sequence[int]) -> None:
    """Write rows and provenance as JSON."""
    content = {"rows": [asdict(r) for r in rows], "provenance": provenance(seeds=list(seeds), torch_threads=list(torch_threads))}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module-level function in a new process: flushing of denormals, thread pools and Ray start from scratch and go with it.

    If this process is killed, so is the new one: what it times would keep a core busy for minutes more.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent) as pool:
        return pool.submit(function, *args, **kwargs).result()
