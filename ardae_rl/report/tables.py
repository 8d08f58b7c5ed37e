"""Tables and labels that the reports of tasks have in common."""

from collections.abc import Mapping

import pandas as pd

from ardae_rl.report.records import summary


def markdown(rows: pd.DataFrame, grid_paths: list[str], metrics: list[str], decimals: Mapping[str, int] | None = None) -> str:
    """A table of the grid points: mean ± standard error over seeds of each of the metrics that the rows have.

    With three digits, or as many ``decimals`` as named there: differences of quantities that are large may be all there is to see.
    """
    metrics = [name for name in metrics if name in rows]
    table = summary(rows, grid_paths, metrics)
    lines = [
        "| " + " | ".join([*grid_paths, *metrics, "seeds (± standard error)"]) + " |",
        "|" + "---|" * (len(grid_paths) + len(metrics) + 1),
    ]
    for key, values in table.iterrows():
        labels = [str(part) for part in (key if isinstance(key, tuple) else (key,))] if grid_paths else []
        cells = [_with_error(values[(name, "mean")], values[(name, "sem")], (decimals or {}).get(name)) for name in metrics]
        lines.append("| " + " | ".join([*labels, *cells, f"{values[('seeds', '')]:g}"]) + " |")
    return "\n".join(lines) + "\n"


def by(rows: pd.DataFrame, paths: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each combination of values, with a label."""
    if not paths:
        return [("", rows)]
    groups = rows.groupby(paths, dropna=False, sort=False)
    return [(", ".join(str(part) for part in (key if isinstance(key, tuple) else (key,))), members) for key, members in groups]


def _with_error(mean: float, error: float, decimals: int | None) -> str:
    if pd.isna(mean):
        return "-"
    value, spread = (f"{mean:.3g}", f"{error:.2g}") if decimals is None else (f"{mean:.{decimals}f}", f"{error:.{decimals}f}")
    return value if pd.isna(error) else f"{value} ± {spread}"
