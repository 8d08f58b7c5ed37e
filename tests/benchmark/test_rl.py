"""Every contender makes exactly one update per environment step; anything else is no comparison."""

import pytest

from benchmark import rl
from benchmark.timing import in_fresh_process


def test_ours_makes_one_update_per_env_step() -> None:
    measured = in_fresh_process(rl.time_ours, 200, 1, 0)
    assert measured.env_steps >= 200
    assert measured.updates == measured.env_steps
    assert measured.seconds > 0


@pytest.mark.slow
def test_rllib_makes_one_update_per_env_step() -> None:
    measured = in_fresh_process(rl.time_rllib, 100, 1, 0)
    assert measured.updates == measured.env_steps >= 100


@pytest.mark.slow
def test_stable_baselines3_makes_one_update_per_env_step() -> None:
    pytest.importorskip("stable_baselines3", reason="the bench extra is not installed")
    measured = in_fresh_process(rl.time_stable_baselines3, 200, 1, 0)
    assert measured.updates == measured.env_steps == 200


def test_another_ratio_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"RLlib made 0\.125 updates per environment step instead of 1"):
        rl._check_one_update_per_step("RLlib", rl.Slice(env_steps=800, updates=100, seconds=1.0))
