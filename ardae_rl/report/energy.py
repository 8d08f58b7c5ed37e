"""Tables and figures of ``energy`` experiments: Figures 4 and S4 of [Lim2020], and how far from the target every sampler is."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread

from ardae_rl.experiment.preflight import PROVENANCE, RECORD
from ardae_rl.report.provenance import copied
from ardae_rl.report.records import final, read_evaluations, read_figures
from ardae_rl.report.tables import by, markdown

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


def write(experiment: dict[str, Any], folder: Path, output: Path) -> list[Path]:
    """Everything this experiment has to show, into ``output``; returns the files written.

    ``evaluations.csv`` (all of them), ``table.md`` (last evaluation, mean and standard error over seeds), ``distance_against_steps.png``
    and ``samples.png``, the pictures of the first seed beside those of the targets.
    """
    grid_paths = list(experiment["grid_search"])
    evaluations = read_evaluations(folder, experiment["grid_search"])
    output.mkdir(parents=True, exist_ok=True)
    evaluations.to_csv(output / "evaluations.csv", index=False)
    (output / "table.md").write_text(table(final(evaluations, grid_paths), grid_paths), encoding="utf-8")
    figures = {"distance_against_steps.png": against_steps(evaluations, grid_paths)}
    pictures = read_figures(folder, experiment["grid_search"], "samples")
    if len(pictures):
        figures["samples.png"] = side_by_side(pictures, grid_paths)
    for name, figure in figures.items():
        figure.savefig(output / name, dpi=150)
    copies = [copied(folder / name, output) for name in (RECORD, PROVENANCE)]
    return [*filter(None, copies), *(output / name for name in ("evaluations.csv", "table.md", *figures))]


def table(rows: pd.DataFrame, grid_paths: list[str]) -> str:
    """The metrics that any of the targets has."""
    return markdown(rows, grid_paths, [name for name in METRICS if rows[name].notna().any()])


def against_steps(evaluations: pd.DataFrame, grid_paths: list[str]) -> Figure:
    """EMD over its floor against steps and against seconds of training, a curve per grid point (mean over seeds), a row per target."""
    rows_of = by(evaluations, ["target"]) if "target" in grid_paths else [("", evaluations)]
    factors = _factors(evaluations, grid_paths)
    figure = Figure(figsize=(10, 3 * len(rows_of)), layout="constrained")
    panels = figure.subplots(len(rows_of), 2, squeeze=False, sharey="row")
    for (name, rows), (by_steps, by_seconds) in zip(rows_of, panels, strict=True):
        for label, members in _labelled(rows, factors):
            curve = members.groupby("steps")[["emd_over_floor", "seconds"]].mean()
            by_steps.plot(curve.index, curve["emd_over_floor"], ".-")
            by_seconds.plot(curve["seconds"], curve["emd_over_floor"], ".-", label=label)
        for axes in (by_steps, by_seconds):
            axes.axhline(1, color="k", linewidth=0.8, linestyle=":")
        by_steps.set(title=name, xlabel="steps", ylabel="earth mover's distance / floor", yscale="log")
        by_seconds.set(title=name, xlabel="seconds of training")
        if factors:
            by_seconds.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def side_by_side(pictures: pd.DataFrame, grid_paths: list[str]) -> Figure:
    """A row per target: its own picture, then that of every other grid point's first seed."""
    rows_of = by(pictures, ["target"]) if "target" in grid_paths else [("", pictures)]
    factors = _factors(pictures, grid_paths)
    columns = [label for label, _ in _labelled(pictures, factors)]
    figure = Figure(figsize=(1.6 * (len(columns) + 1), 1.7 * len(rows_of)), layout="constrained")
    panels = figure.subplots(len(rows_of), len(columns) + 1, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for (name, rows), row in zip(rows_of, panels, strict=True):
        row[0].imshow(imread(rows["path"].iloc[0].with_name("target.png")))
        row[0].set_title(name.replace("_", " ") or "target", fontsize=8)
        for label, members in _labelled(rows, factors):
            axes = row[1 + columns.index(label)]
            axes.imshow(imread(members.loc[members["seed"].idxmin(), "path"]))
            axes.set_title(label, fontsize=8)
    return figure


def _factors(rows: pd.DataFrame, grid_paths: list[str]) -> list[str]:
    """What varies besides the target."""
    return [path for path in grid_paths if path != "target" and rows[path].nunique(dropna=False) > 1]


def _labelled(rows: pd.DataFrame, factors: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each combination of values: methods by their names, other values after theirs, a line each."""
    if not factors:
        return [("", rows)]
    groups = rows.groupby(factors, dropna=False, sort=False)
    return [("\n".join(map(_label, factors, key)), members) for key, members in groups]


def _label(path: str, value: object) -> str:
    return METHODS.get(str(value), str(value)) if path == "method" else f"{path.rpartition('.')[2]}={value}"
