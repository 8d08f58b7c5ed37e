"""Several experiments as one sweep: statistics over seeds against numbers worked by hand, and a real one, interrupted and resumed."""

import csv
import io
import math
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ardae_rl.experiment import sweep
from ardae_rl.experiment.control import ControlExperiment, ControlStop
from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.experiment.schema import Experiment
from ardae_rl.experiment.sweep import Driver, check, populations
from ardae_rl.rllib.evaluation import evaluation_row
from ardae_rl.run.folder import RunFolder
from ardae_rl.run.records import RecordFile
from tests.experiment.conftest import Launch
from tests.experiment.test_cli import refused

STEPS, EVALUATE_EVERY = 3000, 40
TASK = """\
name: %s
run: score_error
seeds: 1
config: {score: {layers: 1, width: 8}, steps: 3000, report_every_steps: 20, evaluate_every_steps: 40}
checkpoint: {every_steps: 40}
"""


def experiment(tmp_path: Path, **values: object) -> ControlExperiment:
    base = {"name": "e", "run": "SAC-AR-DAE", "env": "Pendulum-v1", "stop": ControlStop(env_steps=3000), "storage_path": str(tmp_path)}
    return ControlExperiment(**(base | values))  # type: ignore[arg-type]


def evaluate(folder: Path, *means: float) -> Path:
    folder.mkdir(parents=True)
    records = [{"env_steps": 1000 * number, "num_updates": 0, "returns": [mean]} for number, mean in enumerate(means, 1)]
    RecordFile(RunFolder(folder), "evaluations.csv", steps="env_steps").append(
        [{"seed": 0, **evaluation_row(record)} for record in records]
    )
    return folder / "evaluations.csv"


def test_seeds_are_compared_at_the_latest_evaluation_all_of_them_have_made(tmp_path: Path) -> None:
    study = experiment(tmp_path, seeds=4, grid_search={"sac.alpha": [0.1, 0.2]})
    for seed, means in enumerate([(1.0, 2.0, 9.0), (3.0, 6.0), (5.0, 10.0, 9.0)]):
        evaluate(study.folder / f"alpha=0.1_seed={seed}", *means)
    begun, waiting = populations(study)
    assert (begun.name, begun.total, begun.steps, begun.values) == ("e alpha=0.1", 4, 2000, (2.0, 6.0, 10.0))
    assert (begun.mean, begun.std) == (6.0, 4.0)
    assert (waiting.name, waiting.steps, waiting.values) == ("e alpha=0.2", 0, ()) and math.isnan(waiting.mean)


def test_an_evaluation_that_came_out_as_nan_is_shown_as_none_yet(tmp_path: Path) -> None:
    study = experiment(tmp_path, seeds=2)
    for seed, mean in enumerate((1.0, math.nan)):
        evaluate(study.folder / f"seed={seed}", mean)
    (found,) = populations(study)
    assert math.isnan(found.mean) and math.isnan(found.std)


def test_a_row_that_is_being_written_is_left_for_the_next_look(tmp_path: Path) -> None:
    study = experiment(tmp_path, seeds=2)
    evaluate(study.folder / "seed=0", 1.0, 2.0)
    half = evaluate(study.folder / "seed=1", 3.0, 4.0)
    half.write_text(half.read_text()[: half.read_text().rindex(",4.0,0.0") - 3])
    assert (populations(study)[0].steps, populations(study)[0].values) == (1000, (1.0, 3.0))


def drivers(tmp_path: Path, *names: str) -> list[Driver]:
    """Of experiments with a disk each, whose processes end at once, well."""
    command = [sys.executable, "-c", "pass"]
    return [Driver(experiment(tmp_path, name=name, storage_path=str(tmp_path / f"disk-{name}")), command) for name in names]


def test_a_disk_that_is_away_delays_its_experiment_alone_and_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.experiment.sweep.LOOK_PERIOD_S", 0.05)
    first, second = drivers(tmp_path, "first", "second")
    blocked = tmp_path / "disk-first"
    blocked.touch()
    console = Console(file=io.StringIO(), width=200)
    threading.Timer(0.5, blocked.unlink).start()
    sweep._drive([first, second], "nowhere", lambda: 2, [], console)
    assert (first.status, second.status) == ("finished", "finished")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("first: cannot be started (") == 1 and f"Not a directory: '{first.experiment.folder}'): trying again" in text
    assert "second  finished" in text and text.index("second  ") < text.index("first  finished")


def test_a_signal_that_comes_while_drivers_start_reaches_the_one_and_keeps_the_others_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ardae_rl.experiment.sweep.LOOK_PERIOD_S", 0.05)
    received: list[int] = []
    waits = [sys.executable, "-c", "import time; time.sleep(60)"]
    first, second = (replace(driver, command=waits) for driver in drivers(tmp_path, "first", "second"))
    start = Driver.start

    def interrupted(driver: Driver, address: str) -> None:
        start(driver, address)
        received.append(signal.SIGTERM)

    monkeypatch.setattr(Driver, "start", interrupted)
    sweep._drive([first, second], "nowhere", lambda: 2, received, Console(file=io.StringIO()))
    assert (first.status, second.status) == ("ended with code -15", "waiting")


