"""Rows mean what they say and survive as JSON; a fresh process is fresh."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from ardae_rl.bench import report


def test_a_row_is_the_median_and_its_ratio_is_how_many_times_better() -> None:
    slow, fast = report.row("slow", [3.0, 100.0, 2.0], "s"), report.row("slow rate", [10.0], "1/s")
    assert (slow.value, slow.ratio, slow.baseline) == (3.0, None, None)
    assert report.row("ours", [1.5], "s", baseline=slow).ratio == pytest.approx(2.0)
    assert report.row("ours", [25.0], "1/s", baseline=fast, higher_is_better=True).ratio == pytest.approx(2.5)


def test_saved_json_holds_rows_and_what_is_needed_to_repeat_them(tmp_path: Path) -> None:
    baseline = report.row("naive", [4.0], "s")
    path = tmp_path / "results" / "bench.json"
    report.save(path, [baseline, report.row("ours", [1.0, 2.0, 3.0], "s", baseline=baseline)], seeds=[0, 1], torch_threads=[2])
    content = json.loads(path.read_text())
    assert content["rows"][1] == {
        "name": "ours",
        "value": 2.0,
        "unit": "s",
        "samples": [1.0, 2.0, 3.0],
        "baseline": "naive",
        "ratio": 2.0,
    }
    provenance = content["provenance"]
    assert provenance["versions"]["torch"] == torch.__version__
    assert provenance["seeds"] == [0, 1]
    assert provenance["torch_threads"] == [2]
    assert {"command", "date", "git_commit", "git_dirty", "cpu", "cores"} <= provenance.keys()


def test_a_fresh_process_inherits_neither_threads_nor_flushing_of_denormals() -> None:
    threads = torch.get_num_threads()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    try:
        assert report.in_fresh_process(_denormal_survives)
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def test_a_benchmark_that_is_killed_takes_its_process_along(tmp_path: Path) -> None:
    written = tmp_path / "pid"
    imports = "from ardae_rl.bench.report import in_fresh_process; from tests.bench.test_report import _stay"
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
