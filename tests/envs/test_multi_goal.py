"""MultiGoal: dynamics, reward by hand, the end, and the symmetry that makes all goals equal."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import ardae_rl.envs
from ardae_rl.envs.multi_goal import GOALS, MultiGoalEnv

gym.register_envs(ardae_rl.envs)
ID = "ardae_rl/MultiGoal-v0"


def act(x: float, y: float) -> np.ndarray:
    return np.array([x, y], np.float32)


def quiet(position: tuple[float, float]) -> MultiGoalEnv:
    """At ``position``, with noise that is zero."""

    class NoNoise:
        def standard_normal(self, size: int) -> np.ndarray:
            return np.zeros(size)

    env = MultiGoalEnv()
    env.reset(options={"position": position})
    env.np_random = NoNoise()  # type: ignore[assignment]
    return env


def test_a_step_moves_by_the_action_and_costs_by_hand() -> None:
    obs, reward, terminated, truncated, info = quiet((1.0, 0.5)).step(act(0.5, -0.5))
    np.testing.assert_allclose(obs, [2.5, -1.0])
    assert reward == pytest.approx(-0.2 * (2.5**2 + 1) - 0.5 * 0.5)
    assert (terminated, truncated, info["goal"]) == (False, False, -1)


@pytest.mark.parametrize("goal", range(4))
def test_arriving_ends_the_episode_with_a_reward_and_names_the_goal(goal: int) -> None:
    _, reward, terminated, _, info = quiet(tuple(GOALS[goal] * 0.7)).step((GOALS[goal] * 0.05).astype(np.float32))
    assert terminated and info["goal"] == goal
    assert reward == pytest.approx(1 - 0.2 * 0.75**2 - 0.5 * 0.25**2)


def test_a_miss_by_a_little_does_not_end() -> None:
    assert not quiet((2.5, 0.0)).step(act(0.49, 0.0))[2]
    assert quiet((2.5, 0.0)).step(act(0.5, 0.0))[2]


def test_walls_hold() -> None:
    obs, *_ = quiet((6.9, -6.9)).step(act(1.0, -1.0))
    np.testing.assert_array_equal(obs, [7, -7])


def test_the_cost_is_of_where_the_wall_stopped_it() -> None:
    """7 and not 9.9: two from the goal, and not 4.9."""
    _, reward, *_ = quiet((6.9, 0.0)).step(act(1.0, 0.0))
    assert reward == pytest.approx(-0.2 * 2**2 - 0.5)


def test_a_position_once_seen_does_not_move_with_the_next_step() -> None:
    env = quiet((1.0, 1.0))
    first, *_ = env.step(act(0.1, 0.0))
    kept = first.copy()
    first += 100
    second, *_ = env.step(act(0.1, 0.0))
    np.testing.assert_allclose(second, kept + np.array([0.3, 0.0]))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_changes_nothing(turns: int) -> None:
    turn = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), turns)
    for position, action in zip(
        np.random.default_rng(0).uniform(-6, 6, (50, 2)), np.random.default_rng(1).uniform(-1, 1, (50, 2)), strict=True
    ):
        straight, turned = quiet(tuple(position)), quiet(tuple(turn @ position))
        (obs, reward, end, _, info), (obs_t, reward_t, end_t, _, info_t) = straight.step(action), turned.step(turn @ action)
        np.testing.assert_allclose(turn @ obs, obs_t, atol=1e-12)
        assert (pytest.approx(reward), end) == (reward_t, end_t)
        assert info_t["goal"] == ((info["goal"] + turns) % 4 if end else -1)


def test_noise_has_the_stated_size() -> None:
    env = MultiGoalEnv()
    starts = np.array([env.reset(seed=seed)[0] for seed in range(1000)])
    steps = []
    for seed in range(1000):
        env.reset(seed=seed, options={"position": (0.0, 0.0)})
        steps.append(env.step(np.zeros(2, np.float32))[0])
    for sample in (starts, np.array(steps)):
        assert abs(sample.mean()) < 4 * 0.1 / 2000**0.5 and abs(sample.var() / 0.01 - 1) < 4 * (2 / 2000) ** 0.5


def test_at_most_30_steps() -> None:
    env = gym.make(ID)
    env.reset(seed=0)
    assert [env.step(np.zeros(2, np.float32))[3] for _ in range(30)].index(True) == 29


def test_the_same_seed_gives_the_same_episode() -> None:
    def episode(seed: int) -> np.ndarray:
        env = gym.make(ID)
        env.reset(seed=seed)
        return np.array([env.step(act(0.1, 0.0))[0] for _ in range(10)])

    np.testing.assert_array_equal(episode(3), episode(3))
    assert not np.array_equal(episode(3), episode(4))


def test_gymnasiums_checker_finds_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(ID).unwrapped)
