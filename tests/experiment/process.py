"""A run of ``scripts/tune.py`` as a process that can be watched, interrupted and killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
