"""The algorithm on a real Ray: update ratio, warm-up, truncation, seeds, checkpoints, faults."""

import math
import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from ardae_rl.rllib.algorithm import SACARDAE
from ardae_rl.rllib.diagnostics import watched_policy
from ardae_rl.rllib.env_runner import ENVIRONMENT, SeededEnvRunner
from ardae_rl.rllib.evaluation import evaluate_returns, evaluation_row, time_limit
from ardae_rl.rllib.transitions import transitions_of
from ardae_rl.sac import NonFiniteError
from ardae_rl.sac.diagnostics import WATCHED_STATES, watch_policy
from tests.rllib.small import LineEnv, small_config
from tests.spies import calls_of

pytestmark = pytest.mark.usefixtures("local_ray")


def module_of(algorithm: SACARDAE) -> Any:
    return algorithm.learner_group._learner.module[DEFAULT_MODULE_ID]


@pytest.mark.parametrize(
    ("runners", "envs", "ratio"), [(0, 1, 1.0), (0, 4, 0.3), (1, 4, 2.0), pytest.param(3, 1, 1.0, marks=pytest.mark.slow)]
)
def test_measured_update_ratio_is_the_configured_one(runners: int, envs: int, ratio: float) -> None:
    config = small_config("gaussian", updates_per_env_step=ratio).env_runners(num_env_runners=runners, num_envs_per_env_runner=envs)
    algorithm = config.build_algo()
    progress = [algorithm.train()["progress"] for _ in range(4)][-1]
    algorithm.stop()
    assert progress["env_steps"] >= 160
    assert progress["updates"] == math.floor((progress["env_steps"] - 40) * ratio)
    assert progress["updates_per_env_step"] == pytest.approx(ratio, abs=1 / 100)


def test_warm_up_is_uniform_and_stored_normalised() -> None:
    config = small_config("gaussian", env=LineEnv, warmup_env_steps=1200, report_every_env_steps=1200)
    algorithm = config.build_algo()
    algorithm.train()
    actions, rewards = algorithm.replay.sample(4000)["actions"], algorithm.replay.sample(4000)["rewards"]
    algorithm.stop()
    assert algorithm.num_updates == 0
    assert abs(actions.mean()) < 0.06 and abs(actions.var() - 1 / 3) < 0.04  # U(-1, 1); 2400 distinct numbers: four standard errors
    assert 0.95 < np.abs(actions).max() <= 1
    assert 0.38 < np.abs(rewards).max() <= 0.4 + 1e-6, "the environment itself must receive actions in its own units"


def test_the_policy_takes_over_right_after_the_warm_up() -> None:
    algorithm = small_config("gaussian", env=LineEnv, warmup_env_steps=40, report_every_env_steps=80).build_algo()
    module = algorithm.env_runner.module
    with torch.no_grad():
        module.policy.body.layers[-1].weight.zero_()
        module.policy.body.layers[-1].bias.copy_(torch.tensor([3.0, 3.0, -20.0, -20.0]))  # tanh(3), next to no noise
    algorithm._due = lambda: 0
    algorithm.train()
    taken = algorithm.replay.sample(5000)["actions"]
    algorithm.stop()
    share = np.isclose(taken, math.tanh(3), atol=1e-5).all(1).mean()
    assert share == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("ending", "expected"), [("terminate", 1.0), ("truncate", 0.0)])
@pytest.mark.parametrize("fragment", [1, 7])  # 7 is the episode's length: the end of an episode meets the end of a fragment
def test_only_a_terminated_episode_stops_the_bootstrap(ending: str, expected: float, fragment: int) -> None:
    config = small_config("gaussian", env=LineEnv).environment(LineEnv, env_config={"ending": ending, "length": 7})
    algorithm = config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=fragment).build_algo()
    algorithm.train()
    data = algorithm.replay.sample(4000)
    algorithm.stop()
    last = data["new_obs"][:, 1] == 7
    assert last.any() and (data["terminateds"][last] == expected).all() and (data["terminateds"][~last] == 0).all()
    np.testing.assert_allclose(data["new_obs"][:, 1] - data["obs"][:, 1], 1, err_msg="a transition crosses an episode boundary")
    np.testing.assert_allclose(data["new_obs"][:, 0] - data["obs"][:, 0], 0.4 * data["actions"][:, 0], atol=1e-5)


