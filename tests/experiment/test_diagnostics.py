"""The numbers that tell how an implicit policy and its AR-DAE do are where a user looks: in metrics.csv, in TensorBoard, in the docs."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ardae_rl.rllib.trial import METRICS_COLUMNS
from tests.experiment.process import ROOT, Run

IMPLICIT = """\
name: tiny
run: SAC-AR-DAE
env: Pendulum-v1
stop: {env_steps: 160}
config:
  sac:
    policy: implicit
    implicit: {noise_dim: 3, width: 16}
    critic: {width: 16}
    score: {layers: 2, context_layers: 1, input_layers: 0, width: 16, whitener_width: 16, samples_per_context: 4, importance_samples: 8}
    jacobian_clamping: {eta: 0.5}
    alpha: auto
    target_calibration: true
  replay: {batch_size: 16, warmup_env_steps: 80, updates_per_env_step: 0.2}
  env_runners: {num_envs_per_env_runner: 4}
  evaluation: {every_env_steps: 80, episodes: 2}
  report_every_env_steps: 40
"""


@pytest.mark.timeout(300)
def test_every_diagnostic_of_an_implicit_policy_is_recorded_and_in_tensorboard(launch: Callable[..., Run], tmp_path: Path) -> None:
    run = launch(IMPLICIT)
    assert run.finish(250) == 0, run.output
    with next(tmp_path.rglob("metrics.csv")).open(newline="") as file:
        rows = [{name: float(value or math.nan) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["env_steps"] for row in rows] == [40, 80, 120, 160]
    watched = [name for name in METRICS_COLUMNS if name.startswith(("learner/", "policy/"))]
    assert len(watched) == 23
    assert all(math.isnan(row["learner/score_loss"]) for row in rows[:2]), "the warm-up learns nothing"
    assert [name for name in watched for row in rows[2:] if not math.isfinite(row[name])] == []
    for row in rows[2:]:
        assert 1 <= row["learner/importance_ess"] <= 8 and 0 < row["learner/log_z_error"] <= 1 and row["learner/log_z_std"] > 0
        assert 0 <= row["learner/clamping_loss"] <= 0.5**2 and row["learner/clamping_weight"] > 1
        assert row["learner/score_loss"] > 0 and row["policy/action_std"] > 0 and row["learner/jacobian_stretch"] > 0
    assert rows[2]["learner/clamping_weight"] < rows[3]["learner/clamping_weight"]
    events = events_of(run_folder(tmp_path))
    for name in watched:
        drawn = {point.step: point.value for point in events.Scalars(f"ray/tune/{name}")}
        assert drawn[120] == pytest.approx(rows[2][name], rel=1e-5) and drawn[160] == pytest.approx(rows[3][name], rel=1e-5), name
    spread = events_of(run_folder(tmp_path) / "histograms")
    assert set(spread.Tags()["histograms"]) == {"policy/action_std", "policy/jacobian_singular_value_min", "evaluation_returns"}
    for name in ("policy/action_std", "policy/jacobian_singular_value_min"):
        shown = {event.step: event.histogram_value for event in spread.Histograms(name)}
        assert {steps: (each.num, each.sum / each.num) for steps, each in shown.items()} == {
            row["env_steps"]: (64, pytest.approx(row[name], rel=1e-5)) for row in (rows[0], *rows[1::2])
        }, name
    assert [event.histogram_value.num for event in spread.Histograms("evaluation_returns")] == [2, 2, 2]
    assert [picture.step for picture in spread.Images("actions")] == [40, 80, 160], (
        "the first evaluation, before training, is shown with the first report"
    )


def run_folder(tmp_path: Path) -> Path:
    return next(tmp_path.rglob("metrics.csv")).parent


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0})
    events.Reload()
    return events


def test_every_learner_metric_is_documented_with_what_a_bad_value_looks_like() -> None:
    lines = (ROOT / "docs" / "metrics.md").read_text().splitlines()
    table = [line.strip("|").replace("\\|", "¦").split("|") for line in lines if line.startswith(("| `learner/", "| `policy/"))]
    documented = {name.strip(" `"): worry.strip() for names, _, worry in table for name in names.split(",")}
    assert documented.keys() == {name for name in METRICS_COLUMNS if name.startswith(("learner/", "policy/"))}
    assert [name for name, worry in documented.items() if not worry] == []
