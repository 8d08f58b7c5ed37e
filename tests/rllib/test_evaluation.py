"""Evaluation and films of an environment whose returns are known: what it pays for an action is the action."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v2
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from ardae_rl import cli
from ardae_rl.rllib.evaluation import RenderingError, evaluate, mean_return, random_returns, time_limit
from ardae_rl.sac import GaussianPolicyConfig, ImplicitPolicyConfig, SACConfig
from ardae_rl.sac.export import PolicyDescription, TrainedPolicy, save_policy

ROOT = Path(__file__).parents[2]
LOW, HIGH, LENGTH, X = -0.5, 1.5, 5, 0.7
CENTRE_ACTION = LOW + (math.tanh(X) + 1) / 2 * (HIGH - LOW)


class PaysForAction(gym.Env[Any, Any]):
    """Reward: the action, in its own units. Ends after ``length`` steps (never: 0). Drawn as a square that brightens step by step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, length: int = LENGTH, render_mode: str | None = None) -> None:
        self.length, self.render_mode, self.steps = length, render_mode, 0
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float64)
        self.action_space = gym.spaces.Box(LOW, HIGH, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.uniform(-1, 1, 2), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.zeros(2), float(action[0]), self.steps == self.length, False, {}

    def render(self) -> Any:
        return np.full((32, 48, 3), 40 * self.steps, np.uint8)


gym.register("ardae_rl_tests/PaysForAction-v0", lambda **settings: PaysForAction(**settings))


def policy_of(
    sac: SACConfig, env: str = "ardae_rl_tests/PaysForAction-v0", dims: tuple[int, int] = (2, 1), **env_config: Any
) -> TrainedPolicy:
    low, high = ([bound] * dims[1] for bound in (LOW, HIGH))
    return TrainedPolicy(
        PolicyDescription(env=env, env_config=env_config, env_steps=0, obs_dim=dims[0], action_low=low, action_high=high, sac=sac)
    )


def constant(**env_config: Any) -> TrainedPolicy:
    """A Gaussian with mean X and standard deviation 1 before the tanh, whatever it sees."""
    policy = policy_of(SACConfig(policy="gaussian", gaussian=GaussianPolicyConfig(width=4)), **env_config)
    *_, weight, bias = policy.sampler.parameters()
    with torch.no_grad():
        weight.zero_()
        bias.copy_(torch.tensor([X, 0.0]))
    return policy


def test_returns_are_the_sums_of_whole_episodes() -> None:
    returns = evaluate(constant(), episodes=3, seeds=[0, 4])
    assert returns == {0: [pytest.approx(LENGTH * CENTRE_ACTION)] * 3, 4: [pytest.approx(LENGTH * CENTRE_ACTION)] * 3}


def test_with_noise_the_mean_return_is_that_of_the_noisy_policy() -> None:
    values = evaluate(constant(), episodes=800, deterministic=False)[0]
    x, weights = np.polynomial.hermite_e.hermegauss(60)
    tanh = np.tanh(X + x)
    mean, second = (float(weights @ tanh**power / weights.sum()) for power in (1, 2))
    expected, error = LENGTH * (LOW + (mean + 1) / 2 * (HIGH - LOW)), math.sqrt(LENGTH * (second - mean**2) / 800) * (HIGH - LOW) / 2
    assert abs(np.mean(values) - expected) < 4 * error < 0.3 * abs(expected - LENGTH * CENTRE_ACTION) + 4 * error
    assert abs(np.std(values) / (error * math.sqrt(800)) - 1) < 0.12


def test_a_seeds_episodes_depend_on_nothing_else() -> None:
    policy = policy_of(SACConfig(implicit=ImplicitPolicyConfig(noise_dim=3, width=4)))
    both = evaluate(policy, episodes=2, seeds=[3, 1], deterministic=False)
    assert both[1] == evaluate(policy, episodes=2, seeds=[1], deterministic=False)[1]
    assert len({value for values in both.values() for value in values}) == 4


def test_random_actions_fill_the_box_and_depend_on_the_seed_alone() -> None:
    """The sum of LENGTH uniform actions: mean and standard deviation, within four standard errors."""
    env, episodes = "ardae_rl_tests/PaysForAction-v0", 1000
    returns = random_returns(env, {}, episodes=episodes, seed=1)
    mean, std = LENGTH * (LOW + HIGH) / 2, (HIGH - LOW) * math.sqrt(LENGTH / 12)
    assert abs(np.mean(returns) - mean) < 4 * std / math.sqrt(episodes) and abs(np.std(returns) / std - 1) < 4 / math.sqrt(2 * episodes)
    assert random_returns(env, {}, episodes=3, seed=1) == returns[:3] != random_returns(env, {}, episodes=3, seed=2)
    assert len(set(random_returns(env, {"length": 0}, episodes=2, max_episode_steps=7))) == 2
    with pytest.raises(gym.error.Error, match="Nowhere"):
        random_returns("Nowhere-v0", {})


def test_without_a_time_limit_an_episode_ends_after_the_steps_allowed() -> None:
    assert evaluate(constant(length=0), episodes=1, max_episode_steps=12)[0] == [pytest.approx(12 * CENTRE_ACTION)]
    assert evaluate(constant(length=0, max_episode_steps=3), episodes=1)[0] == [pytest.approx(3 * CENTRE_ACTION)]
    policy = constant(length=0)
    policy.description = dataclasses.replace(policy.description, max_episode_steps=4)
    assert evaluate(policy, episodes=1)[0] == [pytest.approx(4 * CENTRE_ACTION)], "as long as in the evaluations during training"


def test_one_rule_for_the_length_of_an_episode_wherever_its_limit_is_set() -> None:
    """By the id, by a wrapper inside the entry point, by both; in one environment or a vector."""
    gym.register("ardae_rl_tests/Inner-v0", lambda **_: gym.wrappers.TimeLimit(PaysForAction(length=0), 7))
    gym.register("ardae_rl_tests/Both-v0", lambda **_: gym.wrappers.TimeLimit(PaysForAction(length=0), 7), max_episode_steps=5)
    for env, limit in (("ardae_rl_tests/Inner-v0", 7), ("ardae_rl_tests/Both-v0", 5)):
        assert time_limit(gym.make(env)) == limit
        assert time_limit(gym.make_vec(env, 2, vectorization_mode="sync")) == limit
        assert len(random_returns(env, {}, episodes=2, max_episode_steps=3)) == 2
    assert time_limit(gym.make_vec("ardae_rl_tests/PaysForAction-v0", 2, vectorization_mode="sync")) is None


def test_episodes_without_a_finite_return_are_counted_and_never_averaged_away(caplog: pytest.LogCaptureFixture) -> None:
    assert cli._mean_and_std([1.0, math.nan, 3.0]) == "2.0 ± 1.4, from 1.0 to 3.0; 1 of 3 have no finite return"
    assert cli._mean_and_std([math.inf]) == "none of 1 episodes has a finite return"
    assert math.isnan(mean_return([1.0, math.inf])) and mean_return([1.0, 2.0]) == 1.5

    class Fails(PaysForAction):
        def step(self, action: np.ndarray) -> Any:
            raise ArithmeticError("unstable")

    gym.register("ardae_rl_tests/Fails-v0", lambda **options: Fails(**options))
    policy = policy_of(SACConfig(policy="gaussian"), "ardae_rl_tests/Fails-v0")
    assert np.isnan(evaluate(policy, episodes=2)[0]).all()
    assert caplog.messages == [f"episode {number} failed (ArithmeticError: unstable)" for number in range(2)]


@pytest.mark.parametrize("picture", [None, np.full((32, 32, 3), 0.5), np.zeros((32, 32), np.uint8)])
@pytest.mark.parametrize("name", ["x.mp4", "x.gif"])
def test_what_is_no_picture_is_said_before_the_first_episode(tmp_path: Path, name: str, picture: Any) -> None:
    class Blind(PaysForAction):
        def render(self) -> Any:
            return picture

    gym.register("ardae_rl_tests/Blind-v0", lambda **options: Blind(**options))
    policy = policy_of(SACConfig(policy="gaussian"), "ardae_rl_tests/Blind-v0")
    with pytest.raises(RenderingError, match=r"cannot be drawn here: TypeError: render\(\) gave .*, no picture: uint8 of shape"):
        evaluate(policy, episodes=1, film=tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "steps"), [("film.mp4", [0, 1, 2, 3, 4, 5]), ("film.gif", [0, 2, 4])])
