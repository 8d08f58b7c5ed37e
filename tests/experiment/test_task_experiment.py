"""Files whose ``run:`` is a task: what they may say, what is wrong with them, which trials they ask for, how they are summed up."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.plan import param_space, total_steps
from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.experiment.schema import to_yaml
from ardae_rl.experiment.summary import Evaluation, TrialSummary, closing_table, read_evaluations
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.task import ScoreErrorTask

Write = Callable[..., Path]

BASE = "name: tiny\nrun: score_error\n"


@pytest.fixture
def mistakes(write: Write) -> Callable[..., list[str]]:
    """``mistakes(text, *assignments)``: what is wrong with the file of BASE and ``text``, without its path."""

    def found(text: str = "", *assignments: str, base: str = BASE) -> list[str]:
        path = write(text, base=base)
        with pytest.raises(InvalidExperimentError) as caught:
            load_experiment(path, assignments=assignments)
        return [str(problem).replace(f"{path}:", "") for problem in caught.value.problems]

    return found


def test_a_task_needs_a_name_and_its_run_and_nothing_else(write: Write) -> None:
    experiment = load_experiment(write(base=BASE))
    assert experiment.config == ScoreErrorSettings()
    assert experiment.total_steps({}) == ScoreErrorSettings().steps


def test_data_that_is_missing_is_reported_before_anything_starts(write: Write, tmp_path: Path) -> None:
    """In any grid point, with the command that gets it; a grid point that needs no file does not hide it."""
    grid = "config: {data_folder: " + str(tmp_path) + "}\ngrid_search: {data: [digits, dbmnist]}\n"
    experiment = load_experiment(write(grid, base="name: tiny\nrun: vae\n"))
    with pytest.raises(
        InvalidExperimentError, match=r"tiny\.yaml: config: there is no .*mnist\.npz; run: python scripts/fetch_data\.py mnist"
    ):
        experiment.check("tiny.yaml")
    load_experiment(write("config: {data: toy}\n", base="name: tiny\nrun: vae\n")).check("tiny.yaml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("env: Pendulum-v1", "3: env: unknown key; valid names: name, run, "),
        ("steps: 5", "3: steps: unknown key here; did you mean 'config.steps' or 'stop.steps'?"),
        ("config: {stepz: 5}", "3: config.stepz: unknown key; did you mean 'steps'?"),
        ("config: {steps: 0}", "3: config.steps: must be 1 or greater, got 0"),
        ("config: {steps: many}", "3: config.steps: must be a whole number, got the text 'many'"),
        ("config: {lr: '3e-4'}", "3: config.lr: must be a number, got the text '3e-4' (write it without quotes)"),
        ("stop: {env_steps: 5}", "3: stop.env_steps: unknown key; did you mean 'steps'?"),
        ("stop: {steps: 0}", "3: stop.steps: must be 1 or greater, got 0"),
        ("checkpoint: {every_env_steps: 5}", "3: checkpoint.every_env_steps: unknown key; did you mean 'every_steps'?"),
        ("checkpoint: {every_steps: 0}", "3: checkpoint.every_steps: must be 1 or greater, got 0"),
        ("checkpoint: {keep: 1}", "3: checkpoint.keep: must be 2 or greater, got 1"),
        ("resources: {cpus_per_trial: 0}", "3: resources.cpus_per_trial: must be greater than 0, got 0"),
        ("resources: {gpus_per_trial: -1}", "3: resources.gpus_per_trial: must be 0 or greater, got -1"),
        ("resources: {max_concurrent_trials: 0}", "3: resources.max_concurrent_trials: must be 1 or greater, got 0"),
        ("grid_search: {stepz: [1]}", "3: grid_search.stepz: unknown key; did you mean 'steps'?"),
        ("grid_search: {lr: [1e-3, -1]}", "3: grid_search.lr: must be greater than 0, got -1"),
    ],
)
def test_a_mistake_is_named_with_place_key_and_repair(mistakes: Callable[..., list[str]], line: str, message: str) -> None:
    (found,) = [problem for problem in mistakes(line) if "stop.steps: is missing" not in problem]
    assert found.startswith(message) if message.endswith(" ") else found == message


def test_an_unknown_run_names_the_nearest_and_all_there_are(mistakes: Callable[..., list[str]]) -> None:
    kinds = "'SAC-AR-DAE' or 'energy' or 'maxent' or 'score_error' or 'vae'"
    near = mistakes("config: {stepz: 5}", base="name: tiny\nrun: score_eror\n")
    assert near[0] == f"2: run: must be {kinds}, got the text 'score_eror'; did you mean 'score_error'?"
    assert near[1:] == ["3: config.stepz: unknown key; did you mean 'steps'?"], "the rest is read as the nearest kind"
    assert mistakes("env: X", base="name: tiny\nrun: SAC-ARDAE\nstop: {env_steps: 1}\n") == [
        f"2: run: must be {kinds}, got the text 'SAC-ARDAE'; did you mean 'SAC-AR-DAE'?"
    ]
    (far,) = mistakes("bogus: 1", base="name: tiny\nrun: PPO\n")
    assert far == f"2: run: must be {kinds}, got the text 'PPO'"
    (number,) = mistakes(base="name: tiny\nrun: 3\n")
    assert number == f"2: run: must be {kinds}, got 3"


def test_steps_are_given_once(write: Write, mistakes: Callable[..., list[str]]) -> None:
    assert load_experiment(write("stop: {steps: 5}\nconfig: {steps: 9}", base=BASE)).settings({}).steps == 5
    (message,) = mistakes("stop: {steps: 5}\ngrid_search: {steps: [1, 2]}")
    assert message.startswith("3: stop: must be left out where grid_search varies the number of steps, got ")


def test_a_grid_over_steps_gives_each_trial_its_own_length(write: Write) -> None:
    experiment = load_experiment(write("seeds: [0, 3]\ngrid_search: {steps: [50, 2000], lr: [1e-3]}", base=BASE))
    assert total_steps(experiment) == {
        "lr=0.001_steps=50_seed=0": 50,
        "lr=0.001_steps=50_seed=3": 50,
        "lr=0.001_steps=2000_seed=0": 2000,
        "lr=0.001_steps=2000_seed=3": 2000,
    }
    assert experiment.title == "score_error, 2,000 steps"


def test_tune_is_given_the_task_its_settings_and_the_seed(write: Write) -> None:
    experiment = load_experiment(write("seeds: 2\ngrid_search: {lr: [1e-3, 1e-4]}", base=BASE))
    settings = dataclasses.asdict(ScoreErrorSettings()) | {"lr": {"grid_search": [1e-3, 1e-4]}}
    assert param_space(experiment) == {"run": "score_error", "settings": settings, "seed": {"grid_search": [0, 1]}}
    assert experiment.stop_criteria() == {}


def test_the_printed_experiment_reads_back_as_itself_and_begins_with_what_it_is_about(write: Write, tmp_path: Path) -> None:
    text = "seeds: [3, 5]\nconfig: {steps: 1e3}\nresources: {cpus_per_trial: 0.5}\ngrid_search: {lr: [1e-3, 1e-4]}"
    experiment = load_experiment(write(text, base=BASE))
    copy = tmp_path / "copy.yaml"
    copy.write_text(to_yaml(experiment))
    assert load_experiment(copy) == experiment
    assert list(yaml.safe_load(copy.read_text()))[:5] == ["schema", "name", "run", "seeds", "stop"]


def test_a_smoke_run_is_as_short_as_the_task_says(write: Write, tmp_path: Path) -> None:
    text = "seeds: 5\nstop: {steps: 700}\ngrid_search: {lr: [0.5, 1e-3]}"
    smoke = load_experiment(write(text, base=BASE), smoke=True, storage_path=tmp_path)
    assert smoke.config == dataclasses.replace(ScoreErrorSettings(), lr=0.5).smoke()
    assert (smoke.name, smoke.seed_list, smoke.grid_search) == ("tiny-smoke-1", [0], {})
    assert smoke.total_steps({}) == smoke.config.steps < 700


def test_the_closing_table_shows_the_headline_the_lowest_is_the_best_and_nan_never(write: Write, tmp_path: Path) -> None:
    reporting = load_experiment(write(base=BASE)).reporting
    headline = ScoreErrorTask.headline
    (tmp_path / "evaluations.csv").write_text(f"seed,steps,other,{headline}\r\n0,100,9,0.5\r\n0,200,9,0.012345\r\n0,300,9,nan\r\n")
    evaluations = read_evaluations(tmp_path, reporting)
    assert evaluations[:2] == [Evaluation(100, 0.5), Evaluation(200, 0.012345)]
    trials = [
        TrialSummary(
            assignment={"seed": seed}, status="finished", steps=300, seconds=20.0, evaluations=evaluations[:count], folder=tmp_path
        )
        for seed, count in enumerate((3, 2))
    ]
    console = Console(file=io.StringIO(), width=140)
    console.print(closing_table(trials, reporting))
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert f"{headline} (lower is better)" in text
    assert rows[0] == ["seed=0", "finished", "300", "15.0", "nan at 300", "0.01235 at 200", "0"]
    assert rows[1][4:6] == ["0.01235 at 200", "0.01235 at 200"]
    assert rows[2][5] == "0.01235 ± 0"
