"""Tables and figures of ``vae`` experiments: test log p(x) of every posterior, Figure 5 of [Lim2020], samples and reconstructions."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy import stats

from ardae_rl.experiment.preflight import PROVENANCE, RECORD
from ardae_rl.report.records import final, read_evaluations, read_figures
from ardae_rl.report.tables import by, markdown

METRICS = [
    "test_nll",
    "test_ess_fraction",
    "best_validation_nll",
    "best_step",
    "negative_elbo",
    "active_units",
    "mmd_squared",
    "posterior_log_variance",
    "modes_covered",
    "share_on_modes",
    "seconds",
]
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
CONFIDENCE, WIDTH_IN = 0.95, 12


def write(experiment: dict[str, Any], folder: Path, output: Path) -> list[Path]:
    """Everything this experiment has to show, into ``output``; returns the files written.

    ``evaluations.csv`` (all of them), ``table.md``, ``curves.png``, and the pictures of the first seed: ``planes.png`` of the toy, else
    ``samples.png`` and ``reconstructions.png``.
    """
    grid_paths = list(experiment["grid_search"])
    evaluations = named(read_evaluations(folder, experiment["grid_search"]))
    output.mkdir(parents=True, exist_ok=True)
    evaluations.to_csv(output / "evaluations.csv", index=False)
    (output / "table.md").write_text(table(final(evaluations, grid_paths), grid_paths, experiment["config"]), encoding="utf-8")
    figures = {"curves.png": curves(evaluations, grid_paths)}
    for name in ("planes", "samples", "reconstructions"):
        pictures = named(read_figures(folder, experiment["grid_search"], name))
        if len(pictures):
            figures[f"{name}.png"] = gallery(pictures, grid_paths, columns=1 if name == "planes" else 3)
    for name, figure in figures.items():
        figure.savefig(output / name, dpi=150)
    for name in (RECORD, PROVENANCE):
        shutil.copy(folder / name, output / name)
    return [output / name for name in ("evaluations.csv", "table.md", RECORD, PROVENANCE, *figures)]


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """A noise level that varies, as text; AR-DAE where there is none."""
    if FIXED_SIGMA in rows:
        rows[FIXED_SIGMA] = ["AR-DAE" if pd.isna(sigma) else f"sigma = {sigma:g}" for sigma in rows[FIXED_SIGMA]]
    return rows


def table(rows: pd.DataFrame, grid_paths: list[str], config: dict[str, Any]) -> str:
    """What the data are, every metric at the end, and differences of the test figure between grid points."""
    data = ", ".join(DATA[name] for name in (rows["data"].unique() if "data" in grid_paths else [config["data"]]))
    parts = [
        f"{data}. Mean ± standard error over seeds; -log p(x) in nats, with {config['evaluation']['test_samples']:,} samples per image."
    ]
    parts.append(markdown(rows, grid_paths, [name for name in METRICS if name in rows and rows[name].notna().any()]))
    if grid_paths and rows["test_nll"].notna().any():
        parts.append(differences(rows, grid_paths))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def differences(rows: pd.DataFrame, grid_paths: list[str]) -> str:
    """``test_nll`` of every grid point less that of the best, seed by seed: mean and 95% interval of Student's t."""
    groups = {label: members.set_index("seed")["test_nll"] for label, members in by(rows, grid_paths)}
    best = min(groups, key=lambda label: groups[label].mean())
    lines = [f"Test -log p(x) less that of {best}, of the same seed:", "", "| | difference | 95% interval | seeds |", "|---|---|---|---|"]
    for label, values in groups.items():
        paired = (values - groups[best]).dropna()
        if label != best and len(paired):
            low, high = interval(paired.to_numpy())
            lines.append(f"| {label} | {paired.mean():.3g} | {low:.3g} to {high:.3g} | {len(paired)} |")
    return "\n".join(lines)


def interval(values: "np.ndarray[Any, Any]") -> tuple[float, float]:
    """Student's 95% interval of the mean; NaN of a single value."""
    if len(values) < 2:
        return float("nan"), float("nan")
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - reach), float(values.mean() + reach)


def curves(evaluations: pd.DataFrame, grid_paths: list[str]) -> Figure:
    """-log p(x) of validation data against steps and seconds, and the mean log-variance of posteriors against steps; mean over seeds."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    by_steps, by_seconds, variance = figure.subplots(1, 3)
    for label, members in by(evaluations, grid_paths):
        curve = members.groupby("steps")[["validation_nll", "seconds", "posterior_log_variance"]].mean()
        by_steps.plot(curve.index, curve["validation_nll"], ".-")
        by_seconds.plot(curve["seconds"], curve["validation_nll"], ".-")
        variance.plot(curve.index, curve["posterior_log_variance"], ".-", label=POSTERIORS.get(label, label))
    by_steps.set(xlabel="steps", ylabel="validation -log p(x) (nats)")
    by_seconds.set(xlabel="seconds of training", ylabel="validation -log p(x) (nats)")
    variance.set(xlabel="steps", ylabel="mean log variance of z | x")
    for axes in (by_steps, by_seconds):
        axes.set_ylim(top=_top(evaluations["validation_nll"]))
    if grid_paths:
        variance.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _top(values: pd.Series) -> float:
    """Above the bulk of the curves: their beginnings would hide their ends."""
    low, high = float(values.min()), float(values.quantile(0.9))
    return high + 0.3 * (high - low) + 1e-3


def gallery(pictures: pd.DataFrame, grid_paths: list[str], *, columns: int) -> Figure:
    """The picture of every grid point's first seed, ``columns`` in a row."""
    chosen = [(label, members.loc[members["seed"].idxmin(), "path"]) for label, members in by(pictures, grid_paths)]
    rows = -(-len(chosen) // columns)
    images = [imread(path) for _, path in chosen]
    height, width = images[0].shape[:2]
    figure = Figure(figsize=(WIDTH_IN, rows * (WIDTH_IN / columns * height / width + 0.3)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes in panels:
        axes.set_axis_off()
    for axes, image, (label, _) in zip(figure.axes, images, chosen, strict=False):
        axes.imshow(image)
        axes.set_title(POSTERIORS.get(label, label), fontsize=9)
    return figure
