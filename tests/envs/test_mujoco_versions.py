"""What docs/environments.md says of Gymnasium's v4 and v5 is true of the installed ones."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import pytest


@contextmanager
def made(env: str) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v4 is out of date, says Gymnasium
        environment = gym.make(env)
    yield environment
    environment.close()


@pytest.mark.parametrize(
    ("env", "observations", "actions"),
    [
        ("HalfCheetah-v4", 17, 6),
        ("HalfCheetah-v5", 17, 6),
        ("Hopper-v4", 11, 3),
        ("Hopper-v5", 11, 3),
        ("Walker2d-v4", 17, 6),
        ("Walker2d-v5", 17, 6),
        ("Ant-v4", 27, 8),
        ("Ant-v5", 105, 8),
        ("Humanoid-v4", 376, 17),
        ("Humanoid-v5", 348, 17),
    ],
)
def test_sizes_and_time_limit(env: str, observations: int, actions: int) -> None:
    with made(env) as environment:
        assert (environment.observation_space.shape, environment.action_space.shape) == ((observations,), (actions,))
        assert environment.spec.max_episode_steps == 1000


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_older_versions_are_refused(version: str) -> None:
    with pytest.raises(ImportError, match="gymnasium-robotics"):
        gym.make(f"Ant-{version}")


@pytest.mark.parametrize(("env", "frictions"), [("Walker2d-v4", [0.9, 1.9]), ("Walker2d-v5", [1.9, 1.9])])
def test_friction_of_the_walkers_feet(env: str, frictions: list[float]) -> None:
    with made(env) as environment:
        model = environment.unwrapped.model
        assert [model.geom(name).friction[0] for name in ("foot_geom", "foot_left_geom")] == frictions


@pytest.mark.parametrize(
    ("env", "weight", "clip", "charged"),
    [("Ant-v4", 5e-4, 1, False), ("Ant-v5", 5e-4, 1, True), ("Humanoid-v4", 5e-7, np.inf, False), ("Humanoid-v5", 5e-7, np.inf, True)],
)
def test_who_pays_for_contacts(env: str, weight: float, clip: float, charged: bool) -> None:
    with made(env) as environment:
        environment.reset(seed=0)
        for _ in range(40):
            _, reward, _, _, info = environment.step(np.zeros(environment.action_space.shape, np.float32))
        forces = environment.unwrapped.data.cfrc_ext.clip(-clip, clip)
    forward = info.get("reward_forward", info.get("reward_linvel"))
    alive = info.get("reward_survive", info.get("reward_alive"))
    cost = forward + alive - reward  # no control, no control cost
    assert np.square(forces).sum() > 1
    assert cost == pytest.approx(min(weight * np.square(forces).sum(), 10) if charged else 0, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("env", ["Hopper", "Walker2d", "Ant", "Humanoid"])
@pytest.mark.parametrize(("version", "paid"), [("v4", True), ("v5", False)])
def test_who_is_paid_for_falling(env: str, version: str, paid: bool) -> None:
    with made(f"{env}-{version}") as environment:
        environment.reset(seed=0)
        position = environment.unwrapped.init_qpos.copy()
        position[2 if env in ("Ant", "Humanoid") else 1] = 5 if env in ("Ant", "Humanoid") else 0.1
        environment.unwrapped.set_state(position, 0 * environment.unwrapped.init_qvel)
        _, _, terminated, _, _ = environment.step(np.zeros(environment.action_space.shape, np.float32))
        assert terminated and bool(environment.unwrapped.healthy_reward) == paid
