"""A report of autoencoders says what was measured, on which data, and compares posteriors seed by seed."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.image import imread

from ardae_rl.report.reports import write_task_report
from ardae_rl.report.vae import curves, differences, named, table
from ardae_rl.tasks.vae.config import EvaluationSettings, NetworkSettings, ScoreSettings, VAESettings
from tests.report.study import write_task_record, write_task_trial

GRID = {"posterior": ["gaussian", "ivi_ardae"]}
TINY = VAESettings(
    latent_dim=2,
    network=NetworkSettings(width=8),
    score=ScoreSettings(width=8, layers=1, samples_per_context=4),
    evaluation=EvaluationSettings(samples=10, images=10, test_samples=10, test_images=10),
    steps=4,
)


def write_trial(folder: Path, chosen: VAESettings, seed: int) -> None:
    task = write_task_trial(folder, "vae", chosen, seed)
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
    return write_task_record(root, "vae", chosen, GRID)


def test_the_report_writes_all_it_lists(folder: Path, tmp_path: Path) -> None:
    experiment = yaml.safe_load((folder / "experiment.yaml").read_text())
    written = write_task_report(experiment, folder, tmp_path / "out")[0]
    pictures = {"planes.png"} if experiment["config"]["data"] == "toy" else {"samples.png", "reconstructions.png"}
    names = {"evaluations.csv", "table.md", "experiment.yaml", "provenance.jsonl", "curves.png"} | pictures
    assert {path.name for path in written} == names == {path.name for path in (tmp_path / "out").iterdir()}
    text = (tmp_path / "out" / "table.md").read_text()
    assert ("25 Gaussians" in text) == ("modes_covered" in text) == (experiment["config"]["data"] == "toy")
    assert "latent_dim 2, steps 4, batch_size 128, lr 0.001, score.samples_per_context 4," in text and "evaluation.test_samples 10" in text
    assert "by the weights best on validation" in text and text.count("| gaussian |") == 3 and "diverged" not in text
    for name in pictures:
        height, width = imread(tmp_path / "out" / name).shape[:2]
        assert 0.1 < height / width < 2


def test_a_noise_level_that_varies_may_be_null(tmp_path: Path) -> None:
    """Figure 5's grid: null, AR-DAE, among numbers, which pandas takes for NaN."""
    chosen, grid = dataclasses.replace(TINY, data="toy", posterior="ivi_ardae"), {"score.fixed_sigma": [None, 0.5]}
    for name, sigma in (("null", None), ("0.5", 0.5)):
        score = dataclasses.replace(chosen.score, fixed_sigma=sigma)
        write_trial(tmp_path / "tiny" / f"fixed_sigma={name}_seed=0", dataclasses.replace(chosen, score=score), 0)
    write_task_record(tmp_path / "tiny", "vae", chosen, grid, seeds=1)
    experiment = yaml.safe_load((tmp_path / "tiny" / "experiment.yaml").read_text())
    assert tmp_path / "out" / "planes.png" in write_task_report(experiment, tmp_path / "tiny", tmp_path / "out")[0]
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| AR-DAE | sigma = 0.5 |" in text and "no mean" not in text


def test_a_trial_that_left_nothing_is_missed(folder: Path, tmp_path: Path) -> None:
    """One posterior's trials are gone, and one seed of the other's ended early: neither has a mean, and both are named."""
    experiment = yaml.safe_load((folder / "experiment.yaml").read_text())
    for seed in (0, 1):
        (folder / f"posterior=gaussian_seed={seed}" / "evaluations.csv").unlink()
    half = folder / "posterior=ivi_ardae_seed=1" / "evaluations.csv"
    half.write_text("".join(half.read_text().splitlines(keepends=True)[:2]))
    write_task_report(experiment, folder, tmp_path / "out")[0]
    text = (tmp_path / "out" / "table.md").read_text()
    assert "there is no mean: gaussian seed 0; gaussian seed 1; ivi_ardae seed 1." in text
    lines = [line for line in text.splitlines() if line.startswith(("| gaussian", "| ivi_ardae"))]
    assert [line.split(" | ")[1] for line in lines if "|  |" not in line][:2] == ["-"] * 2
    assert "| gaussian | -, - |" in lines


def rows(values: dict[str, list[float]]) -> pd.DataFrame:
    frame = pd.DataFrame([{"posterior": name, "seed": i, "test_nll": v} for name, column in values.items() for i, v in enumerate(column)])
    return frame.assign(validation_nll=frame["test_nll"])


