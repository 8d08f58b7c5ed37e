"""What trials publish arrives at Ray's Prometheus endpoint under the names and labels that the Grafana dashboard asks for."""

import json
import math
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from ardae_rl.run.monitoring import COUNTERS, GAUGES, LABELS, Monitor, _instruments
from ardae_rl.score import log_partition
from tests.experiment.process import ROOT, Cluster, Run, free_ports
from tests.experiment.test_faults import EXPERIMENT

DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
EXPORTED = {f"ray_ardae_rl_{name}" for name in GAUGES} | {f"ray_ardae_rl_{name}_total" for name in COUNTERS}
TASK = """\
name: task
run: score_error
config: {score: {layers: 1, width: 8}, steps: 1_000_000, report_every_steps: 20, evaluate_every_steps: 20}
"""

CONTROL = (EXPERIMENT % 1_000_000).replace("  env_runners: {", "  env_runners: {num_env_runners: 1, ")

Sample = tuple[str, dict[str, str], float]


def queries() -> list[str]:
    of_panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return of_panels + [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]


def test_the_dashboard_asks_for_every_number_that_is_exported_and_for_no_other() -> None:
    assert set(re.findall(r"\bray_\w+", " ".join(queries()))) == EXPORTED


def test_the_dashboard_filters_by_labels_there_are_and_its_panels_do_not_overlap() -> None:
    labels = set(re.findall(r"(\w+)=~", " ".join(queries())))
    assert labels == set(LABELS)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("count", [10, 100])
@pytest.mark.parametrize(
    ("dim", "std", "proposal_std", "rings"), [(17, 0.1, math.exp(-1), True), (17, 1.0, 1.2, False), (2, 1.0, 1.2, False)]
)
def test_the_alarm_of_log_z_can_ring_and_can_be_silent(count: int, dim: int, std: float, proposal_std: float, rings: bool) -> None:
    """A narrow Gaussian under the paper's proposal, off by tens of nats; whitened ones under this package's, few samples or many."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    (threshold,) = re.findall(r"ray_ardae_rl_importance_ess\[30m\]\)\) < (\S+)", (ROOT / "deploy" / "alerts.yaml").read_text())
    estimate = log_partition(lambda x: -0.5 * (x / std).square().sum(-1), torch.randn(500, count, dim), proposal_std)
    error = (estimate.log_z - dim * math.log(std * math.sqrt(2 * math.pi))).abs().mean()
    assert (float(estimate.effective_sample_size.mean()) < float(threshold)) == rings == bool(error > 2)
    assert f"below {threshold}: with 12 `importance_samples` or more" in text
    assert f"(`deploy/alerts.yaml` rings below {threshold})" in (ROOT / "docs" / "metrics.md").read_text()
    assert any(f"Below {threshold} " in panel.get("description", "") for panel in DASHBOARD["panels"])


def test_the_alerts_ask_for_what_is_exported() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert set(re.findall(r"\bray_\w+", " ".join(rule["expr"] for rule in rules))) <= EXPORTED


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here; it comes with the Debian package prometheus")
def test_each_alert_rings_for_its_trouble_and_for_nothing_else() -> None:
    for arguments in (["check", "rules", "deploy/alerts.yaml"], ["test", "rules", "tests/deploy/alerts_test.yaml"]):
        done = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_an_earlier_process_counted_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[float] = []
    monkeypatch.setattr(_instruments()["non_finite_skips"], "inc", lambda value, tags: grown.append(value))
    monitor = Monitor(experiment="e", trial="t", env="v", method="m")
    monitor.resume({"non_finite_skips": 5.0})
    for total in (5.0, 5.0, 7.0):
        monitor.publish({"non_finite_skips": total})
    Monitor(experiment="e", trial="t", env="v", method="m").publish({"non_finite_skips": 3.0})
    assert grown == [2.0, 3.0]


def test_a_number_without_a_name_is_refused() -> None:
    monitor = Monitor(experiment="e", trial="t", env="v", method="m")
    with pytest.raises(KeyError, match="bogus"):
        monitor.publish({"bogus": 1.0})


def test_names_beyond_ascii_are_escaped_and_a_failure_to_publish_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(_instruments()["steps"], "set", lambda value, tags: seen.append(tags))
    Monitor(experiment="größe", trial="seed=0", env="v", method="m").publish({"steps": 1.0})
    assert seen == [{"experiment": r"gr\xf6\xdfe", "trial": "seed=0", "env": "v", "method": "m"}]

    def away(value: float, tags: dict[str, str]) -> None:
        raise RuntimeError("no store")

    monkeypatch.setattr(_instruments()["steps"], "set", away)
    monitor = Monitor(experiment="e", trial="t", env="v", method="m")
    for step in range(3):
        monitor.publish({"steps": float(step)})
    assert caplog.messages == ["numbers of this trial are not at the Prometheus endpoint: no store"]


@pytest.mark.usefixtures("local_ray")
def test_ray_takes_the_labels_of_a_name_beyond_ascii() -> None:
    Monitor(experiment="größe", trial="seed=0", env="Pendulum-v1", method="implicit").publish({"steps": 1000.0})
    assert not Monitor(experiment="größe", trial="t", env="e", method="m")._has_failed


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, metrics_port: int) -> Iterator[Cluster]:
    """One node that publishes twice a second instead of every ten seconds."""
    often = json.dumps({"metrics_report_interval_ms": 500})
    options = (f"--metrics-export-port={metrics_port}", f"--system-config={often}", "--include-dashboard=false")
    cluster = Cluster(tmp_path_factory.mktemp("nodes"), [4], *options)
    yield cluster
    cluster.end()


def samples(port: int) -> list[Sample]:
    """Of ours, what the endpoint says now: name, labels, value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        lines = re.findall(r"^(ray_ardae_rl_\w+)\{(.*)\} (\S+)$", response.read().decode(), re.MULTILINE)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for name, labels, value in lines]


