"""Runs of unequal length are compared as far as all of them go, and the page says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.report.common_steps import at_common_steps
from ardae_rl.report.control import runs_of, write_report
from ardae_rl.report.curves import learning_curves
from ardae_rl.report.records import read_experiment
from ardae_rl.report.runs import read_runs
from tests.report.study import PAPERS, SAC, write_experiment

STOP = {"env_steps": 5000, "evaluation_return_mean": 10.0}


def experiments_of(*folders: Path) -> list[tuple[Path, dict[str, Any]]]:
    return [(folder, read_experiment(folder)) for folder in folders]


def marked(*folders: Path) -> tuple[pd.DataFrame, list[str]]:
    rows, problems = at_common_steps(read_runs(experiments_of(*folders))[0])
    return rows[rows["compared"]], [str(problem) for problem in problems]


@pytest.fixture
def early(tmp_path: Path) -> tuple[Path, ...]:
    """On Hopper SAC-AR-DAE reaches its target return at once and SAC later or never; on Ant all runs are alike."""
    slow: list[float] = [1, 5, 9, 9.9, 9.9]
    return (
        write_experiment(tmp_path, "hopper_sac", "Hopper-v5", SAC, {0: slow, 1: slow}, stop=STOP),
        write_experiment(tmp_path, "hopper", "Hopper-v5", PAPERS, {0: [1, 10], 1: [2, 4, 10]}, stop=STOP),
        write_experiment(tmp_path, "ant", "Ant-v5", SAC, {0: [1, 2, 3, 4], 1: [1, 2, 3, 4]}),
    )


def test_a_run_that_stopped_early_is_compared_with_the_others_start(early: tuple[Path, ...]) -> None:
    rows, problems = marked(*early)
    runs = runs_of(rows).set_index(["env", "method", "seed"])
    for run, (maximum, mean) in {("SAC", 0): (5, 3), ("SAC-AR-DAE", 0): (10, 5.5), ("SAC-AR-DAE", 1): (4, 3)}.items():
        assert tuple(runs.loc[("Hopper-v5", *run), ["env_steps", "maximum", "normalised"]]) == (2000, maximum, mean)
    assert runs.loc[("Ant-v5", "SAC", 0), "normalised"] == 2.5, "another environment's runs are whole"
    assert problems == [
        "Hopper-v5: its runs were not evaluated at the same steps: only the 2 evaluations that all share, up to 2,000 env steps, are "
        "compared. SAC, seeds 0, 1: 5 evaluations up to 5,000; "
        "SAC-AR-DAE, seed 0: 2 evaluations up to 2,000, where it reached its target return; "
        "SAC-AR-DAE, seed 1: 3 evaluations up to 3,000, where it reached its target return"
    ]


def test_a_maximum_is_taken_over_equally_many_evaluations(tmp_path: Path) -> None:
    often = write_experiment(tmp_path, "often", "Hopper-v5", SAC, {0: [9, 1, 9, 2, 9, 3]})
    seldom = write_experiment(tmp_path, "seldom", "Hopper-v5", PAPERS, {0: [1, 2]}, every=2000)
    rows, problems = marked(often, seldom)
    assert rows.groupby("method")["return_mean"].apply(list).to_dict() == {"SAC": [1, 2], "SAC-AR-DAE": [1, 2]}
    assert len(problems) == 1 and "up to 4,000 env steps" in problems[0] and "target return" not in problems[0]


def test_equal_runs_are_compared_whole_wherever_in_the_interval_they_were_evaluated(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, {0: [1, 2, 3], 1: [1, 2, 3]})
    path = folder / "seed=1" / "evaluations.csv"
    path.write_text(path.read_text().replace(",1000,", ",1006,").replace(",2000,", ",2004,").replace(",3000,", ",3002,"))
    rows, problems = marked(folder)
    assert len(rows) == 6 and problems == []
    (line,) = learning_curves(rows).axes[0].lines
    assert np.asarray(line.get_xdata()).tolist() == [1003, 2002, 3001]


def test_the_page_says_what_was_not_compared_and_the_records_keep_it(early: tuple[Path, ...], tmp_path: Path) -> None:
    _, problems = write_report(experiments_of(*early), tmp_path / "out")
    assert len(problems) == 1
    text = (tmp_path / "out" / "report.md").read_text()
    returns = text.partition("## Returns")[2].partition("## Learning curves")[0]
    assert "Of Hopper-v5 only the evaluations at steps that all runs share count" in returns
    assert str(problems[0]) in text.partition("## Left out")[2]
    records = pd.read_csv(tmp_path / "out" / "evaluations.csv")
    assert records.groupby("env")["compared"].agg(["sum", "size"]).to_numpy().tolist() == [[8, 8], [8, 15]]


def test_where_no_step_is_shared_nothing_is_compared(tmp_path: Path) -> None:
    odd = write_experiment(tmp_path, "odd", "Hopper-v5", SAC, {0: [1]}, every=3000)
    even = write_experiment(tmp_path, "even", "Hopper-v5", PAPERS, {0: [1]}, every=2000)
    with pytest.raises(InvalidExperimentError, match="they share none, so nothing is compared here"):
        write_report(experiments_of(odd, even), tmp_path / "out")
    whole = write_experiment(tmp_path, "whole", "Ant-v5", SAC, {0: [1, 2]})
    write_report(experiments_of(odd, even, whole), tmp_path / "out")
    assert set(pd.read_csv(tmp_path / "out" / "runs.csv")["env"]) == {"Ant-v5"}
