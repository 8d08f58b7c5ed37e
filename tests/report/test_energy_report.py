"""The report of a tiny energy experiment: its table, its curves, and every picture in its place."""

import dataclasses
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.image import imread, imsave

from ardae_rl.report.energy import against_steps, side_by_side, table
from ardae_rl.report.records import final, read_evaluations, read_figures
from ardae_rl.report.reports import write_task_report
from ardae_rl.tasks.energy.config import EnergySettings, ScoreSettings
from tests.report.study import write_task_record, write_task_trial

GRID: dict[str, list[Any]] = {"target": ["potential_2", "potential_1"], "method": ["hierarchical_auxiliary", "implicit_ardae"]}
CHOSEN = EnergySettings(
    width=8,
    layers=1,
    score=ScoreSettings(width=8, layers=1, fits_per_step=1),
    batch_size=16,
    steps=2,
    emd_samples=100,
    final_emd_samples=100,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two targets x two methods x two seeds leave behind; each picture is of one colour that says whose it is."""
    root = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ardae_rl.tasks.energy.task.EVALUATION_SAMPLES", 40_000)
        for target, method, seed in product(*GRID.values(), (0, 1)):
            chosen = dataclasses.replace(CHOSEN, target=target, method=method)
            write_trial(root / f"method={method}_target={target}_seed={seed}", chosen, seed)
    return write_task_record(root, "energy", CHOSEN, GRID)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "tiny")


def write_trial(folder: Path, chosen: EnergySettings, seed: int) -> None:
    write_task_trial(folder, "energy", chosen, seed, evaluated=(1, 2))
    for name, shade in (("samples", shade_of(chosen.target, chosen.method, seed)), ("target", shade_of(chosen.target, "", 0))):
        imsave(folder / "figures" / f"{name}.png", np.full((4, 4, 3), shade))


def shade_of(target: str, method: str, seed: int) -> float:
    return (10 * GRID["target"].index(target) + (0 if not method else 1 + GRID["method"].index(method)) + 100 * seed) / 255


def test_every_picture_stands_in_the_row_of_its_target_and_the_column_of_its_method(folder: Path) -> None:
    figure = side_by_side(read_figures(folder, GRID, "samples"), list(GRID))
    shown = [axes for axes in figure.axes if axes.images]
    shades = [float(axes.images[0].get_array()[0, 0, 0]) for axes in shown]  # type: ignore[index]
    expected = [shade_of(target, method, 0) for target in GRID["target"] for method in ["", *GRID["method"]]]
    assert shades == pytest.approx(expected, abs=1e-3)
    assert [axes.get_title() for axes in shown[:3]] == ["potential 2", "hierarchical, auxiliary", "implicit, AR-DAE"]


def test_points_of_a_grid_are_named_by_what_varies(folder: Path) -> None:
    pictures = read_figures(folder, GRID, "samples")
    pictures = pictures[pictures["method"] == "implicit_ardae"].assign(**{"score.fits_per_step": 5, "noise_dim": 2})
    other = pictures.assign(**{"score.fits_per_step": 1})
    figure = side_by_side(pd.concat([pictures, other]), ["target", "method", "score.fits_per_step", "noise_dim"])
    assert [axes.get_title() for axes in figure.axes[:3]] == ["potential 2", "fits_per_step=5", "fits_per_step=1"]


def test_a_trial_without_pictures_leaves_its_place_empty(folder: Path) -> None:
    for seed in (0, 1):
        (folder / f"method=implicit_ardae_target=potential_1_seed={seed}" / "figures" / "samples.png").unlink()
    figure = side_by_side(read_figures(folder, GRID, "samples"), list(GRID))
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 1, 0]


def test_the_table_has_the_last_evaluations_and_no_column_of_nothing(folder: Path) -> None:
    rows = final(read_evaluations(folder, GRID)[0])
    lines = table(rows, list(GRID)).splitlines()
    assert (
        lines[0].startswith("| target | method | final_emd | final_emd_floor | final_emd_over_floor | emd_over_floor |")
        and len(lines) == 2 + 4
    )
    first = rows[(rows["target"] == "potential_2") & (rows["method"] == "hierarchical_auxiliary")]["final_emd"]
    assert lines[2].startswith(f"| potential_2 | hierarchical_auxiliary | {first.mean():.3g} ± {first.sem():.2g} |")
    assert "reverse_kl" not in table(rows.assign(reverse_kl=np.nan), list(GRID))


def test_curves_have_a_point_per_evaluation(folder: Path) -> None:
    figure = against_steps(read_evaluations(folder, GRID)[0], list(GRID))
    by_steps, by_seconds = figure.axes[:2]
    for axes, expected in ((by_steps, [1, 2]), (by_seconds, [0.1, 0.2])):
        curves = [np.asarray(line.get_xdata()).tolist() for line in axes.lines[:2]]
        assert curves == [pytest.approx(expected)] * 2
    assert len(figure.axes) == 4 and by_steps.get_title() == "potential_2"


def test_without_a_grid_there_is_one_row(folder: Path) -> None:
    pictures = read_figures(folder, {}, "samples")
    assert len([axes for axes in side_by_side(pictures, []).axes if axes.images]) == 2
    assert len(against_steps(read_evaluations(folder, {})[0], []).axes) == 2


def test_the_report_writes_all_it_lists(folder: Path, tmp_path: Path) -> None:
    experiment = yaml.safe_load((folder / "experiment.yaml").read_text())
    written = write_task_report(experiment, folder, tmp_path / "out")[0]
    names = {"evaluations.csv", "table.md", "experiment.yaml", "provenance.jsonl", "distance_against_steps.png", "samples.png"}
    assert {path.name for path in written} == names == {path.name for path in (tmp_path / "out").iterdir()}
    assert imread(tmp_path / "out" / "samples.png").shape[0] > 300
