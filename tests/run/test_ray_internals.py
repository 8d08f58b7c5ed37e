"""What is borrowed from Ray's private names still does in this version of Ray what it is borrowed for."""

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import ray
from ray import tune
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.train._internal.storage import StorageContext

from ardae_rl.rllib.algorithm import SACARDAEConfig
from ardae_rl.run import ray_internals
from tests.rllib.small import small_config

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
    ray_internals.forget_read_reports()
    watched = CountReferences()
    run = tune.RunConfig(stop={"training_iteration": REPORTS}, storage_path=str(tmp_path), callbacks=[watched], verbose=0)
    tune.Tuner(Reporter, run_config=run).fit()
    assert len(watched.counts) == REPORTS
    assert max(watched.counts[REPORTS // 2 :]) < max(watched.counts[5 : REPORTS // 10]) + REPORTS // 10
    (experiment,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert (experiment / ray_internals.STORAGE_MARKER).is_file()


@pytest.fixture
def trial(tmp_path: Path) -> tune.Trainable:
    return Reporter(storage=StorageContext(storage_path=str(tmp_path), experiment_dir_name="experiment", trial_dir_name="a"))


def test_a_trial_knows_its_folders_and_one_without_storage_none(trial: tune.Trainable, tmp_path: Path) -> None:
    storage = ray_internals.local_storage(trial)
    assert (storage.experiment_fs_path, storage.trial_fs_path) == (str(tmp_path / "experiment"), str(tmp_path / "experiment" / "a"))
    assert ray_internals.local_storage(Reporter()) is None


def test_checkpoints_are_numbered_one_by_one_from_the_last(trial: tune.Trainable) -> None:
    assert [ray_internals.next_checkpoint(trial).name for _ in range(2)] == ["checkpoint_000000", "checkpoint_000001"]
    ray_internals.number_checkpoints_from(trial, Path("checkpoint_000041"))
    assert ray_internals.next_checkpoint(trial).name == "checkpoint_000042"


def test_tune_restores_what_was_saved_for_it_and_goes_on_counting(trial: tune.Trainable) -> None:
    result = trial.train()
    folder = ray_internals.next_checkpoint(trial)
    folder.mkdir(parents=True)
    saved = ray_internals.saved_checkpoint(trial, folder)
    assert saved.metrics.items() >= result.items() and ray_internals.known_checkpoint(saved) == folder
    assert ray_internals.known_checkpoint(str(folder)) is None
    tunes_own, ours = Reporter(), Reporter()
    tunes_own.restore(saved)
    ray_internals.count_iterations_from(ours, saved)
    assert tunes_own.iteration == ours.iteration == 1


@pytest.mark.usefixtures("local_ray")
def test_texts_are_handed_out_once_by_the_beginning_of_their_keys() -> None:
    for key in ("a/1", "a/2", "b/1"):
        ray_internals.put_text(key, f"text of {key}", namespace="test")
    assert sorted(ray_internals.take_texts("a/", namespace="test")) == [("a/1", "text of a/1"), ("a/2", "text of a/2")]
    assert not list(ray_internals.take_texts("a/", namespace="test"))
    assert [key for key, _ in ray_internals.take_texts("", namespace="test")] == ["b/1"]


def test_this_machine_has_no_more_cpus_than_cores() -> None:
    assert 0 < ray_internals.cpus_of_this_machine() <= (os.cpu_count() or 1)


def test_an_algorithm_reserves_for_itself_its_runners_and_its_learners() -> None:
    config = SACARDAEConfig().env_runners(num_env_runners=2, num_cpus_per_env_runner=0.5).learners(num_learners=1, num_gpus_per_learner=1)
    bundles = ray_internals.bundles_of(config)
    assert [bundle["CPU"] for bundle in bundles[:3]] == [1, 0.5, 0.5] and sum(bundle["GPU"] for bundle in bundles) == 1


class Runner(ray_internals.TellsOfNewEpisodes, SingleAgentEnvRunner):
    def on_new_episode(self, env_index: int, episode: Any) -> None:
        episode.custom_data["index"] = env_index


def first_observations(runner: Runner) -> list[list[float]]:
    return [chunk.get_observations(0).tolist() for chunk in runner.sample(num_timesteps=3, random_actions=True)]


@pytest.mark.usefixtures("local_ray")
def test_a_runner_is_reseeded_and_reset_and_tells_of_episodes_and_of_their_chunks() -> None:
    runner = Runner(config=small_config("gaussian", env="Pendulum-v1").env_runners(num_envs_per_env_runner=3))
    ray_internals.seed_next_reset(runner, [5, 6, 7])
    first = first_observations(runner)
    expected = [gym.make("Pendulum-v1").reset(seed=seed)[0].tolist() for seed in (5, 6, 7)]
    assert first == expected
    assert [len(chunks) for chunks in ray_internals.chunks_for_metrics(runner)] == [1, 1, 1]
    assert first_observations(runner) != expected
    ray_internals.begin_anew(runner)
    assert first_observations(runner) == expected
    assert [chunk.custom_data["index"] for chunk in runner.sample(num_timesteps=3, random_actions=True)] == [0, 1, 2]


@pytest.mark.usefixtures("local_ray")
def test_runners_are_found_by_their_index_and_actors_by_the_class_they_were_made_of() -> None:
    algorithm = small_config("gaussian", env="Pendulum-v1").env_runners(num_env_runners=2).build_algo()
    group = algorithm.env_runner_group
    indices = [ray.get(ray_internals.runner_actor(group, index).apply.remote(lambda runner: runner.worker_index)) for index in (1, 2)]
    kinds = group.foreach_env_runner(lambda runner: ray_internals.class_of_actor(type(runner)).__name__, local_env_runner=False)
    algorithm.stop()
    assert indices == [1, 2] and kinds == ["SeededEnvRunner"] * 2
