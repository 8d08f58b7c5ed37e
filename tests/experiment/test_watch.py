"""What the console and the events say of trials that nothing is left to run on."""

import io
import json
import time
from pathlib import Path

import pytest
from ray.tune.experiment import Trial
from rich.console import Console

from ardae_rl.checkpoints import STORAGE_MARKER
from ardae_rl.experiment.display import Display
from ardae_rl.experiment.events import EVENTS
from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.watch import Watcher
from tests.experiment.conftest import Write

CLUSTER_CPUS = 8  # of local_ray


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
