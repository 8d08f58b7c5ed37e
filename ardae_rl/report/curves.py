"""Figures of a continuous-control study: learning curves and performance profiles.

Notation: ``evaluations`` and ``runs`` as in ``control.py``.
Not here: what they show (``statistics.py``).
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from ardae_rl.report.paper import MAXIMUM, MEASURES
from ardae_rl.report.statistics import Scores, performance_profile, smoothed

_THRESHOLDS = 201


def learning_curves(evaluations: pd.DataFrame) -> Figure:
    """A panel per environment: each run smoothed, then the mean over seeds with a band of one standard error either side."""
    environments = list(dict.fromkeys(evaluations["env"]))
    colours = _colours(evaluations)
    figure, panels = _panels(len(environments))
    for env, axes in zip(environments, panels, strict=True):
        for method, members in evaluations[evaluations["env"] == env].groupby("method", sort=False):
            steps, curves = _curves(members)
            mean, error = curves.mean(0), stats.sem(curves, axis=0) if len(curves) > 1 else np.zeros(len(steps))
            axes.plot(steps, mean, color=colours[method], label=f"{method} ({_seeds(evaluations, method)})")
            axes.fill_between(steps, mean - error, mean + error, color=colours[method], alpha=0.2, linewidth=0)
        axes.set(title=env, xlabel="environment steps", ylabel="average return")
    _legend(figure)
    return figure


def _seeds(evaluations: pd.DataFrame, method: str) -> str:
    """How many seeds a method has on an environment: a number, or the fewest and the most."""
    counts = evaluations[evaluations["method"] == method].groupby("env")["seed"].nunique()
    return " to ".join(str(count) for count in sorted({counts.min(), counts.max()}))


def _curves(members: pd.DataFrame) -> tuple[Scores, Scores]:
    """Steps (n,) and smoothed evaluations (runs, n), one below the other by number of evaluation: all runs have the same."""
    runs = [run for _, run in members.groupby("seed")]
    steps = np.mean([run["env_steps"].to_numpy(float) for run in runs], axis=0)
    return steps, np.array([smoothed(run["return_mean"].to_numpy(float)) for run in runs])


def performance_profiles(runs: pd.DataFrame) -> Figure:
    """Per measure: the share of runs above each score, with 95% bands, of the methods that ran on every environment."""
    figure, panels = _panels(len(MEASURES))
    colours, runs = _colours(runs), with_scale(runs)
    thresholds = _thresholds(runs)
    for (measure, title), axes in zip(MEASURES.items(), panels, strict=True):
        for method in everywhere(runs, at_least=1):
            strata = [members[f"{measure}_score"].to_numpy() for members in by_env(runs, method)]
            profile = performance_profile(strata, thresholds)
            axes.step(thresholds, profile.value, where="post", color=colours[method], label=method)
            axes.fill_between(thresholds, profile.low, profile.high, step="post", color=colours[method], alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel="score", ylabel="share of runs above", ylim=(-0.02, 1.02))
    _legend(figure)
    return figure


def _thresholds(runs: pd.DataFrame) -> Scores:
    """From below the lowest score to above the highest: a profile goes from all runs to none."""
    scores = runs[[f"{measure}_score" for measure in MEASURES]].to_numpy(float)
    scores = scores[np.isfinite(scores)]
    low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
    margin = max((high - low) / 20, 0.01)
    return np.linspace(low - margin, high + margin, _THRESHOLDS)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(5.5, 4.5 * columns), 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _legend(figure: Figure) -> None:
    """One for all panels, below them: in a panel, names as long as these hide curves."""
    lines = {str(line.get_label()): line for axes in figure.axes for line in axes.lines}
    columns = max(1, 2 * len(figure.axes))
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def _colours(rows: pd.DataFrame) -> dict[object, str]:
    return {method: f"C{number % 10}" for number, method in enumerate(sorted(set(rows["method"])))}


def everywhere(runs: pd.DataFrame, at_least: int = 2) -> list[str]:
    """The methods that ran on every environment; none where there are fewer than ``at_least``."""
    environments = runs["env"].nunique()
    counts = runs.groupby("method", sort=False)["env"].nunique()
    return [str(method) for method in counts[counts == environments].index] if environments >= at_least else []


def with_scale(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs on environments where some method did better than score 0: elsewhere there are no scores."""
    return runs[runs[f"{MAXIMUM}_score"].notna()]


def by_env(runs: pd.DataFrame, method: str) -> list[pd.DataFrame]:
    return [members for _, members in runs[runs["method"] == method].groupby("env", sort=False)]
