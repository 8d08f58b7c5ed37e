"""A run that Ray's Jobs API starts, stops and starts again, as docs/running-on-a-cluster.md says."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.experiment.process import ROOT, Cluster
from tests.faults.sweep import EXPERIMENT, assert_complete, checkpoints, column, shown_in

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
ENV_STEPS, LIMIT_S = 20_000, 400.0
RAY = str(Path(sys.executable).with_name("ray"))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without CPUs, which gives a job that it stops time for its checkpoints, and a worker."""
    cluster = Cluster(tmp_path, (0, 2), RAY_JOB_STOP_WAIT_TIME_S="240")
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", cluster.dashboard)
    yield cluster
    cluster.end()


def ray_job(*arguments: str) -> str:
    done = subprocess.run([RAY, "job", *arguments], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def submit(name: str, config: Path, *options: str) -> None:
    command = [sys.executable, "scripts/tune.py", str(config), "--storage-path", str(config.parent / "runs"), "--auto-resume", *options]
    ray_job("submit", "--no-wait", "--submission-id", name, "--", "bash", "-c", f"cd {shlex.quote(str(ROOT))} && {shlex.join(command)}")


def wait_for(what: str, condition: Callable[[], object], name: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"no {what} after {LIMIT_S} s:\n{ray_job('logs', name)}"
        time.sleep(1.0)


def test_a_job_that_is_stopped_keeps_its_steps_and_the_same_command_goes_on(tmp_path: Path, cluster: Cluster) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(EXPERIMENT % ("Pendulum-v1", 1, ENV_STEPS))
    folder = tmp_path / "runs" / "tiny" / "seed=0"
    submit("first", config)
    wait_for("checkpoint", lambda: checkpoints(folder), "first")
    ray_job("stop", "first")
    assert "was stopped" in ray_job("status", "first")
    log = ray_job("logs", "first")
    # Unlike steps, seconds differ where steps are made again. The trial may have written one more row, which no driver took note of.
    reported = column(folder, "metrics.csv", "seconds")[: len(shown_in(log, 0))]
    assert reported and column(folder, "metrics.csv", "env_steps")[-1] < ENV_STEPS and "continue with" in log
    submit("second", config)
    wait_for("end", lambda: any(state in ray_job("status", "second") for state in ("succeeded", "failed")), "second")
    log = ray_job("logs", "second")
    assert "succeeded" in ray_job("status", "second"), log
    assert_complete(folder, ENV_STEPS)
    assert column(folder, "metrics.csv", "seconds")[: len(reported)] == reported, "what was reported before the stop was done again"
