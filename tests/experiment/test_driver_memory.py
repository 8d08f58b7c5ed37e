"""The driver lets go of what trials have reported."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from ardae_rl.experiment.driver_memory import forget_read_reports

REPORTS = 200


class Reporter(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"values": list(range(100))}

    def save_checkpoint(self, checkpoint_dir: str) -> None: ...

    def load_checkpoint(self, checkpoint: Any) -> None: ...


class CountReferences(tune.Callback):
    """How many objects the driver holds on to, at each report."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_trial_result(self, *arguments: Any, **named: Any) -> None:
        self.counts.append(len(ray._private.worker.global_worker.core_worker.get_all_reference_counts()))


@pytest.mark.usefixtures("local_ray")
def test_the_driver_holds_no_more_objects_after_many_reports_than_after_few(tmp_path: Path) -> None:
    forget_read_reports()
    watched = CountReferences()
    run = tune.RunConfig(stop={"training_iteration": REPORTS}, storage_path=str(tmp_path), callbacks=[watched], verbose=0)
    tune.Tuner(Reporter, run_config=run).fit()
    assert len(watched.counts) == REPORTS
    assert max(watched.counts[REPORTS // 2 :]) < max(watched.counts[5 : REPORTS // 10]) + REPORTS // 10
