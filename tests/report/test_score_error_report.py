"""A report says what the records say: means, standard errors, the closed-form optimum, and which folder is no experiment's."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from typer.testing import CliRunner

from ardae_rl.cli import report
from ardae_rl.report.records import final, read_evaluations
from ardae_rl.report.reports import write_task_report
from ardae_rl.report.score_error import against_sigma, against_steps, optimum_errors, settled
from ardae_rl.report.tables import markdown
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.config import ScoreSettings as ErrorScore
from tests.report.study import write_task_record, write_task_trial

GRID = {"estimator": ["ardae", "residual_dae"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What two estimators x two seeds of a tiny experiment leave behind, written as a trial does."""
    chosen = ScoreErrorSettings(score=ErrorScore(width=8, layers=1, scale=1.0), sigmas=[0.1, 1.0], steps=4)
    root = tmp_path / "tiny"
    for estimator in GRID["estimator"]:
        for seed in (0, 1):
            point = dataclasses.replace(chosen, estimator=estimator)  # type: ignore[arg-type]
            write_task_trial(root / f"estimator={estimator}_seed={seed}", "score_error", point, seed)
    return write_task_record(root, "score_error", chosen, GRID)


def experiment_of(folder: Path) -> Any:
    return yaml.safe_load((folder / "experiment.yaml").read_text())


def test_every_evaluation_of_every_trial_is_read_with_its_grid_values_and_seconds(folder: Path) -> None:
    rows = read_evaluations(folder, GRID)[0]
    assert len(rows) == 8
    assert set(zip(rows["estimator"], rows["seed"], rows["steps"], strict=True)) == {
        (estimator, seed, steps) for estimator in GRID["estimator"] for seed in (0, 1) for steps in (2, 4)
    }
    assert (rows["seconds"] == rows["steps"] / 10).all()
    backwards = read_evaluations(folder, {"estimator": GRID["estimator"][::-1]})[0]
    assert list(backwards["estimator"].unique()) == GRID["estimator"][::-1]
    assert (final(rows)["steps"] == 4).all() and len(final(rows)) == 4


def test_mean_and_standard_error_are_over_seeds() -> None:
    rows = pd.DataFrame({"law": ["a", "a", "b"], "seed": [0, 1, 0], "score_error": [1.0, 3.0, 5.0]})
    text = markdown(rows, ["law"], ["score_error", "not_measured"])
    assert text == "| law | score_error | seeds (± standard error) |\n|---|---|---|\n| a | 2 ± 1 | 2 |\n| b | 5 | 1 |\n"


def test_a_moving_law_is_judged_by_the_second_half() -> None:
    rows = pd.DataFrame({"seed": 0, "steps": [1, 2, 3, 4], "score_error": [9.0, 9.0, 1.0, 3.0]})
    assert settled(rows, [])["score_error"].tolist() == [2.0]


def test_the_optimum_errs_by_its_blur_and_nothing_else() -> None:
    errors = optimum_errors([1e-4, 0.05, 0.1])
    assert errors[0] < 1e-4
    assert 3.8 < errors[2] / errors[1] < 4.1  # second order in sigma


def test_error_against_sigma_shows_what_was_measured(folder: Path) -> None:
    rows = final(read_evaluations(folder, GRID)[0])
    axes = against_sigma(rows, ["estimator"]).axes[0]
    containers: list[Any] = list(axes.containers)
    curves = {container.get_label(): container.lines[0] for container in containers}
    assert curves.keys() == {"ardae", "residual_dae"}
    members = rows[rows["estimator"] == "residual_dae"]
    assert list(curves["residual_dae"].get_xdata()) == [0.1, 1.0]
    assert curves["residual_dae"].get_ydata()[0] == pytest.approx(members["score_error@0.1"].mean())


def test_error_against_seconds_has_a_point_per_evaluation(folder: Path) -> None:
    by_steps, by_seconds = against_steps(read_evaluations(folder, GRID)[0], ["estimator"]).axes
    for axes, expected in ((by_steps, [2, 4]), (by_seconds, [0.2, 0.4])):
        assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [pytest.approx(expected)] * 2


def test_a_trial_still_running_has_no_last_evaluation(folder: Path) -> None:
    unfinished = folder / "estimator=ardae_seed=1" / "evaluations.csv"
    pd.read_csv(unfinished).iloc[:1].to_csv(unfinished, index=False)
    rows = final(read_evaluations(folder, GRID)[0])
    assert sorted(zip(rows["estimator"], rows["seed"], strict=True)) == [("ardae", 0), ("residual_dae", 0), ("residual_dae", 1)]


def test_the_report_writes_all_it_lists(folder: Path, tmp_path: Path) -> None:
    written = write_task_report(experiment_of(folder), folder, tmp_path / "out")[0]
    names = {"evaluations.csv", "table.md", "experiment.yaml", "provenance.jsonl", "error_against_steps.png", "error_against_sigma.png"}
    assert {path.name for path in written} == names == {path.name for path in (tmp_path / "out").iterdir()}
    assert all(path.stat().st_size > 0 for path in written)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("evaluations.csv", ""),
        ("evaluations.csv", "\0\1" * 40),
        ("evaluations.csv", "seed,steps,seconds,error\n1,x,0.1,0.2\n"),
        ("params.json", "{"),
        ("params.json", '{"settings": {"estimator": "guess"}, "seed": 1}'),
        ("params.json", '{"settings": {}, "seed": 1}'),
    ],
)
def test_a_damaged_trial_is_named_and_the_rest_reported(folder: Path, tmp_path: Path, file: str, content: str) -> None:
    damaged = folder / "estimator=ardae_seed=1"
    (damaged / file).write_text(content)
    assert len(read_evaluations(folder, GRID)[0]) == 6
    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, [str(folder), "--output", str(tmp_path / "out")])
    assert result.exit_code == 1 and f"Warning: {damaged}: its records are damaged, " in result.output, result.output
    assert (tmp_path / "out" / "table.md").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no experiment.yaml in it; give the folder of an experiment, such as runs/score_error"),
        ({"name": "x"}, "experiment.yaml: is damaged: it does not say which experiment this is"),
        ({"name": "../x", "run": "score_error"}, "experiment.yaml: is damaged: it does not say which experiment this is"),
        ({"name": 7, "run": ["score_error"]}, "experiment.yaml: is damaged: it does not say which experiment this is"),
        ({"name": "x", "run": "cooking"}, "its run is 'cooking'; reports are made of: SAC-AR-DAE, energy, maxent, score_error, vae"),
        ({"name": "x", "run": "score_error", "grid_search": {}, "config": {}}, "none of its trials has been evaluated yet"),
        (
            {"name": "x", "run": "score_error", "grid_search": {"steps": [1, 2]}},
            "its grid is over steps, and a report compares trials of one",
        ),
    ],
)
def test_what_cannot_be_reported_is_explained(tmp_path: Path, content: dict[str, Any] | None, message: str) -> None:
    if content is not None:
        (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(content))
    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, [str(tmp_path), "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_report_goes_to_reports_by_default_and_leaves_records_in_results_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, [str(folder)])
    name = experiment_of(folder)["name"]
    assert result.exit_code == 0 and (tmp_path / "reports" / name / "table.md").exists(), result.output
    assert not (tmp_path / "results").exists()


def test_a_report_may_go_into_the_folder_of_the_run_itself(folder: Path) -> None:
    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, [str(folder), "--output", str(folder)])
    assert result.exit_code == 0 and str(folder / "table.md") in result.output.split(), result.output
