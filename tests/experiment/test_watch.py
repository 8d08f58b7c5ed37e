"""When the driver asks for a checkpoint, and what it says of trials that nothing is left to run on."""

import io
import json
import time
from pathlib import Path

import pytest
from ray.train._internal.storage import StorageContext
from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT
from rich.console import Console

from ardae_rl.experiment.display import Display
from ardae_rl.experiment.events import EVENTS
from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.watch import CRASHES_IN_PLACE, Watcher
from ardae_rl.run.ray_internals import STORAGE_MARKER
from tests.experiment.conftest import Write

CLUSTER_CPUS = 8  # of local_ray


def test_a_checkpoint_is_due_by_steps_and_after_a_time(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a trial that reports every second, with 100 steps to go until one is due."""
    monkeypatch.setattr("ardae_rl.experiment.watch.CHECKPOINT_AFTER_S", 10.0)
    now = 1000.0
    monkeypatch.setattr("ardae_rl.experiment.watch.time.monotonic", lambda: now)
    text = f"name: tiny\nrun: score_error\nstorage_path: {tmp_path}\ncheckpoint: {{every_steps: 100}}\n"
    experiment, watcher = load_experiment(write(text, base="")), Watcher()
    watcher.attach(experiment, Display(Console(file=io.StringIO()), experiment.reporting))
    trial = Trial("stub", stub=True, trial_name_creator=lambda trial: "seed=0")
    monkeypatch.setattr(watcher, "_row", lambda trial, result: None)
    monkeypatch.setattr(watcher._display, "show", lambda row: None)
    saved = []
    for steps in range(75, 126):
        now += 1
        result = {"steps": steps}
        watcher.on_trial_result(0, [trial], trial, result)
        if result.get(SHOULD_CHECKPOINT):
            saved.append(steps)
            watcher.on_trial_save(0, [trial], trial)
        trial.run_metadata.last_result = result
    assert saved == [85, 95, 100, 110, 120]


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("cpus", [CLUSTER_CPUS, CLUSTER_CPUS + 1])
def test_a_trial_that_no_machine_can_hold_any_more_is_told_of_once_each_time(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    monkeypatch.setattr("ardae_rl.experiment.watch.IDLE_S", 0.2)
    text = f"name: tiny\nrun: score_error\nstorage_path: {tmp_path}\nresources: {{cpus_per_trial: {cpus}}}\n"
    experiment = load_experiment(write(text, base=""))
    experiment.folder.mkdir()
    (experiment.folder / STORAGE_MARKER).touch()  # as Tune does
    console, watcher = Console(file=io.StringIO(), width=300), Watcher()
    watcher.attach(experiment, Display(console, experiment.reporting))
    trial = Trial("stub", stub=True, trial_name_creator=lambda trial: "seed=0")
    for status in (Trial.PENDING, Trial.PENDING, Trial.RUNNING, Trial.PENDING):
        trial.set_status(status)
        time.sleep(0.25)
        watcher.on_step_end(0, [trial])
    cause = "nothing has run for 0.2 s, and a trial cannot start: one of its processes needs 9 CPU on one machine, the largest has 8 CPU"
    times = 0 if cpus == CLUSTER_CPUS else 2
    assert console.file.getvalue().splitlines() == [f"seed=0: {cause}"] * times  # type: ignore[attr-defined]
    events = (experiment.folder / EVENTS).read_text().splitlines() if times else []
    assert [(event["trial"], event["event"], event["cause"]) for event in map(json.loads, events)] == [("seed=0", "warning", cause)] * times


def crash(watcher: Watcher, trial: Trial, *, comes_up: bool = True) -> bool:
    """As Tune does, which is told nothing of a start that fails in ``setup``; whether it starts the trial again."""
    trial.handle_error(TuneError("the arm is broken"))
    if not trial.should_recover():
        watcher.on_trial_error(0, [trial], trial)
        return False
    watcher.on_trial_recover(0, [trial], trial)
    if comes_up:
        watcher.on_trial_start(0, [trial], trial)
    return True


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("comes_up", [True, False])
@pytest.mark.parametrize(("limit", "starts"), [(-1, CRASHES_IN_PLACE - 1), (2, 2), (CRASHES_IN_PLACE + 5, CRASHES_IN_PLACE + 5)])
def test_a_trial_that_crashes_without_a_checkpoint_in_between_is_given_up_even_without_a_limit(
    write: Write, tmp_path: Path, limit: int, starts: int, comes_up: bool
) -> None:
    text = f"name: tiny\nrun: score_error\nstorage_path: {tmp_path}\nmax_failures: {limit}\n"
    experiment, console = load_experiment(write(text, base="")), Console(file=io.StringIO(), width=300)
    experiment.folder.mkdir()
    (experiment.folder / STORAGE_MARKER).touch()
    watcher = Watcher()
    watcher.attach(experiment, Display(console, experiment.reporting))
    storage = StorageContext(storage_path=str(tmp_path), experiment_dir_name="tiny", trial_dir_name="seed=0")
    trial = Trial("stub", stub=True, trial_name_creator=lambda trial: "seed=0", max_failures=limit, storage=storage)
    trial.init_local_path()
    watcher.on_trial_start(0, [trial], trial)
    if limit < 0:
        assert all(crash(watcher, trial, comes_up=comes_up) for _ in range(starts))
        watcher.on_trial_save(0, [trial], trial)  # it got on: the count begins anew
    assert [crash(watcher, trial, comes_up=comes_up) for _ in range(starts + 1)] == [True] * starts + [False]
    last = console.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]
    assert ("as 10 times now without a checkpoint in between" in last) == (limit < 0) and last.startswith("seed=0: failed")
