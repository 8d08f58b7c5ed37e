"""The adapter of tasks to Tune, without a cluster: what it reports and records, and that stopping and going on changes nothing."""

import csv
import dataclasses
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.train._internal.storage import StorageContext
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ardae_rl.experiment.events import cause_of
from ardae_rl.run.notes import collect_notes
from ardae_rl.tasks import trainable
from ardae_rl.tasks.energy.config import EnergySettings, ScoreSettings
from ardae_rl.tasks.maxent.config import MaxEntSettings
from ardae_rl.tasks.registry import TASKS, TaskKind
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.trainable import CHECKPOINT_FILE, TaskTrial
from ardae_rl.tasks.vae import config as vae
from tests.tasks.counting import CountingSettings

SHORT_SCORE_ERROR = dataclasses.replace(ScoreErrorSettings().smoke(), steps=12, report_every_steps=3, evaluate_every_steps=4)
SHORT_ENERGY = EnergySettings(
    width=8,
    layers=1,
    score=ScoreSettings(width=8, layers=1, fits_per_step=2),
    batch_size=16,
    steps=12,
    report_every_steps=3,
    evaluate_every_steps=6,
    emd_samples=100,
    final_emd_samples=100,
)
SHORT_MAXENT = MaxEntSettings(dim=2, repeats=2, steps=6, report_every_steps=2, evaluate_every_steps=3, emd_samples=100)
SHORT_VAE = vae.VAESettings(
    network=vae.NetworkSettings(width=16),
    score=vae.ScoreSettings(width=16, samples_per_context=4),
    evaluation=vae.EvaluationSettings(samples=20, images=20, test_samples=20, test_images=20),
    average_decay=0.9,
    steps=12,
    report_every_steps=3,
    evaluate_every_steps=4,
)
EXAMPLES = [
    ("counting", CountingSettings()),
    ("energy", SHORT_ENERGY),
    ("maxent", SHORT_MAXENT),
    ("score_error", SHORT_SCORE_ERROR),
    ("vae", SHORT_VAE),
]

pytestmark = pytest.mark.usefixtures("local_ray")

Make = Callable[..., TaskTrial]


@pytest.fixture(autouse=True)
def _counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "counting", TaskKind(CountingSettings, "tests.tasks.counting:CountingTask"))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """``make(name)``: a trial that writes into the folder ``name``."""
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")

    def make_trial(name: str, run: str = "counting", settings: Any = None, seed: int = 0) -> TaskTrial:
        return TaskTrial(config_of(run, settings or CountingSettings(), seed), storage=storage(tmp_path, name))

    return make_trial


def storage(folder: Path, name: str) -> StorageContext:
    return StorageContext(storage_path=str(folder), experiment_dir_name="experiment", trial_dir_name=name)


def config_of(run: str, settings: Any, seed: int) -> dict[str, Any]:
    return {"run": run, "settings": dataclasses.asdict(settings), "seed": seed}


def finish(trial: TaskTrial) -> list[dict[str, Any]]:
    results = [trial.train()]
    while not results[-1]["done"]:
        results.append(trial.train())
    return results


def records(tmp_path: Path, name: str, file: str) -> list[dict[str, str]]:
    with (tmp_path / "experiment" / name / file).open(newline="") as lines:
        return list(csv.DictReader(lines))


def without_times(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name not in ("seconds", "steps_per_s")} for row in rows]