def test_a_film_shows_the_first_episode_from_reset_to_end(tmp_path: Path, name: str, steps: list[int]) -> None:
    evaluate(constant(), episodes=2, seeds=[0, 1], film=tmp_path / "films" / name)
    film: Any
    with imageio.v2.get_reader(tmp_path / "films" / name) as film:
        frames = [np.asarray(film.get_data(index)) for index in range(len(steps))]
        seconds = film.get_meta_data()["duration"] / (1000 if name.endswith("gif") else len(steps))  # a frame's ms; the film's s
        with pytest.raises((IndexError, EOFError)):
            film.get_data(len(steps))
    assert frames[0].shape[:2] == (32, 48)
    assert [round(float(frame[..., :3].mean()) / 40) for frame in frames] == steps
    assert seconds == pytest.approx(1 / 25 if name.endswith("gif") else 1 / 50)


def test_what_cannot_be_drawn_is_said_before_anything_runs(tmp_path: Path) -> None:
    policy = policy_of(SACConfig(policy="gaussian"), "ardae_rl/MultiGoal-v0", (2, 2))
    with pytest.raises(RenderingError, match=r"ardae_rl/MultiGoal-v0 cannot be drawn here: .*leave out --video"):
        evaluate(policy, episodes=1, film=tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())


def test_an_environment_that_is_not_there_is_no_matter_of_drawing(tmp_path: Path) -> None:
    policy = policy_of(SACConfig(policy="gaussian", gaussian=GaussianPolicyConfig(width=4)), "Pendulun-v1")
    with pytest.raises(ValueError, match=r"Pendulun-v1 with env_config \{\} cannot be made here \(NameNotFound"):
        evaluate(policy, episodes=1, film=tmp_path / "film.mp4")


