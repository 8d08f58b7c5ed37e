"""Tables and figures of ``maxent`` experiments: Figure 7 of [Lim2020] with its statistics, and answers in closed form.

A trial holds many repeats; a pair is one repeat (seed, number) trained by both methods for the same problem.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from matplotlib.figure import Figure

from ardae_rl.report.records import final
from ardae_rl.report.statistics import CONFIDENCE, bootstrapped
from ardae_rl.report.tables import by, lines, row
from ardae_rl.report.write import Figures, Tables

METRICS = ("emd", "emd_floor", "emd_excess", "entropy_gap", "entropy_gap_neighbours", "c1", "c2")
PAIRED = {
    "emd": "EMD",
    "emd_excess": "EMD beyond those within model and answer",
    "entropy_gap_neighbours": "size of the entropy gap by nearest neighbours, nats",
}
_STYLES: tuple[dict[str, Any], ...] = ({"alpha": 0.6}, {"alpha": 0.6}, {"histtype": "step", "color": "k"})
RESAMPLES = 10_000


def contents(experiment: dict[str, Any], folder: Path, evaluations: pd.DataFrame) -> tuple[Tables, Figures]:
    """The last evaluation of every repeat and its medians over repeats; curves; where both methods ran, paired differences, Figure 7."""
    grid_paths = list(experiment["grid_search"])
    repeats = of_repeats(final(evaluations), grid_paths)
    tables: Tables = {"repeats.csv": repeats, "table.md": markdown(repeats, grid_paths)}
    figures = {"against_steps.png": against_steps(evaluations, grid_paths)}
    if {"implicit", "iaf"} <= set(experiment["grid_search"].get("method", [])):
        tables["pairs.md"] = comparison(repeats)
        figures["figure_7.png"] = figure_7(repeats)
    return tables, figures


def of_repeats(rows: pd.DataFrame, grid_paths: list[str]) -> pd.DataFrame:
    """A row per repeat: grid values, ``seed``, ``repeat`` and its metrics, from rows with columns such as ``emd/03``."""
    keys = [*grid_paths, "seed"]
    parts = []
    for metric in METRICS:
        columns = [column for column in rows if column.startswith(f"{metric}/")]
        long = rows[[*keys, *columns]].melt(keys, var_name="repeat", value_name=metric)
        parts.append(long.assign(repeat=long["repeat"].str.removeprefix(f"{metric}/").astype(int)).set_index([*keys, "repeat"]))
    return pd.concat(parts, axis=1).reset_index()


def markdown(repeats: pd.DataFrame, grid_paths: list[str]) -> str:
    """A table of the grid points: median [quartiles] of each metric over all repeats of all seeds."""
    metrics = [name for name in METRICS if repeats[name].notna().any()]
    head = row([", ".join(grid_paths), *metrics, "repeats"])
    cells = [[label, *(_quartiles(members[name]) for name in metrics), _count(members)] for label, members in by(repeats, grid_paths)]
    return lines(head, cells) + "\n"


def _count(members: pd.DataFrame) -> str:
    finite = int(members["emd"].notna().sum())
    return str(finite) if finite == len(members) else f"{finite} of {len(members)}, the others diverged"


def paired(repeats: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row per problem that both methods were trained on: ``implicit``, ``iaf`` and ``difference`` = implicit - iaf of ``metric``.

    Without the problems on which one of the two diverged: how many there are ``comparison`` says.
    """
    keys = [name for name in repeats if name not in ("method", *METRICS)]
    table = repeats.pivot_table(index=keys, columns="method", values=metric).dropna(subset=["implicit", "iaf"])
    table["difference"] = table["implicit"] - table["iaf"]
    return table.reset_index().rename_axis(columns=None)


