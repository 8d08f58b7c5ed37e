"""A policy read from a checkpoint acts as the algorithm that wrote it, through RLlib's own squashing, and so does its export."""

import dataclasses
import inspect
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.utils.spaces.space_utils import unsquash_action

from ardae_rl.rllib.algorithm import SACARDAEConfig
from ardae_rl.rllib.checkpoint import PROGRESS, read_policy
from ardae_rl.rllib.env_runner import SeededEnvRunner
from ardae_rl.rllib.learner import SACARDAETorchLearner
from ardae_rl.rllib.module import SACARDAERLModule
from ardae_rl.rllib.settings import LearnerSettings, TrainingSettings
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
        sac=SACConfig(policy="gaussian", gaussian=GaussianPolicyConfig(width=16)), env_config={"max_episode_steps": 7}
    )
    trial = SACARDAETrial({"env": "Pendulum-v1", "settings": dataclasses.asdict(settings), "seed": 0})
    trial.save_to_path(tmp_path / "seed=0" / "checkpoint_000000")
    trial.stop()
    described = read_policy(tmp_path / "seed=0" / "checkpoint_000000").description
    assert (described.env, described.env_config, described.env_steps) == ("Pendulum-v1", {"max_episode_steps": 7}, 0)
    assert (described.obs_dim, described.action_low, described.action_high) == (3, [-2.0], [2.0])
    with pytest.raises(FileNotFoundError, match=r"is not a checkpoint; give one of those in it: .*checkpoint_000000$"):
        read_policy(tmp_path)


def test_a_checkpoint_that_is_damaged_or_of_another_algorithm_is_refused_in_one_line(tmp_path: Path) -> None:
    algorithm = small_config("gaussian", env="Pendulum-v1").build_algo()
    folder = Path(algorithm.save_to_path(tmp_path / "checkpoint"))
    algorithm.stop()
    weights, progress = next(folder.glob("**/default_policy/module_state.pkl")), folder / "algorithm_state.pkl"
    whole, known = weights.read_bytes(), progress.read_bytes()
    renamed = pickle.dumps({f"actor.{name}": value for name, value in pickle.loads(whole).items()})
    for path, content, cause in (
        (weights, whole[:-30], "UnpicklingError: pickle data was truncated"),
        (weights, b"", "EOFError: Ran out of input"),
        (
            weights,
            renamed,
            r"RuntimeError: Error\(s\) in loading state_dict for SACARDAERLModule: Missing key\(s\) in state_dict",
        ),
        (progress, pickle.dumps({}), f"KeyError: '{PROGRESS}'"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^{folder} cannot be read \({cause}.*\)\. It is damaged, or another algorithm's"):
            read_policy(folder)
        weights.write_bytes(whole), progress.write_bytes(known)
    assert read_policy(folder).description.env == "Pendulum-v1"


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
    found = (argument for _, argument, _ in pickletools.genops(path.read_bytes()) if isinstance(argument, str))
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
    assert {"class_and_ctor_args.pkl", "algorithm_state.pkl", "state.pkl"} <= {path.name for path in pickles}
    assert {"_keep", "_learn", "_sac_optimisers"} <= private_names()
    assert {path.parent.name: found for path in pickles if (found := strings(path) & private_names())} == {}
    written = pickle.loads((tmp_path / "checkpoint" / "class_and_ctor_args.pkl").read_bytes())
    assert written["class"] is SACARDAETrial
    assert read_policy(tmp_path / "checkpoint").description.env == "Pendulum-v1"
