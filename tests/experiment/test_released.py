"""``*_released.yaml`` build the networks of the authors' code, layer by layer, in the environments that Gymnasium has now."""

import math
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from torch import nn

import ardae_rl.envs
from ardae_rl.entropy import ScoreEntropy
from ardae_rl.experiment.control import ControlExperiment
from ardae_rl.experiment.load import load_experiment
from ardae_rl.sac import LearnerNetworks, build_policy
from ardae_rl.samplers import ImplicitSampler
from ardae_rl.score.networks import PotentialNet

gym.register_envs(ardae_rl.envs)
CONFIGS = Path(__file__).parents[2] / "tune_configs"
# policy: hidden layers of encoder and head, width of the head, parameters; score network: hidden layers of state, action, and both together
RELEASED = {
    "ant": (2, 1, 256, 163_336, (5, 5, 5)),
    "half_cheetah": (2, 1, 256, 140_294, (5, 5, 5)),
    "hopper": (2, 2, 256, 203_779, (0, 0, 5)),
    "walker2d": (3, 1, 256, 206_086, (2, 0, 5)),
    "humanoid": (3, 3, 64, 248_849, (2, 0, 5)),
    "humanoid_rllab": (3, 3, 64, 200_725, (2, 0, 5)),
}


@pytest.fixture(params=RELEASED)
def env(request: pytest.FixtureRequest) -> str:
    return request.param


def load(env: str) -> ControlExperiment:
    experiment = load_experiment(CONFIGS / f"{env}_released.yaml")
    assert isinstance(experiment, ControlExperiment)
    return experiment


def dims(experiment: ControlExperiment) -> tuple[int, int]:
    """Numbers of an observation and of an action."""
    arguments: dict[str, Any] = experiment.config.env_config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = gym.make(experiment.env, **arguments)
    made.close()
    assert isinstance(made.observation_space, gym.spaces.Box) and isinstance(made.action_space, gym.spaces.Box)
    return made.observation_space.shape[0], made.action_space.shape[0]


def score_network(experiment: ControlExperiment) -> PotentialNet:
    obs_dim, action_dim = dims(experiment)
    entropy = LearnerNetworks(build_policy(obs_dim, action_dim, experiment.config.sac), obs_dim, experiment.config.sac).entropy
    assert isinstance(entropy, ScoreEntropy) and isinstance(entropy.estimator.network, PotentialNet), "no Gaussian start"
    return entropy.estimator.network


def widths(layers: nn.ModuleList) -> list[int]:
    return [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]


def test_policies_have_the_authors_layers_and_number_of_parameters(env: str) -> None:
    experiment = load(env)
    policy = build_policy(*dims(experiment), experiment.config.sac)
    assert isinstance(policy, ImplicitSampler)
    encoder_layers, head_layers, head_width, parameters, _ = RELEASED[env]
    assert widths(policy.encoder) == [256] * encoder_layers
    assert [policy.from_noise.out_features, *widths(policy.head)] == [head_width] * head_layers
    assert policy.activation is nn.functional.elu
    assert sum(parameter.numel() for parameter in policy.parameters()) == parameters


def test_score_networks_have_the_authors_layers(env: str) -> None:
    body = score_network(load(env)).body
    *_, (state, action, joint) = RELEASED[env]
    assert (widths(body.context_encoder), widths(body.input_encoder)) == ([256] * state, [256] * action)
    assert [body.from_input.out_features, *widths(body.joint)] == [256] * joint
    assert body.act.function is nn.functional.elu


def test_the_policys_last_weights_alone_start_from_a_standard_normal(env: str) -> None:
    """The score network's are torch's, U(-1, 1) / sqrt(256)."""
    policy = build_policy(*dims(load(env)), load(env).config.sac)
    assert isinstance(policy, ImplicitSampler) and abs(policy.out.weight.std() - 1) < 4 / math.sqrt(2 * policy.out.weight.numel())
    assert score_network(load(env)).out.weight.abs().max() <= 1 / 16
