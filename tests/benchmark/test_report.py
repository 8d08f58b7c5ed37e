"""Rows mean what they say and survive as JSON."""

import json
from pathlib import Path

import pytest
import torch

from benchmark import report


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
