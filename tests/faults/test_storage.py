"""A storage path on a small disk of its own, which fills while checkpoints are written."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ardae_rl.rllib.checkpoint import read_policy
from tests.experiment.conftest import Launch
from tests.faults.conftest import Record
from tests.faults.sweep import (
    CHECKPOINT_EVERY,
    EXPERIMENT,
    MOST_LOST,
    assert_complete,
    assert_gone,
    checkpoints,
    family,
    lost_steps,
    shown,
    wait_for_checkpoint,
    wait_for_report,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
ENV_STEPS, LIMIT_S, FULL_S = 1600, 300.0, 6.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Path]:
    """A folder that is mounted, as one of a file server is."""
    served, folder = tmp_path / "served", tmp_path / "share"
    served.mkdir()
    folder.mkdir()
    mount("--bind", str(served), str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no right to mount a folder: {done.stderr.strip()}")


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return ballast


def assert_whole(folder: Path) -> None:
    """What is called a checkpoint can be read to the end."""
    for checkpoint in checkpoints(folder):
        assert read_policy(checkpoint).description.env_steps % CHECKPOINT_EVERY == 0


@pytest.mark.parametrize("learners", [0, 1])
def test_a_full_disk_is_waited_out_and_a_run_killed_meanwhile_is_resumed(learners: int, launch: Launch, disk: Path, record: Record) -> None:
    folder = disk / "tiny" / "seed=0"
    several = [
        option for name in (f"num_learners={learners}", "num_cpus_per_learner=0.5") for option in ("--set", f"config.learners.{name}")
    ]
    arguments = (EXPERIMENT % ("Pendulum-v1", 1, ENV_STEPS), "--storage-path", str(disk), *several)
    run = launch(*arguments)
    run.wait_until(lambda: len(checkpoints(folder)) >= 2, LIMIT_S)
    ballast = fill(disk)
    run.wait_until(lambda: "trying again" in run.output, LIMIT_S)
    time.sleep(FULL_S)
    assert "seed=0: writing failed (" in run.output
    assert_whole(folder)
    assert run.process.poll() is None, run.output
    ballast.unlink()
    freed = time.monotonic()
    wait_for_report(run, LIMIT_S)
    recovery_s = time.monotonic() - freed
    assert "crashed" not in run.output and lost_steps(shown(run, 0)) == 0
    whose = ", a learner in a process of its own" if learners else ""
    record(f"the disk is full for {FULL_S:g} s{whose}", recovery_s=recovery_s, lost_env_steps=0, checkpoint_every=CHECKPOINT_EVERY)

    wait_for_checkpoint(run, folder, LIMIT_S)
    fill(disk)
    time.sleep(FULL_S)
    processes = family(run)
    run.process.kill()
    assert run.finish() == -9
    assert_gone(processes)
    assert_whole(folder)
    os.unlink(ballast)
    started = time.monotonic()
    resumed = launch(*arguments, "--resume")
    wait_for_report(resumed, LIMIT_S)
    recovery_s = time.monotonic() - started
    assert resumed.finish(LIMIT_S) == 0, resumed.output
    lost = lost_steps([*shown(run, 0), *shown(resumed, 0)])
    assert lost <= MOST_LOST
    assert_complete(folder, ENV_STEPS)
    fault = f"the disk is full and the driver is killed{whose}; --resume"
    record(fault, recovery_s=recovery_s, lost_env_steps=lost, checkpoint_every=CHECKPOINT_EVERY)


def test_a_share_that_is_gone_for_a_while_is_waited_for(launch: Launch, share: Path, record: Record) -> None:
    folder = share / "tiny" / "seed=0"
    run = launch(EXPERIMENT % ("Pendulum-v1", 1, ENV_STEPS), "--storage-path", str(share))
    run.wait_until(lambda: len(checkpoints(folder)) >= 2, LIMIT_S)
    subprocess.run(["umount", "--lazy", str(share)], check=True)
    run.wait_until(lambda: "trying again" in run.output, LIMIT_S)
    time.sleep(FULL_S)
    assert run.process.poll() is None, run.output
    mount("--bind", str(share.with_name("served")), str(share))
    back = time.monotonic()
    wait_for_report(run, LIMIT_S)
    recovery_s = time.monotonic() - back
    assert run.finish(LIMIT_S) == 0, run.output
    assert_whole(folder)
    assert_complete(folder, ENV_STEPS)
    assert "crashed" not in run.output and lost_steps(shown(run, 0)) == 0
    record(f"the storage path is away for {FULL_S:g} s", recovery_s=recovery_s, lost_env_steps=0, checkpoint_every=CHECKPOINT_EVERY)
