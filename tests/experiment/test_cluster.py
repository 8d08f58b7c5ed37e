"""Runs that join a cluster of several real nodes: a head without CPUs and two workers of one CPU each, behind a token."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.experiment.conftest import Launch, Write
from tests.experiment.process import Cluster
from tests.experiment.test_cli import tune
from tests.experiment.test_task_runs import rows

EXPERIMENT = """\
name: tiny
run: score_error
seeds: 3
config: {score: {layers: 1, width: 8}, steps: 200, report_every_steps: 20, evaluate_every_steps: 100}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("nodes"), (0, 1, 1), "--include-dashboard=false")
    yield cluster
    cluster.end()


@pytest.fixture
def address(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where to join it, for processes that inherit its token."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return cluster.address


def refused_at_once(path: Path, address: str, *options: str) -> str:
    """The message of a run that ends with exit code 2 and writes nothing."""
    results = path.parent / "results"
    done = tune(path, "--address", address, "--storage-path", results, *options)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and not results.exists()
    return done.stderr


@pytest.mark.timeout(400)
def test_trials_run_side_by_side_on_the_nodes_of_a_cluster(launch: Launch, tmp_path: Path, address: str) -> None:
    long = {"steps": 30_000, "report_every_steps": 1000, "evaluate_every_steps": 15_000}  # else one is over before the next has a process
    run = launch(EXPERIMENT, "--seeds=2", "--address", address, *(f"--set=config.{name}={value}" for name, value in long.items()))
    assert run.finish(350) == 0, run.output
    assert "Trials:      2, 2 at a time: seed=0, seed=1" in run.output
    for seed in range(2):
        assert [row["steps"] for row in rows(tmp_path / "tiny" / f"seed={seed}" / "evaluations.csv")] == ["15000", "30000"]
    results = [path.read_text().splitlines()[-1] for path in (tmp_path / "tiny").glob("seed=*/result.json")]
    assert len(results) == 2 and len({json.loads(result)["node_id"] for result in results}) == 2


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("resources.cpus_per_trial=2", "one of its processes needs 2 CPU on one machine, the largest has 1 CPU"),
        ("resources.gpus_per_trial=1", "one of its processes needs 1 GPU, and no machine there (3 in all) has any"),
    ],
)
def test_what_no_node_can_hold_is_refused_at_once(write: Write, address: str, setting: str, reason: str) -> None:
    message = refused_at_once(write(EXPERIMENT, base=""), address, "--set", setting)
    assert message.startswith(f"Error: resources: a trial can never start: {reason}; lower resources.cpus_per_trial")


def test_what_the_nodes_cannot_hold_together_is_refused_at_once(write: Write, address: str) -> None:
    message = refused_at_once(write(), address, "--set", "config.env_runners.num_env_runners=2")
    assert "a trial can never start: it needs 3 CPU in all, the cluster has 2 CPU; lower config.env_runners or config.learners" in message


def test_a_dry_run_counts_on_the_cluster_it_would_join(write: Write, address: str) -> None:
    path = write(EXPERIMENT, base="")
    done = tune(path, "--address", address, "--dry-run", "--set", "resources.cpus_per_trial=0.5")
    assert done.returncode == 0, done.stderr
    text, _, plan = done.stdout.partition("\n\n")
    assert yaml.safe_load(text)["resources"]["cpus_per_trial"] == 0.5
    assert plan.splitlines() == [f"seed={seed}: 0.5 CPU" for seed in range(3)] + ["3 trials, 3 at a time on 2 CPU, 0 GPU of 3 machines"]
    done = tune(path, "--address", address, "--dry-run", "--set", "resources.cpus_per_trial=2")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(
        "Error: a trial can never start there: one of its processes needs 2 CPU"
    )


def test_a_cluster_that_grows_is_waited_for_if_one_says_so(launch: Launch, address: str) -> None:
    run = launch(EXPERIMENT + "resources: {cpus_per_trial: 2}", "--address", address, "--autoscaling")
    run.wait_until(lambda: "Note:" in run.output)
    assert "a trial can start only once the cluster has grown: one of its processes needs 2 CPU" in run.output
    time.sleep(2.0)
    assert run.process.poll() is None, run.output


def test_without_the_token_no_run_joins(write: Write, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    assert f"--address {address}: no Ray cluster can be joined there" in refused_at_once(write(), address)
