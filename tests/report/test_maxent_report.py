"""The report pairs what belongs together, and its statistics are those of the textbook."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from ardae_rl.report.maxent import METRICS, comparison, figure_7, markdown, median_interval, of_repeats, paired
from ardae_rl.report.reports import write_task_report
from ardae_rl.tasks.maxent.config import FlowSettings, MaxEntSettings, SamplerSettings, ScoreSettings
from tests.report.study import write_task_record, write_task_trial

GRID = {"method": ["implicit", "iaf"]}
TINY = MaxEntSettings(
    dim=2,
    repeats=2,
    steps=4,
    batch_size=16,
    emd_samples=100,
    sampler=SamplerSettings(width=8),
    score=ScoreSettings(width=8),
    flow=FlowSettings(width=8, transforms=1),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What both methods x two seeds of a tiny experiment leave behind, written as a trial does."""
    root = tmp_path / "tiny"
    for method in GRID["method"]:
        for seed in (0, 1):
            chosen = dataclasses.replace(TINY, method=method)  # type: ignore[arg-type]
            write_task_trial(root / f"method={method}_seed={seed}", "maxent", chosen, seed)
    return write_task_record(root, "maxent", TINY, GRID)


def pairs_of(differences: list[float]) -> pd.DataFrame:
    iaf = np.linspace(4, 5, len(differences))
    return pd.DataFrame({"implicit": iaf + differences, "iaf": iaf, "difference": differences})


def repeats_of(differences: list[float]) -> pd.DataFrame:
    """One seed whose EMDs have these paired differences; the other metrics the same for both methods but for a little."""
    pairs = pairs_of(differences)
    rows = [
        {"method": method, "seed": 0, "repeat": repeat, **dict.fromkeys(METRICS, 0.5 if method == "iaf" else 0.4), "emd": pair[method]}
        for repeat, pair in pairs.iterrows()
        for method in ("implicit", "iaf")
    ]
    return pd.DataFrame(rows)


def test_the_report_writes_all_it_lists(folder: Path, tmp_path: Path) -> None:
    experiment: Any = yaml.safe_load((folder / "experiment.yaml").read_text())
    written = write_task_report(experiment, folder, tmp_path / "out")[0]
    tables = {"evaluations.csv", "repeats.csv", "table.md", "pairs.md", "experiment.yaml", "provenance.jsonl"}
    assert (
        {path.name for path in written}
        == tables | {"against_steps.png", "figure_7.png"}
        == {path.name for path in (tmp_path / "out").iterdir()}
    )
    assert all(path.stat().st_size > 0 for path in written)
    repeats, evaluations = pd.read_csv(tmp_path / "out" / "repeats.csv"), pd.read_csv(tmp_path / "out" / "evaluations.csv")
    assert len(repeats) == 2 * 2 * 2
    last = evaluations.query("method == 'iaf' and seed == 1 and steps == 4").iloc[0]
    row = repeats.query("method == 'iaf' and seed == 1 and repeat == 1").iloc[0]
    for metric in METRICS:
        assert row[metric] == last[f"{metric}/01"]
    assert (tmp_path / "out" / "pairs.md").read_text().count("| 4 of 4 |") == 3


def test_one_method_alone_has_no_pairs(folder: Path, tmp_path: Path) -> None:
    experiment: Any = yaml.safe_load((folder / "experiment.yaml").read_text())
    names = {path.name for path in write_task_report(experiment | {"grid_search": {"batch_size": [16]}}, folder, tmp_path / "out")[0]}
    assert "pairs.md" not in names and "figure_7.png" not in names and "table.md" in names


