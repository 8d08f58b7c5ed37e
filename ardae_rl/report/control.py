"""Tables and figures of a continuous-control study: methods on environments, several seeds each.

Notation: a run's *maximum* is the largest of its evaluations (each the mean return of its episodes), its *normalised* average return their
mean over training; both are the paper's, [Lim2020] arXiv:2006.05164, section 6.3. Over several environments scores are made comparable per
environment: 0 is the mean first evaluation of all runs there, 1 the best method's mean maximum.
Not here: reading folders (``runs.py``), the statistics themselves (``statistics.py``).
"""

import json
import re
import shutil
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from ardae_rl.experiment.preflight import PROVENANCE, RECORD
from ardae_rl.experiment.problems import Problem
from ardae_rl.report import multi_goal
from ardae_rl.report.page import Section, to_html, to_markdown
from ardae_rl.report.paper import CAVEAT, MAXIMUM, NORMALISED, published
from ardae_rl.report.runs import RUN, read_runs
from ardae_rl.report.statistics import Estimate, Scores, interquartile_mean, performance_profile, probability_of_improvement, smoothed

MEASURES = {MAXIMUM: "maximum average return", NORMALISED: "normalised average return"}
ALL = "all"
ENOUGH_RUNS = 10  # from where on a bootstrap interval of an interquartile mean holds nearly what it promises
_THRESHOLDS = np.linspace(-0.1, 1.2, 131)
_CURVES, _PROFILES = "learning_curves.png", "performance_profiles.png"


def write(experiments: Sequence[tuple[Path, dict[str, Any]]], output: Path) -> tuple[list[Path], list[Problem]]:
    """Everything these (folder, experiment file) have to show, into ``output``: the files written, and what had to be left out.

    ``report.md`` and ``report.html`` (one page, pictures inside), ``evaluations.csv`` and ``runs.csv`` (what they are made of),
    ``returns.csv``, ``improvement.csv``, figures, and each experiment's file and provenance. Raises InvalidExperimentError where no run is
    finished. Of MultiGoal also ``goals.csv`` and a picture per method.
    """
    evaluations, problems = read_runs(experiments)
    runs = runs_of(evaluations)
    compared, improvement = returns(runs), improvements(runs)
    output.mkdir(parents=True, exist_ok=True)
    for name, table in (
        ("evaluations", evaluations.drop(columns="folder")),
        ("runs", runs),
        ("returns", compared),
        ("improvement", improvement),
    ):
        table.to_csv(output / f"{name}.csv", index=False)
    goals, goal_figures, goal_problems = multi_goal.read_goals(evaluations)
    problems = problems + goal_problems
    pictures = {method: f"goals_{_file_name(method)}.png" for method in goal_figures}
    for method, name in pictures.items():
        goal_figures[method].savefig(output / name, dpi=150)
    learning_curves(evaluations).savefig(output / _CURVES, dpi=150)
    performance_profiles(runs).savefig(output / _PROFILES, dpi=150)
    copies = [_copied(folder / name, output / experiment["name"]) for folder, experiment in experiments for name in (RECORD, PROVENANCE)]
    title = f"Continuous control: {', '.join(dict.fromkeys(runs['env']))}"
    sections = _sections(runs, compared, improvement, problems, [experiment for _, experiment in experiments], copies)
    if len(goals):
        goals.to_csv(output / "goals.csv", index=False)
        sections[1:1] = _goal_sections(goals, pictures)
    (output / "report.md").write_text(to_markdown(title, sections), encoding="utf-8")
    (output / "report.html").write_text(to_html(title, sections, output), encoding="utf-8")
    names = ["report.md", "report.html", "evaluations.csv", "runs.csv", "returns.csv", "improvement.csv", _CURVES, _PROFILES]
    names += ["goals.csv", *pictures.values()] if len(goals) else []
    return [*(output / name for name in names), *(copy for copy in copies if copy)], problems


