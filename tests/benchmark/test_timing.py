"""A fresh process is fresh, and goes with who started it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from benchmark.timing import in_fresh_process


def test_a_fresh_process_inherits_neither_threads_nor_flushing_of_denormals() -> None:
    threads = torch.get_num_threads()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    try:
        assert in_fresh_process(_denormal_survives)
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def test_a_benchmark_that_is_killed_takes_its_process_along(tmp_path: Path) -> None:
    written = tmp_path / "pid"
    imports = "from benchmark.timing import in_fresh_process; from tests.benchmark.test_timing import _stay"
    code = f"if __name__ == '__main__':\n    {imports}; in_fresh_process(_stay, {str(written)!r})"
    benchmark = subprocess.Popen([sys.executable, "-c", code])
    try:
        assert _comes_true(written.is_file, 60), "the benchmark did not start its process"
    finally:
        benchmark.kill()
        benchmark.wait()
    child = int(written.read_text())
    assert _comes_true(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, 10)


def _stay(path: str) -> None:
    unfinished = Path(path).with_suffix(".part")
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(path)
    time.sleep(120)


def _comes_true(condition: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def _denormal_survives() -> bool:
    return bool((torch.tensor([1e-30]) * 1e-10 > 0).item())
