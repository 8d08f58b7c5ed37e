"""Tables and figures of ``energy`` experiments: Figures 4 and S4 of [Lim2020], and how far from the target every sampler is."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ardae_rl.report.figures import against_steps_and_seconds, of_first_seed, show
from ardae_rl.report.records import final, read_figures
from ardae_rl.report.tables import by, groups, markdown
from ardae_rl.report.write import Figures, Tables

METRICS = [
    "final_emd",
    "final_emd_floor",
    "final_emd_over_floor",
    "emd_over_floor",
    "sliced_w2",
    "sliced_w2_floor",
    "energy_distance",
    "reverse_kl",
    "coverage",
    "worst_region",
]
METHODS = {
    "implicit_ardae": "implicit, AR-DAE",
    "hierarchical_ardae": "hierarchical, AR-DAE",
    "hierarchical_auxiliary": "hierarchical, auxiliary",
    "flow": "spline flow",
}


def contents(experiment: dict[str, Any], folder: Path, evaluations: pd.DataFrame) -> tuple[Tables, Figures]:
    """The last evaluation, mean and standard error over seeds; curves; the pictures of the first seed beside those of the targets."""
    grid_paths = list(experiment["grid_search"])
    figures = {"distance_against_steps.png": against_steps(evaluations, grid_paths)}
    pictures = read_figures(folder, experiment["grid_search"], "samples")
    if len(pictures):
        figures["samples.png"] = side_by_side(pictures, grid_paths)
    return {"table.md": table(final(evaluations), grid_paths)}, figures


def table(rows: pd.DataFrame, grid_paths: list[str]) -> str:
    """The metrics that any of the targets has."""
    return markdown(rows, grid_paths, [name for name in METRICS if rows[name].notna().any()])


def against_steps(evaluations: pd.DataFrame, grid_paths: list[str]) -> Figure:
    """EMD over its floor against steps and against seconds of training, a curve per grid point (mean over seeds), a row per target."""
    factors = _factors(evaluations, grid_paths)
    named: dict[str, Any] = {"steps": "steps", "ylabel": "earth mover's distance / floor", "level": 1.0}
    targets = _of_targets(evaluations, grid_paths)
    return against_steps_and_seconds(targets, lambda rows: _labelled(rows, factors), "emd_over_floor", **named)


def side_by_side(pictures: pd.DataFrame, grid_paths: list[str]) -> Figure:
    """A row per target: its own picture, then that of every other grid point's first seed."""
    rows_of, factors = _of_targets(pictures, grid_paths), _factors(pictures, grid_paths)
    columns = [label for label, _ in _labelled(pictures, factors)]
    figure = Figure(figsize=(1.6 * (len(columns) + 1), 1.7 * len(rows_of)), layout="constrained")
    panels = figure.subplots(len(rows_of), len(columns) + 1, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for (name, rows), places in zip(rows_of, panels, strict=True):
        show(places[0], rows["path"].iloc[0].with_name("target.png"), name.replace("_", " ") or "target", 8)
        for label, members in _labelled(rows, factors):
            show(places[1 + columns.index(label)], of_first_seed(members), label, 8)
    return figure


def _of_targets(rows: pd.DataFrame, grid_paths: list[str]) -> list[tuple[str, pd.DataFrame]]:
    return by(rows, ["target"] if "target" in grid_paths else [])


def _factors(rows: pd.DataFrame, grid_paths: list[str]) -> list[str]:
    """What varies besides the target."""
    return [path for path in grid_paths if path != "target" and rows[path].nunique(dropna=False) > 1]


def _labelled(rows: pd.DataFrame, factors: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each combination of values: methods by their names, other values after theirs, a line each."""
    return [("\n".join(map(_label, factors, key)), members) for key, members in groups(rows, factors)]


def _label(path: str, value: object) -> str:
    return METHODS.get(str(value), str(value)) if path == "method" else f"{path.rpartition('.')[2]}={value}"
