"""Tables and figures of a continuous-control study: methods on environments, several seeds each.

Notation: a run's *maximum* is the largest of its evaluations (each the mean return of its episodes), its *normalised* average return their
mean over training; both are the paper's, [Lim2020] arXiv:2006.05164, section 6.3. Over several environments scores are made comparable per
environment: see :func:`scales`.
Not here: reading folders (``runs.py``), the statistics themselves (``statistics.py``), figures (``curves.py``).
"""

import re
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ardae_rl.experiment.preflight import PROVENANCE, RECORD
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.report import multi_goal
from ardae_rl.report.common_steps import at_common_steps
from ardae_rl.report.curves import by_env, everywhere, learning_curves, performance_profiles, with_scale
from ardae_rl.report.events import events_section
from ardae_rl.report.page import Section, to_html, to_markdown
from ardae_rl.report.paper import CAVEAT, MAXIMUM, MEASURES, NORMALISED, published
from ardae_rl.report.provenance import copied, provenance_table
from ardae_rl.report.runs import RUN, read_runs
from ardae_rl.report.statistics import Estimate, Scores, interquartile_mean, probability_of_improvement
from ardae_rl.report.write import Tables, write

ALL = "all"
ENOUGH_RUNS = 10  # from where on a bootstrap interval of an interquartile mean holds nearly what it promises
_CURVES, _PROFILES = "learning_curves.png", "performance_profiles.png"
_CURVES_TEXT = "Evaluations smoothed by a Savitzky-Golay filter (window 7, order 2); mean over seeds (their number) ± one standard error."

_IMPROVEMENT_TEXT = (
    "That a run of X beats one of Y, ties counting half; over all environments the mean of that. At 0.5 there is no difference."
)


def write_report(experiments: Sequence[tuple[Path, dict[str, Any]]], output: Path) -> tuple[list[Path], list[Problem]]:
    """Everything these (folder, experiment file) have to show, into ``output``: the files written, and what had to be left out.

    ``report.md`` and ``report.html`` (one page, pictures inside), what they are made of as CSV files and figures, and each experiment's
    file and provenance. Raises InvalidExperimentError where no run is finished, or none can be compared.
    """
    evaluations, problems = read_runs(experiments)
    evaluations, uneven = at_common_steps(evaluations)
    alike, problems = evaluations[evaluations["compared"]], problems + uneven
    if alike.empty:
        raise InvalidExperimentError(problems)
    runs = runs_of(alike)
    tables: Tables = {
        "evaluations.csv": evaluations.drop(columns=["folder", "unlike_paper", "random_return"]),
        "runs.csv": runs,
        "returns.csv": (compared := returns(runs)),
        "improvement.csv": (improvement := improvements(runs)),
    }
    files = write(tables, {_CURVES: learning_curves(alike), _PROFILES: performance_profiles(runs)}, output)
    goals, goal_figures, goal_problems = multi_goal.read_goals(evaluations)
    problems = problems + goal_problems
    pictures = {method: f"goals_{_file_name(method)}.png" for method in goal_figures}
    if len(goals):
        files += write({"goals.csv": goals}, {pictures[method]: figure for method, figure in goal_figures.items()}, output)
    places = zip(experiments, _own_names([experiment["name"] for _, experiment in experiments]), strict=True)
    copies = [copied(folder / name, output / place) for (folder, _), place in places for name in (RECORD, PROVENANCE)]
    title = f"Continuous control: {', '.join(dict.fromkeys(runs['env']))}"
    sections = [
        _returns_section(compared, uneven),
        *_goal_sections(goals, pictures),
        Section("Learning curves", _CURVES_TEXT, picture=_CURVES),
        _paper_section(runs, compared),
        Section("Probability of improvement", _IMPROVEMENT_TEXT + _too_few(compared), _improvement_table(improvement)),
        *_score_sections(runs, compared),
        Section("Left out", "Runs and evaluations that count nowhere above.", lines=[*map(str, problems)]),
        events_section(experiments, "env steps"),
        Section("Provenance", "What was run, when, on which code and machine.", provenance_table([e for _, e in experiments], copies)),
    ]
    pages = write({"report.md": to_markdown(title, sections), "report.html": to_html(title, sections, output)}, {}, output)
    return [*pages, *files, *filter(None, copies)], problems


def _own_names(names: Sequence[str]) -> list[str]:
    """``names``, numbered where one has come before: more seeds of an experiment lie in another folder under the same name."""
    counts = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [name if count == 1 else f"{name}_{count}" for name, count in zip(names, counts, strict=True)]