def end_state(trial: TaskTrial, folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    trial.save_checkpoint(str(folder))
    state = torch.load(folder / CHECKPOINT_FILE, weights_only=True)
    return {name: state[name] for name in ("task", "random", "steps", "evaluation")}


def assert_equal(left: Any, right: Any) -> None:
    """Bit for bit, through nested dictionaries and lists."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        left, right = list(left.values()), list(right.values())
    if isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_equal(a, b)
    else:
        assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


def test_a_report_holds_the_progress_the_mean_of_the_training_metrics_and_the_latest_evaluation(make: Make, tmp_path: Path) -> None:
    results = finish(make("a"))
    assert [(result["steps"], result["count"], result["done"]) for result in results] == [(3, 2.0, False), (6, 5.0, False), (7, 7.0, True)]
    values = [float(row["spread"]) for row in records(tmp_path, "a", "evaluations.csv")]
    assert [result["evaluation/spread"] for result in results] == [values[0], values[2], values[3]]
    assert results[2]["seconds"] > results[0]["seconds"] > 0 and results[0]["steps_per_s"] == 3 / results[0]["seconds"]


def test_the_records_hold_every_report_and_every_evaluation_once(make: Make, tmp_path: Path) -> None:
    finish(make("a", seed=5))
    metrics, evaluations = records(tmp_path, "a", "metrics.csv"), records(tmp_path, "a", "evaluations.csv")
    assert list(metrics[0]) == ["seed", "steps", "seconds", "steps_per_s", "count", "position"]
    assert [(row["seed"], row["steps"], row["count"]) for row in metrics] == [("5", "3", "2.0"), ("5", "6", "5.0"), ("5", "7", "7.0")]
    assert list(evaluations[0]) == ["seed", "steps", "seconds", "spread"]
    assert [row["steps"] for row in evaluations] == ["2", "4", "6", "7"]


def test_the_last_step_is_evaluated_once_even_when_due_anyway(make: Make, tmp_path: Path) -> None:
    finish(make("a", settings=CountingSettings(steps=4)))
    assert [row["steps"] for row in records(tmp_path, "a", "evaluations.csv")] == ["2", "4"]


def test_a_task_that_knows_no_truth_records_no_evaluation(make: Make, tmp_path: Path) -> None:
    results = finish(make("a", settings=CountingSettings(evaluates="")))
    assert not any(name.startswith("evaluation/") for result in results for name in result)
    assert not (tmp_path / "experiment" / "a" / "evaluations.csv").exists()


def test_figures_of_the_end_are_drawn_for_the_eye_and_for_tensorboard(make: Make, tmp_path: Path) -> None:
    trial = make("a")
    trial.train()
    folder = tmp_path / "experiment" / "a" / "figures"
    assert not folder.exists()
    finish(trial)
    assert (folder / "walk.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [image.step for image in events.Images("walk")] == [7]


@pytest.mark.parametrize(("run", "settings"), EXAMPLES, ids=[run for run, _ in EXAMPLES])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(make: Make, tmp_path: Path, run: str, settings: Any) -> None:
    whole = make("whole", run, settings)
    finish(whole)
    expected = end_state(whole, tmp_path / "end-whole")
    first = make("resumed", run, settings)  # only now: in one process, trials share torch's generator
    first.train()
    saved = first.save().checkpoint.path
    first.train()  # work that the crash loses
    second = make("resumed", run, settings)
    torch.randn(5)
    second.restore(saved)
    finish(second)
    assert_equal(end_state(second, tmp_path / "end-resumed"), expected)
    for file in ("metrics.csv", "evaluations.csv"):
        assert without_times(records(tmp_path, "resumed", file)) == without_times(records(tmp_path, "whole", file))
    seconds = [float(row["seconds"]) for row in records(tmp_path, "resumed", "metrics.csv")]
    assert seconds == sorted(seconds), "seconds go on counting"


@pytest.mark.parametrize(("run", "settings"), EXAMPLES, ids=[run for run, _ in EXAMPLES])
def test_steps_that_take_long_are_reported_one_by_one_and_recorded_as_ever(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, settings: Any
) -> None:
    """A checkpoint in the middle of a row of ``metrics.csv``, too: the row is of all its steps."""
    whole = make("whole", run, settings)
    expected = finish(whole)
    state = end_state(whole, tmp_path / "end-whole")
    monkeypatch.setattr(trainable, "_MAX_SECONDS_PER_REPORT", 0.0)
    first = make("slow", run, settings)
    assert [first.train()["steps"] for _ in range(5)] == [1, 2, 3, 4, 5]
    saved = first.save().checkpoint.path
    first.train()
    second = make("slow", run, settings)
    second.restore(saved)
    results = finish(second)
    assert [result["steps"] for result in results] == list(range(6, settings.steps + 1))
    assert {name for name in results[-1] if name.startswith("evaluation/")} == {
        name for name in expected[-1] if name.startswith("evaluation/")
    }
    assert_equal(end_state(second, tmp_path / "end-slow"), state)
    for file in ("metrics.csv", "evaluations.csv"):
        assert without_times(records(tmp_path, "slow", file)) == without_times(records(tmp_path, "whole", file))
    rows, every = records(tmp_path, "slow", "metrics.csv"), settings.report_every_steps
    for before, row in zip([{"seconds": "0", "steps": "0"}, *rows], rows, strict=False):
        taken, steps = float(row["seconds"]) - float(before["seconds"]), int(row["steps"]) - int(before["steps"])
        assert steps <= every and steps / taken == pytest.approx(float(row["steps_per_s"]), rel=1e-6)


@pytest.mark.parametrize(("run", "settings"), EXAMPLES, ids=[run for run, _ in EXAMPLES])
def test_a_trial_in_a_used_process_equals_one_in_a_fresh_process(make: Make, tmp_path: Path, run: str, settings: Any) -> None:
    fresh = make("fresh", run, settings, seed=3)
    expected = finish(fresh)
    used = make("used", run, settings, seed=8)
    finish(used)
    assert used.reset(config_of(run, settings, 3), storage=storage(tmp_path, "next"))
    results = finish(used)
    assert_equal(end_state(used, tmp_path / "end-used"), end_state(fresh, tmp_path / "end-fresh"))
    assert [(result["steps"], result.keys()) for result in results] == [(result["steps"], result.keys()) for result in expected]
    for file in ("metrics.csv", "evaluations.csv"):
        assert without_times(records(tmp_path, "next", file)) == without_times(records(tmp_path, "fresh", file))
    assert {row["seed"] for row in records(tmp_path, "used", "metrics.csv")} == {"8"}


def test_a_machine_without_the_storage_path_is_named_and_nothing_is_written_there(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", ())
    trial, experiment = make("a"), tmp_path / "experiment"
    trial.train()
    elsewhere = storage(tmp_path, "b")
    experiment.rename(tmp_path / "away")
    message = rf"{experiment} as the driver sees it is not on machine {socket.gethostname()} \([0-9.]+\): mount the storage path there"
    with pytest.raises(FileNotFoundError, match=message):
        trial.save()
    with pytest.raises(FileNotFoundError, match=message):
        TaskTrial(config_of("counting", CountingSettings(), 0), storage=elsewhere)
    assert not experiment.exists()
    experiment.mkdir()  # a folder of the same name on its own disk
    with pytest.raises(FileNotFoundError, match=message):
        trial.save()
    assert list(experiment.iterdir()) == []


def test_what_is_raised_while_a_trial_is_made_is_its_cause() -> None:
    actor = ray.remote(TaskTrial).remote(config_of("unheard-of", CountingSettings(), 0))
    with pytest.raises(ray.exceptions.RayActorError) as caught:
        ray.get(actor.train.remote())
    assert cause_of(str(caught.value)) == "KeyError: 'unheard-of'"


def test_seeds_differ_and_repeat(make: Make) -> None:
    positions = [finish(make(name, seed=seed))[-1]["position"] for name, seed in (("a", 0), ("b", 1), ("c", 0))]
    assert positions[0] == positions[2] != positions[1]


def test_a_trial_restored_at_its_very_end_reports_it_again_and_does_nothing(make: Make, tmp_path: Path) -> None:
    trial = make("a")
    last = finish(trial)[-1]
    saved = trial.save().checkpoint.path
    again = make("a")
    again.restore(saved)
    (repeated,) = finish(again)
    for name in ("steps", "count", "seconds", "evaluation/spread"):
        assert repeated[name] == last[name]
    assert [row["steps"] for row in records(tmp_path, "a", "metrics.csv")] == ["3", "6", "7"]


def test_rows_of_a_first_attempt_without_a_checkpoint_are_dropped(make: Make, tmp_path: Path) -> None:
    make("a").train()
    finish(make("a"))
    assert [row["steps"] for row in records(tmp_path, "a", "metrics.csv")] == ["3", "6", "7"]
    assert [row["steps"] for row in records(tmp_path, "a", "evaluations.csv")] == ["2", "4", "6", "7"]


def test_a_task_that_reports_otherwise_than_it_declared_is_stopped_with_the_reason(make: Make) -> None:
    with pytest.raises(ValueError, match=r"must measure the task's headline 'spread', got width"):
        make("a", settings=CountingSettings(evaluates="width")).train()
    trial = make("b", settings=CountingSettings(late_metric_from=4))
    trial.train()
    with pytest.raises(ValueError, match=r"metrics\.csv has no column for late \(it has seed, .*position\); report them from the first"):
        trial.train()


def test_a_checkpoint_that_this_machine_has_no_memory_for_is_not_taken_for_damaged(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make("a")
    first.train(), first.save()

    def full(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ardae_rl.tasks.trainable.torch.load", full)
    with pytest.raises(torch.OutOfMemoryError):
        make("a").train()


@pytest.mark.parametrize("known_to_tune", [True, False])
def test_a_checkpoint_that_the_disk_spoilt_costs_one_interval_and_a_note(make: Make, tmp_path: Path, known_to_tune: bool) -> None:
    whole = make("whole")
    finish(whole)
    first, folder = make("a"), tmp_path / "experiment" / "a"
    collect_notes(folder.parent)
    first.train(), first.save(), first.train()
    last = Path(first.save().checkpoint.path)
    content = (last / CHECKPOINT_FILE).read_bytes()
    (last / CHECKPOINT_FILE).write_bytes(content[: len(content) // 2])
    second = make("a")
    if known_to_tune:
        second.restore(str(last))
    finish(second)
    ((trial, text),) = collect_notes(folder.parent)
    assert trial == "a" and text.startswith(f"{last} cannot be read (") and text.endswith("going back to the checkpoint before it")
    assert_equal(end_state(second, tmp_path / "end-a"), end_state(whole, tmp_path / "end-whole"))
    assert Path(second.save().checkpoint.path).name > last.name
    assert [row["steps"] for row in records(tmp_path, "a", "metrics.csv")] == ["3", "6", "7"]


def unmount(experiment: Path) -> threading.Timer:
    """Take the storage path away; the timer brings it back."""
    away = experiment.rename(experiment.with_name("away"))
    back = threading.Timer(0.5, away.rename, [experiment])
    back.start()
    return back


def saved_twice(trial: TaskTrial) -> list[Any]:
    """What Tune knows of a trial's checkpoints, the second made at its end."""
    return [(trial.train(), trial.save())[1] for _ in range(2)]


@pytest.mark.parametrize("known", ["the last", "one that gave way", "none"])
def test_a_storage_path_that_is_away_is_waited_for_before_a_checkpoint_is_looked_for(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str
) -> None:
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", [0.05] * 200)
    first, last = saved_twice(make("a"))
    if known == "one that gave way":
        shutil.rmtree(first.checkpoint.path)
    resumed = make("a")
    back = unmount(tmp_path / "experiment")
    if known == "none":
        resumed.train()
    else:
        resumed.restore(last if known == "the last" else first)
    assert back.finished.is_set()
    assert resumed.train()["steps"] == 7
    assert [row["steps"] for row in records(tmp_path, "a", "metrics.csv")] == ["3", "6", "7"]


def test_a_checkpoint_whose_storage_path_goes_away_while_it_is_read_is_not_taken_for_damaged(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", [0.05] * 200)
    last = saved_twice(make("a"))[1]
    backs, load_from = list[threading.Timer](), TaskTrial.load_from

    def interrupted(self: TaskTrial, folder: Path) -> None:
        if not backs:
            backs.append(unmount(tmp_path / "experiment"))
        load_from(self, folder)

    monkeypatch.setattr(TaskTrial, "load_from", interrupted)
    collect_notes(tmp_path / "experiment")
    resumed = make("a")
    resumed.restore(last)
    assert backs and backs[0].finished.is_set()
    assert resumed.train()["steps"] == 7
    notes = [text for _, text in collect_notes(tmp_path / "experiment")]
    assert notes and all(text.startswith("reading failed (") for text in notes), "it waited, and went back to no earlier checkpoint"


def test_a_checkpoint_that_gave_way_before_its_driver_noted_the_next_is_followed_by_the_last(make: Make, tmp_path: Path) -> None:
    trial = make("a")
    results = [(trial.train(), trial.save())[1] for _ in range(2)]
    known, last = (Path(result.checkpoint.path) for result in results)
    shutil.rmtree(known)
    resumed = make("a")
    resumed.restore(results[0])
    assert resumed.train()["steps"] == 7
    assert Path(resumed.save().checkpoint.path).name == "checkpoint_000002" and not last.exists(), "Tune would never remove it"
    assert [row["steps"] for row in records(tmp_path, "a", "metrics.csv")] == ["3", "6", "7"]
    shutil.rmtree(tmp_path / "experiment" / "a")
    with pytest.raises(ValueError, match="does not exist on storage anymore"):
        make("a").restore(results[0])


def test_where_no_checkpoint_can_be_read_the_newest_says_why(make: Make) -> None:
    trial = make("a")
    for _ in range(2):
        trial.train()
        saved = Path(trial.save().checkpoint.path)
        (saved / CHECKPOINT_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=saved.name):
        make("a").restore(str(saved))


@pytest.mark.parametrize("noted", [True, False])
def test_a_checkpoint_that_tune_did_not_live_to_note_is_continued_from_and_gives_way_to_the_next(
    make: Make, tmp_path: Path, noted: bool
) -> None:
    trial = make("a")
    trial.train()
    known = trial.save().checkpoint.path
    trial.train()
    forgotten = Path(trial.save().checkpoint.path)
    again = make("a")
    if noted:
        again.restore(known)
    assert again.train()["steps"] == 7
    saved = Path(again.save().checkpoint.path)
    assert saved.name == "checkpoint_000002" and not forgotten.exists() and Path(known).exists() is noted
    assert torch.load(saved / CHECKPOINT_FILE, weights_only=True)["steps"] == 7
    assert [row["steps"] for row in records(tmp_path, "a", "metrics.csv")] == ["3", "6", "7"]
