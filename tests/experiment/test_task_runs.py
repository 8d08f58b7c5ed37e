"""Real runs of a task on a local Ray: one whose processes are killed, and a smoke run."""

import csv
import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ardae_rl.nn.settings import build
from ardae_rl.run.process import prepare_training_process
from ardae_rl.tasks.registry import TASKS
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.task import ScoreErrorTask
from tests.experiment.conftest import Launch

STEPS, REPORT_EVERY, CHECKPOINT_EVERY = 600, 20, 40
SETTINGS = dataclasses.replace(ScoreErrorSettings(), steps=STEPS, report_every_steps=REPORT_EVERY, evaluate_every_steps=CHECKPOINT_EVERY)
FEW = {"emd_samples": 100, "evaluate_every_steps": 300}
SMALL: dict[str, dict[str, Any]] = {
    "score_error": {"evaluate_every_steps": CHECKPOINT_EVERY},
    "energy": {**FEW, "batch_size": 64, "score": {"sigmas_per_sample": 1}, "ema_decay": 0.9, "final_emd_samples": 100},
    "maxent": {**FEW, "dim": 2, "repeats": 2, "batch_size": 64},
}

EXPERIMENT = f"""\
name: tiny
run: score_error
config: {{steps: {STEPS}, report_every_steps: {REPORT_EVERY}, evaluate_every_steps: {CHECKPOINT_EVERY}}}
checkpoint: {{every_steps: {CHECKPOINT_EVERY}}}
"""


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint_*/task.pt"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def uninterrupted(run: str, config: dict[str, Any], seed: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The same trial as a plain loop: the task's last state, and its evaluations as a CSV file would hold them."""
    prepare_training_process()
    kind = TASKS[run]
    trained, evaluations = kind.task()(build(kind.settings, config), seed=seed, device="cpu"), []
    for step in range(1, STEPS + 1):
        trained.step()
        if step % config["evaluate_every_steps"] == 0:
            metrics = {"seed": seed, "steps": step, **trained.evaluate()}
            evaluations.append({name: str(value) for name, value in metrics.items()})
    return trained.state_dict(), evaluations


@pytest.mark.parametrize("task", ["score_error", *(pytest.param(name, marks=pytest.mark.faults) for name in ("energy", "maxent"))])
def test_killed_processes_leave_no_trace_in_the_result(task: str, launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "tiny" / "seed=0"
    config = {"steps": STEPS, "report_every_steps": REPORT_EVERY, **SMALL[task]}
    experiment = yaml.safe_dump({"name": "tiny", "run": task, "config": config, "checkpoint": {"every_steps": CHECKPOINT_EVERY}})
    run = launch(experiment)
    run.wait_until(lambda: len(checkpoints(folder)) >= 2 and (folder / "result.json").is_file())
    os.kill(json.loads((folder / "result.json").read_text().splitlines()[0])["pid"], signal.SIGKILL)
    run.wait_until(lambda: "seed=0: crashed (1 of 2 restarts used); continuing from its last checkpoint" in run.output)
    crashed_at = checkpoints(folder)[-1]
    run.wait_until(lambda: checkpoints(folder) and checkpoints(folder)[-1] > crashed_at)
    os.kill(run.process.pid, signal.SIGKILL)
    run.end()
    steps_before = len(rows(folder / "metrics.csv")) * REPORT_EVERY
    assert 0 < steps_before < STEPS
    resumed = launch(experiment, "--resume")
    assert resumed.finish() == 0, resumed.output
    (event,) = [json.loads(line) for line in (tmp_path / "tiny" / "events.jsonl").read_text().splitlines()]
    assert (event["trial"], event["event"]) == ("seed=0", "crashed") and 0 < event["steps"] <= steps_before and "died" in event["cause"]
    assert next(line for line in resumed.output.splitlines() if line.startswith("│ seed=0 ")).split("│")[-2].strip() == "1"
    state, evaluations = uninterrupted(task, config, seed=0)
    saved = torch.load(checkpoints(folder)[-1], weights_only=True)["task"]
    assert [int(row["steps"]) for row in rows(folder / "metrics.csv")] == list(range(REPORT_EVERY, STEPS + 1, REPORT_EVERY))
    recorded = [{name: value for name, value in row.items() if name != "seconds"} for row in rows(folder / "evaluations.csv")]
    assert recorded == evaluations
    torch.testing.assert_close(saved, state, rtol=0, atol=0)


def test_a_smoke_run_of_a_sweep_tries_its_first_point_to_the_end(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no process of it leaves a temporary file, but for what torch keeps for the next one; also where no socket can be made."""
    temporary = tmp_path / "temporary" / "of" / "a" / "job"
    temporary.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(temporary))
    assert len(str(temporary)) > 60, "too long for the paths of sockets, which may have 107 bytes"
    run = launch(EXPERIMENT + "grid_search: {lr: [1e-2, 1e-3]}", "--smoke")
    assert run.finish() == 0, run.output
    assert "Dashboard:   http://127.0.0.1:" in run.output
    assert [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor_")] == []
    steps = SETTINGS.smoke().steps
    assert f"Experiment:  tiny-smoke-1: score_error, {steps:,} steps\nTrials:      1, 1 at a time: seed=0\n" in run.output
    assert f"{ScoreErrorTask.headline} (lower is better)" in run.output
    folder = tmp_path / "tiny-smoke-1" / "seed=0"
    (checkpoint,) = checkpoints(folder)
    assert torch.load(checkpoint, weights_only=True)["steps"] == steps
    assert json.loads((folder / "params.json").read_text())["settings"]["lr"] == 1e-2
    (last,) = [row for row in rows(folder / "evaluations.csv") if int(row["steps"]) == steps]
    value = float(last[ScoreErrorTask.headline])
    table_row = next(line for line in run.output.splitlines() if line.startswith("│ seed=0 "))
    cells = [cell.strip() for cell in table_row.split("│")[1:-1]]
    assert cells[1:3] == ["finished", f"{steps:,}"] and cells[4] == f"{value:.4g} at {steps:,}"


def test_short_trials_share_a_process_and_keep_to_their_own_folders(launch: Launch, tmp_path: Path) -> None:
    length = "stop: {steps: 20}\nseeds: 3\nresources: {max_concurrent_trials: 1}\n"
    run = launch(EXPERIMENT + length)
    assert run.finish() == 0, run.output
    folders = [tmp_path / "tiny" / f"seed={seed}" for seed in range(3)]
    reports = [json.loads(line) for folder in folders for line in (folder / "result.json").read_text().splitlines()]
    assert len({report["pid"] for report in reports}) == 1
    assert [report["timesteps_total"] for report in reports] == [20] * 3, "what TensorBoard draws over"
    for seed, folder in enumerate(folders):
        assert [(row["seed"], row["steps"]) for row in rows(folder / "metrics.csv")] == [(str(seed), "20")]
        assert (folder / "figures" / "score.png").is_file()
        assert len(checkpoints(folder)) == 1
