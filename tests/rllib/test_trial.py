"""One trial under Tune's storage: records, checkpoint folders, hard-linked replay chunks."""

import csv
import dataclasses
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.train._internal.storage import StorageContext

from ardae_rl.nn.settings import build
from ardae_rl.rllib.checkpoint import TRAINING_STATE, read_state, write_state
from ardae_rl.rllib.settings import EnvRunnerSettings, EvaluationSettings, LearnerSettings, ReplaySettings, TrainingSettings
from ardae_rl.rllib.trial import BEST_POLICY, SACARDAETrial
from ardae_rl.sac import GaussianPolicyConfig, JacobianClampingConfig, SACConfig
from ardae_rl.sac.export import load_policy

pytestmark = pytest.mark.usefixtures("local_ray")

SETTINGS = TrainingSettings(
    sac=SACConfig(policy="gaussian", gaussian=GaussianPolicyConfig(width=16)),
    replay=ReplaySettings(capacity=40_000, batch_size=16, warmup_env_steps=40),
    env_runners=EnvRunnerSettings(num_envs_per_env_runner=4),
    evaluation=EvaluationSettings(every_env_steps=40, episodes=2),
    report_every_env_steps=40,
)


@pytest.fixture
def storage(tmp_path: Path) -> StorageContext:
    return StorageContext(storage_path=str(tmp_path), experiment_dir_name="experiment", trial_dir_name="seed=0")


def make_trial(storage: StorageContext | None = None, *, learners: int = 0) -> SACARDAETrial:
    settings = dataclasses.replace(SETTINGS, learners=LearnerSettings(num_learners=learners))
    return SACARDAETrial({"env": "Pendulum-v1", "settings": dataclasses.asdict(settings), "seed": 0}, storage=storage)