def runs_of(evaluations: pd.DataFrame) -> pd.DataFrame:
    """A row per run: ``env_steps`` of training, ``first`` evaluation and its step, ``maximum``, ``normalised``, both also on the common
    scale of :func:`scales`; ``random_return`` and ``unlike_paper`` as read.
    """
    grouped = evaluations.groupby(RUN, sort=False)
    mean = grouped["return_mean"]
    runs = pd.DataFrame(
        {
            "env_steps": grouped["env_steps"].max(),
            "random_return": grouped["random_return"].first(),
            "first": mean.first(),
            "first_env_steps": grouped["due_env_steps"].first(),
            MAXIMUM: mean.max(),
            NORMALISED: mean.mean(),
            "unlike_paper": grouped["unlike_paper"].first(),
        }
    ).reset_index()
    ends = scales(runs).set_index("env")
    low, high = (runs["env"].map(ends[name]) for name in ("zero", "one"))
    for measure in MEASURES:
        runs[f"{measure}_score"] = (runs[measure] - low) / (high - low).where(high > low)
    return runs


def scales(runs: pd.DataFrame) -> pd.DataFrame:
    """The common scale: a row per environment, with the returns that score ``zero`` and ``one`` and in words what they are.

    Zero is the mean return of uniformly random actions, or the mean first evaluation where the environment cannot be made here; one is
    the largest mean maximum of a method.
    """
    rows = []
    for env, members in runs.groupby("env", sort=False):
        random, best = members["random_return"].mean(), members.groupby("method")[MAXIMUM].mean()
        if np.isnan(random):
            zero, what = members["first"].mean(), f"mean first evaluation, after {members['first_env_steps'].iloc[0]:,} steps"
        else:
            zero, what = random, "uniformly random actions, mean return of ten episodes"
        rows.append({"env": env, "zero": zero, "zero_is": what, "one": best.max(), "one_is": f"mean maximum of {best.idxmax()}"})
    return pd.DataFrame(rows)


