"""Tables and labels that the reports of tasks have in common."""

import pandas as pd

from ardae_rl.report.records import summary


def markdown(rows: pd.DataFrame, grid_paths: list[str], metrics: list[str]) -> str:
    """A table of the grid points: mean ± standard error over seeds of each of the metrics that the rows have."""
    metrics = [name for name in metrics if name in rows]
    table = summary(rows, grid_paths, metrics)
    lines = ["| " + " | ".join([*grid_paths, *metrics, "seeds"]) + " |", "|" + "---|" * (len(grid_paths) + len(metrics) + 1)]
    for key, values in table.iterrows():
        labels = [str(part) for part in (key if isinstance(key, tuple) else (key,))] if grid_paths else []
        cells = [_with_error(values[(name, "mean")], values[(name, "sem")]) for name in metrics]
        lines.append("| " + " | ".join([*labels, *cells, f"{values[('seeds', '')]:g}"]) + " |")
    return "\n".join(lines) + "\n"


def by(rows: pd.DataFrame, paths: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each combination of values, with a label."""
    if not paths:
        return [("", rows)]
    groups = rows.groupby(paths, dropna=False, sort=False)
    return [(", ".join(str(part) for part in (key if isinstance(key, tuple) else (key,))), members) for key, members in groups]


def _with_error(mean: float, error: float) -> str:
    if pd.isna(mean):
        return "-"
    return f"{mean:.3g}" if pd.isna(error) else f"{mean:.3g} ± {error:.2g}"