def fill(trial: SACARDAETrial, rows: int) -> None:
    rng = np.random.default_rng(rows)
    shapes = {"obs": (rows, 3), "new_obs": (rows, 3), "actions": (rows, 1), "rewards": (rows,), "terminateds": (rows,)}
    trial.replay.add({name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "settings",
    [
        TrainingSettings(),
        SETTINGS,
        TrainingSettings(sac=SACConfig(jacobian_clamping=None, alpha="auto"), learners=LearnerSettings(num_learners=2)),
        TrainingSettings(sac=SACConfig(jacobian_clamping=JacobianClampingConfig(eta=0.5)), env_config={"max_episode_steps": 7}),
    ],
)
def test_settings_survive_the_way_through_tunes_plain_dictionary(settings: TrainingSettings) -> None:
    assert build(TrainingSettings, dataclasses.asdict(settings)) == settings


def test_unchanged_replay_chunks_are_shared_and_an_old_checkpoint_can_go(storage: StorageContext) -> None:
    trial = make_trial(storage)
    fill(trial, 35_000)
    first = Path(trial.save().checkpoint.path)
    fill(trial, 10)
    trial.num_updates = 12
    second = Path(trial.save().checkpoint.path)
    chunks = [sorted((folder / "replay").glob("chunk-*")) for folder in (first, second)]
    shared = [a.stat().st_ino == b.stat().st_ino for a, b in zip(*chunks, strict=True)]
    assert shared == [True, True, False], "two full chunks did not change, the third did"
    assert first.parent == second.parent == Path(storage.trial_fs_path), "written where Tune keeps checkpoints, not copied there"
    shutil.rmtree(first)
    draws = trial.replay.sample(64)
    trial.stop()
    restored = make_trial()
    restored.restore(str(second))
    assert len(restored.replay) == 35_010 and restored.num_updates == 12
    for name, column in restored.replay.sample(64).items():
        np.testing.assert_array_equal(column, draws[name])
    restored.stop()


def test_a_checkpoint_that_fails_after_its_replay_was_written_costs_the_next_no_link(
    storage: StorageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ardae_rl.run.disk.WAITS_S", (0.0,))
    trial = make_trial(storage)
    fill(trial, 20_000)
    first = Path(trial.save().checkpoint.path)
    fill(trial, 10)
    fails = iter([True])

    def fails_once(folder: Path, state: dict[str, Any]) -> None:
        if next(fails, False):
            raise OSError("No space left on device")
        write_state(folder, state)

    monkeypatch.setattr("ardae_rl.rllib.algorithm.write_state", fails_once)  # called once the replay buffer is on disk
    second = Path(trial.save().checkpoint.path)
    assert next(fails, None) is None, "the first attempt did not fail: this test would show nothing"
    trial.stop()
    chunks = [sorted((folder / "replay").glob("chunk-*")) for folder in (first, second)]
    assert [one.samefile(two) for one, two in zip(*chunks, strict=True)] == [True, False]


def test_rllib_opens_a_checkpoint_that_tune_wrote(storage: StorageContext) -> None:
    trial = make_trial(storage)
    for _ in range(2):
        trial.train()
    saved = trial.save().checkpoint.path
    weights = trial.get_module().policy.state_dict()
    trial.stop()
    opened = Algorithm.from_checkpoint(saved)
    assert isinstance(opened, SACARDAETrial) and (opened.env_steps, opened.num_updates, len(opened.replay)) == (80, 40, 80)
    for name, value in opened.get_module().policy.state_dict().items():
        assert torch.equal(value, weights[name])
    opened.stop()


def test_a_checkpoint_that_a_crash_left_half_written_is_written_again(storage: StorageContext) -> None:
    trial = make_trial(storage)
    orphan = Path(storage.trial_fs_path) / "checkpoint_000000"
    (orphan / "replay").mkdir(parents=True)
    (orphan / "replay" / "manifest.json").write_text("{")
    fill(trial, 100)
    saved = Path(trial.save().checkpoint.path)
    trial.stop()
    assert saved == orphan
    restored = make_trial()
    restored.restore(str(saved))
    assert len(restored.replay) == 100
    restored.stop()


@pytest.mark.parametrize("learners", [0, 1, 2])
def test_a_damaged_checkpoint_sends_the_trial_back_to_the_one_before(learners: int, storage: StorageContext) -> None:
    trial = make_trial(storage, learners=learners)
    first, second = (trial.train() and Path(trial.save().checkpoint.path) for _ in range(2))
    newer = module_weights(trial)
    (chunk,) = (second / "replay").glob("chunk-*")
    for path in (second / TRAINING_STATE, second / "replay" / "manifest.json", chunk):
        whole = path.read_bytes()
        for content in (whole[:-4], b"", None):
            path.unlink() if content is None else path.write_bytes(content)
            trial.restore(str(second))
            assert (trial.env_steps, len(trial.replay), trial.num_updates) == (40, 40, 0), (path, content)
            path.write_bytes(whole)
    weights = read_state(first)["learner_group"]["learner"]["rl_module"]["default_policy"]
    assert all(np.array_equal(value, weights[name]) for name, value in module_weights(trial).items())
    trial.restore(str(second))
    assert (trial.env_steps, len(trial.replay), trial.num_updates) == (80, 80, 40)
    assert all(np.array_equal(value, newer[name]) for name, value in module_weights(trial).items())
    trial.stop()


def module_weights(trial: SACARDAETrial) -> dict[str, np.ndarray]:
    return dict(trial.learner_group.get_state()["learner"]["rl_module"]["default_policy"])


@pytest.mark.parametrize("learners", [1, 2])
def test_a_trial_whose_learner_dies_while_it_saves_keeps_the_checkpoint_it_has(learners: int, storage: StorageContext) -> None:
    trial = make_trial(storage, learners=learners)
    trial.train()
    first = Path(trial.save().checkpoint.path)
    pids = [result.get() for result in trial.learner_group.foreach_learner(lambda learner: os.getpid())]
    os.kill(pids[0], signal.SIGKILL)
    with pytest.raises((ray.exceptions.RayError, AssertionError, IndexError)):
        trial.save()
    trial.stop()
    assert sorted(Path(storage.trial_fs_path).glob("*checkpoint_*")) == [first]
    again = make_trial(storage, learners=learners)
    again.restore(str(first))
    assert (again.env_steps, len(again.replay)) == (40, 40)
    again.stop()


def test_records_are_cut_back_to_the_checkpoint_on_restore(storage: StorageContext) -> None:
    trial = make_trial(storage)
    for _ in range(2):
        trial.train()
    saved = Path(trial.save().checkpoint.path)
    result = trial.train()
    folder = Path(storage.trial_fs_path)
    assert [int(row["env_steps"]) for row in rows_of(folder / "evaluations.csv")] == [0, 40, 80, 120]
    trial.restore(str(saved))
    assert [int(row["env_steps"]) for row in rows_of(folder / "evaluations.csv")] == [0, 40, 80]
    assert [int(row["env_steps"]) for row in rows_of(folder / "metrics.csv")] == [40, 80]
    again = trial.train()
    trial.stop()
    evaluations, metrics = rows_of(folder / "evaluations.csv"), rows_of(folder / "metrics.csv")
    assert [int(row["env_steps"]) for row in evaluations] == [0, 40, 80, 120] == [0, *(int(row["env_steps"]) for row in metrics)]
    returns = [float(value) for value in evaluations[-1]["returns"].split()]
    assert len(returns) == 2 and np.mean(returns) == pytest.approx(float(evaluations[-1]["return_mean"]), rel=1e-4)
    assert result["env_steps"] == again["env_steps"] == 120 and result["updates"] == again["updates"] == 80
    assert set(result["config"]) == {"env", "settings", "seed"}, "no RLlib config on every line of result.json"


def test_a_fresh_start_drops_the_rows_of_an_attempt_that_crashed_before_its_first_checkpoint(storage: StorageContext) -> None:
    for _ in range(2):
        trial = make_trial(storage)
        trial.train()
        trial.stop()
    folder = Path(storage.trial_fs_path)
    found = [[int(row["env_steps"]) for row in rows_of(folder / file)] for file in ("evaluations.csv", "metrics.csv")]
    assert found == [[0, 40], [40]]


def test_a_trial_that_takes_over_reports_where_it_stands_before_it_does_more(storage: StorageContext) -> None:
    trial = make_trial(storage)
    results = [trial.train() for _ in range(2)]
    trial.save()
    trial.stop()
    again = make_trial(storage)
    found, went_on = again.train(), again.train()
    again.stop()
    assert found.keys() >= {name for name in results[-1] if not name.startswith("learner/")}
    for name in ("env_steps", "updates", "seconds", "replay_size", "evaluation_return_mean"):
        assert found[name] == results[-1][name]
    assert went_on["env_steps"] == 120
    assert [int(row["env_steps"]) for row in rows_of(Path(storage.trial_fs_path) / "metrics.csv")] == [40, 80, 120]


def test_a_checkpoint_from_before_the_first_step_is_no_place_to_stay(storage: StorageContext) -> None:
    """As one made when no env runner came up in time."""
    trial = make_trial(storage)
    trial.save()
    trial.stop()
    again = make_trial(storage)
    assert again.train()["env_steps"] == 40
    again.stop()


def test_evaluations_are_made_at_the_beginning_and_at_the_end_whatever_the_interval_and_the_best_policy_is_kept(
    storage: StorageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SETTINGS, evaluation=EvaluationSettings(every_env_steps=100, episodes=1))
    trial = SACARDAETrial({"env": "Pendulum-v1", "settings": dataclasses.asdict(settings), "seed": 0, "env_steps": 160}, storage=storage)
    returns, acting = iter([-300.0, -100.0, -200.0]), list[dict[str, np.ndarray]]()

    def scripted(runner: Any, *arguments: Any, **options: Any) -> list[float]:
        acting.append(dict(runner.module.get_state()))
        return [next(returns)]

    monkeypatch.setattr("ardae_rl.rllib.algorithm.evaluate_returns", scripted)
    for _ in range(4):
        trial.train()
    trial.stop()
    folder = Path(storage.trial_fs_path)
    assert [int(row["env_steps"]) for row in rows_of(folder / "evaluations.csv")] == [0, 100, 160]
    best = load_policy(folder / BEST_POLICY)
    assert (best.description.env, best.description.env_steps) == ("Pendulum-v1", 100)
    same = [all(np.array_equal(value, now[f"policy.{name}"]) for name, value in best.sampler.state_dict().items()) for now in acting]
    assert same == [False, True, False]


def test_a_trial_asks_for_its_runners_and_learners() -> None:
    settings = dataclasses.replace(
        SETTINGS,
        env_runners=EnvRunnerSettings(num_env_runners=3, num_cpus_per_env_runner=0.5),
        learners=LearnerSettings(num_learners=2, num_gpus_per_learner=1),
    )
    request = SACARDAETrial.default_resource_request({"env": "Pendulum-v1", "settings": dataclasses.asdict(settings), "seed": 0})
    total = {name: sum(bundle.get(name, 0) for bundle in request.bundles) for name in ("CPU", "GPU")}
    assert total["GPU"] == 2 and 1 + 3 * 0.5 <= total["CPU"] <= 1 + 3 * 0.5 + 2