def returns(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per environment and method; per measure mean and standard deviation over seeds, interquartile mean and its 95% interval.

    Over several environments more rows, ``env`` "all", on the common scale, of the methods that ran on each of them.
    """
    rows = []
    for (env, method), members in runs.groupby(["env", "method"], sort=False):
        rows.append({"env": env, "method": method, **_compared([members], "")})
    scored = with_scale(runs)
    for method in everywhere(scored):
        rows.append({"env": ALL, "method": method, **_compared(by_env(scored, method), "_score")})
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


def _scores(runs: pd.DataFrame, env: str, method: str, measure: str) -> Scores:
    return runs.loc[(runs["env"] == env) & (runs["method"] == method), measure].to_numpy(float)


def _returns_section(compared: pd.DataFrame, uneven: Sequence[Problem]) -> Section:
    text = (
        "Maximum average return: the largest evaluation of a run. Normalised average return: the mean of its evaluations over "
        "training. Mean ± standard deviation over seeds, then the interquartile mean [95% stratified-bootstrap interval]."
    )
    return Section("Returns", text + _too_few(compared) + _shortened(uneven), _returns_table(compared[compared["env"] != ALL]))


def _paper_section(runs: pd.DataFrame, compared: pd.DataFrame) -> Section:
    beside = _beside_the_paper(runs, compared)
    variants = len(beside) and beside["method"].str.contains("plus").any()
    note = " SAC-AR-DAE plus is not the paper's: it stands beside the number of SAC-AR-DAE." if variants else ""
    return Section("Beside the paper", CAVEAT + note, beside)


def _score_sections(runs: pd.DataFrame, compared: pd.DataFrame) -> list[Section]:
    ends, over_all = scales(runs), compared[compared["env"] == ALL]
    scale = pd.DataFrame({"env": ends["env"], "score 0": ends["zero"].map(_number), "that is": ends["zero_is"]})
    scale = scale.assign(**{"score 1": ends["one"].map(_number), "which is": ends["one_is"]})
    meaning = "Where environments are taken together, a return counts as its place between these two. Another method may move them."
    pooled = "All runs count alike, so an environment with more runs weighs more; in the probability of improvement each weighs the same."
    scored = with_scale(runs)
    absent = [method for method in dict.fromkeys(scored["method"]) if method not in everywhere(scored, at_least=1)]
    left_out = f" Left out, not having run on every environment: {', '.join(absent)}." if absent else ""
    beyond = [env for env in dict.fromkeys(runs["env"]) if env not in set(scored["env"])]
    meaning += f" Not taken together, for no method did better than score 0: {', '.join(beyond)}." if beyond else ""
    return [
        Section("Scores", meaning, scale),
        Section("Over all environments", f"Scores. {pooled}", _returns_table(over_all)),
        Section("Performance profiles", f"{pooled} Bands: 95% stratified bootstrap.{left_out}", picture=_PROFILES),
    ]


def _too_few(compared: pd.DataFrame) -> str:
    """A warning where a bootstrap has too few runs to resample for its interval to hold the truth as often as it says."""
    fewest = int(compared.loc[compared["env"] != ALL, "seeds"].min())
    if fewest == 1:
        return " A method with a single run has no interval."
    return f" With only {fewest} runs of a method, its 95% intervals are too narrow." if fewest < ENOUGH_RUNS else ""


def _shortened(uneven: Sequence[Problem]) -> str:
    """A warning where runs of unequal length are compared as far as all of them go."""
    names = ", ".join(problem.where for problem in uneven)
    return f" Of {names} only the evaluations at steps that all runs share count: see what was left out." if uneven else ""


def _goal_sections(goals: pd.DataFrame, pictures: dict[str, str]) -> list[Section]:
    if goals.empty:
        return []
    text = (
        "Entropy in nats of the goal that 100 rollouts from the origin reach, of ln 4 = 1.386; the share of them that reach one; and in "
        "how many steps. Three are enough: a policy that wanders reaches all goals, too, but late."
    )
    shown = {"env_steps": ("env steps", "{:,}"), "goal_entropy": ("goal entropy", "{:.2f}"), "success": ("arrive", "{:.0%}")}
    shown["steps"] = ("mean steps", "{:.1f}")
    table = goals[["method", "seed"]].assign(**{title: goals[name].map(style.format) for name, (title, style) in shown.items()})
    return [Section("Goals reached", text, table), *(Section(f"Goals: {method}", "", picture=name) for method, name in pictures.items())]


def _file_name(method: str) -> str:
    return re.sub(r"\W+", "_", method.lower()).strip("_")


def _returns_table(compared: pd.DataFrame) -> pd.DataFrame:
    table = compared[["env", "method", "seeds"]].rename(columns={"seeds": "runs"})
    table["env steps"] = compared["env_steps"].map("{:,}".format)
    for measure, title in MEASURES.items():
        means, stds, *middle = (compared[f"{measure}_{part}"] for part in ("mean", "std", "iqm", "iqm_low", "iqm_high"))
        table[f"{title}, ± std over runs"] = [*map(_plus_minus, means, stds)]
        table[f"IQM of {measure} [95%]"] = [*map(_interval, *middle)]
    return table


def _improvement_table(improvement: pd.DataFrame) -> pd.DataFrame:
    if improvement.empty:
        return improvement
    table = improvement[["env"]].copy()
    table["X over Y"] = improvement["method"] + " over " + improvement["other"]
    for measure, title in MEASURES.items():
        table[title] = [*map(partial(_interval, style=".2f"), *(improvement[f"{measure}{part}"] for part in ("", "_low", "_high")))]
    return table


def _beside_the_paper(runs: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    unlike = runs.groupby(["env", "method"])["unlike_paper"].unique()
    rows = []
    for row in compared.to_dict("records"):
        numbers = {measure: published(measure, row["env"], row["method"]) for measure in MEASURES}
        if any(numbers.values()):
            cells = {"env": row["env"], "method": row["method"], "runs": row["seeds"], "env steps": f"{row['env_steps']:,}"}
            for measure, title in MEASURES.items():
                paper = numbers[measure]
                cells[f"{title}, ours"] = _plus_minus(row[f"{measure}_mean"], row[f"{measure}_std"])
                cells[f"{title}, paper"] = _plus_minus(*paper) if paper else "-"
            cells["set otherwise than in the paper"] = "; or ".join(text or "nothing" for text in unlike[row["env"], row["method"]])
            rows.append(cells)
    return pd.DataFrame(rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _plus_minus(mean: float, spread: float) -> str:
    return _number(mean) if np.isnan(spread) else f"{_number(mean)} ± {_number(spread)}"


def _interval(value: float, low: float, high: float, *, style: str = "") -> str:
    texts = [f"{number:{style}}" if style else _number(number) for number in (value, low, high)]
    return texts[0] if np.isnan(low) else f"{texts[0]} [{texts[1]}, {texts[2]}]"