def test_a_sweep_makes_use_of_a_cluster_that_has_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.experiment.sweep.LOOK_PERIOD_S", 0.05)
    both = drivers(tmp_path, "first", "second")
    seen: list[int] = []

    def room() -> int:
        seen.append(sum(driver.status == "running" for driver in both))
        return 1 if len(seen) < 3 else 2

    waits = [sys.executable, "-c", "import time; time.sleep(3)"]
    for driver in both:
        driver.command[:] = waits
    sweep._drive(both, "nowhere", room, [], Console(file=io.StringIO()))
    assert len(seen) == 3 and seen[-1] == 1, "the second started beside the first, as soon as there was room"
    assert [driver.status for driver in both] == ["finished"] * 2


def test_a_sweep_starts_nothing_more_on_a_cluster_that_has_lost_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ardae_rl.experiment.sweep.LOOK_PERIOD_S", 0.05)
    all_of_them, alive, looks = drivers(tmp_path, *"abcd"), list[int](), iter([3, *[1] * 1000])
    for driver in all_of_them:
        driver.command[:] = [sys.executable, "-c", "import time; time.sleep(2)"]

    def room() -> int:
        alive.append(sum(driver.status == "running" for driver in all_of_them))
        return next(looks)

    sweep._drive(all_of_them, "nowhere", room, [], Console(file=io.StringIO()))
    assert max(alive) == 3 and all_of_them[3].status == "finished"


def test_records_that_the_disk_cannot_read_are_named_once_and_end_nothing(tmp_path: Path) -> None:
    unreadable, sound = drivers(tmp_path, "unreadable", "sound")
    evaluate(sound.experiment.folder / "seed=0", 1.0)
    (unreadable.experiment.folder / "seed=0").mkdir(parents=True)
    (unreadable.experiment.folder / "seed=0" / "evaluations.csv").symlink_to("/proc/self/mem")  # a file whose first byte is an I/O error
    console = Console(file=io.StringIO(), width=200)
    with sweep._Show(console) as show:
        show([unreadable, sound])
        show([unreadable, sound])
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "unreadable: its records cannot be read ([Errno 5] Input/output error): trying again"
    assert len(lines) == 2 and lines[1].startswith("sound  waiting  1,000 env steps  1/1 seeds")


def test_experiments_of_a_sweep_need_names_of_their_own(tmp_path: Path) -> None:
    files: dict[Path, Experiment] = {Path("a.yaml"): experiment(tmp_path), Path("b.yaml"): experiment(tmp_path)}
    with pytest.raises(InvalidExperimentError, match=r"b\.yaml: name: 'e' is the name in a\.yaml, too"):
        check(files, resume=False)


def test_the_mistakes_of_all_files_are_reported_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    folder, results = tmp_path / "configs", tmp_path / "results"
    folder.mkdir()
    assert f"{folder}: there is no *.yaml file in it" in refused(folder)
    for name, mistake in (("a", "config: {lr: x}"), ("b", "seeds: 0"), ("c", "")):
        (folder / f"{name}.yaml").write_text(f"name: {name}\nrun: score_error\n{mistake}")
    message = refused(folder, "--storage-path", results)
    assert f"{folder}/a.yaml:3: config.lr: must be a number" in message and f"{folder}/b.yaml:3: seeds: must be between 1" in message
    assert not results.exists()


def evaluated(folder: Path) -> list[int]:
    path = folder / "evaluations.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [int(row["steps"]) for row in csv.DictReader(file)]


@pytest.mark.timeout(900)  # of a crowded machine; a quiet one takes a minute
def test_a_sweep_runs_its_experiments_side_by_side_stops_together_and_resumes(launch: Launch, tmp_path: Path) -> None:
    folder, results = tmp_path / "configs", tmp_path / "results"
    folder.mkdir()
    for name in ("first", "second"):
        (folder / f"{name}.yaml").write_text(TASK % name)
    trials = [results / name / "seed=0" for name in ("first", "second")]
    arguments = ["scripts/tune.py", str(folder), "--storage-path", str(results)]
    run = launch(arguments=arguments)
    run.wait_until(lambda: all(list(trial.glob("checkpoint_*")) for trial in trials), 250)
    run.process.send_signal(signal.SIGINT)
    assert run.finish(250) == 130, run.output
    assert "Sweep:       2 experiments, 2 trials, " in run.output and "continue with" in run.output
    assert sum(map(len, map(evaluated, trials))) < 2 * STEPS // EVALUATE_EVERY, "it was stopped before the end"
    again = launch(arguments=[*arguments, "--resume"])
    assert again.finish(400) == 0, again.output
    expected = list(range(EVALUATE_EVERY, STEPS + 1, EVALUATE_EVERY))
    assert [evaluated(trial) for trial in trials] == [expected] * 2
    for name in ("first", "second"):
        assert f"{name}  finished  {STEPS:,} steps  1/1 seeds  " in again.output
        assert "Curves:" in (results / name / "output.txt").read_text()
    assert "scripts/report.py " in again.output
