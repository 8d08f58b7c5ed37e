"""Processes of a run that are killed: an env runner, the learner, a trial, the driver."""

import signal
import time
from pathlib import Path

import pytest

from tests.experiment.conftest import Launch
from tests.faults.conftest import Record
from tests.faults.sweep import (
    CHECKPOINT_EVERY,
    EXPERIMENT,
    assert_complete,
    assert_gone,
    checkpoints,
    family,
    lost_steps,
    named,
    shown,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
ENV_STEPS = 3000
REMOTE = [f"config.{name}" for name in ("env_runners.num_env_runners=1", "env_runners.num_cpus_per_env_runner=0.25")]
REMOTE += [f"config.{name}" for name in ("learners.num_learners=1", "learners.num_cpus_per_learner=0.25")]
LIMIT_S = 300.0


def options(settings: list[str]) -> list[str]:
    return [option for setting in settings for option in ("--set", setting)]


def test_a_killed_env_runner_is_replaced_and_no_step_is_lost(launch: Launch, tmp_path: Path, record: Record) -> None:
    run = launch(EXPERIMENT % ("Pendulum-v1", 1, ENV_STEPS), *options(REMOTE))
    run.wait_until(lambda: checkpoints(tmp_path / "tiny" / "seed=0"), LIMIT_S)
    (victim,) = named(family(run), "ray::SeededEnvRunner")
    victim.kill()
    killed = time.monotonic()
    run.wait_until(lambda: [new for new in named(family(run), "ray::SeededEnvRunner") if new.pid != victim.pid], LIMIT_S)
    reports = len(shown(run, 0))
    run.wait_until(lambda: len(shown(run, 0)) > reports, LIMIT_S)
    recovery_s = time.monotonic() - killed
    processes = family(run)
    assert run.finish(LIMIT_S) == 0, run.output
    assert "crashed" not in run.output and lost_steps(shown(run, 0)) == 0
    assert_complete(tmp_path / "tiny" / "seed=0", ENV_STEPS)
    assert_gone(processes)
    record("an env runner is killed", recovery_s=recovery_s, lost_env_steps=0, checkpoint_every=CHECKPOINT_EVERY)


@pytest.mark.parametrize(("part", "title"), [("the learner", "Learner"), ("a trial", "ray::SACARDAETrial")])
def test_a_trial_continues_from_its_last_checkpoint(
    launch: Launch, tmp_path: Path, record: Record, part: str, title: str
) -> None:
    run = launch(EXPERIMENT % ("Pendulum-v1", 1, ENV_STEPS), *options(REMOTE))
    run.wait_until(lambda: len(checkpoints(tmp_path / "tiny" / "seed=0")) >= 2, LIMIT_S)
    (victim,) = named(family(run), title)
    victim.kill()
    killed = time.monotonic()
    run.wait_until(lambda: "seed=0: crashed (1 of 2 restarts used); continuing from its last checkpoint" in run.output, LIMIT_S)
    reports = len(shown(run, 0))
    run.wait_until(lambda: len(shown(run, 0)) > reports, LIMIT_S)
    recovery_s = time.monotonic() - killed
    processes = family(run)
    assert run.finish(LIMIT_S) == 0, run.output
    lost = lost_steps(shown(run, 0))
    assert lost <= CHECKPOINT_EVERY
    assert_complete(tmp_path / "tiny" / "seed=0", ENV_STEPS)
    assert_gone(processes)
    record(f"{part} is killed", recovery_s=recovery_s, lost_env_steps=lost, checkpoint_every=CHECKPOINT_EVERY)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_is_gone_is_resumed(launch: Launch, tmp_path: Path, record: Record, signum: signal.Signals) -> None:
    folder = tmp_path / "tiny" / "seed=0"
    run = launch(EXPERIMENT % ("Pendulum-v1", 1, ENV_STEPS))
    run.wait_until(lambda: len(checkpoints(folder)) >= 2, LIMIT_S)
    processes = family(run)
    run.process.send_signal(signum)
    assert run.finish(LIMIT_S) == (143 if signum == signal.SIGTERM else -9), run.output
    assert_gone(processes)
    started = time.monotonic()
    resumed = launch(EXPERIMENT % ("Pendulum-v1", 1, ENV_STEPS), "--resume")
    resumed.wait_until(lambda: shown(resumed, 0), LIMIT_S)
    recovery_s = time.monotonic() - started
    assert resumed.finish(LIMIT_S) == 0, resumed.output
    lost = lost_steps([*shown(run, 0), *shown(resumed, 0)])
    assert lost <= (0 if signum == signal.SIGTERM else CHECKPOINT_EVERY)
    assert_complete(folder, ENV_STEPS)
    record(f"the driver gets {signum.name}; --resume", recovery_s=recovery_s, lost_env_steps=lost, checkpoint_every=CHECKPOINT_EVERY)