def comparison(repeats: pd.DataFrame) -> str:
    """A row per metric: medians, the paired difference with its bootstrap interval, and the sign test. Lower is better; gaps as sizes."""
    sizes = repeats.assign(entropy_gap_neighbours=repeats["entropy_gap_neighbours"].abs())
    problems = sizes.groupby("method")["emd"].size().min()
    columns = ["", "implicit, AR-DAE", "IAF", f"difference ({CONFIDENCE:.0%} interval)", "implicit is lower", "sign test, p", "pairs"]
    table = lines(row(columns), [_compared(label, paired(sizes, metric), problems) for metric, label in PAIRED.items()])
    floor = _quartiles(repeats["emd_floor"])
    return f"{table}\n\nMedians [quartiles] over problems. EMD between two draws of the answer: {floor}.\n"


def _compared(label: str, pairs: pd.DataFrame, problems: int) -> list[str]:
    differences = pairs["difference"]
    low, high = median_interval(differences)
    lower = int((differences < 0).sum())
    test = scipy.stats.binomtest(lower, int((differences != 0).sum()))
    return [
        label,
        *(_quartiles(pairs[method]) for method in ("implicit", "iaf")),
        f"{differences.median():.4f} ({low:.4f}, {high:.4f})",
        f"{lower} ({lower / len(pairs):.0%})",
        f"{test.pvalue:.2g}",
        f"{len(pairs)} of {problems}",
    ]


def median_interval(values: pd.Series) -> tuple[float, float]:
    """Of the median, by resampling pairs (percentile bootstrap)."""
    found = bootstrapped([values.to_numpy()], np.median, resamples=RESAMPLES)
    return float(found.low), float(found.high)


def figure_7(repeats: pd.DataFrame) -> Figure:
    """Figure 7 of the paper: both distributions of EMD, with those between draws of the answer, and of the paired difference.

    Below, the same for what of the EMD is not due to how few samples it is taken between.
    """
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    for (both, difference), metric in zip(figure.subplots(2, 2), ("emd", "emd_excess"), strict=True):
        pairs = paired(repeats, metric)
        shown = {"implicit, AR-DAE": pairs["implicit"], "IAF": pairs["iaf"]}
        if metric == "emd":
            shown["draws of the answer"] = repeats["emd_floor"].drop_duplicates()  # both methods have met the same
        bins = np.histogram_bin_edges(np.concatenate(list(shown.values())), "auto")
        for (label, values), style in zip(shown.items(), _STYLES, strict=False):
            both.hist(values, bins, label=label, **style)
        both.set(xlabel=PAIRED[metric], ylabel="problems")
        both.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize="small")
        difference.hist(pairs["difference"], "auto", color="0.7")
        interval = median_interval(pairs["difference"])
        difference.axvspan(*interval, color="tab:green", alpha=0.4, label=f"median, {CONFIDENCE:.0%} interval")
        difference.axvline(0, color="k", linewidth=0.8)
        difference.set(xlabel="implicit - IAF (same problem)")
        difference.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize="small")
    return figure


def against_steps(evaluations: pd.DataFrame, grid_paths: list[str]) -> Figure:
    """EMD (dotted: between two draws of the answer) and entropy gap, means over repeats and seeds, against steps and seconds."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for number, (label, members) in enumerate(by(evaluations, grid_paths)):
        curve = members.groupby("steps")[["seconds", "emd", "emd_floor", "entropy_gap"]].mean()
        colour = f"C{number}"
        panels[0].plot(curve.index, curve["emd"], ".-", color=colour, label=label)
        panels[0].axhline(curve["emd_floor"].iloc[-1], color=colour, linestyle=":")
        panels[1].plot(curve["seconds"], curve["emd"], ".-", color=colour)
        panels[2].plot(curve.index, curve["entropy_gap"], ".-", color=colour)
    panels[0].set(xlabel="steps", ylabel="earth mover's distance")
    panels[1].set(xlabel="seconds of training", ylabel="earth mover's distance")
    panels[2].set(xlabel="steps", ylabel="H(answer) - H(model), nats")
    panels[0].legend(frameon=False)
    return figure


def _quartiles(values: pd.Series) -> str:
    if values.isna().all():
        return "-"
    low, middle, high = values.quantile([0.25, 0.5, 0.75])
    return f"{middle:.4g} [{low:.3g}, {high:.3g}]"