def run(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(cli.evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_evaluates_and_exports_an_exported_policy(tmp_path: Path) -> None:
    save_policy(constant(), tmp_path / "p.safetensors")
    done = run(tmp_path / "p.safetensors", "--episodes", 2, "--seeds", "0,7", "--export", tmp_path / "again.safetensors")
    mean = f"{LENGTH * CENTRE_ACTION:.1f}"
    assert done.exit_code == 0, done.output
    assert (
        "ardae_rl_tests/PaysForAction-v0 after 0 environment steps, zero noise, 2 episodes per seed, mean ± std over episodes"
        in done.output
    )
    assert f"seed 0: {mean} ± 0.0, from {mean} to {mean}\nseed 7: {mean} ± 0.0" in done.output and f"all:    {mean} ± 0.0" in done.output
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "p.safetensors").read_bytes()
    assert (tmp_path / "again.json").read_text() == (tmp_path / "p.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a checkpoint; give a folder such as runs/NAME/seed=0/checkpoint_000001"),
        (["nowhere.safetensors"], "nowhere.json"),
        (["p", "--video", "film.avi"], "must end in .mp4 or .gif"),
        (["p", "--seeds", "0"], "must be a number of seeds (5) or different seeds (0,3,7), got '0'"),
        (["p", "--seeds", "1,1"], "must be a number of seeds (5) or different seeds (0,3,7)"),
    ],
)
def test_the_command_explains_mistakes(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split()) and "Traceback" not in done.output