def test_a_pair_is_one_problem_trained_by_both_methods() -> None:
    repeats = pd.DataFrame(
        [
            {"method": method, "seed": seed, "repeat": repeat, **dict.fromkeys(METRICS, 0.0), "emd": emd}
            for method, seed, repeat, emd in [
                ("implicit", 0, 0, 5.0), ("implicit", 0, 1, 7.0), ("implicit", 1, 0, 9.0), ("iaf", 0, 1, 6.5), ("iaf", 0, 0, 6.0),
            ]
        ]
    )  # fmt: skip
    pairs = paired(repeats, "emd")
    assert pairs[["seed", "repeat"]].to_numpy().tolist() == [[0, 0], [0, 1]]
    assert pairs["difference"].tolist() == [-1.0, 0.5]


def test_a_problem_on_which_a_method_diverged_is_left_out_and_counted() -> None:
    repeats = repeats_of([-0.1, -0.2, -0.3])
    repeats.loc[(repeats["method"] == "iaf") & (repeats["repeat"] == 1), ["emd", "emd_excess"]] = math.nan
    assert paired(repeats, "emd")["repeat"].tolist() == [0, 2]
    rows = comparison(repeats).splitlines()
    assert rows[2].endswith("| 2 of 3 |") and rows[4].endswith("| 3 of 3 |")
    assert markdown(repeats, ["method"]).count("| 2 of 3, the others diverged |") == 1


def test_columns_of_repeats_become_rows() -> None:
    row = {"method": "iaf", "seed": 3, "steps": 9, "emd": 1.5}
    each = {f"{name}/{i:02d}": 10.0 * i + j for i in range(2) for j, name in enumerate(METRICS[:4])}
    repeats = of_repeats(pd.DataFrame([row | each]), ["method"])
    assert repeats[["method", "seed", "repeat", "emd", "entropy_gap"]].to_numpy().tolist() == [
        ["iaf", 3, 0, 0.0, 3.0],
        ["iaf", 3, 1, 10.0, 13.0],
    ]
    assert repeats["c2"].isna().all()
    assert markdown(repeats, ["method"]).splitlines()[0] == "| method | emd | emd_floor | emd_excess | entropy_gap | repeats |"
    assert markdown(repeats, ["method"]).splitlines()[2].startswith("| iaf | 5 [2.5, 7.5] |")


def test_the_sign_test_is_the_binomial_s() -> None:
    """Nine of ten on one side: p = 2 (1 + 10) / 2^10."""
    rows = comparison(repeats_of([-0.1 * (i + 1) for i in range(9)] + [0.2])).splitlines()
    assert rows[2].startswith("| EMD |") and rows[2].endswith(f"| 9 (90%) | {22 / 1024:.2g} | 10 of 10 |")
    assert "| 10 (100%) |" in rows[4]


def test_an_entropy_above_the_answer_s_is_no_better_than_one_below() -> None:
    repeats = repeats_of([0.1, 0.2])
    repeats["entropy_gap_neighbours"] = [-0.3, 0.2, -0.3, 0.2]  # implicit, iaf, implicit, iaf
    assert "| 0 (0%) |" in comparison(repeats).splitlines()[4]


def test_the_interval_of_the_median_is_that_of_its_known_distribution() -> None:
    """Of 401 uniform numbers the median has standard error 1 / (2 sqrt(401))."""
    values = pd.Series(np.random.default_rng(0).uniform(size=401))
    low, high = median_interval(values)
    assert low < values.median() < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(401), rel=0.3)


def test_figure_7_shows_every_pair_in_all_panels() -> None:
    repeats = repeats_of([-0.3, -0.1, 0.05, -0.2, -0.25])
    repeats["emd_floor"] = np.repeat([3.9, 4.0, 4.1, 4.2, 4.3], 2)
    both, difference, excess, excess_difference = figure_7(repeats).axes
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (both, excess)]  # type: ignore[union-attr]
    assert labels == [["implicit, AR-DAE", "IAF", "draws of the answer"], ["implicit, AR-DAE", "IAF"]]
    for axes, histograms in ((both, 2), (difference, 1), (excess, 2), (excess_difference, 1)):
        counts = [sum(bar.get_height() for bar in bars) for bars in axes.containers[:histograms]]
        assert counts == [5] * histograms
    assert both.patches[-1].get_label() == "draws of the answer"
