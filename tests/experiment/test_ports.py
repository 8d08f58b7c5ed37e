"""What a run opens, to whom: its ports and its token, as docs/security.md says."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ardae_rl.experiment.cluster import cluster_to_join
from tests.experiment.process import Run

TASK = """\
name: task
run: score_error
config: {score: {layers: 1, width: 8}, steps: 1_000_000, report_every_steps: 20, evaluate_every_steps: 20}
"""
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
Listeners = dict[str, set[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of somebody who has never used Ray, and whose files are for all to read."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def listeners(home: Path) -> Iterator[Listeners]:
    """The addresses that each kind of process of a run on this machine listens on, by its name."""
    (home / "task.yaml").write_text(TASK)
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name == "RAY_ADDRESS" or name.startswith("RAY_AUTH"):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        before = os.umask(0o022)
        try:
            run = Run(home, ["scripts/tune.py", str(home / "task.yaml"), "--storage-path", str(home / "runs")])
        finally:
            os.umask(before)
    try:
        run.wait_until(lambda: run.reported_steps, 250)
        found: Listeners = {}
        for process in psutil.Process(run.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                for connection in process.net_connections(kind="inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        found.setdefault(process.name(), set()).add(connection.laddr.ip)
        assert "Dashboard:   http://127.0.0.1:" in run.output
        yield found
    finally:
        run.end()


@pytest.mark.parametrize(
    ("address", "variable", "joined"),
    [
        (None, None, None),
        ("local", None, None),
        ("local", "head:6379", None),
        (None, "local", None),
        (None, "head:6379", "head:6379"),
        ("auto", None, "auto"),
    ],
)
def test_local_is_this_machine(monkeypatch: pytest.MonkeyPatch, address: str | None, variable: str | None, joined: str | None) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert cluster_to_join(address) == joined


@pytest.mark.timeout(300)
def test_a_run_on_this_machine_is_out_of_reach_from_others(listeners: Listeners) -> None:
    assert {name: addresses - LOOPBACK for name, addresses in listeners.items() if addresses - LOOPBACK} == {}
    assert {"gcs_server", "raylet"} < listeners.keys()
    assert {"ray::TaskTrial", "ray::ResourceTrainable"} & {name.partition(".")[0] for name in listeners}, "the trial, at work or between"


@pytest.mark.timeout(300)
def test_the_token_is_readable_for_its_owner_alone_and_results_as_the_umask_says(listeners: Listeners, home: Path) -> None:
    token = home / ".ray" / "auth_token"
    assert len(token.read_text()) == 64
    assert [path.stat().st_mode & 0o777 for path in (token, token.parent)] == [0o600, 0o700]
    assert next(home.rglob("metrics.csv")).stat().st_mode & 0o777 == 0o644