def test_differences_are_of_the_same_seed() -> None:
    """The seeds differ by far more than the posteriors do: unpaired, nothing would show."""
    text = differences(rows({"ivi_ardae": [10.0, 20.0, 30.0], "gaussian": [11.0, 21.1, 30.9]}), ["posterior"])
    low, high = -1 - 4.3027 * 0.1 / 3**0.5, -1 + 4.3027 * 0.1 / 3**0.5  # t of two degrees of freedom at 97.5%
    assert f"| ivi_ardae | gaussian | -1.00 | {low:.2f} to {high:.2f} | 3 |" in text
    assert -1.3 < low < -1 < high < -0.7 and high + 1 == pytest.approx(-1 - low)


def test_every_pair_is_compared_once() -> None:
    text = differences(rows({"a": [1.0, 2.0], "b": [1.5, 2.5], "c": [3.0, 4.0]}), ["posterior"])
    assert [line.split(" | ")[:3] for line in text.splitlines() if line[:3] in ("| a", "| b", "| c")] == [
        ["| a", "b", "-0.50"],
        ["| a", "c", "-2.00"],
        ["| b", "c", "-1.50"],
    ]


def test_a_diverged_seed_flatters_nobody() -> None:
    """a has (80, 81), b (nan, 79): b's one seed must not make it the better, nor anything be said of its difference."""
    ends = rows({"gaussian": [80.0, 81.0], "b": [np.nan, 79.0]})
    text = table(ends, ["posterior"], dataclasses.asdict(TINY))
    assert "| b | - | 2 |" in text and "| gaussian | 80.50 ± 0.50 | 2 |" in text
    assert "there is no mean: b seed 0." in text and "| gaussian | b | - | - to - | 2 |" in text
    assert "- to -" in differences(rows({"gaussian": [np.nan, 81.0], "b": [78.0, 79.0]}), ["posterior"])


def test_the_best_step_is_that_of_each_seed() -> None:
    ends = rows({"gaussian": [80.0, 81.0, 82.0], "b": [80.0, np.nan, 82.0]}).assign(best_step=[4200.0, 3900, 4100, 500, np.nan, 700])
    text = table(ends, ["posterior"], dataclasses.asdict(TINY))
    assert "| gaussian | 4200, 3900, 4100 |" in text and "| b | 500, -, 700 |" in text
    assert "best_step" not in text.splitlines()[4] and "4067" not in text, "no mean of them"


@pytest.mark.parametrize("autocast", [False, True])
def test_the_table_says_whose_seconds_are_of_bfloat16(autocast: bool) -> None:
    config = dataclasses.asdict(dataclasses.replace(TINY, score=dataclasses.replace(TINY.score, autocast=autocast)))
    text = table(rows({"gaussian": [80.0, 81.0]}), ["posterior"], config)
    assert ("AR-DAE's network computes in bfloat16, AVB's in float32" in text) == autocast


def test_a_run_that_diverged_after_its_best_is_named() -> None:
    ends = rows({"gaussian": [80.0, 81.0]})
    ends.loc[1, "validation_nll"] = np.nan
    assert "tested with weights of before: gaussian seed 1." in table(ends, ["posterior"], dataclasses.asdict(TINY))


def test_the_table_says_when_validation_images_were_trained_on() -> None:
    ends = rows({"gaussian": [80.0, 81.0]}).assign(best_validation_nll=np.inf, best_step=0.0)
    text = table(ends, ["posterior"], dataclasses.asdict(dataclasses.replace(TINY, train_on_validation=True)))
    assert "by the last weights, validation images being trained on" in text and "best_" not in text and "inf" not in text


def test_nats_have_two_decimals() -> None:
    text = table(rows({"gaussian": [100.44, 100.44], "b": [100.04, 100.04]}), ["posterior"], dataclasses.asdict(TINY))
    assert "100.44 ± 0.00" in text and "100.04 ± 0.00" in text and "| gaussian | b | 0.40 |" in text


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
    ).assign(validation_posterior_log_variance=-1.0)
    by_steps, by_seconds, variance = curves(evaluations, ["posterior"]).axes
    assert np.asarray(by_steps.lines[0].get_xydata()).tolist() == [[1, 5], [2, 3]]
    assert np.asarray(by_seconds.lines[0].get_xydata()).tolist() == [[0.5, 5], [1, 3]]
    assert np.asarray(variance.lines[0].get_ydata()).tolist() == [-1, -1]


def test_a_curve_ends_where_a_seed_did() -> None:
    """The other seed alone would make the mean jump."""
    evaluations = pd.DataFrame({"posterior": "a", "seed": [0, 0, 1], "steps": [1, 2, 1], "seconds": 1.0, "validation_nll": [4.0, 2.0, 6.0]})
    by_steps, _, _ = curves(evaluations.assign(validation_posterior_log_variance=-1.0), ["posterior"]).axes
    (first, second) = np.asarray(by_steps.lines[0].get_xydata()).tolist()
    assert first == [1, 5] and np.isnan(second[1])