_NAMES = """
import ray
from ray._private.state import state
from ray.core.generated.gcs_pb2 import ActorTableData
ray.init(address={address!r}, logging_level="ERROR", log_to_driver=False)
state._connect_and_get_accessor()
for row in state._global_state_accessor.get_actor_table(None, None):
    print(ActorTableData.FromString(row).repr_name)
"""


def process_names(address: str) -> set[str]:
    """What Ray's dashboard calls the actors there."""
    command = [sys.executable, "-c", _NAMES.format(address=address)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("\n"))


@pytest.mark.timeout(600)
def test_trials_are_seen_at_the_prometheus_endpoint(
    cluster: Cluster, metrics_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    runs = []
    for name, text in (("control", CONTROL), ("task", TASK)):
        (tmp_path / f"{name}.yaml").write_text(text)
        options = ["--address", cluster.address, "--storage-path", str(tmp_path)]
        runs.append(Run(tmp_path, ["scripts/tune.py", str(tmp_path / f"{name}.yaml"), *options]))

    def seen(env: str) -> dict[str, float]:
        return {name: value for name, labels, value in samples(metrics_port) if labels["env"] == env}

    try:
        expected = EXPORTED - {"ray_ardae_rl_non_finite_skips_total"}  # a counter appears with its first event
        runs[0].wait_until(lambda: seen("Pendulum-v1").keys() >= expected, 300)
        runs[1].wait_until(lambda: "ray_ardae_rl_evaluation" in seen("score_error"), 200)
        control, task = seen("Pendulum-v1"), seen("score_error")
        names = process_names(cluster.address)
        labels = {tuple(labels[name] for name in LABELS) for _, labels, _ in samples(metrics_port)}
    finally:
        for run in runs:
            run.end()
    assert {"SACARDAETrial(tiny/seed=0)", "SeededEnvRunner(Pendulum-v1, seed=0, runner 1)", "TaskTrial(score_error)"} <= names
    assert labels == {("tiny", "seed=0", "Pendulum-v1", "implicit"), ("task", "seed=0", "score_error", "ardae")}
    assert (
        control["ray_ardae_rl_steps"] % 200 == 0 and control["ray_ardae_rl_steps_per_s"] > 0 and control["ray_ardae_rl_updates_per_s"] > 0
    )
    assert control["ray_ardae_rl_replay_fill"] <= control["ray_ardae_rl_steps"] / 1_000_000 + 0.01
    assert -2000 < control["ray_ardae_rl_episode_return"] < 0 and control["ray_ardae_rl_importance_ess"] >= 1
    assert control["ray_ardae_rl_running"] == task["ray_ardae_rl_running"] == 1
    assert task["ray_ardae_rl_steps"] % 20 == 0 and task["ray_ardae_rl_evaluation"] > 0
    assert task.keys() == {"ray_ardae_rl_running", "ray_ardae_rl_steps", "ray_ardae_rl_steps_per_s", "ray_ardae_rl_evaluation"}


_SKIPS = """
import ray, time
from ardae_rl.run.monitoring import Monitor
ray.init(address={address!r}, logging_level="ERROR", log_to_driver=False)

@ray.remote
def trial():
    monitor = Monitor(experiment="e", trial="t", env="v", method="m")
    for total in (0.0, 3.0, 3.0, float("nan"), 5.0):
        monitor.publish({{"non_finite_skips": total}})
    time.sleep(5)

ray.get(trial.remote())
"""


@pytest.mark.timeout(300)
def test_skips_are_counted_from_their_totals(cluster: Cluster, metrics_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    run = Run(tmp_path, ["-c", _SKIPS.format(address=cluster.address)])
    try:
        run.wait_until(lambda: any(labels["env"] == "v" for _, labels, _ in samples(metrics_port)), 120)
        assert [(name, value) for name, labels, value in samples(metrics_port) if labels["env"] == "v"] == [
            ("ray_ardae_rl_non_finite_skips_total", 5.0)
        ]
    finally:
        run.end()