def test_transitions_of_a_chunk_cut_at_a_fragment_boundary_are_not_terminated() -> None:
    episode = SingleAgentEpisode(observations=[[0.0], [1.0], [2.0]], actions=[[0.1], [0.2]], rewards=[1.0, 2.0], len_lookback_buffer=0)
    columns = transitions_of([episode])
    assert columns["terminateds"].tolist() == [0, 0] and columns["obs"].tolist() == [[0], [1]] and columns["new_obs"].tolist() == [[1], [2]]


def run(seed: int) -> tuple[list[float], dict[str, float]]:
    algorithm = small_config("implicit", seed=seed, every_env_steps=80).build_algo()
    progress = [algorithm.train()["progress"] for _ in range(3)][-1]
    returns = [value for record in algorithm.evaluations for value in record["returns"]]
    algorithm.stop()
    return returns, {name: value for name, value in progress.items() if name.startswith("learner/")}


def test_same_seed_same_numbers_other_seed_other_numbers() -> None:
    first, again, other = run(3), run(3), run(4)
    assert first == again
    assert first[0] != other[0] and first[1]["learner/critic_loss"] != other[1]["learner/critic_loss"]


def test_the_size_of_a_call_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(3)
    sizes: list[int] = []
    update = SACARDAE._update

    def noted(self: SACARDAE, count: int) -> None:
        sizes.append(count)
        update(self, count)

    monkeypatch.setattr(SACARDAE, "_update", noted)
    monkeypatch.setattr("ardae_rl.rllib.algorithm._MAX_UPDATES_PER_CALL", 3)
    parts = run(3)
    assert set(sizes) == {1, 3} and parts[0] == whole[0]
    assert parts[1] == pytest.approx(whole[1], rel=1e-5)


