"""Which trials an experiment has, what they are called, what Tune varies, and what fits on a cluster."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.plan import Footprint, assignment_of, concurrent_trials, param_space, shortfall, trial_assignments, trial_name

Write = Callable[..., Path]

GRID = "seeds: [0, 4]\ngrid_search: {sac.alpha: [1, auto], sac.critic.width: [16], sac.score.width: [32]}"


def test_every_grid_point_runs_with_every_seed_under_a_name_of_its_own(write: Write) -> None:
    names = [trial_name(assignment) for assignment in trial_assignments(load_experiment(write(GRID)))]
    assert names == [
        "alpha=1.0_critic.width=16_score.width=32_seed=0",
        "alpha=1.0_critic.width=16_score.width=32_seed=4",
        "alpha=auto_critic.width=16_score.width=32_seed=0",
        "alpha=auto_critic.width=16_score.width=32_seed=4",
    ]


@pytest.mark.parametrize(
    ("assignment", "name"),
    [
        ({"seed": 3}, "seed=3"),
        ({"sac.jacobian_clamping": None, "seed": 0}, "jacobian_clamping=null_seed=0"),
        ({"sac.jacobian_clamping": {"xi": 0.1, "nu": 1.0}, "seed": 0}, "jacobian_clamping={xi=0.1,nu=1.0}_seed=0"),
        ({"env_config.path": "../$(x)\0\x1b`'", "seed": 0}, "path=..___x______seed=0"),
        ({"env_config.path": "a/b c", "sac.compile": True, "seed": 0}, "path=a_b_c_compile=true_seed=0"),
    ],
)
def test_names_are_fit_for_folders(assignment: dict[str, object], name: str) -> None:
    assert trial_name(assignment) == name


def test_long_names_are_cut_and_stay_apart() -> None:
    first, second = (trial_name({"env_config.text": "é" * 300 + end, "seed": 0}) for end in "ab")
    assert first[:90] == second[:90] and first != second
    assert len(first.encode()) <= 200


def test_tune_varies_exactly_the_grid_and_the_seed(write: Write) -> None:
    experiment = load_experiment(write(GRID))
    space = param_space(experiment)
    assert space["env"] == "Pendulum-v1"
    assert space["seed"] == {"grid_search": [0, 4]}
    assert space["settings"]["sac"]["alpha"] == {"grid_search": [1.0, "auto"]}
    assert space["settings"]["replay"] == dataclasses.asdict(experiment.config.replay)


def test_a_trial_is_told_apart_by_its_config(write: Write) -> None:
    experiment = load_experiment(write(GRID))
    for assignment in trial_assignments(experiment):
        point = {path: value for path, value in assignment.items() if path != "seed"}
        config = {"settings": dataclasses.asdict(experiment.settings(point)), "seed": assignment["seed"]}
        assert assignment_of(config, list(experiment.grid_search)) == assignment


def test_a_grid_below_a_null_section_brings_the_rest_of_the_section_along(write: Write) -> None:
    experiment = load_experiment(write("config: {sac: {jacobian_clamping: null}}\ngrid_search: {sac.jacobian_clamping.xi: [0.1, 0.2]}"))
    section = param_space(experiment)["settings"]["sac"]["jacobian_clamping"]
    assert section["xi"] == {"grid_search": [0.1, 0.2]}
    assert section["eta"] == 0.1


def test_as_many_trials_run_at_once_as_fit_and_as_are_allowed() -> None:
    trial = Footprint(({"CPU": 1.0}, {"CPU": 2.0, "GPU": 0.5}))
    assert trial.total == {"CPU": 3.0, "GPU": 0.5}
    assert concurrent_trials([trial] * 5, [{"CPU": 8.0, "GPU": 1.0}], None) == 2
    assert concurrent_trials([trial] * 5, [{"CPU": 100.0, "GPU": 1.0}], None) == 2
    assert concurrent_trials([trial] * 5, [{"CPU": 100.0, "GPU": 100.0}], None) == 5
    assert concurrent_trials([trial] * 5, [{"CPU": 100.0, "GPU": 100.0}], 3) == 3
    assert concurrent_trials([trial], [{"CPU": 100.0}], None) == 0
    assert concurrent_trials([trial] * 5, [{"CPU": 2.0, "GPU": 1.0}] * 3 + [{"CPU": 2.0}], None) == 2, "a CPU is left over, on two machines"
    assert concurrent_trials([Footprint(({"CPU": 0.1},))] * 11, [{"CPU": 1.0}], None) == 10


def test_what_can_never_start_is_told_from_what_must_wait() -> None:
    nodes = [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}]
    assert shortfall(Footprint(({"CPU": 4.0}, {"CPU": 1.0, "GPU": 1.0})), nodes) is None
    for unlike in ([{"CPU": 6.0}, {"CPU": 5.0}], [{"CPU": 5.0}, {"CPU": 6.0}]):
        assert shortfall(Footprint(tuple({"CPU": count} for count in (1.0, 3.0, 3.0, 4.0))), unlike) is None
    assert shortfall(Footprint(({"CPU": 5.0},)), nodes) == "one of its processes needs 5 CPU on one machine, the largest has 4 CPU"
    assert shortfall(Footprint(({"CPU": 3.0},) * 3), nodes) == "it needs 9 CPU in all, the cluster has 6 CPU"
    assert shortfall(Footprint(({"GPU": 2.0},)), nodes) == "one of its processes needs 2 GPU on one machine, the largest has 1 GPU"
    assert shortfall(Footprint(({"CPU": 4.0, "GPU": 1.0},)), nodes) == (
        "one of its processes needs 4 CPU, 1 GPU on one machine, the largest has 2 CPU, 1 GPU"
    )
    assert shortfall(Footprint(({"CPU": 1.0, "GPU": 0.5},)), nodes[:1]) == (
        "one of its processes needs 0.5 GPU, and no machine there (1 in all) has any"
    )
    assert shortfall(Footprint(({"CPU": 2.0},) * 3), [{"CPU": 3.0}, {"CPU": 3.0}]) == (
        "its processes, 6 CPU = 3 x (2 CPU), do not fit side by side on the machines there are: 2 with 3 CPU"
    )


def test_a_footprint_says_what_it_is_made_of() -> None:
    assert str(Footprint(({"CPU": 1.0},))) == "1 CPU"
    assert str(Footprint(({"CPU": 1.0}, {"CPU": 0.5}, {"CPU": 0.5}, {"CPU": 1.0, "GPU": 1.0}))) == (
        "3 CPU, 1 GPU = 1 x (1 CPU) + 2 x (0.5 CPU) + 1 x (1 CPU, 1 GPU)"
    )
