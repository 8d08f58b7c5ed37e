"""A policy read from a checkpoint acts as the algorithm that wrote it, through RLlib's own squashing, and so does its export."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.utils.spaces.space_utils import unsquash_action

from ardae_rl.rllib.checkpoint import read_policy
from ardae_rl.rllib.settings import TrainingSettings
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
