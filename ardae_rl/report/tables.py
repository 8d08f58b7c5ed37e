"""Tables and labels that the reports of tasks have in common."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def markdown(rows: pd.DataFrame, grid_paths: list[str], metrics: Iterable[str], decimals: Mapping[str, int] | None = None) -> str:
    """A table of the grid points: mean ± standard error over seeds of each of the metrics that the rows have, and how many seeds.

    With three digits, or as many ``decimals`` as named there: differences of quantities that are large may be all there is to see.
    No mean where one of the seeds has none: a run that diverged does not improve the mean of the others.
    """
    metrics = [name for name in metrics if name in rows]
    cells = [
        [*map(str, key), *(_with_error(members[name], (decimals or {}).get(name)) for name in metrics), str(members["seed"].nunique())]
        for key, members in groups(rows, grid_paths)
    ]
    return lines(row([*grid_paths, *metrics, "seeds (± standard error)"]), cells) + "\n"


def lines(head: str, rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table under the line ``head``."""
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *map(row, rows)])


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def groups(rows: pd.DataFrame, paths: list[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The rows of each combination of values."""
    return list(rows.groupby(paths, dropna=False, sort=False)) if paths else [((), rows)]


def by(rows: pd.DataFrame, paths: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """The same with a label."""
    return [(", ".join(map(str, key)), members) for key, members in groups(rows, paths)]


def _with_error(values: pd.Series, decimals: int | None) -> str:
    mean, error = values.mean(skipna=False), values.sem(skipna=False)
    if pd.isna(mean):
        return "-"
    value, spread = (f"{mean:.3g}", f"{error:.2g}") if decimals is None else (f"{mean:.{decimals}f}", f"{error:.{decimals}f}")
    return value if pd.isna(error) else f"{value} ± {spread}"
