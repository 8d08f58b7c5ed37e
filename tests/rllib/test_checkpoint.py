"""A policy read from a checkpoint acts as the algorithm that wrote it, through RLlib's own squashing, and so does its export."""

import dataclasses
import hashlib
import inspect
import os
import pickle
import pickletools
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module import RLModule
from ray.rllib.utils.spaces.space_utils import unsquash_action

from ardae_rl.rllib.algorithm import SACARDAE, SACARDAEConfig
from ardae_rl.rllib.checkpoint import FORMAT, MODULES, TRAINING_STATE, read_policy, read_state, write_state
from ardae_rl.rllib.env_runner import SeededEnvRunner
from ardae_rl.rllib.learner import SACARDAETorchLearner
from ardae_rl.rllib.module import SACARDAERLModule
from ardae_rl.rllib.settings import EvaluationSettings, LearnerSettings, TrainingSettings
from ardae_rl.rllib.trial import SACARDAETrial
from ardae_rl.sac import GaussianPolicyConfig, SACConfig
from ardae_rl.sac.export import load_policy, save_policy
from tests.rllib.small import small_config

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.mark.parametrize("kind", ["gaussian", "radial", "spline", "implicit"])
def test_checkpoint_and_export_act_as_the_algorithm(kind: str, tmp_path: Path) -> None:
    algorithm = small_config(kind, env="Pendulum-v1", warmup_env_steps=40).build_algo()
    for _ in range(2):
        algorithm.train()
    folder = Path(algorithm.save_to_path(tmp_path / "checkpoint"))
    module, steps = algorithm.get_module(), algorithm.env_steps
    algorithm.stop()
    policy = read_policy(folder)
    save_policy(policy, tmp_path / "policy.safetensors")
    loaded = load_policy(tmp_path / "policy.safetensors")
    assert (policy.description.env, policy.description.env_steps) == ("Pendulum-v1", steps) and steps >= 80
    obs = 5 * torch.randn(32, 3)
    centre = module.forward_inference({Columns.OBS: obs})[Columns.ACTIONS]
    torch.manual_seed(1)
    drawn = module.forward_exploration({Columns.OBS: obs})[Columns.ACTIONS]
    torch.manual_seed(1)
    noise = torch.randn(32, 1, policy.noise_dim).squeeze(1)
    for normalised, arguments in ((centre, (obs,)), (drawn, (obs, noise))):
        expected = unsquash_action(normalised.numpy(), module.action_space)
        np.testing.assert_allclose(policy(*arguments).numpy(), expected, atol=1e-6)
        assert torch.equal(loaded(*arguments), policy(*arguments))
    assert centre.abs().max() < 1 and np.abs(expected).max() > 1, "in the units of the environment, [-2, 2]"


def test_a_trials_checkpoint_names_its_environment_and_settings(tmp_path: Path) -> None:
    settings = TrainingSettings(
        sac=SACConfig(policy="gaussian", gaussian=GaussianPolicyConfig(width=16)),
        env_config={"max_episode_steps": 7},
        evaluation=EvaluationSettings(max_episode_steps=17),
    )
    trial = SACARDAETrial({"env": "Pendulum-v1", "settings": dataclasses.asdict(settings), "seed": 0})
    trial.save_to_path(tmp_path / "seed=0" / "checkpoint_000000")
    trial.stop()
    described = read_policy(tmp_path / "seed=0" / "checkpoint_000000").description
    assert (described.env, described.env_config, described.env_steps) == ("Pendulum-v1", {"max_episode_steps": 7}, 0)
    assert (described.obs_dim, described.action_low, described.action_high, described.action_dtype) == (3, [-2.0], [2.0], "float32")
    assert described.max_episode_steps == 17
    with pytest.raises(FileNotFoundError, match=r"is not a checkpoint; give one of those in it: .*checkpoint_000000$"):
        read_policy(tmp_path)


def test_a_checkpoint_that_is_damaged_or_of_another_version_is_refused_in_one_line(tmp_path: Path) -> None:
    algorithm = small_config("gaussian", env="Pendulum-v1").build_algo()
    folder = Path(algorithm.save_to_path(tmp_path / "checkpoint"))
    file, whole = folder / TRAINING_STATE, (folder / TRAINING_STATE).read_bytes()
    damaged = f"^{folder} is damaged: {TRAINING_STATE} is not what was written"
    middle = len(whole) // 2
    for content, message in (
        (whole[:-30], damaged),
        (whole[:20], damaged),
        (b"", damaged),
        (whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], damaged),
        (
            whole.replace(b"checkpoint 1", b"checkpoint 2", 1),
            f"^{folder} has the format 'ardae-rl checkpoint 2', expected '{FORMAT}': open it",
        ),
    ):
        file.write_bytes(content)
        for read in (read_policy, algorithm.restore_from_path):
            with pytest.raises(ValueError, match=message):
                read(folder)
    file.unlink()
    for read in (read_policy, algorithm.restore_from_path):
        with pytest.raises(ValueError, match=f"^{folder} has no format version: it is RLlib's, or of an ardae_rl before formats"):
            read(folder)
    algorithm.stop()
    file.write_bytes(whole)
    assert read_policy(folder).description.env == "Pendulum-v1"


