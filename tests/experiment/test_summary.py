"""The closing numbers against a case worked by hand, and the records they are read from."""

import io
import math
from pathlib import Path

import pytest
from ray.tune import Result
from rich.console import Console

from ardae_rl.experiment import launch
from ardae_rl.experiment.control import RETURNS, ControlExperiment, ControlStop
from ardae_rl.experiment.options import RunOptions
from ardae_rl.experiment.summary import Evaluation, TrialSummary, closing_table, mean_interval, read_evaluations


def test_the_interval_is_students() -> None:
    # 1, 2, 3, 4, 5: mean 3, sample variance 2.5, standard error sqrt(0.5); t(0.975, 4) = 2.7764 from a printed table.
    mean, half_width = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0
    assert half_width == pytest.approx(2.7764 * math.sqrt(0.5), abs=1e-4)


def test_one_seed_has_no_interval_and_none_no_mean() -> None:
    assert mean_interval([7.0])[0] == 7.0 and math.isnan(mean_interval([7.0])[1])
    assert all(map(math.isnan, mean_interval([])))


def trial(seed: int, returns: list[float], **point: float) -> TrialSummary:
    evaluations = [Evaluation(1000 * (index + 1), value) for index, value in enumerate(returns)]
    return TrialSummary(
        assignment={**point, "seed": seed},
        status="finished",
        steps=1000 * len(returns),
        seconds=20.0 * len(returns),
        evaluations=evaluations,
        folder=Path(),
        restarts=2 if seed == 0 else 0,
    )


def rendered(trials: list[TrialSummary]) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(closing_table(trials, RETURNS))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_last_and_best_are_told_apart_and_averaged_over_seeds() -> None:
    text = rendered([trial(1, [-500.0, -100.0, -200.0]), trial(0, [-900.0, -300.0, -400.0])])
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    # Means -300 and -200; with two seeds half their difference is the standard error, and t(0.975, 1) = 12.706.
    assert rows == [
        ["seed=0", "finished", "3,000", "50.0", "-400.0 at 3,000", "-300.0 at 2,000", "2"],
        ["seed=1", "finished", "3,000", "50.0", "-200.0 at 3,000", "-100.0 at 2,000", "0"],
        ["mean of seeds", "", "", "", "-300.0 ± 1270.6", "-200.0 ± 1270.6", ""],
    ]
    assert text.splitlines()[-1].strip() == "±: half a 95% interval over seeds (Student's t)"
    assert "±" not in rendered([trial(0, [-900.0])]), "nothing to explain"


def test_each_grid_point_is_averaged_on_its_own() -> None:
    text = rendered([trial(seed, [float(10 * seed)], **{"sac.alpha": alpha}) for alpha in (0.1, 0.2) for seed in (0, 1)])
    assert text.count("mean of seeds") == 2
    assert "alpha=0.1, mean of seeds" in text and "alpha=0.2, mean of seeds" in text


def test_a_trial_that_never_evaluated_shows_a_dash() -> None:
    assert rendered([trial(0, [])]).count(" - ") == 3


def test_records_are_read_by_column_name(tmp_path: Path) -> None:
    assert read_evaluations(tmp_path, RETURNS) == []
    (tmp_path / "evaluations.csv").write_text("return_mean,seed,env_steps\r\n-1.5,0,1000\r\n2e1,0,2000\r\n")
    assert read_evaluations(tmp_path, RETURNS) == [Evaluation(1000, -1.5), Evaluation(2000, 20.0)]


def test_records_that_the_disk_cannot_read_cost_the_closing_table_and_nothing_else(tmp_path: Path) -> None:
    experiment = ControlExperiment(
        name="e", run="SAC-AR-DAE", env="Pendulum-v1", seeds=2, stop=ControlStop(env_steps=1000), storage_path=str(tmp_path)
    )
    folders = [experiment.folder / f"seed={seed}" for seed in range(2)]
    for folder in folders:
        folder.mkdir(parents=True)
    (folders[1] / "evaluations.csv").symlink_to("/proc/self/mem")  # a file whose first byte is an I/O error
    results = [Result(metrics={"env_steps": 1000, "done": True}, checkpoint=None, error=None, path=str(folder)) for folder in folders]
    console = Console(file=io.StringIO(), width=200)
    options = RunOptions(console=console)
    launch._close(results, experiment, options)
    (line,) = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line == f"Note:        no closing table, {experiment.folder} cannot be read: [Errno 5] Input/output error"
    launch._close(results[:1], experiment, options)
    assert "finished" in console.file.getvalue()  # type: ignore[attr-defined]
