"""The report of a continuous-control study against numbers worked by hand, from records to the page a browser shows."""

import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from scipy import signal
from typer.testing import CliRunner

from ardae_rl import cli
from ardae_rl.experiment.events import CRASHED, EVENTS, WARNING, EventLog
from ardae_rl.report import control
from ardae_rl.report.control import improvements, returns, runs_of, scales, write_report
from ardae_rl.report.curves import learning_curves, performance_profiles
from ardae_rl.report.paper import MAXIMUM, METHODS, NORMALISED, PUBLISHED, published
from ardae_rl.report.records import read_experiment
from ardae_rl.report.runs import read_runs
from ardae_rl.rllib.evaluation import random_returns
from ardae_rl.run.folder import RunFolder
from tests.report.study import PAPERS, PLUS, SAC, write_experiment

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FILES = {"report.md", "report.html", "evaluations.csv", "runs.csv", "returns.csv", "improvement.csv"}


@pytest.fixture(autouse=True)
def _score_0_is_the_first_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly everywhere below, for numbers that can be worked by hand."""
    monkeypatch.setattr("ardae_rl.report.runs._random_return", lambda *_: math.nan)


@pytest.fixture
def study(tmp_path: Path) -> list[Path]:
    """SAC and SAC-AR-DAE on Hopper; SAC alone on Ant."""
    return [
        write_experiment(tmp_path, "hopper_sac", "Hopper-v5", SAC, {0: [10, 20, 40, 30], 1: [30, 60, 20, 10], 2: [20, 10, 50, 20]}),
        write_experiment(tmp_path, "hopper", "Hopper-v5", PAPERS, {0: [20, 50, 90, 80], 1: [20, 40, 50, 70]}),
        write_experiment(tmp_path, "ant_sac", "Ant-v5", SAC, {0: [0, 100, 200, 300], 1: [0, 200, 400, 600]}),
    ]


def experiments_of(folders: list[Path]) -> list[tuple[Path, dict[str, Any]]]:
    return [(folder, read_experiment(folder)) for folder in folders]


def row_of(table: pd.DataFrame, **values: str) -> pd.Series:
    for name, value in values.items():
        table = table[table[name] == value]
    ((_, row),) = table.iterrows()
    return row


def test_maximum_and_normalised_average_return_are_the_papers(study: list[Path]) -> None:
    row = row_of(returns(runs_of(read_runs(experiments_of(study))[0])), env="Hopper-v5", method="SAC")
    assert (row["seeds"], row["env_steps"]) == (3, 4000)
    assert row["maximum_mean"] == pytest.approx(50) and row["maximum_std"] == pytest.approx(10)  # of 40, 60, 50
    assert row["normalised_mean"] == pytest.approx((25 + 30 + 25) / 3) and row["maximum_iqm"] == pytest.approx(50)
    assert 40 <= row["maximum_iqm_low"] < 50 < row["maximum_iqm_high"] <= 60


def test_scores_put_environments_on_one_scale(study: list[Path]) -> None:
    runs = runs_of(read_runs(experiments_of(study))[0])
    # Hopper: first evaluations 10 30 20 20 20, mean 20; the best method's maxima are 90 and 70, mean 80. Ant: 0, and (300 + 600) / 2.
    maxima = dict(zip(runs["maximum"], runs["maximum_score"], strict=True))
    assert {key: maxima[key] for key in (40, 90, 300, 600)} == pytest.approx({40: 20 / 60, 90: 70 / 60, 300: 300 / 450, 600: 600 / 450})
    over_all = returns(runs).query("env == 'all'")
    assert over_all["method"].tolist() == ["SAC"], "the other did not run on Ant"
    scores = [20 / 60, 40 / 60, 30 / 60, 300 / 450, 600 / 450]  # floor(5 / 4) = 1 cut off at either end
    assert over_all["maximum_iqm"].item() == pytest.approx(np.mean(sorted(scores)[1:-1]))
    assert over_all["maximum_mean"].item() == pytest.approx(np.mean(scores))


def test_probability_of_improvement_compares_runs_on_the_same_environment(study: list[Path]) -> None:
    table = improvements(runs_of(read_runs(experiments_of(study))[0]))
    assert table[["env", "method", "other"]].to_numpy().tolist() == [["Hopper-v5", "SAC-AR-DAE", "SAC"]]
    assert table["maximum"].item() == 1  # 90 and 70 against 40 60 50
    assert table["normalised"].item() == 1  # 60 and 45 against 25 30 25


def test_runs_that_never_change_have_no_score_rather_than_an_infinite_one(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "flat", "Hopper-v5", SAC, {0: [5, 5], 1: [5, 5]})
    runs = runs_of(read_runs(experiments_of([folder]))[0])
    assert runs["maximum_score"].isna().all() and runs["maximum"].tolist() == [5, 5]
    assert write_report(experiments_of([folder]), tmp_path / "out")[1] == []


def test_more_seeds_of_an_experiment_may_lie_elsewhere_under_its_name(tmp_path: Path) -> None:
    both = [write_experiment(tmp_path / place, "a", "Hopper-v5", SAC, {seed: [1, 2]}) for seed, place in enumerate(("first", "later"))]
    (both[1] / "provenance.jsonl").write_text(json.dumps({"command": "python scripts/tune.py a.yaml --seeds 1,"}) + "\n")
    out = tmp_path / "out"
    assert write_report(experiments_of(both), out)[1] == []
    commands = [json.loads((out / name / "provenance.jsonl").read_text())["command"] for name in ("a", "a_2")]
    assert commands == ["python scripts/tune.py <x>.yaml", "python scripts/tune.py a.yaml --seeds 1,"]
    text = (out / "report.md").read_text()
    assert "| Hopper-v5 | SAC | 2 |" in text and all(command.rpartition("tune.py ")[2] in text for command in commands[1:])


def test_a_curve_is_the_mean_of_smoothed_runs_and_its_band_their_standard_error(tmp_path: Path) -> None:
    curves = {seed: np.random.default_rng(seed).normal(size=12).round(3).tolist() for seed in range(3)}
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, curves)
    axes = learning_curves(read_runs(experiments_of([folder]))[0]).axes[0]
    smooth = np.array([signal.savgol_filter(curve, 7, 2) for curve in curves.values()])
    (line,), (band,) = axes.lines, axes.collections
    np.testing.assert_allclose(np.asarray(line.get_ydata()), smooth.mean(0), atol=1e-6)
    assert np.asarray(line.get_xdata()).tolist() == [1000.0 * step for step in range(1, 13)]
    error = smooth.std(0, ddof=1) / math.sqrt(3)
    edge = np.array(band.get_paths()[0].vertices, dtype=float)
    for step in range(12):
        at_step = edge[edge[:, 0] == 1000.0 * (step + 1), 1]
        assert (at_step.min(), at_step.max()) == pytest.approx((smooth.mean(0)[step] - error[step], smooth.mean(0)[step] + error[step]))


def test_the_papers_numbers_are_found_whatever_the_version() -> None:
    assert published(MAXIMUM, "HalfCheetah-v4", "SAC-AR-DAE") == (10907, 664)
    assert published(NORMALISED, "ardae_rl/RllabHumanoid-v0", "SAC-AR-DAE without clamping") == (332, 136)
    assert published(MAXIMUM, "Pendulum-v1", "SAC") is None and published(MAXIMUM, "Ant-v5", "SAC-NSF") is None
    assert published(MAXIMUM, "Ant-v5", "SAC-AR-DAE plus without clamping") == (6097, 140), "beside what it is a variant of"
    for table in PUBLISHED.values():
        assert len(table) == 6 and all(len(row) == len(METHODS) for row in table.values())


class Page(HTMLParser):
    """Tags opened and closed in order, sources of pictures, links, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == [], "every tag is closed"
    return page