@pytest.mark.parametrize("lost", ["weights", "optimisers", "learners"])
def test_a_state_without_weights_is_neither_written_nor_read(lost: str, tmp_path: Path) -> None:
    algorithm = small_config("gaussian", env="Pendulum-v1").build_algo()
    folder = Path(algorithm.save_to_path(tmp_path / "checkpoint"))
    before, state = (folder / TRAINING_STATE).read_bytes(), algorithm.get_state()
    learner = state["learner_group"]["learner"]
    if lost == "learners":
        state["learner_group"] = {}
    else:
        learner["rl_module" if lost == "weights" else "optimizer"] = {}
    with pytest.raises(ValueError, match="the learners' state holds no weights, or no optimisers"):
        algorithm.save_to_path(folder, state=state)
    assert (folder / TRAINING_STATE).read_bytes() == before
    rllibs = {"learner_group", "rllib_checkpoint.json", "class_and_ctor_args.pkl", "algorithm_state.pkl"}
    assert {path.name for path in folder.iterdir()} == {TRAINING_STATE, "replay", *rllibs}
    body = pickle.dumps(state)
    (folder / TRAINING_STATE).write_bytes(f"{FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode() + body)
    for read in (read_policy, algorithm.restore_from_path):
        with pytest.raises(ValueError, match="the learners' state holds no weights, or no optimisers"):
            read(folder)
    algorithm.stop()


def test_weights_of_other_networks_are_refused_in_one_line(tmp_path: Path) -> None:
    algorithm = small_config("gaussian", env="Pendulum-v1").build_algo()
    folder = Path(algorithm.save_to_path(tmp_path / "checkpoint"))
    algorithm.stop()
    state = read_state(folder)
    weights = state["learner_group"]["learner"]["rl_module"]["default_policy"]
    state["learner_group"]["learner"]["rl_module"]["default_policy"] = {f"policy.other.{name}": value for name, value in weights.items()}
    write_state(folder, state)
    with pytest.raises(ValueError, match=rf"^{folder} holds no policy of this version of ardae_rl: Error\(s\) in loading state_dict"):
        read_policy(folder)


def test_a_second_checkpoint_takes_the_place_of_the_first_and_leaves_other_files(tmp_path: Path) -> None:
    algorithm = small_config("gaussian", env="Pendulum-v1").build_algo()
    (tmp_path / "notes.txt").write_text("mine")
    for _ in range(2):
        algorithm.train()
        assert algorithm.save_to_path(tmp_path) == str(tmp_path)
    steps = algorithm.env_steps
    algorithm.restore_from_path(tmp_path)
    algorithm.save_to_path(tmp_path)  # whose unchanged chunks are links to the files that give way
    algorithm.restore_from_path(tmp_path)
    assert (algorithm.env_steps, len(algorithm.replay), read_policy(tmp_path).description.env_steps) == (steps, steps, steps)
    assert (tmp_path / "notes.txt").read_text() == "mine" and not list(tmp_path.glob(".*"))
    algorithm.stop()


def test_paths_are_taken_as_rllib_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path, a URI, a path on a file system of pyarrow's, none at all."""
    monkeypatch.chdir(tmp_path)
    elsewhere = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    algorithm = small_config("gaussian", env="Pendulum-v1").build_algo()
    algorithm.train()
    saved = {
        "relative": algorithm.save_to_path("relative"),
        "uri": algorithm.save_to_path(f"file://{tmp_path}/uri"),
        "none": algorithm.save_to_path(),
    }
    algorithm.save_to_path("bucket/elsewhere", filesystem=elsewhere)
    expected = algorithm.get_module().policy.state_dict()
    algorithm.stop()
    for path in (*saved.values(), "relative", f"file://{tmp_path}/uri"):
        assert read_policy(Path(path.removeprefix("file://"))).description.env_steps == 40
    opened = SACARDAE.from_checkpoint("bucket/elsewhere", filesystem=elsewhere)
    assert (opened.env_steps, len(opened.replay)) == (40, 40)
    assert all(torch.equal(value, expected[name]) for name, value in opened.get_module().policy.state_dict().items())
    opened.stop()


def test_rllib_opens_the_module_alone(tmp_path: Path) -> None:
    algorithm = small_config("implicit", env="Pendulum-v1", warmup_env_steps=10).build_algo()
    algorithm.train()
    folder = Path(algorithm.save_to_path(tmp_path))
    expected = algorithm.get_module().policy.state_dict()
    module = RLModule.from_checkpoint(folder / MODULES / "default_policy")
    other = small_config("implicit", env="Pendulum-v1", seed=5).build_algo()
    other.restore_from_path(folder / MODULES / "default_policy", component="learner_group/learner/rl_module/default_policy")
    for policy in (module.policy, other.get_module().policy):
        assert all(torch.equal(value, expected[name]) for name, value in policy.state_dict().items())
    algorithm.stop(), other.stop()


@pytest.mark.parametrize(("learners", "runners"), [(0, 0), (1, 1), (2, 0)])
def test_restoring_an_older_checkpoint_reaches_learners_runners_and_the_evaluation(learners: int, runners: int, tmp_path: Path) -> None:
    config = small_config("gaussian", env="Pendulum-v1", warmup_env_steps=10).learners(num_learners=learners)
    algorithm = config.env_runners(num_env_runners=runners).build_algo()
    algorithm.train()
    algorithm.save_to_path(tmp_path)
    older = algorithm.learner_group.get_state()["learner"]["rl_module"]["default_policy"]
    for _ in range(2):
        algorithm.train()
    newer = algorithm.learner_group.get_state()["learner"]["rl_module"]["default_policy"]
    algorithm.restore_from_path(tmp_path)

    def weights(holder: Any) -> dict[str, np.ndarray]:
        state = holder.module.get_state()
        return dict(state.get("default_policy", state))

    holders = [result.get() for result in algorithm.learner_group.foreach_learner(weights)]
    for group in (algorithm.env_runner_group, algorithm.eval_env_runner_group):
        holders += group.foreach_env_runner(weights)
    assert len(holders) == max(learners, 1) + runners + 2
    for holder in holders:
        for name, value in holder.items():
            np.testing.assert_array_equal(value, older[name], err_msg=name)
    assert any(not np.array_equal(older[name], newer[name]) for name in holders[-1])
    algorithm.train()
    moved = algorithm.learner_group.get_state()["learner"]["rl_module"]["default_policy"]
    acting = algorithm.env_runner_group.foreach_env_runner(weights)[-1]
    assert all(np.array_equal(acting[name], moved[name]) for name in acting), "later weights arrive again"
    algorithm.stop()


@pytest.mark.parametrize("learners", [1, 2])
def test_a_checkpoint_whose_learner_dies_or_fails_is_not_published(learners: int, tmp_path: Path) -> None:
    algorithm = small_config("gaussian", env="Pendulum-v1", warmup_env_steps=10).learners(num_learners=learners).build_algo()
    algorithm.train()
    algorithm.save_to_path(tmp_path / "first")
    before = {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()}
    pids = [result.get() for result in algorithm.learner_group.foreach_learner(lambda learner: os.getpid())]
    os.kill(pids[0], signal.SIGKILL)
    for name in ("first", "second"):
        with pytest.raises((ray.exceptions.RayError, AssertionError, IndexError)):
            algorithm.save_to_path(tmp_path / name)
    assert {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()} == before
    assert not (tmp_path / "second" / TRAINING_STATE).exists()
    with pytest.raises((ray.exceptions.RayError, RuntimeError)):
        algorithm.restore_from_path(tmp_path / "first")
    algorithm.stop()


def private_names() -> set[str]:
    """Of the attributes that this package's classes of a checkpoint define or mention, but for RLlib's own and Python's ``_abc_impl``."""
    ours = {
        part for kind in (SACARDAETrial, SACARDAETorchLearner, SACARDAERLModule, SeededEnvRunner, SACARDAEConfig) for part in kind.mro()
    }
    ours = {part for part in ours if part.__module__.startswith("ardae_rl.")}
    code = [member.__code__ for part in ours for member in vars(part).values() if inspect.isfunction(member)]
    names = {name for part in ours for name in vars(part)} | {name for each in code for name in each.co_names}
    return {name for name in names if name.startswith("_") and not name.startswith("__")} - {"_abc_impl", *vars(AlgorithmConfig())}


def strings(path: Path) -> set[str]:
    """Every name, and part of a dotted name, in a pickle."""
    content = path.read_bytes()
    body = content.partition(b"\n")[2] if path.name == TRAINING_STATE else content
    found = (argument for _, argument, _ in pickletools.genops(body) if isinstance(argument, str))
    return {part for text in found for part in text.replace(" ", ".").split(".")}


@pytest.mark.timeout(300)
def test_a_checkpoint_that_an_actor_wrote_names_no_private_attribute(tmp_path: Path) -> None:
    """As under Tune: Ray derives the actor's class from ours, and the learner's, too, in a process of its own."""
    settings = TrainingSettings(
        sac=SACConfig(policy="gaussian", gaussian=GaussianPolicyConfig(width=16)), learners=LearnerSettings(num_learners=1)
    )
    actor = ray.remote(num_cpus=1)(SACARDAETrial).remote({"env": "Pendulum-v1", "settings": dataclasses.asdict(settings), "seed": 0})
    ray.get(actor.save_to_path.remote(str(tmp_path / "checkpoint")))
    ray.get(actor.stop.remote())
    ray.kill(actor)
    pickles = sorted((tmp_path / "checkpoint").rglob("*.pkl"))
    assert {"class_and_ctor_args.pkl", "algorithm_state.pkl", TRAINING_STATE} <= {path.name for path in pickles}
    assert {"_keep", "_learn", "_sac_optimisers"} <= private_names()
    assert {path.parent.name: found for path in pickles if (found := strings(path) & private_names())} == {}
    written = pickle.loads((tmp_path / "checkpoint" / "class_and_ctor_args.pkl").read_bytes())
    assert written["class"] is SACARDAETrial
    assert read_policy(tmp_path / "checkpoint").description.env == "Pendulum-v1"
