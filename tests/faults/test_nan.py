"""An environment that returns NaN for a while."""

import math
from pathlib import Path

import pytest

from tests.experiment.conftest import Launch
from tests.faults.nan_env import FIRST, LAST
from tests.faults.sweep import ENVS, EXPERIMENT, assert_complete, column, shown

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
ENV_STEPS = 2000


def test_a_burst_of_nan_is_dropped_and_counted(launch: Launch, tmp_path: Path) -> None:
    run = launch(EXPERIMENT % ("tests.faults.nan_env:NanBurst-v0", 1, ENV_STEPS))
    assert run.finish(300) == 0, run.output
    assert "crashed" not in run.output and len(shown(run, 0)) == ENV_STEPS // 100
    folder = tmp_path / "tiny" / "seed=0"
    # The transition after the last bad step begins with what that step observed.
    assert_complete(folder, ENV_STEPS, dropped=ENVS * (LAST - FIRST + 2), left_out=1)
    assert "1 of 1 evaluation episodes returned NaN or infinity: left out" in run.output
    learner = [column(folder, "metrics.csv", f"learner/{name}")[-1] for name in ("critic_loss", "actor_loss", "non_finite_skipped")]
    assert all(map(math.isfinite, learner)) and learner[-1] == 0
