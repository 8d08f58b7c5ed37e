"""A folder of a task that says less than it should is named in one line; no report ends in a traceback."""

from pathlib import Path

import pytest
import yaml

from ardae_rl.report.reports import write_reports


@pytest.mark.parametrize("key", ["name", "run", "seeds", "grid_search", "config"])
def test_an_experiment_file_without_a_key_is_named(key: str, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    trial = folder / "seed=0"
    trial.mkdir(parents=True)
    experiment = {"name": "x", "run": "energy", "seeds": 1, "grid_search": {}, "config": {"method": "flow"}}
    del experiment[key]
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    (trial / "params.json").write_text('{"seed": 0, "settings": {}}')
    (trial / "evaluations.csv").write_text("seed,steps,seconds\n0,1,0.5\n")
    written, problems = write_reports([folder], tmp_path / "out", before_pickles=lambda folders: None)
    assert problems and all("\n" not in str(problem) for problem in problems)
    assert not written or key in ("seeds", "config")
