"""What a benchmark hands back: rows, where they were measured, and how both are shown and stored."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from ardae_rl.run.provenance import provenance


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


def beside_the_first(samples: Mapping[str, Sequence[float]], unit: str) -> list[Row]:
    """A row per name, the first one the baseline of the others."""
    (first, values), *others = samples.items()
    baseline = row(first, values, unit)
    return [baseline, *(row(name, rest, unit, baseline=baseline) for name, rest in others)]


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
