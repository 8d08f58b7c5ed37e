"""Goal entropy of policies whose goals are known, and a figure that shows them."""

import copy
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from torch import Tensor

from ardae_rl.envs.multi_goal import GOAL_RADIUS, GOALS
from ardae_rl.report import control
from ardae_rl.report.multi_goal import DENSITY_BINS, ENV, Rollouts, figure, first_actions, read_goals, rollouts
from ardae_rl.report.records import read_experiment
from ardae_rl.report.runs import read_runs
from ardae_rl.rllib.checkpoint import POLICY, TRAINING_STATE, read_policy, read_state, write_state
from ardae_rl.samplers import Sampler
from tests.report.study import SAC, write_experiment
from tests.rllib.small import small_config


class Headings(Sampler):
    """At the origin heads for one of ``headings``, as the noise says; elsewhere for the nearest goal."""

    dim = noise_dim = 2

    def __init__(self, headings: list[int]) -> None:
        super().__init__()
        self.goals = torch.tensor(GOALS[headings], dtype=torch.float32)

    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        assert context is not None
        angle = (torch.atan2(noise[..., 0], noise[..., 1]) / (2 * math.pi)) % 1
        chosen = self.goals[(angle * len(self.goals)).long()]
        goals = torch.tensor(GOALS, dtype=torch.float32)
        nearest = goals[torch.cdist(context, goals).argmin(1)].unsqueeze(1)
        target = torch.where(context.norm(dim=1)[:, None, None] < 0.5, chosen, nearest)
        return ((target - context.unsqueeze(1)) / 4).clamp(-0.9, 0.9).atanh()


