"""A machine of a cluster that is taken away."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.experiment.conftest import Launch
from tests.experiment.process import Cluster
from tests.faults.conftest import Record
from tests.faults.sweep import (
    CHECKPOINT_EVERY,
    EXPERIMENT,
    MOST_LOST,
    assert_complete,
    assert_gone,
    checkpoints,
    lost_steps,
    named,
    shown,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
ENV_STEPS, SEEDS, LIMIT_S = 4000, 2, 400.0


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without CPUs and two workers, each with room for both trials."""
    cluster = Cluster(tmp_path, (0, 2, 2), "--include-dashboard=false")
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.end()


def reporter(folder: Path) -> int | None:
    """The process that a trial's last report came from; None before the first."""
    path = folder / "result.json"
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return int(json.loads(lines[-1])["pid"]) if lines else None


def test_the_trials_of_a_lost_node_go_on_elsewhere(launch: Launch, tmp_path: Path, cluster: Cluster, record: Record) -> None:
    folders = [tmp_path / "tiny" / f"seed={seed}" for seed in range(SEEDS)]
    run = launch(EXPERIMENT % ("Pendulum-v1", SEEDS, ENV_STEPS), "--address", cluster.address)
    run.wait_until(lambda: all(checkpoints(folder) and reporter(folder) for folder in folders), LIMIT_S)
    members = {node: psutil.Process(node.pid).children(recursive=True) for node in cluster.nodes}
    node = next(node for node in members if named(members[node], "ray::SACARDAETrial"))
    lost_processes = members[node]
    seeds = [seed for seed, folder in enumerate(folders) if reporter(folder) in {process.pid for process in lost_processes}]
    assert len(seeds) == len(named(lost_processes, "ray::SACARDAETrial"))
    for process in (*lost_processes, psutil.Process(node.pid)):
        process.kill()
    killed = time.monotonic()
    run.wait_until(lambda: all(f"seed={seed}: crashed (1 of 2" in run.output for seed in seeds), LIMIT_S)
    reports = [len(shown(run, seed)) for seed in seeds]
    run.wait_until(lambda: all(len(shown(run, seed)) > before for seed, before in zip(seeds, reports, strict=True)), LIMIT_S)
    recovery_s = time.monotonic() - killed
    assert run.finish(LIMIT_S) == 0, run.output
    lost = max(lost_steps(shown(run, seed)) for seed in range(SEEDS))
    assert lost <= MOST_LOST
    for folder in folders:
        assert_complete(folder, ENV_STEPS)
    assert_gone(lost_processes)
    record("a node of three is killed", recovery_s=recovery_s, lost_env_steps=lost, checkpoint_every=CHECKPOINT_EVERY)
