"""A run of ``scripts/tune.py`` as a process that can be watched, interrupted and killed; and a Ray cluster of several nodes to join."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
NODE_START_LIMIT_S = 180.0


class Run:
    """``scripts/tune.py`` in a session of its own, its output in a file."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self._log = folder / f"output-{time.monotonic_ns()}.txt"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        with self._log.open("w") as file:
            command = [sys.executable, *arguments]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True)

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def reported_steps(self) -> list[int]:
        """Of every report that was shown: "seed=0  2,000/8,000 env steps  return ..."."""
        shown = re.findall(r"^\S+  ([\d,]+)/[\d,]+ (?:env )?steps  ", self.output, re.MULTILINE)
        return [int(steps.replace(",", "")) for steps in shown]

    def wait_until(self, condition: Callable[[], object], limit_s: float = 120.0) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            assert self.process.poll() is None, f"ended early with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < end, f"still waiting after {limit_s} s:\n{self.output}"
            time.sleep(0.1)

    def finish(self, limit_s: float = 180.0) -> int:
        return self.process.wait(limit_s)

    def end(self) -> None:
        """Leave no process of this session behind."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


class Cluster:
    """Ray nodes as ``ray start`` makes them, one after the other joining the first, on this machine; a token guards them."""

    def __init__(self, folder: Path, cpus: Sequence[int], *head_options: str, **environment: str) -> None:
        self._folder, self.nodes = folder, list[subprocess.Popen[bytes]]()
        self._sessions = tempfile.mkdtemp(prefix="ray")  # short: it holds sockets, whose paths may have 107 bytes
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), **environment}
        port, client_port, dashboard_port = free_ports(3)
        self.address, self.dashboard = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}"
        head = ["--head", "--node-ip-address=127.0.0.1", f"--port={port}", f"--ray-client-server-port={client_port}"]
        head += [f"--dashboard-port={dashboard_port}", f"--temp-dir={self._sessions}"]
        try:
            self._start(*head, f"--num-cpus={cpus[0]}", *head_options)
            for count in cpus[1:]:
                self._start(f"--address={self.address}", "--node-ip-address=127.0.0.1", f"--num-cpus={count}")
        except BaseException:
            self.end()
            raise

    def _start(self, *options: str) -> None:
        """Returns once the node is up. Ray gives a node 30 s, which on a crowded machine can be too little: then once more."""
        log = self._folder / f"node-{len(self.nodes)}.txt"
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-gpus=0", *options]
        end = time.monotonic() + NODE_START_LIMIT_S
        self.nodes.append(node := self._launch(command, log))
        while "Ray runtime started" not in log.read_text():
            if node.poll() is not None and "timed out during startup" in log.read_text():
                with suppress(ProcessLookupError):
                    os.killpg(node.pid, signal.SIGKILL)
                self.nodes[-1] = node = self._launch(command, log)
            assert node.poll() is None and time.monotonic() < end, f"a Ray node did not start:\n{log.read_text()}"
            time.sleep(0.2)

    def _launch(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("w") as file:
            return subprocess.Popen(command, env=os.environ | self.environment, stdout=file, stderr=file, start_new_session=True)

    def end(self) -> None:
        """Workers first; each ends all its processes on SIGTERM."""
        for node in reversed(self.nodes):
            node.terminate()
            try:
                node.wait(60)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(node.pid, signal.SIGKILL)
        shutil.rmtree(self._sessions, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """That nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
