"""A report of autoencoders says what was measured, on which data, and compares posteriors seed by seed."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.image import imread

from ardae_rl.report.vae import curves, differences, interval, named, table, write
from ardae_rl.tasks.vae.config import EvaluationSettings, NetworkSettings, ScoreSettings, VAESettings
from ardae_rl.tasks.vae.task import VAETask

GRID = {"posterior": ["gaussian", "ivi_ardae"]}
TINY = VAESettings(
    latent_dim=2,
    network=NetworkSettings(width=8),
    score=ScoreSettings(width=8, layers=1, samples_per_image=4),
    evaluation=EvaluationSettings(samples=10, images=10, test_samples=10, test_images=10),
    steps=4,
)


def write_trial(folder: Path, chosen: VAESettings, seed: int) -> None:
    task, rows = VAETask(chosen, seed=seed), []
    for steps in (2, 4):
        task.step(), task.step()
        rows.append({"seed": seed, "steps": steps, "seconds": steps / 10, **task.evaluate()})
    (folder / "figures").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "evaluations.csv", index=False)
    (folder / "params.json").write_text(json.dumps({"run": "vae", "settings": dataclasses.asdict(chosen), "seed": seed}))
    for name, figure in task.figures().items():
        figure.savefig(folder / "figures" / f"{name}.png")


@pytest.fixture(params=["digits", "toy"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What two posteriors x two seeds leave behind, written as a trial does."""
    chosen = dataclasses.replace(TINY, data=request.param)
    root = tmp_path / "tiny"
    for posterior in GRID["posterior"]:
        for seed in (0, 1):
            write_trial(root / f"posterior={posterior}_seed={seed}", dataclasses.replace(chosen, posterior=posterior), seed)  # type: ignore[arg-type]
    experiment = {"name": "tiny", "run": "vae", "config": dataclasses.asdict(chosen), "grid_search": GRID}
    (root / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    (root / "provenance.jsonl").write_text("{}\n")
    return root


def test_the_report_writes_all_it_lists(folder: Path, tmp_path: Path) -> None:
    experiment = yaml.safe_load((folder / "experiment.yaml").read_text())
    written = write(experiment, folder, tmp_path / "out")
    pictures = {"planes.png"} if experiment["config"]["data"] == "toy" else {"samples.png", "reconstructions.png"}
    names = {"evaluations.csv", "table.md", "experiment.yaml", "provenance.jsonl", "curves.png"} | pictures
    assert {path.name for path in written} == names == {path.name for path in (tmp_path / "out").iterdir()}
    text = (tmp_path / "out" / "table.md").read_text()
    assert ("25 Gaussians" in text) == ("modes_covered" in text) == (experiment["config"]["data"] == "toy")
    assert "with 10 samples per image" in text and text.count("| gaussian |") >= 1
    for name in pictures:
        height, width = imread(tmp_path / "out" / name).shape[:2]
        assert 0.1 < height / width < 2


def rows(values: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame([{"posterior": name, "seed": i, "test_nll": v} for name, column in values.items() for i, v in enumerate(column)])


def test_differences_are_of_the_same_seed() -> None:
    """The seeds differ by far more than the posteriors do: unpaired, nothing would show."""
    text = differences(rows({"gaussian": [11.0, 21.1, 30.9], "ivi_ardae": [10.0, 20.0, 30.0]}), ["posterior"])
    low, high = interval(np.array([1.0, 1.1, 0.9]))
    assert f"| gaussian | 1 | {low:.3g} to {high:.3g} | 3 |" in text and "less that of ivi_ardae" in text
    assert 0.7 < low < 1 < high < 1.3 and high - 1 == pytest.approx(1 - low)


def test_the_interval_is_students() -> None:
    """t of two degrees of freedom at 97.5%: 4.3027; sem of 1, 2, 3: 1 / sqrt 3."""
    assert interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert np.isnan(interval(np.array([1.0]))).all()


def test_seeded_binarisation_is_named_in_the_table() -> None:
    config: dict[str, Any] = dataclasses.asdict(dataclasses.replace(TINY, data="sbmnist_seeded"))
    assert "not Larochelle's images" in table(rows({"gaussian": [80.0, 81.0]}), ["posterior"], config)
    assert "Larochelle & Murray" in table(rows({"gaussian": [80.0]}), ["posterior"], config | {"data": "sbmnist"})


def test_a_noise_level_is_named() -> None:
    frame = named(pd.DataFrame({"score.fixed_sigma": [None, 0.5, 0.01], "seed": [0, 1, 2]}))
    assert list(frame["score.fixed_sigma"]) == ["AR-DAE", "sigma = 0.5", "sigma = 0.01"]
    assert list(named(frame[["seed"]]).columns) == ["seed"]


def test_curves_have_a_point_per_evaluation() -> None:
    evaluations = pd.DataFrame(
        {
            "posterior": ["a"] * 4,
            "seed": [0, 0, 1, 1],
            "steps": [1, 2] * 2,
            "seconds": [0.5, 1.0] * 2,
            "validation_nll": [4.0, 2.0, 6.0, 4.0],
        }
    ).assign(posterior_log_variance=-1.0)
    by_steps, by_seconds, variance = curves(evaluations, ["posterior"]).axes
    assert np.asarray(by_steps.lines[0].get_xydata()).tolist() == [[1, 5], [2, 3]]
    assert np.asarray(by_seconds.lines[0].get_xydata()).tolist() == [[0.5, 5], [1, 3]]
    assert np.asarray(variance.lines[0].get_ydata()).tolist() == [-1, -1]