def test_calls_and_iterations_are_short_however_slow_an_update_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update of .1 s, where a call may last .25 s and an iteration 1: rounds of 16 updates are made in parts, none is lost."""
    monkeypatch.setattr("ardae_rl.rllib.algorithm._MAX_SECONDS_PER_CALL", 0.25)
    monkeypatch.setattr("ardae_rl.rllib.algorithm._MAX_SECONDS_PER_ITERATION", 1.0)
    config = small_config("gaussian", env=LineEnv, every_env_steps=80, episodes=1, warmup_env_steps=16, report_every_env_steps=16)
    algorithm = config.env_runners(num_envs_per_env_runner=16).build_algo()
    learner, calls = algorithm.learner_group._learner, list[int]()
    quick, whole = learner.sac.update, learner.update

    def slow(batch: Any) -> Any:
        time.sleep(0.1)
        return quick(batch)

    def noted(**options: Any) -> Any:
        calls.append(algorithm.num_updates)
        return whole(**options)

    monkeypatch.setattr(learner.sac, "update", slow)
    monkeypatch.setattr(learner, "update", noted)
    seconds, progress = [], []
    while len(algorithm.evaluations) < 2:
        started = time.monotonic()
        progress.append(algorithm.train()["progress"])
        seconds.append(time.monotonic() - started)
    algorithm.stop()
    assert max(seconds) < 1 + 0.25 + 5 and max(later - one for one, later in pairwise(calls)) <= 2
    assert any(0 < row["updates"] < row["env_steps"] - 16 for row in progress), "no iteration ended within a round"
    evaluated = [(record["env_steps"], record["num_updates"]) for record in algorithm.evaluations]
    assert evaluated == [(0, 0), (80, 64)], "an evaluation waits for the updates of its steps"


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_same_step_autoreset_whose_transitions_would_be_corrupt_is_refused(mode: AutoresetMode) -> None:
    config = small_config("gaussian").environment("Pendulum-v1", env_config={"vector_kwargs": {"autoreset_mode": mode}})
    with pytest.raises(ValueError, match=f"autoreset_mode must be NEXT_STEP, Gymnasium's default, got {mode.name}"):
        config.build_algo()


def test_environment_seeds_never_coincide() -> None:
    """Over trials s, s + 1, ...; two runners of two environments each; training and evaluation."""
    seen: list[int] = []
    for seed in range(3):
        for worker in (0, 1, 2):
            config = small_config("gaussian", seed=seed).env_runners(num_envs_per_env_runner=2)
            for evaluation in (False, True):
                config.in_evaluation = evaluation
                runner = SeededEnvRunner(config=config, worker_index=worker)
                seen += runner._seed
                runner.stop()
    assert len(seen) == 36 == len(set(seen))
    config.in_evaluation = False
    runner = SeededEnvRunner(config=config, worker_index=0)
    runner.reseed(1000)
    assert not set(runner._seed) & set(seen), "a restored run must not repeat its first episodes"
    runner.stop()


def test_evaluation_counts_the_first_episode_of_every_environment() -> None:
    """Episodes whose length depends on the start: taking the first to finish would only ever see short ones."""

    class UnevenEnv(LineEnv):
        def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
            obs, info = super().reset(**kwargs)
            self.length = 3 if self.position > 0 else 150
            return obs, info

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            obs, _, terminated, truncated, info = super().step(action)
            return obs, 1.0, terminated, truncated, info

    algorithm = small_config("gaussian", env=UnevenEnv, episodes=24).build_algo()
    lengths = evaluate_returns(algorithm.eval_env_runner, 24, max_episode_steps=1000)
    kept = len(algorithm.eval_env_runner._done_episodes_for_metrics)
    algorithm.stop()
    assert kept == 0, "finished episodes must not pile up in the runner"
    assert len(lengths) == 24 and set(lengths) == {3.0, 150.0}
    assert 4 <= lengths.count(150.0) <= 20  # binomial(24, 1/2): outside with probability 4e-4


@pytest.mark.parametrize("limit", [1, 50, 64, 130])
def test_an_episode_that_never_ends_counts_for_its_first_steps(limit: int) -> None:
    class EndlessEnv(LineEnv):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            return super().step(action)[0], 1.0, False, False, {}

    config = small_config("gaussian", env=EndlessEnv).env_runners(num_envs_per_env_runner=2)
    runner = SeededEnvRunner(config=config, worker_index=0)
    assert evaluate_returns(runner, 2, max_episode_steps=limit) == [limit, limit]
    runner.stop()


@pytest.mark.parametrize(("env_config", "limit"), [({}, 200), ({"max_episode_steps": 7}, 7)])
def test_an_environments_own_time_limit_is_the_one_that_counts(env_config: dict[str, int], limit: int) -> None:
    config = small_config("gaussian").environment("Pendulum-v1", env_config=env_config).env_runners(num_envs_per_env_runner=2)
    runner, twin = (SeededEnvRunner(config=config, worker_index=0) for _ in range(2))
    twin.module.load_state_dict(runner.module.state_dict())
    assert time_limit(runner.env) == limit
    assert evaluate_returns(runner, 2, max_episode_steps=1) == evaluate_returns(twin, 2, max_episode_steps=10_000)
    runner.stop(), twin.stop()


def test_an_environment_without_a_time_limit_is_known_as_such() -> None:
    for env, env_config in (("Pendulum-v1", {"max_episode_steps": -1}), ("ardae_rl/RllabHumanoid-v0", {}), (LineEnv, {})):
        runner = SeededEnvRunner(config=small_config("gaussian").environment(env, env_config=env_config), worker_index=0)
        assert time_limit(runner.env) is None
        runner.stop()


def test_this_packages_environments_are_found_by_id_on_remote_runners() -> None:
    config = small_config("gaussian", env="ardae_rl/MultiGoal-v0", every_env_steps=40)
    algorithm = config.env_runners(num_env_runners=1, num_envs_per_env_runner=2).build_algo()
    algorithm.train()
    size, evaluations = len(algorithm.replay), algorithm.evaluations
    algorithm.stop()
    assert 40 <= size <= 41, "the step in which one of two environments is reset counts once, so the last can be one too many"
    assert len(evaluations[0]["returns"]) == 2


def test_evaluation_uses_no_noise() -> None:
    algorithm = small_config("implicit", env=LineEnv).build_algo()
    module = algorithm.eval_env_runner.module
    obs = torch.randn(5, 2)
    acted = [module.forward_inference({"obs": obs})["actions"] for _ in range(2)]
    explored = [module.forward_exploration({"obs": obs})["actions"] for _ in range(2)]
    algorithm.stop()
    assert torch.equal(acted[0], acted[1]) and torch.equal(acted[0], module.policy.centre(obs).tanh())
    assert not torch.equal(explored[0], explored[1])
    assert not hasattr(module, "learner_networks"), "critics must stay off the env runners"


def test_a_flow_acts_with_the_learners_weights_on_remote_runners() -> None:
    config = small_config("radial", warmup_env_steps=20, flow_lr=0.05).env_runners(num_env_runners=1, num_envs_per_env_runner=2)
    algorithm = config.build_algo()
    started = algorithm.get_weights()
    for _ in range(2):
        algorithm.train()
    learned = module_of(algorithm).policy.state_dict()
    (acting,) = algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.module.policy.state_dict(), local_env_runner=False)
    algorithm.stop()
    assert acting.keys() == learned.keys() and all(torch.equal(acting[name], learned[name]) for name in learned)
    assert (learned["flow.raw_stretch"] - torch.as_tensor(started[DEFAULT_MODULE_ID]["policy.flow.raw_stretch"])).abs().max() > 0.01


@pytest.mark.parametrize(("policy", "runners"), [("gaussian", 0), ("implicit", 1)])
def test_a_report_says_how_spread_out_the_policy_is_as_the_learner_has_it(policy: str, runners: int) -> None:
    """Without clamping, too; measured on replayed states, whose draws for the updates stay what they would be."""
    algorithm = small_config(policy, jacobian_clamping=None).env_runners(num_env_runners=runners).build_algo()
    for _ in range(3):
        progress = algorithm.train()["progress"]
    before = algorithm.replay._rng.bit_generator.state
    watched_policy(algorithm.get_module().policy, algorithm.replay, seed=0)
    assert algorithm.replay._rng.bit_generator.state == before
    learned = module_of(algorithm).policy
    obs = torch.from_numpy(algorithm.replay.observations(WATCHED_STATES, np.random.default_rng(algorithm.env_steps)))
    watched = watch_policy(learned, obs, torch.Generator().manual_seed(algorithm.env_steps))
    expected = {name: float(values.mean()) for name, values in watched.items()}
    algorithm.stop()
    assert progress["updates"] > 0
    assert {name: progress[f"policy/{name}"] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert len(obs) == WATCHED_STATES and min(expected.values()) > 0


def test_a_restored_algorithm_goes_on_where_the_saved_one_stopped(tmp_path: Path) -> None:
    config = small_config("implicit", alpha="auto", every_env_steps=80)
    saved = config.copy().build_algo()
    for _ in range(3):
        saved.train()
    saved.save_to_path(tmp_path / "checkpoint")
    restored = config.copy().build_algo()
    restored.restore_from_path(tmp_path / "checkpoint")
    assert (restored.env_steps, restored.num_updates, restored.evaluations) == (saved.env_steps, saved.num_updates, saved.evaluations)
    for name, value in module_of(saved).state_dict().items():
        assert torch.equal(module_of(restored).state_dict()[name], value), name
    starts = [set(algorithm.eval_env_runner._seed) for algorithm in (saved, restored)]
    results = [algorithm.learner_group.update(batch=algorithm._mini_batches(3)) for algorithm in (saved, restored)]
    losses = [
        {name: float(result[0][DEFAULT_MODULE_ID][name]) for name in ("score_loss", "critic_loss", "actor_loss")} for result in results
    ]
    progress = restored.train()["progress"]
    saved.stop(), restored.stop()
    assert not starts[0] & starts[1], "its evaluations must not begin where the first ones began"
    assert losses[0] == losses[1], "next losses must equal those of the uninterrupted run"
    assert progress["env_steps"] == 160 and progress["updates"] == 120


def test_a_checkpoint_without_replay_collects_a_fresh_warm_up(tmp_path: Path) -> None:
    import shutil

    config = small_config("gaussian")
    algorithm = config.copy().build_algo()
    for _ in range(3):
        algorithm.train()
    algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    shutil.rmtree(tmp_path / "checkpoint" / "replay")
    restored = config.copy().build_algo()
    restored.restore_from_path(tmp_path / "checkpoint")
    assert (restored.env_steps, restored.num_updates, len(restored.replay)) == (120, 80, 0)
    first, second = (restored.train()["progress"] for _ in range(2))
    restored.stop()
    assert (first["env_steps"], first["updates"]) == (160, 80), "no update may be made on a near-empty buffer"
    assert (second["env_steps"], second["updates"]) == (200, 120)


def test_a_burst_of_nan_never_reaches_the_replay_buffer_and_a_flood_stops_the_run_with_its_reason() -> None:
    config = small_config("gaussian", env=LineEnv, max_non_finite=60)
    algorithm = config.environment(LineEnv, env_config={"nan_from": 30}).env_runners(num_envs_per_env_runner=2).build_algo()
    progress = [algorithm.train()["progress"] for _ in range(3)][-1]
    first_bad = 2 * 29  # of two environments, the 30th step of each is the first to return NaN
    assert progress["replay_size"] == first_bad and progress["dropped_transitions"] == progress["env_steps"] - first_bad > 0
    assert progress["learner/non_finite_skipped"] == 0 and progress["updates"] == progress["env_steps"] - 40
    with pytest.raises(NonFiniteError, match=r"the last 60 steps of environment 0 of env runner 0 were all NaN or infinite.*makes .* fail"):
        for _ in range(10):
            algorithm.train()
    assert all(value.isfinite().all() for value in module_of(algorithm).state_dict().values() if value.is_floating_point())
    algorithm.stop()


def test_an_evaluation_with_an_episode_that_returns_nan_has_no_mean(caplog: pytest.LogCaptureFixture) -> None:
    config = small_config("gaussian", env=LineEnv, every_env_steps=40, episodes=3).environment(LineEnv, env_config={"nan_from": 1000})
    algorithm = config.build_algo()
    environments = algorithm.eval_env_runner.env.unwrapped.envs
    sound = algorithm.train()["progress"]
    environments[0].unwrapped.nan_from = 1
    progress = algorithm.train()["progress"]
    assert caplog.messages == ["1 of 3 evaluation episodes have no finite return: the evaluation has no mean"]
    assert math.isnan(progress["evaluation_return_mean"]) and progress["evaluation_return_max"] == sound["evaluation_return_max"]
    row = evaluation_row(algorithm.evaluations[-1])
    algorithm.stop()
    survivors = [float(value) for value in row["returns"].split() if value != "nan"]
    assert len(survivors) == 2 == len(row["returns"].split()) - row["failed_episodes"]
    assert math.isnan(row["return_mean"]) and math.isnan(row["return_std"])
    assert (row["return_min"], row["return_max"]) == pytest.approx((min(survivors), max(survivors)), rel=1e-5)


def test_a_simulator_that_fails_in_an_evaluation_costs_its_episodes_and_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    config = small_config("gaussian", env=LineEnv, every_env_steps=40, episodes=2)
    algorithm = config.build_algo()
    inner = algorithm.eval_env_runner.env.unwrapped.envs[0].unwrapped
    algorithm.train()
    starts = set(algorithm.eval_env_runner._seed or ())
    inner.fails = range(inner.steps_taken + 3, inner.steps_taken + 4)
    for _ in range(2):
        algorithm.train()
    failed = [evaluation_row(record)["failed_episodes"] for record in algorithm.evaluations]
    again = set(algorithm.eval_env_runner._seed or ())
    algorithm.stop()
    assert failed == [0, 0, 2, 0]
    assert any(text.startswith("2 of 2 evaluation episodes failed (ArithmeticError: unstable at step") for text in caplog.messages)
    assert again != starts, "the same seeds could lead to the same failure"


def test_an_evaluation_whose_environments_are_reset_underneath_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = small_config("gaussian", env="Pendulum-v1", episodes=2).build_algo()
    runner, calls = algorithm.eval_env_runner, iter(range(10))
    whole = runner.sample

    def reset_at_the_third(**options: Any) -> Any:
        return whole(**(options | {"force_reset": options.get("force_reset") or next(calls) == 2}))

    monkeypatch.setattr(runner, "sample", reset_at_the_third)
    assert np.isnan(evaluate_returns(runner, 2, max_episode_steps=1000)).all()
    algorithm.stop()


def test_an_evaluation_makes_the_steps_that_count_and_no_more() -> None:
    algorithm = small_config("gaussian", env=LineEnv, episodes=2).build_algo()
    environments = [env.unwrapped for env in algorithm.eval_env_runner.env.unwrapped.envs]
    evaluate_returns(algorithm.eval_env_runner, 2, max_episode_steps=1000)
    before = [env.steps_taken for env in environments]
    evaluate_returns(algorithm.eval_env_runner, 2, max_episode_steps=1000)
    assert [env.steps_taken - steps for env, steps in zip(environments, before, strict=True)] == [7, 7]
    algorithm.stop()


@pytest.mark.parametrize("runners", [0, 1])
def test_an_evaluation_uses_the_filters_that_training_has_filled(runners: int) -> None:
    config = small_config("gaussian", env="Pendulum-v1", every_env_steps=40)
    config = config.env_runners(num_env_runners=runners, env_to_module_connector=lambda *_, **__: MeanStdFilter())
    algorithm = config.build_algo()
    for _ in range(2):
        algorithm.train()
    seen = []
    for runner in (algorithm.env_runner, algorithm.eval_env_runner):
        (state,) = [part for name, part in runner.get_state()["env_to_module_connector"].items() if "MeanStd" in name]
        seen.append(next(iter(state[None]["running_stats"]))["num_pushes"])
    algorithm.stop()
    assert min(seen) >= 80, "not from its own episodes alone"


def chunk(environment: int, rewards: list[float]) -> SingleAgentEpisode:
    zeros = [np.zeros(2)] * (len(rewards) + 1)
    episode = SingleAgentEpisode(observations=zeros, actions=zeros[1:], rewards=rewards, len_lookback_buffer=0)
    episode.custom_data[ENVIRONMENT] = (0, environment)
    return episode


def test_each_environment_is_judged_by_its_own_steps_in_a_row() -> None:
    algorithm = small_config("gaussian", env=LineEnv, max_non_finite=20).build_algo()
    bad, burst = math.nan, [math.nan] * 19
    for _ in range(2):
        algorithm._keep([chunk(environment, [0.0, *burst]) for environment in range(8)])  # 152 bad steps, 19 of each
        algorithm._keep([chunk(environment, [1.0, bad, math.inf, 2.0, bad]) for environment in range(8)])
    assert (algorithm.env_steps, algorithm.dropped_transitions, len(algorithm.replay)) == (400, 2 * 8 * 22, 2 * 8 * 3)
    with pytest.raises(NonFiniteError, match="the last 20 steps of environment 5 of env runner 0"):
        for _ in range(19):
            algorithm._keep([chunk(environment, [bad if environment == 5 else 0.0]) for environment in range(8)])
    algorithm.stop()


def test_every_step_is_counted_for_the_environment_that_made_it() -> None:
    config = small_config("gaussian", env=LineEnv, max_non_finite=60)
    config = config.environment(LineEnv, env_config={"nan_from": 1}).env_runners(num_env_runners=1, num_envs_per_env_runner=2)
    algorithm = config.build_algo()
    algorithm.train()
    assert algorithm._environments.dropped_in_a_row == {(1, 0): 20, (1, 1): 20}, "over episodes of seven steps, in chunks of a few"
    algorithm.stop()


@pytest.mark.parametrize("most", [1, 2, 32])
def test_metrics_of_a_delayed_policy_are_means_over_its_turns(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a call. Updates 0, 3, 6, ... have a turn; two reports of eight updates each."""
    monkeypatch.setattr("ardae_rl.rllib.algorithm._MAX_UPDATES_PER_CALL", most)
    algorithm = small_config("gaussian", policy_delay=3, warmup_env_steps=80, updates_per_env_step=0.2, seed=5).build_algo()
    calls = calls_of(monkeypatch, algorithm.learner_group._learner.sac, "update")
    reports = [algorithm.train()["progress"] for _ in range(4)][2:]
    algorithm.stop()
    losses = [{name: float(value) for name, value in call.result.items()} for call in calls]
    for report, made in zip(reports, (losses[:8], losses[8:]), strict=True):
        for name in ("actor_loss", "critic_loss", "pre_tanh_max"):
            values = [each[name] for each in made if name in each]
            assert report[f"learner/{name}"] == pytest.approx(np.mean(values), rel=1e-5)
    assert [("actor_loss" in each) for each in losses] == [number % 3 == 0 for number in range(16)]


