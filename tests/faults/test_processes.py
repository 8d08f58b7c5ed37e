"""Processes of a run that are killed: an env runner, the learner, a trial, the driver."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.experiment.conftest import Launch
from tests.experiment.process import Run
from tests.faults.conftest import Record
from tests.faults.sweep import (
    CHECKPOINT_EVERY,
    EXPERIMENT,
    MOST_LOST,
    REPORT_EVERY,
    assert_complete,
    assert_gone,
    family,
    lost_steps,
    named,
    shown,
    wait_for_checkpoint,
    wait_for_report,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
ENV_STEPS, LIMIT_S = 2400, 400.0
REMOTE = [f"config.env_runners.{name}" for name in ("num_env_runners=1", "num_cpus_per_env_runner=0.25")]
REMOTE += [f"config.learners.{name}" for name in ("num_learners=1", "num_cpus_per_learner=0.25")]
TITLES = {"env runner": "ray::SeededEnvRunner", "learner": "ray::_WrappedExecutable", "trial": "ray::SACARDAETrial"}


def member(run: Run, part: str) -> psutil.Process | None:
    return next(iter(named(family(run), TITLES[part])), None)


def kill(run: Run, part: str) -> float:
    """Kill one process; seconds until there is another one like it and the trial has reported again."""
    before = {process.pid for process in named(family(run), TITLES[part])}
    victim = member(run, part)
    assert victim is not None
    victim.kill()
    killed = time.monotonic()
    run.wait_until(lambda: len({process.pid for process in named(family(run), TITLES[part])} - before) == len(before), LIMIT_S)
    wait_for_report(run, LIMIT_S)
    return time.monotonic() - killed


def test_a_run_gets_over_the_death_of_each_of_its_processes(launch: Launch, tmp_path: Path, record: Record) -> None:
    folder = tmp_path / "tiny" / "seed=0"
    run = launch(EXPERIMENT % ("Pendulum-v1", 1, ENV_STEPS), *(option for setting in REMOTE for option in ("--set", setting)))
    processes, seen, crashes = list[psutil.Process](), 0, 0
    for part in TITLES:
        wait_for_checkpoint(run, folder, LIMIT_S)
        processes += family(run)
        recovery_s = kill(run, part)
        lost = lost_steps(shown(run, 0)[seen:])
        seen = len(shown(run, 0)) - 1
        assert lost <= (0 if part == "env runner" else MOST_LOST)
        crashes += part != "env runner"
        assert run.output.count("continuing from its last checkpoint") == crashes
        record(f"the {part} is killed", recovery_s=recovery_s, lost_env_steps=lost, checkpoint_every=CHECKPOINT_EVERY)
    processes += family(run)
    assert run.finish(LIMIT_S) == 0, run.output
    assert_complete(folder, ENV_STEPS)
    assert_gone(processes)


def test_a_run_gets_over_the_death_of_one_of_two_learners(launch: Launch, tmp_path: Path, record: Record) -> None:
    """The other waits for its gradients: it must not wait for ever."""
    folder = tmp_path / "tiny" / "seed=0"
    two = [option for name in ("num_learners=2", "num_cpus_per_learner=0.25") for option in ("--set", f"config.learners.{name}")]
    run = launch(EXPERIMENT % ("Pendulum-v1", 1, ENV_STEPS // 2), *two)
    wait_for_checkpoint(run, folder, LIMIT_S)
    processes = family(run)
    assert len(named(processes, TITLES["learner"])) == 2
    recovery_s = kill(run, "learner")
    lost = lost_steps(shown(run, 0))
    assert lost <= MOST_LOST and run.output.count("continuing from its last checkpoint") == 1
    record("one of two learners is killed", recovery_s=recovery_s, lost_env_steps=lost, checkpoint_every=CHECKPOINT_EVERY)
    processes += family(run)
    assert run.finish(LIMIT_S) == 0, run.output
    assert_complete(folder, ENV_STEPS // 2)
    assert_gone(processes)


def test_a_driver_that_is_gone_is_resumed(launch: Launch, tmp_path: Path, record: Record) -> None:
    folder = tmp_path / "tiny" / "seed=0"
    env_steps = ENV_STEPS // 2
    experiment = EXPERIMENT % ("Pendulum-v1", 1, env_steps)
    run = launch(experiment)
    for signum, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        wait_for_checkpoint(run, folder, LIMIT_S)
        processes = family(run)
        run.process.send_signal(signum)
        assert run.finish(LIMIT_S) == code, run.output
        assert_gone(processes)
        resumed, started = launch(experiment, "--resume"), time.monotonic()
        wait_for_report(resumed, LIMIT_S)
        recovery_s = time.monotonic() - started
        lost = lost_steps([*shown(run, 0), *shown(resumed, 0)])
        assert lost <= (REPORT_EVERY if signum == signal.SIGTERM else MOST_LOST)
        record(f"the driver gets {signum.name}; --resume", recovery_s=recovery_s, lost_env_steps=lost, checkpoint_every=CHECKPOINT_EVERY)
        run = resumed
    assert run.finish(LIMIT_S) == 0, run.output
    assert_complete(folder, env_steps)
