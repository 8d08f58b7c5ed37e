"""Costs of trials and reports come out of what was put in; a real sweep and a real algorithm are watched."""

from pathlib import Path

import pytest

from benchmark import runners, scaling
from benchmark.scaling import Costs, Sweep
from benchmark.timing import in_fresh_process


def sweep(trials: int, reports: int) -> Sweep:
    cpu = 5.0 + 0.3 * trials + 0.02 * trials * reports
    memory = {"driver_mb": 500.0, "head_mb": 100.0, "trial_mb": 300.0}
    return Sweep(trials=trials, reports=reports, alive=trials, seconds=9.0, driver_cpu_s=cpu, head_cpu_s=2 * cpu, nodes_cpu_s=0.0, **memory)


def test_costs_are_told_apart() -> None:
    sweeps = [sweep(1, 20), sweep(4, 20), sweep(16, 20), sweep(4, 100)]
    for role, factor in (("driver", 1), ("head", 2), ("nodes", 0)):
        found = scaling.costs(sweeps, role)
        expected = Costs(sweep_s=5.0 * factor, trial_s=0.3 * factor, report_s=0.02 * factor)
        assert vars(found) == pytest.approx(vars(expected), abs=1e-9)


def test_costs_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="three sweeps or more that differ in trials and in reports"):
        scaling.costs([sweep(1, 20), sweep(4, 20), sweep(16, 20)], "driver")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_is_watched_to_its_end(tmp_path: Path) -> None:
    sweeps = scaling.run(tmp_path / "scaling", [(2, 2), (1, 2), (2, 4)])
    scaling.save(sweeps, tmp_path / "scaling")
    assert [(each.trials, each.reports) for each in sweeps] == [(2, 2), (1, 2), (2, 4)]
    for each in sweeps:
        assert (
            each.alive == each.trials
            and each.driver_cpu_s > 1
            and each.head_cpu_s > 0
            and each.nodes_cpu_s > 0
            and 50 < each.trial_mb < 800
            and 50 < each.driver_mb < 450
        )
    assert len((tmp_path / "scaling" / "scaling.csv").read_text().splitlines()) == 4
    assert (tmp_path / "scaling" / "scaling.png").stat().st_size > 1000


@pytest.mark.slow
def test_sampling_is_timed() -> None:
    measured = in_fresh_process(runners.time_sampling, 1, 4, 300, 0, 0.05)
    assert 300 <= measured.env_steps < 1000 and measured.seconds > 0 and 0 < measured.collector_cpu_s < 10 * measured.seconds
