"""Tables and figures of ``vae`` experiments: test log p(x) of every posterior, Figure 5 of [Lim2020], samples and reconstructions."""

import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread

from ardae_rl.experiment.summary import mean_interval
from ardae_rl.report.figures import legend_beside, of_first_seed, show
from ardae_rl.report.records import expected, final, read_figures, value_at
from ardae_rl.report.tables import by, lines, markdown
from ardae_rl.report.write import Figures, Tables

METRICS = [
    "test_nll",
    "test_negative_elbo",
    "test_joint_nll",
    "test_ess_fraction",
    "test_active_units",
    "test_posterior_log_variance",
    "test_mmd_squared",
    "test_fine_mmd_squared",
    "test_modes_covered",
    "test_share_on_modes",
    "best_validation_nll",
    "seconds",
]
DECIMALS = {"test_nll": 2, "test_negative_elbo": 2, "test_joint_nll": 2, "best_validation_nll": 2, "seconds": 0}
SETTINGS = (
    "latent_dim",
    "steps",
    "batch_size",
    "lr",
    "score.samples_per_context",
    "score.fits_per_step",
    "evaluation.test_samples",
    "evaluation.test_images",
)
POSTERIORS = {
    "gaussian": "Gaussian",
    "hvi_auxiliary": "hierarchical, auxiliary bound",
    "hvi_ardae": "hierarchical, AR-DAE",
    "ivi_ardae": "implicit, AR-DAE",
    "ivi_avb": "implicit, AVB",
}
DATA = {
    "toy": "25 Gaussians",
    "digits": "scikit-learn's 8 x 8 digits, dynamically binarised",
    "dbmnist": "MNIST, dynamically binarised",
    "sbmnist": "MNIST, statically binarised (Larochelle & Murray)",
    "sbmnist_seeded": "MNIST, binarised once from a fixed seed: not Larochelle's images, so not comparable with published numbers",
}
FIXED_SIGMA = "score.fixed_sigma"
WIDTH_IN = 12


def contents(experiment: dict[str, Any], folder: Path, evaluations: pd.DataFrame) -> tuple[Tables, Figures]:
    """Every metric at the end; curves; the pictures of the first seed: of the toy its planes, else samples and reconstructions."""
    grid, grid_paths = experiment["grid_search"], list(experiment["grid_search"])
    evaluations = named(evaluations)
    ends = named(expected(experiment)).merge(final(evaluations), "left", [*grid_paths, "seed"])
    figures = {"curves.png": curves(evaluations, grid_paths)}
    for name, columns in (("planes", 1), ("samples", 3), ("reconstructions", 3)):
        pictures = named(read_figures(folder, grid, name))
        if len(pictures):
            figures[f"{name}.png"] = gallery(pictures, grid_paths, columns=columns)
    return {"evaluations.csv": evaluations, "table.md": table(ends, grid_paths, experiment["config"])}, figures


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """A noise level that varies, as text; AR-DAE where there is none."""
    if FIXED_SIGMA in rows:
        rows[FIXED_SIGMA] = ["AR-DAE" if pd.isna(sigma) else f"sigma = {sigma:g}" for sigma in rows[FIXED_SIGMA]]
    return rows


def table(rows: pd.DataFrame, grid_paths: list[str], config: dict[str, Any]) -> str:
    """What was run, every metric at the end, steps that did best, which runs have none, and differences between grid points in test_nll.

    ``rows``: one per trial asked for; its metrics are NaN where it did not get to the end.
    """
    parts, chose = [_head(rows, grid_paths, config)], not config["train_on_validation"]
    kept = [name for name in METRICS if name in rows and (chose or not name.startswith("best_"))]
    parts.append(markdown(rows, grid_paths, [name for name in kept if rows[name].notna().any()], DECIMALS))
    if chose and "best_step" in rows:
        parts.append(best_steps(rows, grid_paths))
    parts += _failures(rows, grid_paths)
    if grid_paths and rows["test_nll"].notna().any():
        parts.append(differences(rows, grid_paths))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _head(rows: pd.DataFrame, grid_paths: list[str], config: dict[str, Any]) -> str:
    """Data, settings that are the same for all, and which split and weights the figures are of."""
    data = ", ".join(DATA[name] for name in (rows["data"].unique() if "data" in grid_paths else [config["data"]]))
    shared = ", ".join(f"{path} {_text(value_at(config, path))}" for path in SETTINGS if path not in grid_paths)
    weights = "the last weights, validation images being trained on" if config["train_on_validation"] else "the weights best on validation"
    precision = " Seconds: AR-DAE's network computes in bfloat16, AVB's in float32." if config["score"]["autocast"] else ""
    return (
        f"{data}. {shared}.\n\nMean ± standard error over seeds. test_* are of test images, by {weights}; "
        f"test_nll is -log p(x) and test_negative_elbo the bound above it, in nats; test_joint_nll "
        f"is -log p(x), too, by the auxiliary bound's own proposal.{precision}"
    )


