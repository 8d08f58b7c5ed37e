"""A number stands beside the paper's together with every setting that is not the paper's."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ardae_rl.experiment.control import ControlExperiment
from ardae_rl.experiment.load import load_experiment
from ardae_rl.report.control import write_report
from ardae_rl.report.paper import unlike_the_paper
from ardae_rl.report.records import read_experiment
from ardae_rl.sac import SACConfig
from ardae_rl.sac.names import method_name
from tests.report.study import PAPERS, write_experiment

CONFIGS = Path(__file__).parents[2] / "tune_configs"
EIGHT = "num_envs_per_env_runner 8 (1)"
ENVS = ("half_cheetah", "ant", "hopper", "walker2d", "humanoid", "humanoid_rllab")


def unlike(name: str, **sac: Any) -> str:
    experiment = load_experiment(CONFIGS / f"{name}.yaml")
    assert isinstance(experiment, ControlExperiment)
    settings = dataclasses.asdict(dataclasses.replace(experiment.config, sac=dataclasses.replace(experiment.config.sac, **sac)))
    return unlike_the_paper(experiment.env, method_name(settings["sac"]), settings, dataclasses.asdict(experiment.stop))


@pytest.mark.parametrize("variant", ["", "_sac", "_sac_nf", "_no_clamping"])
@pytest.mark.parametrize("env", ENVS)
def test_the_files_of_the_study_are_set_as_in_the_paper(env: str, variant: str) -> None:
    limit = "max_episode_steps 1,000 (None), " if env == "humanoid_rllab" else ""
    assert unlike(f"{env}{variant}") == f"{limit}{EIGHT}"


def test_the_limit_of_evaluations_counts_where_the_environment_has_none() -> None:
    experiment = load_experiment(CONFIGS / "humanoid_rllab.yaml", assignments=["config.env_config={}"])
    assert isinstance(experiment, ControlExperiment)
    text = unlike_the_paper(experiment.env, "SAC", dataclasses.asdict(experiment.config), {"env_steps": 3_000_000})
    assert text == f"{EIGHT}, max_episode_steps 1,000 (None)"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "half_cheetah_released",
            f"{EIGHT}, warmup_env_steps 10,000 (5,000), score.samples_per_context 64 (128), score.importance_samples 10 (100), "
            "implicit.encoder_layers 2 (1)",
        ),
        ("hopper_released", f"{EIGHT}, implicit.head_layers 2 (1)"),
        (
            "humanoid_released",
            f"{EIGHT}, implicit.head_layers 3 (2), implicit.width 256 (64), implicit.head_width 64 (None), score.context_layers 2 (1)",
        ),
        ("hopper_plus", f"{EIGHT}, score.antithetic True (False), score.standardisation amortised (fixed)"),  # beside SAC-AR-DAE
        ("quickstart", ""),
    ],
)
def test_what_differs_is_named_with_the_papers_value(name: str, text: str) -> None:
    assert sorted(re.split(r", (?=[a-z])", unlike(name))) == sorted(re.split(r", (?=[a-z])", text))


def test_only_what_the_method_uses_counts() -> None:
    sac = load_experiment(CONFIGS / "hopper_sac.yaml").config.sac
    assert unlike("hopper_sac", score=dataclasses.replace(sac.score, samples_per_context=2), alpha=0.2) == f"alpha 0.2 (0.05), {EIGHT}"
    assert unlike("hopper_sac", alpha="auto", score=dataclasses.replace(sac.score, autocast=True)) == f"alpha auto (0.05), {EIGHT}"
    implicit = load_experiment(CONFIGS / "hopper.yaml").config.sac
    assert "score.autocast True (False)" in unlike("hopper", score=dataclasses.replace(implicit.score, autocast=True))


def test_the_page_names_the_reduced_settings_beside_the_number(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "small", "HalfCheetah-v5", PAPERS, {0: [1, 2], 1: [1, 2]})
    write_report([(folder, read_experiment(folder))], tmp_path / "out")
    section = (tmp_path / "out" / "report.md").read_text().partition("## Beside the paper")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith("| HalfCheetah-v5")]
    assert "10,907 ± 664" in row and "env_steps 2,000 (3,000,000)" in row
    assert "score.samples_per_context 4 (128)" in row and "score.importance_samples 8 (100)" in row and "antithetic True (False)" in row
    assert " alpha " not in row and "clamping.eta" not in row, "those are the paper's"


def test_a_setting_that_an_older_version_lacked_is_not_the_papers() -> None:
    settings = yaml.safe_load(yaml.safe_dump(dataclasses.asdict(SACConfig(policy="gaussian"))))
    del settings["tau"]
    assert "tau None (0.005)" in unlike_the_paper("Hopper-v5", "SAC", {"sac": settings}, {})