class Still(Headings):
    def draw(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return torch.zeros_like(noise)


@pytest.mark.parametrize("headings", [[0], [1], [0, 2], [0, 1, 2, 3]])
def test_goal_entropy_of_a_policy_that_heads_for_k_goals(headings: list[int]) -> None:
    drawn = rollouts(Headings(headings), count=400)
    assert set(drawn.goals) == set(headings) and drawn.success == 1
    assert drawn.goal_entropy == pytest.approx(math.log(len(headings)), abs=0.03)


def test_goal_entropy_by_hand() -> None:
    assert Rollouts([], [0, 0, 1, 3]).goal_entropy == pytest.approx(1.5 * math.log(2))
    assert Rollouts([], [0, 0, -1, -1]).goal_entropy == 0
    assert Rollouts([], [0, 0, -1, -1]).success == 0.5
    assert Rollouts([np.zeros((steps + 1, 2)) for steps in (3, 5, 30)], [0, 2, -1]).steps == 4


def test_a_policy_that_stays_reaches_no_goal() -> None:
    drawn = rollouts(Still([0]), count=10)
    assert (drawn.success, drawn.goal_entropy) == (0, 0) and math.isnan(drawn.steps) and {len(path) for path in drawn.paths} == {31}


def test_rollouts_start_at_the_origin_and_repeat_with_their_seed() -> None:
    one, same, other = (rollouts(Headings([0, 1, 2, 3]), count=20, seed=seed) for seed in (0, 0, 1))
    assert all((path[0] == 0).all() for path in one.paths)
    assert all(np.array_equal(a, b) for a, b in zip(one.paths, same.paths, strict=True))
    assert one.goals != other.goals


def test_first_actions_are_those_of_the_squashed_policy() -> None:
    actions = first_actions(Headings([0]), np.zeros(2), 5, torch.Generator())
    np.testing.assert_allclose(actions, [[0.9, 0]] * 5, atol=1e-6)


def test_the_figure_names_the_number_and_is_written(tmp_path: Path) -> None:
    made = figure(Headings([0, 1, 2, 3]), title="all four", count=50)
    assert made.get_suptitle().startswith("all four: goal entropy 1.3") and "100% arrive" in made.get_suptitle()
    made.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_figure_shows_paths_goals_and_density_where_they_are() -> None:
    """Of a policy that heads right twice as often as up: no axis is swapped or turned round."""
    left, right = figure(Headings([0, 0, 1]), title="right or up", count=40).axes[:2]
    goals = {tuple(patch.center): patch.get_facecolor()[:3] for patch in left.patches}  # type: ignore[attr-defined]
    assert sorted(goals) == sorted(map(tuple, GOALS.tolist()))
    *paths, origin = left.lines
    assert np.asarray(origin.get_xydata()).tolist() == [[0, 0]] and len(paths) == 40
    reached = []
    for line in paths:
        points = np.asarray(line.get_xydata())
        reached.append(min(goals, key=lambda goal: math.dist(goal, points[-1])))
        assert (points[0] == 0).all() and math.dist(reached[-1], points[-1]) <= GOAL_RADIUS
        assert to_rgb(line.get_color()) == goals[reached[-1]], "in the colour of the goal it reaches"
    assert set(reached) == {(5.0, 0.0), (0.0, 5.0)}
    (mesh,) = right.collections
    shades = mesh.get_array()
    assert shades is not None
    mass = np.asarray(shades).reshape(DENSITY_BINS, DENSITY_BINS) * (2 / DENSITY_BINS) ** 2  # rows: the vertical axis
    half = DENSITY_BINS // 2
    assert mass[half - 1 : half + 1, -4:].sum() == pytest.approx(2 / 3, abs=0.01), "actions (0.9, 0)"
    assert mass[-4:, half - 1 : half + 1].sum() == pytest.approx(1 / 3, abs=0.01), "actions (0, 0.9)"
    assert mass.sum() == pytest.approx(1)


@pytest.mark.usefixtures("local_ray")
def test_goals_are_those_of_the_latest_policy_of_every_trial_on_multi_goal(tmp_path: Path) -> None:
    folders = [
        write_experiment(tmp_path, name, env, SAC, {0: [1, 2], 1: [1, 2]}) for name, env in (("goals", ENV), ("hopper", "Hopper-v5"))
    ]
    algorithm = small_config("gaussian", env=ENV).build_algo()
    latest = folders[0] / "seed=0" / "checkpoint_000001"
    algorithm.save_to_path(str(latest))
    algorithm.stop()
    (folders[0] / "seed=0" / "checkpoint_000000").mkdir()
    goals, figures, problems = read_goals(read_runs([(folder, read_experiment(folder)) for folder in folders])[0])
    expected = rollouts(read_policy(latest).sampler)
    assert goals.to_dict("records") == [
        {
            "method": "SAC",
            "seed": 0,
            "env_steps": 0,
            "goal_entropy": expected.goal_entropy,
            "success": expected.success,
            "steps": expected.steps,
        }
    ]
    assert list(figures) == ["SAC"]
    assert [str(problem) for problem in problems] == [
        f"{folders[0] / 'seed=1'}: its policy cannot be used, there is no checkpoint: left out"
    ]


@pytest.mark.usefixtures("local_ray")
def test_a_checkpoint_that_cannot_be_used_is_named_and_the_others_are_reported(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "goals", ENV, SAC, {seed: [1, 2] for seed in range(6)})
    for env in (ENV, "Pendulum-v1"):
        algorithm = small_config("gaussian", env=env).build_algo()
        algorithm.save_to_path(str(tmp_path / env.replace("/", "_")))
        algorithm.stop()
    checkpoints = [folder / f"seed={seed}" / "checkpoint_000001" for seed in range(6)]
    for seed, checkpoint in enumerate(checkpoints):
        shutil.copytree(tmp_path / ("Pendulum-v1" if seed == 4 else ENV.replace("/", "_")), checkpoint)
    state = read_state(checkpoints[0])
    file = checkpoints[0] / TRAINING_STATE
    file.write_bytes(file.read_bytes()[:-30])
    for checkpoint, value in ((checkpoints[1], np.ones((2, 2), np.float32)), (checkpoints[3], np.float32(np.nan))):
        changed = copy.deepcopy(state)
        weights = changed["learner_group"]["learner"]["rl_module"]["default_policy"]
        weights |= {name: value if value.ndim else np.full_like(old, value) for name, old in weights.items()}
        write_state(checkpoint, changed)
    write_state(checkpoints[2], {name: part for name, part in state.items() if name != POLICY})
    files, problems = control.write_report([(folder, read_experiment(folder))], tmp_path / "report")
    assert [str(problem).partition(": its policy cannot be used, ")[0] for problem in problems] == [
        str(folder / f"seed={seed}") for seed in range(5)
    ]
    for problem, cause in zip(
        problems,
        ("is damaged", "size mismatch", POLICY, "NaN or infinite", "Pendulum-v1"),
        strict=True,
    ):
        assert cause in str(problem) and str(problem).endswith(": left out")
    assert tmp_path / "report" / "report.html" in files
    assert [row.split(",")[:2] for row in (tmp_path / "report" / "goals.csv").read_text().splitlines()[1:]] == [["SAC", "5"]]
