"""Which evaluations of unequal runs may be compared: a longer run has more of them to take the maximum of, and later ones to average.

Notation: an evaluation is *due* at a multiple of its run's ``evaluation.every_env_steps`` and takes place a little later, environments
being stepped side by side.
Identity: on each environment those evaluations count whose step was due in all of its runs. So a run that stopped early, at a target
return, shortens the comparison for all; it is not taken to have stayed as good as it was, nor left out for being the first to get there.
"""

import pandas as pd

from ardae_rl.experiment.problems import Problem


def at_common_steps(evaluations: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """The evaluations of :func:`ardae_rl.report.runs.read_runs` with a column ``compared``: does it count? And a problem per environment
    where some do not, which says what its runs are.
    """
    runs = evaluations.groupby("env")["folder"].transform("nunique")
    having = evaluations.groupby(["env", "due_env_steps"])["folder"].transform("nunique")
    marked = evaluations.assign(compared=having == runs)
    uneven = [(str(env), rows) for env, rows in marked.groupby("env", sort=False) if not rows["compared"].all()]
    return marked, [Problem(env, "", _unequal(rows)) for env, rows in uneven]


def _unequal(rows: pd.DataFrame) -> str:
    common = rows.loc[rows["compared"], "due_env_steps"]
    kept = (
        f"only the {common.nunique()} evaluations that all share, up to {common.max():,} env steps, are compared"
        if len(common)
        else ("they share none, so nothing is compared here")
    )
    return f"its runs were not evaluated at the same steps: {kept}. {'; '.join(_described(rows))}"


def _described(rows: pd.DataFrame) -> list[str]:
    """Runs of a method that are alike, together."""
    alike: dict[tuple[str, str], list[int]] = {}
    for (method, seed), run in rows.groupby(["method", "seed"], sort=False):
        early = ", where it reached its target return" if run["stopped_early"].any() else ""
        extent = f"{len(run)} evaluations up to {run['due_env_steps'].max():,}{early}"
        alike.setdefault((str(method), extent), []).append(int(seed))
    return [f"{method}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: {extent}" for (method, extent), seeds in alike.items()]
