"""Tables and figures of ``score_error`` experiments."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ardae_rl.experiment.preflight import PROVENANCE, RECORD
from ardae_rl.report import tables
from ardae_rl.report.provenance import copied
from ardae_rl.report.records import final, read_evaluations
from ardae_rl.report.tables import by
from ardae_rl.tasks.score_error.laws import LAWS

METRICS = ("score_error", "relative_score_error", "mean_context_error", "log_density_error")
AT = "score_error@"
TRUTH_SAMPLES = 200_000


def write(experiment: dict[str, Any], folder: Path, output: Path) -> list[Path]:
    """Everything this experiment has to show, into ``output``; returns the files written.

    ``evaluations.csv`` (all of them), ``table.md`` (last evaluation, mean and standard error over seeds), ``error_against_steps.png``,
    and for the two-mode mixture on the line, in its own coordinates, ``error_against_sigma.png``.
    """
    grid_paths = list(experiment["grid_search"])
    evaluations = read_evaluations(folder, experiment["grid_search"])
    output.mkdir(parents=True, exist_ok=True)
    evaluations.to_csv(output / "evaluations.csv", index=False)
    rows = final(evaluations, grid_paths)
    if "estimator" not in rows:
        rows["estimator"] = experiment["config"]["estimator"]
    drifts = experiment["config"]["drift"] or "drift" in grid_paths
    if drifts:  # a moving law has no final state: the mean over the second half, when tracking has settled
        rows = settled(evaluations, grid_paths)
    (output / "table.md").write_text(markdown(rows, grid_paths), encoding="utf-8")
    figures = {"error_against_steps.png": against_steps(evaluations, grid_paths)}
    config = experiment["config"]
    in_own_units = (config["score"]["standardisation"], config["score"]["scale"]) == ("fixed", 1.0)
    if config["law"] == "mixture_1d" and "law" not in grid_paths and in_own_units and any(column.startswith(AT) for column in rows):
        figures["error_against_sigma.png"] = against_sigma(rows, grid_paths)
    for name, figure in figures.items():
        figure.savefig(output / name, dpi=150)
    copies = [copied(folder / name, output) for name in (RECORD, PROVENANCE)]
    return [*filter(None, copies), *(output / name for name in ("evaluations.csv", "table.md", *figures))]


def settled(evaluations: pd.DataFrame, grid_paths: list[str]) -> pd.DataFrame:
    """Per trial, the mean of every metric over the second half of its evaluations."""
    late = evaluations[evaluations["steps"] > evaluations["steps"].max() / 2]
    return late.groupby([*grid_paths, "seed"], dropna=False, sort=False).mean(numeric_only=True).reset_index()


def markdown(rows: pd.DataFrame, grid_paths: list[str]) -> str:
    """A table of the grid points: mean (standard error) of each metric over seeds."""
    return tables.markdown(rows, grid_paths, list(METRICS))


def against_sigma(rows: pd.DataFrame, grid_paths: list[str]) -> Figure:
    """Figure 3 of the paper: E|f - score| against sigma, mean and standard error over repeats, with the optimum f* in closed form."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="sigma", ylabel="E |f(x) - score(x)|")
    sigmas = sorted(float(column.removeprefix(AT)) for column in rows if column.startswith(AT))
    for number, (label, members) in enumerate(by(rows, grid_paths)):
        errors = members[[f"{AT}{sigma:g}" for sigma in sigmas]]
        colour = f"C{number}"
        axes.errorbar(sigmas, errors.mean(), errors.sem(), marker="o", capsize=3, label=label, color=colour)
        if members["estimator"].eq("ardae").all():
            axes.axhline(members["score_error"].mean(), linestyle=":", color=colour, label=f"{label}, sigma = 0")
    _draw_optimum(axes, sigmas)
    axes.legend(frameon=False, fontsize=8)
    return figure


def optimum_errors(sigmas: list[float]) -> list[float]:
    """E|f*(x; sigma) - score(x)| of the two-mode mixture: the bias no amount of training removes."""
    law = LAWS["mixture_1d"](0)
    x = law.draw(None, TRUTH_SAMPLES, torch.Generator().manual_seed(0))
    return [float((law.score(x, sigma=sigma) - law.score(x)).norm(dim=-1).mean()) for sigma in sigmas]


def _draw_optimum(axes: Axes, sigmas: list[float]) -> None:
    fine = np.geomspace(sigmas[0], sigmas[-1], 50).tolist()
    axes.plot(fine, optimum_errors(fine), "k--", label="f* (optimum)")
    axes.set_ylim(bottom=optimum_errors(sigmas[:1])[0] / 3)


def against_steps(evaluations: pd.DataFrame, grid_paths: list[str]) -> Figure:
    """Relative score error against gradient steps and against seconds, a curve per grid point (mean over seeds), a row per law."""
    laws = list(evaluations["law"].unique()) if "law" in grid_paths else [None]
    others = [path for path in grid_paths if path != "law"]
    figure = Figure(figsize=(10, 3 * len(laws)), layout="constrained")
    panels = figure.subplots(len(laws), 2, squeeze=False, sharey="row")
    for law, (by_steps, by_seconds) in zip(laws, panels, strict=True):
        rows = evaluations if law is None else evaluations[evaluations["law"] == law]
        for name, members in by(rows, others):
            curve = members.groupby("steps")[["relative_score_error", "seconds"]].mean()
            by_steps.plot(curve.index, curve["relative_score_error"], ".-", label=name)
            by_seconds.plot(curve["seconds"], curve["relative_score_error"], ".-", label=name)
        by_steps.set(title=law or "", xlabel="gradient steps", ylabel="relative score error", yscale="log")
        by_seconds.set(title=law or "", xlabel="seconds of training")
        by_seconds.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
