"""Real RL runs that are killed, interrupted and resumed: Pendulum with tiny networks on a local Ray."""

import csv
import json
import os
import shlex
import signal
from pathlib import Path

import pytest

from tests.experiment.conftest import Launch

REPORT_EVERY, CHECKPOINT_EVERY = 200, 400

EXPERIMENT = f"""\
name: tiny
run: SAC-AR-DAE
env: Pendulum-v1
stop: {{env_steps: %d}}
config:
  sac:
    implicit: {{noise_dim: 2, width: 8}}
    critic: {{width: 8}}
    score: {{layers: 1, context_layers: 0, input_layers: 0, width: 8, samples_per_context: 2, importance_samples: 2}}
    jacobian_clamping: null
  replay: {{batch_size: 8, warmup_env_steps: 100}}
  env_runners: {{num_envs_per_env_runner: 4}}
  evaluation: {{every_env_steps: {CHECKPOINT_EVERY}, episodes: 2}}
  report_every_env_steps: {REPORT_EVERY}
checkpoint: {{every_env_steps: {CHECKPOINT_EVERY}}}
"""


def trial_folder(tmp_path: Path) -> Path:
    return tmp_path / "tiny" / "seed=0"


def checkpoints(tmp_path: Path) -> dict[int, int]:
    """{index of a complete checkpoint: transitions ever added to its replay buffer}."""
    manifests = sorted(trial_folder(tmp_path).glob("checkpoint_*/replay/manifest.json"))
    return {int(path.parts[-3].removeprefix("checkpoint_")): json.loads(path.read_text())["num_added"] for path in manifests}


def column(tmp_path: Path, file: str, name: str) -> list[float]:
    with (trial_folder(tmp_path) / file).open(newline="") as lines:
        return [float(row[name]) for row in csv.DictReader(lines)]


def assert_nothing_lost_or_repeated(tmp_path: Path, env_steps: int) -> None:
    """Every report and evaluation is there once, and the replay buffer held every step ever sampled."""
    expected = [float(steps) for steps in range(REPORT_EVERY, env_steps + 1, REPORT_EVERY)]
    assert column(tmp_path, "metrics.csv", "env_steps") == expected
    assert column(tmp_path, "metrics.csv", "replay_size") == expected
    assert column(tmp_path, "evaluations.csv", "env_steps") == [0.0, *expected[1::2]]
    assert checkpoints(tmp_path)[max(checkpoints(tmp_path))] == env_steps


def test_a_killed_run_resumes_from_its_last_checkpoint_with_its_replay_buffer(launch: Launch, tmp_path: Path) -> None:
    env_steps = 2000
    run = launch(EXPERIMENT % env_steps)
    run.wait_until(lambda: run.reported_steps)
    second = launch(EXPERIMENT % env_steps, "--resume")
    assert second.finish() == 2 and f"tiny is being run by process {run.process.pid} on " in second.output
    run.wait_until(lambda: 2 in checkpoints(tmp_path))
    os.kill(run.process.pid, signal.SIGKILL)
    run.end()
    assert max(run.reported_steps) < env_steps
    saved = checkpoints(tmp_path)
    resumed = launch(EXPERIMENT % env_steps, "--resume")
    assert resumed.finish() == 0, resumed.output
    assert resumed.reported_steps[0] == saved[max(saved)] + REPORT_EVERY, "whether or not Tune had noted the last checkpoint"
    assert_nothing_lost_or_repeated(tmp_path, env_steps)


def test_ctrl_c_keeps_a_checkpoint_and_the_command_it_prints_continues_from_there(launch: Launch, tmp_path: Path) -> None:
    env_steps = 1600
    run = launch(EXPERIMENT % env_steps)
    run.wait_until(lambda: run.reported_steps)
    os.killpg(run.process.pid, signal.SIGINT)  # a terminal sends it to every process in the foreground
    assert run.finish() == 130, run.output
    assert "Traceback" not in run.output
    (saved,) = list(checkpoints(tmp_path).values())[-1:]
    assert saved >= max(run.reported_steps) - REPORT_EVERY
    command = shlex.split(run.output.splitlines()[-1])
    assert command[-1] == "--resume"
    resumed = launch(arguments=command[1:])
    assert resumed.finish() == 0, resumed.output
    assert resumed.reported_steps[0] == saved + REPORT_EVERY
    assert_nothing_lost_or_repeated(tmp_path, env_steps)


@pytest.mark.timeout(900)  # three runs one after the other
def test_a_run_ended_by_a_signal_to_its_group_or_by_usr1_goes_on_for_longer_and_with_another_seed(launch: Launch, tmp_path: Path) -> None:
    """What ``timeout``, systemd and batch systems send, and when."""
    run = launch(EXPERIMENT % 100_000)
    run.wait_until(lambda: run.reported_steps)
    os.killpg(run.process.pid, signal.SIGTERM)
    assert run.finish() == 128 + signal.SIGTERM, run.output
    (saved,) = list(checkpoints(tmp_path).values())[-1:]
    assert saved >= max(run.reported_steps) - REPORT_EVERY and "│ unfinished │" in run.output and "finished   │" not in run.output
    longer = ["--resume", "--set", f"stop.env_steps={saved + 1200 - saved % 400}", "--set", "max_failures=1", "--seeds", "2"]
    further = launch(EXPERIMENT % 100_000, *longer)
    further.wait_until(lambda: any(steps > saved for steps in further.reported_steps))
    os.kill(further.process.pid, signal.SIGUSR1)
    assert further.finish() == 128 + signal.SIGUSR1, further.output
    assert "│ unfinished │" in further.output and "Traceback" not in further.output
    last = launch(EXPERIMENT % 100_000, *longer)
    assert last.finish() == 0, last.output
    assert_nothing_lost_or_repeated(tmp_path, saved + 1200 - saved % 400)
    assert (tmp_path / "tiny" / "seed=1" / "evaluations.csv").read_text().count("\n") >= 3


@pytest.mark.faults
def test_a_killed_trial_restarts_from_its_last_checkpoint_and_the_run_goes_on(launch: Launch, tmp_path: Path) -> None:
    env_steps = 3000
    run = launch(EXPERIMENT % env_steps)
    run.wait_until(lambda: 1 in checkpoints(tmp_path) and (trial_folder(tmp_path) / "result.json").is_file())
    report = json.loads((trial_folder(tmp_path) / "result.json").read_text().splitlines()[0])
    os.kill(report["pid"], signal.SIGKILL)
    assert run.finish() == 0, run.output
    assert "seed=0: crashed (1 of 2 restarts used); continuing from its last checkpoint" in run.output
    assert_nothing_lost_or_repeated(tmp_path, env_steps)
