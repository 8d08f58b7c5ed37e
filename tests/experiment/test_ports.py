"""What a run opens, to whom: its ports and its token, as docs/security.md says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOOPBACK, EVERYWHERE = "127.0.0.1", {"::", "0.0.0.0"}
LOOK = """
import json, os, psutil, ray
from ardae_rl.experiment.launch import cluster
os.umask(0o022)
with cluster(None) as dashboard:
    listeners = [
        (process.name(), *connection.laddr)
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    umask = ray.get(ray.remote(lambda: os.umask(0o022)).remote())
print(json.dumps({"dashboard": dashboard, "listeners": listeners, "umask": umask}))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of somebody who has never used Ray."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def found(home: Path) -> dict[str, Any]:
    """What a cluster that a run starts on this machine looks like."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS" and not name.startswith("RAY_AUTH")}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, timeout=280, check=True)
    looked: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return looked


@pytest.mark.timeout(300)
def test_only_the_dashboard_of_a_cluster_on_this_machine_keeps_to_this_machine(found: dict[str, Any]) -> None:
    host, _, port = found["dashboard"].partition(":")
    listeners = found["listeners"]
    assert host == LOOPBACK and {ip for _, ip, number in listeners if number == int(port)} == {LOOPBACK}
    for server in ("gcs_server", "raylet"):
        assert {ip for name, ip, _ in listeners if name == server} <= EVERYWHERE and server in {name for name, *_ in listeners}


@pytest.mark.timeout(300)
def test_the_token_is_readable_for_its_owner_alone_and_results_as_the_umask_says(found: dict[str, Any], home: Path) -> None:
    token = home / ".ray" / "auth_token"
    assert len(token.read_text()) == 64
    assert [path.stat().st_mode & 0o777 for path in (token, token.parent)] == [0o600, 0o700]
    assert found["umask"] == 0o022