def report(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(cli.report)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_writes_the_report_and_says_what_it_left_out(study: list[Path], tmp_path: Path) -> None:
    (study[2] / "seed=1" / "evaluations.csv").write_text("seed,<b>env</b>\n")
    out = tmp_path / "out"
    done = report(*study, tmp_path / "nowhere", "--output", out)
    assert done.exit_code == 1
    assert f"Warning: {tmp_path / 'nowhere'}: there is no experiment.yaml in it" in done.stderr
    assert f"Warning: {study[2] / 'seed=1'}: evaluations.csv has no column" in done.stderr
    assert {path.name for path in out.glob("*.*")} == FILES | {"learning_curves.png", "performance_profiles.png"}
    assert set(done.stdout.split()) == {str(path) for path in out.rglob("*.*")}
    page, markdown = page_of(out / "report.html"), (out / "report.md").read_text()
    assert len(page.sources) == 3 and all(source.startswith("data:") for source in page.sources), "nothing is fetched"
    assert json.loads((out / "hopper" / "provenance.jsonl").read_text())["git_commit"] == "0123456789abcdef"
    for text in (page.text, markdown):
        assert "50 ± 10" in text and "3,563 ± 119" in text and "1.00 [1.00, 1.00]" in text and "3 million steps" in text
        assert "python scripts/tune.py <x>.yaml" in text and "0123456789" in text
        assert "maximum average return, ± std over runs" in text and "Mean ± one standard deviation of runs" in text


def test_the_command_reports_a_complete_study_with_code_0_and_nothing_with_code_2(study: list[Path], tmp_path: Path) -> None:
    assert report(*study, study[0], "--output", tmp_path / "out").exit_code == 0
    empty = write_experiment(tmp_path, "empty", "Hopper-v5", PLUS, {}, stop=1000, seeds=2)
    done = report(empty, "--output", tmp_path / "none")
    assert done.exit_code == 2 and "2 of 2 trials have not started" in done.stderr and not (tmp_path / "none").exists()


def test_who_reports_on_checkpoints_is_told_that_they_are_pickles(tmp_path: Path) -> None:
    goals = write_experiment(tmp_path, "a", "ardae_rl/MultiGoal-v0", SAC, {0: [1, 2]})
    hopper = write_experiment(tmp_path, "b", "Hopper-v5", SAC, {0: [1, 2]})
    told = report(goals, hopper, "--output", tmp_path / "both").stderr
    assert f"Note: the goals are those of checkpoints in {goals}. Checkpoints are read by pickle" in told
    assert "Note" not in report(hopper, "--output", tmp_path / "one").stderr


def test_a_browser_shows_the_page_without_a_complaint(study: list[Path], tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine (Debian: chromium-headless-shell); the page is parsed elsewhere")
    write_report(experiments_of(study), tmp_path / "out")
    quiet = ["--disable-gpu", "--disable-background-networking", "--no-first-run", "--enable-logging=stderr"]
    command = [browser, "--headless", "--no-sandbox", *quiet, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    page = f"file://{tmp_path / 'out' / 'report.html'}"
    done = subprocess.run([*command, page], capture_output=True, text=True, timeout=200, check=True)
    assert "CONSOLE" not in done.stderr
    assert "Probability of improvement</h2>" in done.stdout and done.stdout.count("<table") == 6
    script = "document.title = [...document.images].map(i => i.complete && i.naturalWidth > 100)"
    probed = tmp_path / "out" / "probe.html"
    probed.write_text(
        (tmp_path / "out" / "report.html").read_text().replace("</body>", f"<script>onload = () => {{ {script} }}</script></body>")
    )
    shown = subprocess.run([*command, f"file://{probed}"], capture_output=True, text=True, timeout=200, check=True)
    assert "<title>true,true</title>" in shown.stdout


def test_the_page_says_what_happened_to_the_trials(study: list[Path], tmp_path: Path) -> None:
    write_report(experiments_of(study), tmp_path / "before")
    assert "What happened" not in (tmp_path / "before" / "report.md").read_text()
    log = EventLog(RunFolder(study[1]))
    log.add("seed=1", CRASHED, steps=12_000, cause="the <actor> died | unexpectedly")
    log.add("seed=0", WARNING, steps=0, cause="writing failed (No space left on device): trying again")
    with (study[1] / EVENTS).open("a") as file:
        file.write('5\n{"time": "2026')
    write_report(experiments_of(study), tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text().partition("## What happened")[2].partition("\n## ")[0]
    first, second = [line for line in markdown.splitlines() if line.startswith("| hopper |")]
    assert re.fullmatch(
        r"\| hopper \| 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \| seed=1 \| crashed \| 12,000 \| the <actor> died \\\| unexp.* \|", first
    )
    assert second.endswith("| seed=0 | warning | 0 | writing failed (No space left on device): trying again |")
    assert "the <actor> died | unexpectedly" in page_of(tmp_path / "out" / "report.html").text


def test_score_0_is_a_random_policy_where_the_environment_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    folders = [
        write_experiment(tmp_path, "pendulum", "Pendulum-v1", SAC, {0: [-900, -150], 1: [-700, -130]}),
        write_experiment(tmp_path, "gone", "Gone-v0", SAC, {0: [2, 80], 1: [4, 80]}),
        write_experiment(tmp_path, "elsewhere", "no_such_package:Gone-v1", SAC, {0: [2, 80], 1: [4, 80]}),
    ]
    runs = runs_of(read_runs(experiments_of(folders))[0])
    table = scales(runs).set_index("env")
    random = float(np.mean(random_returns("Pendulum-v1", {})))
    assert -1600 < random < -900, "it never gets up"
    assert table["zero"].to_dict() == {"Pendulum-v1": random, "Gone-v0": 3, "no_such_package:Gone-v1": 3}
    assert table["zero_is"].to_dict() == {
        "Pendulum-v1": "uniformly random actions, mean return of ten episodes",
        "Gone-v0": "mean first evaluation, after 1,000 steps",
        "no_such_package:Gone-v1": "mean first evaluation, after 1,000 steps",
    }
    maxima = dict(zip(runs["maximum"], runs["maximum_score"], strict=True))
    assert maxima[-150] == pytest.approx((-150 - random) / (-140 - random))


def test_where_nothing_was_learned_there_are_no_scores_to_take_together(study: list[Path], tmp_path: Path) -> None:
    sac = write_experiment(tmp_path, "walker", "Walker2d-v5", SAC, {0: [50, 20, 10, 5], 1: [50, 20, 10, 5]})
    apart, together = (runs_of(read_runs(experiments_of(folders))[0]) for folders in (study[:1] + study[2:], [study[0], study[2], sac]))
    expected, found = (returns(runs).query("env == 'all'") for runs in (apart, together))
    assert len(expected) == 1 and found.reset_index(drop=True).equals(expected.reset_index(drop=True))
    write_report(experiments_of([*study, sac]), tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Not taken together, for no method did better than score 0: Walker2d-v5." in text.partition("## Scores")[2].partition("\n## ")[0]


def test_the_page_says_what_the_scores_are_and_how_environments_weigh(study: list[Path], tmp_path: Path) -> None:
    write_report(experiments_of(study), tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    scores = text.partition("## Scores")[2].partition("\n## ")[0]
    assert "| Hopper-v5 | 20 | mean first evaluation, after 1,000 steps | 80 | mean maximum of SAC-AR-DAE |" in scores
    assert "an environment with more runs weighs more" in text.partition("## Over all environments")[2].partition("\n## ")[0]


def test_profiles_go_from_all_runs_to_none_however_low_the_scores(tmp_path: Path) -> None:
    """The first evaluations are late here: for all but one run nothing improves on them."""
    curves: dict[int, list[float]] = {0: [0, 1], 1: [-30, -28], 2: [-1, -2], 3: [40, 3]}
    folder = write_experiment(tmp_path, "a", "Hopper-v5", SAC, curves)
    figure = performance_profiles(runs_of(read_runs(experiments_of([folder]))[0]))
    for axes in figure.axes:
        (line,) = axes.lines
        shares = np.asarray(line.get_ydata())
        assert (shares[0], shares[-1]) == (1, 0) and len(set(shares)) == 5


def test_a_disk_that_does_not_take_the_report_is_named(study: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = report(*study, "--output", tmp_path / "file")
    assert done.exit_code == 2 and "Error: hopper_sac, hopper, ant_sac: [Errno 17] File exists" in done.output


@pytest.mark.parametrize(
    ("seeds", "words"), [(1, " A method with a single run has no interval."), (2, " With only 2 runs of a method, its 95%"), (10, "")]
)
def test_how_far_intervals_can_be_trusted_is_said(seeds: int, words: str) -> None:
    said = control._too_few(pd.DataFrame({"env": ["Hopper-v5"], "seeds": [seeds]}))
    assert said.startswith(words) and bool(said) == bool(words)