def described_as(**changes: Any) -> Callable[[Path], object]:
    """Damage: other facts in the description; None takes one out."""

    def damage(path: Path) -> None:
        facts = json.loads(path.with_suffix(".json").read_text()) | changes
        path.with_suffix(".json").write_text(json.dumps({name: value for name, value in facts.items() if value is not None}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "p.safetensors is no whole safetensors file (675 bytes): "),
        (lambda path: path.write_bytes(b""), "p.safetensors is no whole safetensors file (0 bytes): "),
        (lambda path: path.unlink(), "No such file or directory: 'p.safetensors'"),
        (
            lambda path: path.with_suffix(".json").unlink(),
            "p.json is missing: it says what the weights beside it belong to. Export the policy",
        ),
        (lambda path: path.with_suffix(".json").write_text('{"format":'), "p.json is not JSON: Expecting value: line 1"),
        (lambda path: path.with_suffix(".json").write_bytes(b"\xff\x80"), "p.json is not JSON: 'utf-8' codec"),
        (lambda path: path.with_suffix(".json").write_text("[1]"), "format must be 'ardae-rl policy 2' in p.json, got [1]"),
        (described_as(env=None), "p.json: env is missing; it must be a text"),
        (described_as(obs_dim="2"), "p.json: obs_dim must be a whole number, got '2'"),
        (described_as(obs_dim=3), "p.safetensors is not what p.json describes: sampler.body.layers.0.weight should be (4, 3), got (4, 2)"),
        (described_as(sac={"policy": "gaussian", "gaussian": {"width": 7}}), "sampler.body.layers.0.weight should be (7, 2), got (4, 2)"),
        (described_as(sac={"policy": "gaussian", "gaussian": {"width": 10**9}}), "should be (1000000000, 2), got (4, 2)"),
        (described_as(sac={"policy": "gaussian", "gaussian": {"width": 10**10}}), "p.json describes a network that cannot be made: "),
        (described_as(sac={"policy": "normal"}), "sac.policy must be 'implicit' or 'gaussian' or 'flow', got 'normal'"),
        (
            described_as(action_high=[1.5, 2]),
            "action_low must be a number for each action, none above that of action_high = [1.5, 2.0], got [-0.5]",
        ),
        (described_as(action_high=[math.inf]), "action_high.0 must be a number, got inf"),
        (described_as(env="Pendulun-v1"), "Pendulun-v1 with env_config {} cannot be made here (NameNotFound: Environment `Pendulun`"),
        (described_as(env_config={"lenght": 3}), "with env_config {'lenght': 3} cannot be made here (TypeError: "),
        (described_as(env="Pendulum-v1"), "should have the shapes (2,) and (1,), got (3,) and (1,). Install the version"),
    ],
)
def test_the_command_explains_what_is_wrong_with_a_policys_files(
    damage: Callable[[Path], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_policy(constant(), Path("p.safetensors"))
    damage(Path("p.safetensors"))
    done = run("p.safetensors", "--episodes", 1)
    assert done.exit_code == 2, done.exception
    last = done.output.splitlines()[-1]
    assert last.startswith("Error: ") and message in last


def egl_draws(environment: dict[str, str]) -> bool:
    """Whether MuJoCo itself, without this package, gets an off-screen context here."""
    model = "mujoco.MjModel.from_xml_string('<mujoco/>')"
    probe = f"import mujoco; context = mujoco.GLContext(8, 8); context.make_current(); mujoco.MjrContext({model}, 100)"
    done = subprocess.run([sys.executable, "-c", probe], env=environment | {"MUJOCO_GL": "egl"}, capture_output=True, timeout=100)
    return done.returncode == 0


@pytest.mark.parametrize("backend", [None, "nonsense"])
def test_mujoco_is_filmed_without_a_screen_or_it_is_said_why_not(tmp_path: Path, backend: str | None) -> None:
    policy = policy_of(SACConfig(policy="gaussian"), "HalfCheetah-v5", (17, 6), max_episode_steps=4)
    save_policy(policy, tmp_path / "p.safetensors")
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MUJOCO_GL")} | {"PYTHONPATH": str(ROOT)}
    if backend:
        environment["MUJOCO_GL"] = backend
    arguments = [tmp_path / "p.safetensors", "--episodes", "1", "--video", tmp_path / "film.mp4"]
    command = [sys.executable, "scripts/evaluate.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250, check=False)
    if backend is None and egl_draws(environment):
        assert done.returncode == 0, done.stderr
        film: Any
        with imageio.v2.get_reader(tmp_path / "film.mp4") as film:
            assert film.get_data(4).std() > 10, "a picture of something"
    else:
        assert done.returncode == 2 and "HalfCheetah-v5 cannot be drawn here" in done.stderr and "Traceback" not in done.stderr