def best_steps(rows: pd.DataFrame, grid_paths: list[str]) -> str:
    """The ``best_step`` of every run: a mean over seeds would be that of none."""
    steps = {label: members["best_step"] for label, members in by(rows, grid_paths)}
    cells = [[label, ", ".join("-" if pd.isna(step) else f"{step:.0f}" for step in each)] for label, each in steps.items()]
    return "Steps that did best on validation, seed by seed:\n\n" + lines("| | best_step |", cells)


def _text(value: object) -> str:
    return "all" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _failures(rows: pd.DataFrame, grid_paths: list[str]) -> list[str]:
    """A sentence on trials without a test figure, and one on those that were no longer finite in the end, if there are any."""
    missing, spoilt = rows["test_nll"].isna(), rows["test_nll"].notna() & rows["validation_nll"].isna()
    sentences = {
        "Not finished, or diverged for good, so that there is no mean": rows[missing],
        "No longer finite at the last step; tested with weights of before": rows[spoilt],
    }
    return [f"{text}: {_trials(members, grid_paths)}." for text, members in sentences.items() if len(members)]


def _trials(rows: pd.DataFrame, grid_paths: list[str]) -> str:
    return "; ".join(f"{label} seed {seed}".strip() for label, members in by(rows, grid_paths) for seed in members["seed"])


def differences(rows: pd.DataFrame, grid_paths: list[str]) -> str:
    """``test_nll`` of every grid point less that of every later one, seed by seed: mean and 95% interval of Student's t.

    No figure where a seed has none.
    """
    groups = {label: members.set_index("seed")["test_nll"] for label, members in by(rows, grid_paths)}
    text = "Test -log p(x) in nats of one less that of another, of the same seed. Intervals are over seeds, not corrected for their number:"
    cells = []
    for (label, values), (other, others) in combinations(groups.items(), 2):
        paired = (values - others).tolist()
        mean, reach = mean_interval(paired)
        cells.append([label, other, _nats(mean), f"{_nats(mean - reach)} to {_nats(mean + reach)}", str(len(paired))])
    return f"{text}\n\n" + lines("| | less that of | difference | 95% interval | seeds |", cells)


def _nats(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def curves(evaluations: pd.DataFrame, grid_paths: list[str]) -> Figure:
    """-log p(x) of validation data against steps and seconds, and the mean log-variance of posteriors against steps; mean over seeds.

    As far as all seeds of a grid point got, and with a gap where one of them was not finite.
    """
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    by_steps, by_seconds, variance = figure.subplots(1, 3)
    for label, members in by(evaluations, grid_paths):
        curve = _mean_over_seeds(members, ["validation_nll", "seconds", "validation_posterior_log_variance"])
        by_steps.plot(curve.index, curve["validation_nll"], ".-")
        by_seconds.plot(curve["seconds"], curve["validation_nll"], ".-")
        variance.plot(curve.index, curve["validation_posterior_log_variance"], ".-", label=POSTERIORS.get(label, label))
    by_steps.set(xlabel="steps", ylabel="validation -log p(x) (nats)")
    by_seconds.set(xlabel="seconds of training", ylabel="validation -log p(x) (nats)")
    variance.set(xlabel="steps", ylabel="mean log variance of z | x")
    for axes in (by_steps, by_seconds):
        axes.set_ylim(top=_top(evaluations["validation_nll"]))
    if grid_paths:
        legend_beside(variance)
    return figure


def _mean_over_seeds(rows: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """By steps. A seed that is missing or not finite does not improve the mean of the others."""
    table = rows.pivot(index="steps", columns="seed", values=metrics)
    return pd.DataFrame({name: table[name].mean(axis=1, skipna=False) for name in metrics})


def _top(values: pd.Series) -> float:
    """Above the bulk of the curves: their beginnings would hide their ends."""
    low, high = float(values.min()), float(values.quantile(0.9))
    return high + 0.3 * (high - low) + 1e-3


def gallery(pictures: pd.DataFrame, grid_paths: list[str], *, columns: int) -> Figure:
    """The picture of every grid point's first seed, up to ``columns`` in a row."""
    chosen = [(label, of_first_seed(members)) for label, members in by(pictures, grid_paths)]
    height, width = imread(chosen[0][1]).shape[:2]
    width_in = WIDTH_IN / columns
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(width_in * columns, rows * (width_in * height / width + 0.3)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes in panels:
        axes.set_axis_off()
    for axes, (label, picture) in zip(figure.axes, chosen, strict=False):
        show(axes, picture, POSTERIORS.get(label, label), 9)
    return figure
