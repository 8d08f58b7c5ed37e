"""What the paper's settings cost is timed at the shapes and sizes of its environments."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ardae_rl.experiment.load import load_experiment
from ardae_rl.sac import SAC
from benchmark import settings
from benchmark.report import Row
from benchmark.update import synthetic_batch
from scripts.bench import app

SMALL = """
name: {name}
run: SAC-AR-DAE
env: {env}
stop: {{env_steps: 100}}
config:
  sac:
    implicit: {{width: 8, noise_dim: 21}}
    critic: {{width: 8}}
    score: {{width: 8, layers: 1, context_layers: 0, input_layers: 0, samples_per_context: 4, whitener_width: 8}}
  replay: {{batch_size: 16}}
"""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    for name, env in (("hopper", "Hopper-v5"), ("humanoid_rllab", "ardae_rl/RllabHumanoid-v0")):
        (tmp_path / f"{name}.yaml").write_text(SMALL.format(name=name, env=env))
    return tmp_path


def test_seconds_and_days_of_each_file(configs: Path) -> None:
    rows = settings.run(configs, names=["hopper", "humanoid_rllab"], updates=2, device="cpu", compiled=False, seed=0, threads=1)
    by_name: dict[str, Row] = {row.name: row for row in rows}
    assert list(by_name) == ["hopper", "humanoid_rllab", "hopper, 3,000,000 updates", "humanoid_rllab, 3,000,000 updates"]
    for name in ("hopper", "humanoid_rllab"):
        assert 0 < by_name[name].value < 1
        assert by_name[f"{name}, 3,000,000 updates"].value == pytest.approx(by_name[name].value * 3e6 / 86_400)


def test_every_setting_of_the_paper_is_in_the_folder() -> None:
    folder = Path(__file__).parents[2] / "tune_configs"
    envs = {load_experiment(folder / f"{name}.yaml").env for name in settings.NAMES}  # type: ignore[attr-defined]
    assert len(envs) == 6


def test_an_update_learns_at_the_shapes_of_the_settings(configs: Path) -> None:
    config = load_experiment(configs / "hopper.yaml").config.sac
    sac = SAC.build(11, 3, config, seed=0)
    before = [parameter.clone() for parameter in sac.policy.parameters()]
    sac.update(synthetic_batch(16, 11, 3))
    assert all(not torch.equal(old, new) for old, new in zip(before, sac.policy.parameters(), strict=True))


def test_a_device_that_is_not_there_is_refused() -> None:
    result = CliRunner().invoke(app, ["settings", "--device", "tpu"])
    assert result.exit_code == 2 and "got 'tpu'" in result.output
