"""The continuous-control study of the paper, file by file: Table 7, and variants that differ from it in what they say and nothing else."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ardae_rl.cli import _tune
from ardae_rl.experiment.control import ControlExperiment
from ardae_rl.experiment.display import console_of
from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.options import RunOptions
from ardae_rl.sac.names import method_name

CONFIGS = Path(__file__).parents[2] / "tune_configs"
ENVS = ("half_cheetah", "ant", "hopper", "walker2d", "humanoid", "humanoid_rllab")
EVERY_ENV = pytest.mark.parametrize("env", ENVS)


def load(name: str) -> Any:
    experiment = load_experiment(CONFIGS / f"{name}.yaml")
    assert isinstance(experiment, ControlExperiment)
    return experiment


TABLE_7: dict[str, list[Any]] = {
    "env": ["HalfCheetah-v5", "Ant-v5", "Hopper-v5", "Walker2d-v5", "Humanoid-v5", "ardae_rl/RllabHumanoid-v0"],
    "score.layers": [5, 5, 5, 5, 5, 5],
    "score.context_layers": [5, 5, 0, 1, 1, 1],
    "score.input_layers": [5, 5, 0, 0, 0, 0],
    "score.samples_per_context": [128, 64, 128, 128, 64, 64],
    "score.sigmas_per_sample": [1, 1, 1, 1, 4, 4],
    "implicit.head_layers": [1, 1, 1, 2, 2, 2],
    "implicit.encoder_layers": [1, 1, 2, 1, 3, 3],
    "implicit.width": [256, 256, 256, 256, 64, 64],
    "implicit.noise_dim": [10, 10, 10, 10, 32, 100],
    "jacobian_clamping.xi": [0.01] * 6,
    "jacobian_clamping.eta": [0.1, 0.01, 0.01, 0.01, 0.1, 0.1],
    "jacobian_clamping.nu": [1.1, 1.1, 1.1, 1.1, 1.3, 1.3],
    "jacobian_clamping.perturbations": [10] * 6,
    "score.importance_samples": [100, 10, 100, 100, 10, 10],
    "target_calibration": [False, False, True, False, False, False],
    "warmup_env_steps": [5000, 10_000, 10_000, 10_000, 10_000, 10_000],
}
COMMON = {
    "policy": "implicit",
    "implicit.activation": "elu",
    "score.activation": "elu",
    "score.width": 256,
    "score.standardisation": "fixed",
    "score.scale": 10_000.0,
    "score.delta_scale": 0.1,
    "score.fits_per_step": 1,
    "critic.hidden_layers": 2,
    "critic.width": 256,
    "alpha": 0.05,
    "tau": 0.005,
    "gamma": 0.99,
    "actor_lr": 3e-4,
    "critic_lr": 3e-4,
    "score.lr": 3e-4,
    "capacity": 1_000_000,
    "batch_size": 256,
    "updates_per_env_step": 1.0,
    "every_env_steps": 10_000,
    "episodes": 10,
    "seeds": 5,
    "env_steps": 3_000_000,
}


def value(experiment: Any, key: str) -> Any:
    places = (experiment, experiment.stop, experiment.config.sac, experiment.config.replay, experiment.config.evaluation)
    owner = next(place for place in places if hasattr(place, key.split(".")[0]))
    for part in key.split("."):
        owner = getattr(owner, part)
    return owner


@EVERY_ENV
def test_settings_are_those_of_table_7(env: str) -> None:
    experiment, column = load(env), ENVS.index(env)
    expected = COMMON | {key: values[column] for key, values in TABLE_7.items()}
    assert {key: value(experiment, key) for key in expected} == expected


def differences(name: str, other: str) -> dict[str, Any]:
    """What ``name`` has where it differs from ``other``."""
    ours, theirs = (dict(_leaves(dataclasses.asdict(load(each)))) for each in (name, other))
    return {key: value for key, value in ours.items() if theirs.get(key, "absent") != value and key != "name"}


def _leaves(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(data, dict) or not data:
        yield prefix, data
        return
    for name, child in data.items():
        yield from _leaves(child, f"{prefix}.{name}" if prefix else name)


@EVERY_ENV
def test_variants_differ_in_what_they_are_named_for(env: str) -> None:
    flows = dict(zip(ENVS, (3, 4, 5, 5, 4, 2), strict=True))[env]
    calibration = {"config.sac.target_calibration": False} if env == "hopper" else {}
    assert differences(f"{env}_sac", env) == {"config.sac.policy": "gaussian", **calibration}
    assert differences(f"{env}_no_clamping", env) == {"config.sac.jacobian_clamping": None}
    changed = {"config.sac.score.standardisation": "amortised", "config.sac.score.antithetic": True}
    assert differences(f"{env}_plus", env) == {**changed, "config.sac.implicit.initialisation": "lecun"}
    policy = {"config.sac.policy": "flow", "config.sac.flow.flows": flows}
    assert differences(f"{env}_sac_nf", f"{env}_sac") == {key: v for key, v in policy.items() if (key, v) != ("config.sac.flow.flows", 3)}
    assert differences(f"{env}_sac_nsf", f"{env}_sac_nf").pop("config.sac.flow.kind") == "spline"
    assert load(f"{env}_sac_nsf").config.sac.flow.flows == 2
    assert load(f"{env}_sac_nf").config.sac.flow.kind == "radial" and load(f"{env}_sac_nf").config.sac.flow.flows == flows


HUMANOIDS = {"implicit.head_layers": 3, "implicit.width": 256, "implicit.head_width": 64, "score.context_layers": 2}


@pytest.mark.parametrize(
    ("env", "released"),
    [
        (
            "half_cheetah",
            {"implicit.encoder_layers": 2, "score.samples_per_context": 64, "score.importance_samples": 10, "warmup_env_steps": 10_000},
        ),
        ("ant", {"implicit.encoder_layers": 2, "score.samples_per_context": 128, "score.importance_samples": 100}),
        ("hopper", {"implicit.head_layers": 2}),
        ("walker2d", {"implicit.encoder_layers": 3, "implicit.head_layers": 1, "score.context_layers": 2}),
        ("humanoid", HUMANOIDS),
        ("humanoid_rllab", HUMANOIDS),
    ],
)
def test_released_settings(env: str, released: dict[str, Any]) -> None:
    found = differences(f"{env}_released", env)
    sections = {key: "replay" if key == "warmup_env_steps" else "sac" for key in released}
    assert found == {f"config.{sections[key]}.{key}": value for key, value in released.items()}


@pytest.mark.parametrize("env", ["pendulum", "inverted_double_pendulum", "hopper_small"])
def test_the_small_study_compares_like_with_like(env: str) -> None:
    plus = {"score.standardisation": "amortised", "score.antithetic": True, "implicit.initialisation": "lecun"}
    assert differences(f"small_study/{env}_plus", f"small_study/{env}") == {f"config.sac.{key}": v for key, v in plus.items()}
    baselines = differences(f"small_study/{env}_baselines", f"small_study/{env}")
    assert baselines.pop("config.sac.flow.flows") == (5 if env == "hopper_small" else 4)
    assert baselines == {"grid_search.sac.policy": ["gaussian", "flow"]}


def test_the_small_study_has_the_same_methods_everywhere() -> None:
    """So that they can be compared over all environments."""
    names: dict[str, set[str]] = {}
    for path in (CONFIGS / "small_study").glob("*.yaml"):
        experiment = load(f"small_study/{path.stem}")
        for policy in experiment.grid_search.get("sac.policy", [experiment.config.sac.policy]):
            sac = dataclasses.replace(experiment.config.sac, policy=policy)
            names.setdefault(experiment.env, set()).add(method_name(dataclasses.asdict(sac)))
    assert len(names) == 3 and all(each == names["Pendulum-v1"] and len(each) == 4 for each in names.values())


def test_rllabs_humanoid_is_cut_at_1000_steps() -> None:
    assert load("humanoid_rllab").config.env_config == {"max_episode_steps": 1000}


@pytest.mark.parametrize("name", sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml")))
def test_every_file_dry_runs_and_shows_the_whole(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if MNIST had been fetched; what is said where it was not is tested with the data."""
    monkeypatch.setattr("ardae_rl.tasks.vae.config._read", lambda static, folder: None)
    path = CONFIGS / name
    experiment = load_experiment(path, storage_path=tmp_path)
    assert _tune(path, experiment, RunOptions(console=console_of(sys.stdout)), dry_run=True) == 0
    shown, trials = capsys.readouterr().out.split("\n\n", 1)
    complete = yaml.safe_load(shown)
    assert complete.keys() == {"schema"} | {field.name for field in dataclasses.fields(experiment)}
    assert "base" not in complete and f"{path.stem}" == complete["name"] and "at a time on" in trials
    assert not list(tmp_path.iterdir())
