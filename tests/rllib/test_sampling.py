"""Env runners in processes of their own: they sample ahead, their environments fail, they are lost."""

import logging
import math
import os
import time
from pathlib import Path

import numpy as np
import pytest

from ardae_rl.rllib.algorithm import SACARDAE
from ardae_rl.rllib.env_runner import SeededEnvRunner
from ardae_rl.rllib.sampling import EnvRunnerError
from tests.rllib.small import LineEnv, small_config

pytestmark = pytest.mark.usefixtures("local_ray")


def built(*, runners: int = 2, timeout_s: float = 60.0, **env_config: object) -> SACARDAE:
    config = small_config("gaussian", env=LineEnv).environment(LineEnv, env_config=env_config)
    config.env_runners(num_env_runners=runners, num_envs_per_env_runner=2, sample_timeout_s=timeout_s)
    algorithm = config.build_algo()
    assert isinstance(algorithm, SACARDAE)
    return algorithm


def steps_made(algorithm: SACARDAE) -> int:
    """By all environments, also those that are not collected yet."""
    counts = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: sum(env.unwrapped.steps_taken for env in runner.env.unwrapped.envs), local_env_runner=False
    )
    return sum(counts)


def test_runners_sample_ahead_once_the_policy_acts() -> None:
    algorithm = built()
    algorithm._sample()
    assert steps_made(algorithm) == algorithm.env_steps == 4, "during the warm-up nothing is sampled before it is wanted"
    for _ in range(12):
        algorithm._sample()
        algorithm._learn(math.inf)
    assert steps_made(algorithm) == algorithm.env_steps + 4
    assert algorithm.num_updates == algorithm.env_steps - 40
    algorithm.stop()


def test_a_seed_gives_the_same_numbers_also_with_runners_of_their_own() -> None:
    seen = []
    for _ in range(2):
        algorithm = built()
        progress = [algorithm.train()["progress"] for _ in range(3)][-1]
        seen.append((progress["env_steps"], progress["learner/q_mean"], algorithm.replay.sample(50)["obs"].sum()))
        algorithm.stop()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("ending", ["terminate", "truncate"])
def test_metrics_of_episodes_need_no_memory_of_their_steps(ending: str) -> None:
    """RLlib keeps the chunks of an episode to its end; the sums it reports of them stay right."""
    runner = SeededEnvRunner(config=built(runners=0, length=30, ending=ending).config, worker_index=0)
    episodes, lengths, returns, kept = dict[str, list[float]](), list[float](), list[float](), 0
    for _ in range(100):
        sampled = runner.try_sample()
        assert not isinstance(sampled, str), sampled
        chunks, metrics = sampled
        if metrics["num_episodes"].peek():
            lengths.append(metrics["episode_len_mean"].peek())
            returns.append(metrics["episode_return_mean"].peek())
        for chunk in chunks:
            episodes.setdefault(chunk.id_, []).extend(chunk.get_rewards())
        kept = max([kept, *map(len, runner._ongoing_episodes_for_metrics.values())])
    assert kept == 1
    complete = np.array([rewards for rewards in episodes.values() if len(rewards) == 30])
    assert len(complete) == 6 and lengths == [30] * 3
    assert returns == pytest.approx(complete.sum(1).reshape(3, 2).mean(1))


def test_what_was_sampled_ahead_does_not_outlive_a_restore(tmp_path: Path) -> None:
    algorithm = built()
    algorithm.train()
    algorithm.train()
    saved = algorithm.save_to_path(tmp_path)
    replayed = len(algorithm.replay)
    assert algorithm.env_runner_group.num_in_flight_async_reqs("sample") == 2
    algorithm.restore_from_path(saved)
    assert algorithm.env_runner_group.num_in_flight_async_reqs("sample") == 0
    algorithm._sample()
    assert len(algorithm.replay) == algorithm.env_steps == replayed + 4
    algorithm.stop()


def test_an_environment_that_fails_now_and_then_is_reset(caplog: pytest.LogCaptureFixture) -> None:
    algorithm = built(fails=(15, 16))
    with caplog.at_level(logging.WARNING, "ardae_rl.rllib.sampling"):
        for _ in range(3):
            progress = algorithm.train()["progress"]
    assert progress["env_steps"] >= 120 and progress["updates"] == progress["env_steps"] - 40
    assert next(text for text in caplog.messages if text.startswith("env runner")) == (
        "env runner 1 failed (ArithmeticError: unstable at step 15) and its environments were reset: failure 1"
    )
    algorithm.stop()


@pytest.mark.parametrize("runners", [0, 2])
def test_an_environment_that_fails_again_and_again_ends_the_run_with_its_reason(runners: int) -> None:
    algorithm = built(fails=(15, 1000), runners=runners)
    with pytest.raises(EnvRunnerError, match=r"env runner [01] failed 3 times in a row(.|\n)*ArithmeticError: unstable at step 1"):
        for _ in range(3):
            algorithm.train()
    algorithm.stop()


def test_env_runners_that_make_no_step_for_too_long_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = built(fails=(15, 1000), runners=1)
    monkeypatch.setattr("ardae_rl.rllib.sampling._MAX_FAILURES", 1000)
    monkeypatch.setattr("ardae_rl.rllib.sampling._MAX_SECONDS_WITHOUT_STEPS", 3.0)
    with pytest.raises(EnvRunnerError, match=r"none of 1 env runners has made a step for 0\.05 minutes, and 1 are there"):
        for _ in range(3):
            algorithm.train()
    algorithm.stop()


def test_an_env_runner_that_hangs_is_replaced_and_the_others_go_on_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ardae_rl.rllib.sampling._MAX_SECONDS_OF_SILENCE", 9.0)
    monkeypatch.setattr("ardae_rl.rllib.algorithm._MAX_SECONDS_TO_SYNC", 1.0)
    algorithm = built(hangs=str(tmp_path / "hung"), timeout_s=1.5)
    before = {runner: pid for runner, pid in enumerate(pids(algorithm), 1)}
    with caplog.at_level(logging.WARNING, "ardae_rl.rllib.sampling"):
        for _ in range(3):
            progress = algorithm.train()["progress"]
    assert (tmp_path / "hung").exists() and progress["env_steps"] >= 120 and progress["updates"] == progress["env_steps"] - 40
    killed = next(text for text in caplog.messages if text.endswith("killed"))
    assert killed == f"env runner {killed.split()[2]} has not made a step for 0.15 minutes: killed"
    deadline = time.monotonic() + 60
    while algorithm.env_runner_group.num_healthy_remote_workers() < 2 and time.monotonic() < deadline:
        algorithm.train()
    after = {runner: pid for runner, pid in enumerate(pids(algorithm), 1)}
    assert {runner for runner in before if after[runner] != before[runner]} == {int(killed.split()[2])}
    algorithm.stop()


def pids(algorithm: SACARDAE) -> list[int]:
    return algorithm.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
