"""Which ports a run opens to whom: what docs/security.md says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOPBACK, EVERYWHERE = "127.0.0.1", {"::", "0.0.0.0"}
LISTENERS = """
import json, psutil
from ardae_rl.experiment.launch import cluster
with cluster(None) as dashboard:
    found = [
        (process.name(), *connection.laddr)
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
print(json.dumps([dashboard, found]))
"""


@pytest.mark.timeout(300)
def test_only_the_dashboard_of_a_cluster_on_this_machine_keeps_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = subprocess.run([sys.executable, "-c", LISTENERS], env=os.environ, capture_output=True, text=True, timeout=280, check=True)
    dashboard, found = json.loads(done.stdout.splitlines()[-1])
    host, _, port = dashboard.partition(":")
    assert host == LOOPBACK and {ip for _, ip, number in found if number == int(port)} == {LOOPBACK}
    for server in ("gcs_server", "raylet"):
        assert {ip for name, ip, _ in found if name == server} <= EVERYWHERE and server in {name for name, *_ in found}