def test_a_killed_env_runner_is_replaced_while_training_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    config = small_config("gaussian").env_runners(num_env_runners=2, num_envs_per_env_runner=2)
    algorithm = config.build_algo()
    algorithm.train()
    victim, survivor = algorithm.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    lost, kept = algorithm.env_runner_group.foreach_env_runner(lambda runner: set(runner._seed), local_env_runner=False)
    os.kill(victim, signal.SIGKILL)
    deadline, pids = time.monotonic() + 200, {survivor}  # on a machine full of other tests, a process may take a minute to start
    while len(pids) < 2 and time.monotonic() < deadline:
        progress = algorithm.train()["progress"]
        pids = set(algorithm.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False))
    assert len(pids) == 2 and victim not in pids and survivor in pids
    ratio_kept = progress["updates"] == progress["env_steps"] - 40
    fresh, same = algorithm.env_runner_group.foreach_env_runner(lambda runner: set(runner._seed), local_env_runner=False)
    algorithm.stop()
    assert len(fresh) == 2 and not fresh & (lost | kept) and same == kept, "nor does it repeat the first episodes"
    assert ratio_kept
    deaths = [message for message in caplog.messages if "env runners are there" in message]
    assert deaths[0].startswith("1 of 2 env runners are there, 2 were before") and deaths[-1].startswith("2 of 2")
