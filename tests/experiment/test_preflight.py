"""What is refused before anything starts: environments SAC cannot act in, folders that cannot be written, resuming by mistake."""

import dataclasses
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from ardae_rl.experiment.cluster import cluster
from ardae_rl.experiment.launch import _recorded
from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.preflight import LOCK, RECORD, check_folder, has_run, knows_trials, set_damaged_aside
from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.experiment.schema import to_yaml
from tests.run.test_disk import room_for

Write = Callable[..., Path]


def started(folder: Path) -> None:
    """Leave the files by which Tune knows an experiment."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tuner.pkl", "experiment_state-2026-01-01_00-00-00.json"):
        (folder / name).touch()


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["env=Pendulum-v7"], r"env: Environment version `v7` for environment `Pendulum` doesn't exist.*Nearest ids: Pendulum-v1"),
        (["env=Pendulun-v1"], r"env: Environment `Pendulun` doesn't exist.*Nearest ids: Pendulum-v1"),
        (["env=Qwertyuiop"], r"env: Environment `Qwertyuiop` doesn't exist.*gymnasium\.pprint_registry"),
        (["env=CartPole-v1"], r"env: CartPole-v1 acts in Discrete\(2\); SAC needs continuous actions"),
        (["env=Blackjack-v1"], r"env: Blackjack-v1 observes Tuple\(.*expected a vector"),
        (
            ["config.env_config.grravity=1"],
            r"env: 'Pendulum-v1' with env_config \{grravity: 1\} cannot be created, reset and stepped: TypeError: .*grravity",
        ),
        (
            ["env=HalfCheetah-v5", "config.sac.implicit.noise_dim=5"],
            r"config\.sac\.implicit\.noise_dim: must be at least the 6 action dimensions, got 5: fewer .* \(HalfCheetah-v5\)",
        ),
    ],
)
def test_an_environment_sac_cannot_act_in_is_refused(write: Write, assignments: list[str], message: str) -> None:
    experiment = load_experiment(write(), assignments=assignments)
    with pytest.raises(InvalidExperimentError, match=message):
        experiment.check("tiny.yaml")


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (gym.spaces.Box(-float("inf"), float("inf"), (2,)), "bounded one-dimensional Box"),
        (gym.spaces.Box(-3, 3, (2,), np.int64), "its dtype must be float32 or float64, got int64"),
    ],
)
def test_unbounded_and_integer_actions_are_refused(write: Write, actions: gym.Space[Any], message: str) -> None:
    class Unbounded(gym.Env):  # type: ignore[type-arg]
        observation_space = gym.spaces.Box(-1, 1, (3,))
        action_space = actions

    gym.register("Unbounded-v0", lambda **kwargs: Unbounded())
    try:
        with pytest.raises(InvalidExperimentError, match=message):
            load_experiment(write(), assignments=["env=Unbounded-v0"]).check("tiny.yaml")
    finally:
        del gym.registry["Unbounded-v0"]


class Faulty(gym.Env[Any, Any]):
    """Returns what it is told to from reset and step."""

    def __init__(self, observations: int = 2, actions: int = 1, **answers: Any) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (observations,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (actions,), np.float32)
        self.answers = {"observation": np.zeros(observations, np.float32), "reward": 0.0, "old": False, "reset": None} | answers

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        reset: Any = self.answers["reset"]
        return tuple(reset) if reset else (self.answers["observation"], {})

    def step(self, action: np.ndarray) -> Any:
        answer = (self.answers["observation"], self.answers["reward"], False)
        return (*answer, {}) if self.answers["old"] else (*answer, False, {})


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"observations": 0}, r"Faulty-v0 observes Box\(\[\], \[\], \(0,\), float32\); expected a vector"),
        ({"actions": 0}, r"Faulty-v0 acts in Box\(.*\); SAC needs continuous actions"),
        ({"old": True}, r"what step\(\) returns must be \(observation, reward, terminated, truncated, info\), .*, got 4 values"),
        ({"reset": (1, 2, 3)}, r"what reset\(\) returns must be \(observation, info\), .*, got 3 values"),
        (
            {"observation": [0.0, 0.0, 0.0]},
            r"the observation of reset\(\) must be of its space's shape \(2,\), got shape \(3,\)",
        ),
        ({"reward": [0.0]}, r"the reward of step\(\) must be a number, got \[0.0\]"),
        ({"reward": None}, r"the reward of step\(\) must be a number, got None"),
        ({}, None),
    ],
)
def test_an_environment_is_reset_and_stepped_before_anything_starts(write: Write, answers: dict[str, Any], message: str | None) -> None:
    gym.register("Faulty-v0", lambda **options: Faulty(**options))
    try:
        experiment = load_experiment(
            write(), assignments=["env=Faulty-v0", "config.sac.policy=gaussian", f"config.env_config={json.dumps(answers)}"]
        )
        if message is None:
            return experiment.check("tiny.yaml")
        with pytest.raises(InvalidExperimentError, match=message) as caught:
            experiment.check("tiny.yaml")
        assert len(caught.value.problems) == 1
    finally:
        del gym.registry["Faulty-v0"]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (
            ["config.replay.warmup_env_steps=20000"],
            r"warmup_env_steps: must be below stop\.env_steps = 20,000, got 20,000: nothing",
        ),
        (["config.replay.capacity=1e15"], r"replay\.capacity: is more than there is memory for, got 1,000,000,000,000,000: full it takes"),
        (["config.sac.alpha=auto", "config.sac.target_entropy=0.7"], r"target_entropy: must be below 1 ln 2 = 0\.693, got 0\.7"),
        (["env=MyEnv-v0"], r"One that Gymnasium does not import itself stands behind its module: module:MyEnv-v0"),
    ],
)
def test_what_cannot_mean_anything_is_refused(write: Write, assignments: list[str], message: str) -> None:
    experiment = load_experiment(write(), assignments=assignments)
    with pytest.raises(InvalidExperimentError, match=message):
        experiment.check("tiny.yaml")


def test_a_replay_buffer_may_be_larger_than_this_machine_where_it_runs_elsewhere(write: Write) -> None:
    load_experiment(write(), assignments=["config.replay.capacity=1e15"]).check("tiny.yaml", here=False)


def test_every_grid_point_is_checked_and_a_gaussian_needs_no_noise(write: Write) -> None:
    experiment = load_experiment(write("grid_search: {sac.implicit.noise_dim: [2, 10]}"), assignments=["env=Reacher-v5"])
    experiment.check("tiny.yaml")
    narrow = ["env=HalfCheetah-v5", "grid_search.sac.implicit.noise_dim=[2, 10]"]
    with pytest.raises(InvalidExperimentError, match="got 2"):
        load_experiment(write(), assignments=narrow).check("tiny.yaml")
    load_experiment(write(), assignments=[*narrow, "config.sac.policy=gaussian"]).check("tiny.yaml")


def test_a_new_experiment_needs_a_place_to_write_and_leaves_no_trace_of_asking(write: Write, tmp_path: Path) -> None:
    experiment = load_experiment(write(), storage_path=tmp_path / "new" / "deep")
    check_folder(experiment, resume=False, source="tiny.yaml")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InvalidExperimentError, match=r"storage_path: cannot write to .*tiny: .*file is not a directory"):
        check_folder(load_experiment(write(), storage_path=tmp_path / "file" / "below"), resume=False, source="tiny.yaml")


def test_an_existing_experiment_is_neither_overwritten_nor_resumed_by_mistake(write: Write, tmp_path: Path) -> None:
    experiment = load_experiment(write(), storage_path=tmp_path)
    with pytest.raises(InvalidExperimentError, match=r"--resume: there is no experiment in .*/tiny\. Start it without --resume"):
        check_folder(experiment, resume=True, source="tiny.yaml")
    started(tmp_path / "other")
    with pytest.raises(InvalidExperimentError, match=r"holds: other"):
        check_folder(experiment, resume=True, source="tiny.yaml")
    started(experiment.folder)
    check_folder(experiment, resume=True, source="tiny.yaml")
    with pytest.raises(
        InvalidExperimentError, match=r"add --resume to continue it, or start another with --set name=NAME or --storage-path DIR"
    ):
        check_folder(experiment, resume=False, source="tiny.yaml")


def test_an_experiment_has_one_driver_at_a_time_and_is_free_once_that_was_killed(write: Write, tmp_path: Path) -> None:
    experiment = load_experiment(write(), storage_path=tmp_path)
    started(experiment.folder)
    hold = f"import pathlib, time; from ardae_rl.experiment.preflight import alone\nwith alone(pathlib.Path({str(experiment.folder)!r})):\n"
    command = [sys.executable, "-c", f"{hold} print('there', flush=True); time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == b"there\n"
        with pytest.raises(InvalidExperimentError, match=rf"tiny is being run by process {driver.pid} on .*; stop that first"):
            check_folder(experiment, resume=True, source="tiny.yaml")
        driver.kill()
    check_folder(experiment, resume=True, source="tiny.yaml")


def test_resuming_what_was_started_otherwise_names_each_difference(write: Write, tmp_path: Path) -> None:
    before = load_experiment(write("seeds: 2"), storage_path=tmp_path)
    started(before.folder)
    (before.folder / RECORD).write_text(to_yaml(before))
    check_folder(before, resume=True, source="tiny.yaml")
    after = load_experiment(write("seeds: [0, 2]\nconfig: {sac: {alpha: 0.3}}"), storage_path=tmp_path)
    with pytest.raises(InvalidExperimentError) as caught:
        check_folder(after, resume=True, source="tiny.yaml")
    assert [(problem.key, problem.message.partition(" when ")[0]) for problem in caught.value.problems] == [
        ("config.sac.alpha", "was the text 'auto'"),
        ("seeds", "was 2"),
    ]


def test_what_extends_or_steers_a_run_may_change_when_it_goes_on(write: Write, tmp_path: Path) -> None:
    before = load_experiment(write("seeds: 2"), storage_path=tmp_path)
    started(before.folder)
    (before.folder / RECORD).write_text(to_yaml(before))
    lines = (
        "seeds: [1, 0, 7]\nmax_failures: 7\nresources: {max_concurrent_trials: 1}\nconfig: {report_every_env_steps: 50}\n"
        "checkpoint: {every_env_steps: 500, keep: 3}"
    )
    after = load_experiment(write(lines), storage_path=tmp_path, assignments=["stop.env_steps=9000"])
    check_folder(after, resume=True, source="tiny.yaml")


def test_a_damaged_record_of_what_was_started_is_named(write: Write, tmp_path: Path) -> None:
    experiment = load_experiment(write(), storage_path=tmp_path)
    started(experiment.folder)
    (experiment.folder / RECORD).write_text("name: [tiny")
    with pytest.raises(InvalidExperimentError, match=r"experiment\.yaml, which says what was started, is damaged; put it back from a copy"):
        check_folder(experiment, resume=True, source="tiny.yaml")


@pytest.mark.parametrize("address", ["headnode", "a..b:6379", "127.0.0.1:1"])
def test_an_address_that_is_none_is_explained(address: str) -> None:
    with pytest.raises(InvalidExperimentError, match=rf"--address {address}: no Ray cluster can be joined there \("), cluster(address):
        pass


def test_a_full_disk_is_named_and_leaves_the_record_of_the_run_as_it_was(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ardae_rl.experiment.launch._log_to", lambda path: None)  # the loggers of this process stay as they are
    before = load_experiment(write(), storage_path=tmp_path)
    with (
        room_for(100),
        pytest.raises(InvalidExperimentError, match=rf"cannot write to {before.folder}: .*File too large.*; make room"),
        _recorded(before),
    ):
        pass
    assert [path.name for path in before.folder.iterdir()] == [LOCK]
    with _recorded(before):
        pass
    with room_for(5), pytest.raises(InvalidExperimentError, match="make room"), _recorded(dataclasses.replace(before, seeds=2)):
        pass
    record = before.folder / RECORD
    content, inode = record.read_bytes(), record.stat().st_ino
    for again in (before, dataclasses.replace(before, seeds=2)):
        with room_for(100), pytest.raises(InvalidExperimentError, match="make room"), _recorded(again):
            pass
        assert record.read_bytes() == content
    with _recorded(before):
        pass
    assert record.stat().st_ino == inode, "what has not changed is not written again"


def test_records_of_tune_that_are_half_written_are_set_aside_and_checkpoints_are_enough_to_resume(tmp_path: Path) -> None:
    whole = {"experiment_state-2.json": json.dumps({"trial_data": [1, 2]}).encode(), "tuner.pkl": pickle.dumps({"a": [1, 2]})}
    (tmp_path / "basic-variant-state-1.json").write_bytes(pickle.dumps({"what": "Tune calls JSON"}))
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
    assert set_damaged_aside(tmp_path) == [] and knows_trials(tmp_path)
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content[:-3])
        assert set_damaged_aside(tmp_path) == [name]
        assert (tmp_path / f"{name}.damaged").read_bytes() == content[:-3] and not knows_trials(tmp_path)
        (tmp_path / name).write_bytes(content)
    for name in whole:
        (tmp_path / name).unlink()
    assert not has_run(tmp_path)
    (tmp_path / "seed=0" / "checkpoint_000000").mkdir(parents=True)
    assert has_run(tmp_path)


class Unsteady(gym.Env[Any, Any]):
    """Prints, fails at random, and shows a number more from step ``grows`` on."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (2,), np.float32), gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, *, grows: int = 10**9, fails: float = 0.0) -> None:
        self.grows, self.fails, self.steps = grows, fails, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2 + (self.steps >= self.grows), np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        print("a step")
        self.steps += 1
        if np.random.default_rng(self.steps).random() < self.fails:
            raise ArithmeticError("the simulator broke down")
        return np.zeros(2 + (self.steps >= self.grows), np.float32), 0.0, False, self.steps % 9 == 0, {}


gym.register("Unsteady-v0", Unsteady)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("env_config", "message"),
    [
        ("{grows: 300}", r"the observation of step\(\) must be of its space's shape \(2,\), got shape \(3,\)$"),
        ("{fails: 1.0}", "broke down$"),
    ],
)
def test_what_shows_after_some_steps_or_in_every_first_one_is_refused(write: Write, env_config: str, message: str) -> None:
    experiment = load_experiment(write(), assignments=["env=Unsteady-v0", f"config.env_config={env_config}"])
    with pytest.raises(InvalidExperimentError, match=message):
        experiment.check("tiny.yaml")


@pytest.mark.parametrize("env_config", ["{}", "{fails: 0.2}", "{grows: 2000}"])
def test_a_failure_that_a_trial_may_survive_passes_in_silence(write: Write, env_config: str, capfd: pytest.CaptureFixture[str]) -> None:
    load_experiment(write(), assignments=["env=Unsteady-v0", f"config.env_config={env_config}"]).check("tiny.yaml")
    assert capfd.readouterr() == ("", "")
