"""Tables and figures of ``score_error`` experiments."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ardae_rl.report.figures import against_steps_and_seconds
from ardae_rl.report.records import final
from ardae_rl.report.tables import by, markdown
from ardae_rl.report.write import Figures, Tables
from ardae_rl.tasks.score_error.laws import LAWS

METRICS = ("score_error", "relative_score_error", "mean_context_error", "log_density_error")
AT = "score_error@"
TRUTH_SAMPLES = 200_000


def contents(experiment: dict[str, Any], folder: Path, evaluations: pd.DataFrame) -> tuple[Tables, Figures]:
    """The last evaluation, mean and standard error over seeds; curves; for the two-mode mixture on the line, in its own coordinates,
    the error against sigma.

    A moving law has no final state: of it the mean over the second half, when tracking has settled.
    """
    grid_paths, config = list(experiment["grid_search"]), experiment["config"]
    rows = settled(evaluations, grid_paths) if config["drift"] or "drift" in grid_paths else final(evaluations)
    if "estimator" not in rows:
        rows["estimator"] = config["estimator"]
    figures = {"error_against_steps.png": against_steps(evaluations, grid_paths)}
    in_own_units = (config["score"]["standardisation"], config["score"]["scale"]) == ("fixed", 1.0)
    if config["law"] == "mixture_1d" and "law" not in grid_paths and in_own_units and any(column.startswith(AT) for column in rows):
        figures["error_against_sigma.png"] = against_sigma(rows, grid_paths)
    return {"table.md": markdown(rows, grid_paths, METRICS)}, figures


def settled(evaluations: pd.DataFrame, grid_paths: list[str]) -> pd.DataFrame:
    """Per trial, the mean of every metric over the second half of its evaluations."""
    late = evaluations[evaluations["steps"] > evaluations["steps"].max() / 2]
    return late.groupby([*grid_paths, "seed"], dropna=False, sort=False).mean(numeric_only=True).reset_index()


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
    laws = by(evaluations, [path for path in grid_paths if path == "law"])
    others = [path for path in grid_paths if path != "law"]
    named: dict[str, Any] = {"steps": "gradient steps", "ylabel": "relative score error"}
    return against_steps_and_seconds(laws, lambda rows: by(rows, others), "relative_score_error", **named)