def runs_of(evaluations: pd.DataFrame) -> pd.DataFrame:
    """A row per run: ``env_steps`` of training, ``first`` evaluation, ``maximum``, ``normalised``, both also on the common scale."""
    grouped = evaluations.groupby(RUN, sort=False)
    mean = grouped["return_mean"]
    runs = pd.DataFrame(
        {"env_steps": grouped["env_steps"].max(), "first": mean.first(), MAXIMUM: mean.max(), NORMALISED: mean.mean()}
    ).reset_index()
    low = runs.groupby("env")["first"].transform("mean")
    best = runs.groupby(["env", "method"])[MAXIMUM].mean().groupby("env").max()
    spread = runs["env"].map(best) - low
    for measure in MEASURES:
        runs[f"{measure}_score"] = (runs[measure] - low) / spread.where(spread > 0)
    return runs


def returns(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per environment and method; per measure mean and standard deviation over seeds, interquartile mean and its 95% interval.

    Over several environments more rows, ``env`` "all", on the common scale, of the methods that ran on each of them.
    """
    rows = []
    for (env, method), members in runs.groupby(["env", "method"], sort=False):
        rows.append({"env": env, "method": method, **_compared([members], "")})
    for method in _everywhere(runs):
        rows.append({"env": ALL, "method": method, **_compared(_by_env(runs, method), "_score")})
    return pd.DataFrame(rows)


def _compared(strata: Sequence[pd.DataFrame], suffix: str) -> dict[str, float]:
    """``strata``: the runs of one method, per environment."""
    together = pd.concat(strata)
    row: dict[str, float] = {"seeds": len(together), "env_steps": together["env_steps"].max()}
    for measure in MEASURES:
        scores = together[measure + suffix]
        middle = interquartile_mean([members[measure + suffix].to_numpy() for members in strata])
        row |= {f"{measure}_mean": scores.mean(), f"{measure}_std": scores.std(), **_columns(f"{measure}_iqm", middle)}
    return row


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: float(estimate.value), f"{name}_low": float(estimate.low), f"{name}_high": float(estimate.high)}


def improvements(runs: pd.DataFrame) -> pd.DataFrame:
    """Probability, with its 95% interval, that a run of ``method`` beats one of ``other``: per environment, and over all they share."""
    rows: list[dict[str, Any]] = []
    for other, method in combinations(dict.fromkeys(runs["method"]), 2):
        shared = [env for env in dict.fromkeys(runs["env"]) if {method, other} <= set(runs.loc[runs["env"] == env, "method"])]
        for env, environments in [*((env, [env]) for env in shared), *([(ALL, shared)] if len(shared) > 1 else [])]:
            row: dict[str, Any] = {"env": env, "method": method, "other": other}
            for measure in MEASURES:
                ours, theirs = ([_scores(runs, env, name, measure) for env in environments] for name in (method, other))
                row |= _columns(measure, probability_of_improvement(ours, theirs))
            rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ["env", "method", "other"])


def learning_curves(evaluations: pd.DataFrame) -> Figure:
    """A panel per environment: each run smoothed, then the mean over seeds with a band of one standard error either side."""
    environments = list(dict.fromkeys(evaluations["env"]))
    colours = _colours(evaluations)
    figure, panels = _panels(len(environments))
    for env, axes in zip(environments, panels, strict=True):
        for method, members in evaluations[evaluations["env"] == env].groupby("method", sort=False):
            steps, curves = _curves(members)
            mean, error = curves.mean(0), stats.sem(curves, axis=0) if len(curves) > 1 else np.zeros(len(steps))
            axes.plot(steps, mean, color=colours[method], label=f"{method} ({len(curves)})")
            axes.fill_between(steps, mean - error, mean + error, color=colours[method], alpha=0.2, linewidth=0)
        axes.set(title=env, xlabel="environment steps", ylabel="average return")
        axes.legend(frameon=False, fontsize=8)
    return figure


def _curves(members: pd.DataFrame) -> tuple[Scores, Scores]:
    """Steps (n,) and smoothed evaluations (runs, n), one below the other by number of evaluation, as long as the shortest run."""
    runs = [run for _, run in members.groupby("seed")]
    length = min(map(len, runs))
    steps = np.mean([run["env_steps"].to_numpy(float)[:length] for run in runs], axis=0)
    return steps, np.array([smoothed(run["return_mean"].to_numpy(float))[:length] for run in runs])


def performance_profiles(runs: pd.DataFrame) -> Figure:
    """Per measure: the share of runs above each score, with 95% bands, of the methods that ran on every environment."""
    figure, panels = _panels(len(MEASURES))
    colours = _colours(runs)
    for (measure, title), axes in zip(MEASURES.items(), panels, strict=True):
        for method in _everywhere(runs, at_least=1):
            strata = [members[f"{measure}_score"].to_numpy() for members in _by_env(runs, method)]
            profile = performance_profile(strata, _THRESHOLDS)
            axes.step(_THRESHOLDS, profile.value, where="post", color=colours[method], label=method)
            axes.fill_between(_THRESHOLDS, profile.low, profile.high, step="post", color=colours[method], alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel="score", ylabel="share of runs above", ylim=(-0.02, 1.02))
        axes.legend(frameon=False, fontsize=8)
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(5.5, 4.5 * columns), 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _colours(rows: pd.DataFrame) -> dict[Any, str]:
    return {method: f"C{number % 10}" for number, method in enumerate(sorted(set(rows["method"])))}


def _everywhere(runs: pd.DataFrame, at_least: int = 2) -> list[str]:
    """The methods that ran on every environment; none where there are fewer than ``at_least``."""
    environments = runs["env"].nunique()
    counts = runs.groupby("method", sort=False)["env"].nunique()
    return [str(method) for method in counts[counts == environments].index] if environments >= at_least else []


def _by_env(runs: pd.DataFrame, method: str) -> list[pd.DataFrame]:
    return [members for _, members in runs[runs["method"] == method].groupby("env", sort=False)]


def _scores(runs: pd.DataFrame, env: str, method: str, measure: str) -> Scores:
    return runs.loc[(runs["env"] == env) & (runs["method"] == method), measure].to_numpy(float)


def _sections(
    runs: pd.DataFrame,
    compared: pd.DataFrame,
    improvement: pd.DataFrame,
    problems: Sequence[Problem],
    experiments: Sequence[dict[str, Any]],
    copies: Sequence[Path | None],
) -> list[Section]:
    sections = [
        Section(
            "Returns",
            "Maximum average return: the largest evaluation of a run. Normalised average return: the mean of its evaluations over "
            "training. Mean ± standard deviation over seeds, then the interquartile mean [95% stratified-bootstrap interval]."
            + _too_few(compared),
            _returns_table(compared[compared["env"] != ALL]),
        ),
        Section(
            "Learning curves",
            "Evaluations smoothed by a Savitzky-Golay filter (window 7, order 2); mean over seeds (their number) ± one standard error.",
            picture=_CURVES,
        ),
    ]
    beside = _beside_the_paper(compared)
    if len(beside):
        sections.append(Section("Beside the paper", CAVEAT, beside))
    if len(improvement):
        text = "That a run of X beats one of Y, ties counting half; over all environments the mean of that. At 0.5 there is no difference."
        text += _too_few(compared)
        sections.append(Section("Probability of improvement", text, _improvement_table(improvement)))
    scale = "Scores: 0 is the mean first evaluation of all runs on an environment, 1 the best method's mean maximum average return there."
    if ALL in set(compared["env"]):
        sections.append(Section("Over all environments", scale, _returns_table(compared[compared["env"] == ALL])))
    absent = [method for method in dict.fromkeys(runs["method"]) if method not in _everywhere(runs, at_least=1)]
    left_out = f" Left out, not having run on every environment: {', '.join(absent)}." if absent else ""
    sections.append(Section("Performance profiles", f"{scale} Bands: 95% stratified bootstrap.{left_out}", picture=_PROFILES))
    if problems:
        sections.append(
            Section("Left out", "Runs that are missing, unfinished or damaged count nowhere above.", lines=[*map(str, problems)])
        )
    sections.append(Section("Provenance", "What was run, when, on which code and machine.", _provenance_table(experiments, copies)))
    return sections


def _too_few(compared: pd.DataFrame) -> str:
    """A warning where a bootstrap has too few runs to resample for its interval to hold the truth as often as it says."""
    fewest = int(compared.loc[compared["env"] != ALL, "seeds"].min())
    return f" With only {fewest} runs of a method, its 95% intervals are too narrow." if fewest < ENOUGH_RUNS else ""


def _goal_sections(goals: pd.DataFrame, pictures: dict[str, str]) -> list[Section]:
    text = (
        "Entropy in nats of the goal that 100 rollouts from the origin reach, of ln 4 = 1.386; the share of them that reach one; and in "
        "how many steps. Three are enough: a policy that wanders reaches all goals, too, but late."
    )
    table = goals[["method", "seed"]].copy()
    table["env steps"] = [f"{steps:,}" for steps in goals["env_steps"]]
    table["goal entropy"] = [f"{value:.2f}" for value in goals["goal_entropy"]]
    table["arrive"] = [f"{value:.0%}" for value in goals["success"]]
    table["mean steps"] = [f"{value:.1f}" for value in goals["steps"]]
    return [Section("Goals reached", text, table), *(Section(f"Goals: {method}", "", picture=name) for method, name in pictures.items())]


def _file_name(method: str) -> str:
    return re.sub(r"\W+", "_", method.lower()).strip("_")


def _returns_table(compared: pd.DataFrame) -> pd.DataFrame:
    table = compared[["env", "method", "seeds"]].rename(columns={"seeds": "runs"})
    table["env steps"] = [f"{steps:,}" for steps in compared["env_steps"]]
    for measure, title in MEASURES.items():
        means, stds, iqms, lows, highs = (compared[f"{measure}_{part}"] for part in ("mean", "std", "iqm", "iqm_low", "iqm_high"))
        table[title] = [_plus_minus(mean, std) for mean, std in zip(means, stds, strict=True)]
        table[f"IQM of {measure}"] = [_interval(*row) for row in zip(iqms, lows, highs, strict=True)]
    return table


def _improvement_table(improvement: pd.DataFrame) -> pd.DataFrame:
    table = improvement[["env"]].copy()
    table["X over Y"] = improvement["method"] + " over " + improvement["other"]
    for measure, title in MEASURES.items():
        rows = zip(*(improvement[f"{measure}{part}"] for part in ("", "_low", "_high")), strict=True)
        table[title] = [_interval(*row, style=".2f") for row in rows]
    return table


def _beside_the_paper(compared: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in compared.to_dict("records"):
        numbers = {measure: published(measure, row["env"], row["method"]) for measure in MEASURES}
        if any(numbers.values()):
            cells = {"env": row["env"], "method": row["method"], "runs": row["seeds"], "env steps": f"{row['env_steps']:,}"}
            for measure, title in MEASURES.items():
                paper = numbers[measure]
                cells[f"{title}, ours"] = _plus_minus(row[f"{measure}_mean"], row[f"{measure}_std"])
                cells[f"{title}, paper"] = _plus_minus(*paper) if paper else "-"
            rows.append(cells)
    return pd.DataFrame(rows)


def _provenance_table(experiments: Sequence[dict[str, Any]], copies: Sequence[Path | None]) -> pd.DataFrame:
    """Of each experiment's last start."""
    rows = []
    for experiment, path in zip(experiments, copies[1::2], strict=True):
        facts = _last_start(path)
        versions = facts.get("versions") or {}
        rows.append(
            {
                "experiment": experiment["name"],
                "date": facts.get("date", "-"),
                "commit": str(facts.get("git_commit") or "-")[:10] + (" (changed)" if facts.get("git_dirty") else ""),
                "command": facts.get("command", "-"),
                "machine": f"{facts.get('cpu', '-')}, {facts.get('cores', '-')} cores",
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
            }
        )
    return pd.DataFrame(rows)


def _last_start(path: Path | None) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8").strip().splitlines()[-1]) if path else {}
    except (ValueError, IndexError):
        facts = {}
    return facts if isinstance(facts, dict) else {}


def _copied(source: Path, folder: Path) -> Path | None:
    if not source.is_file():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(source, folder / source.name))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _plus_minus(mean: float, spread: float) -> str:
    return _number(mean) if np.isnan(spread) else f"{_number(mean)} ± {_number(spread)}"


def _interval(value: float, low: float, high: float, *, style: str = "") -> str:
    texts = [f"{number:{style}}" if style else _number(number) for number in (value, low, high)]
    return texts[0] if np.isnan(low) else f"{texts[0]} [{texts[1]}, {texts[2]}]"
