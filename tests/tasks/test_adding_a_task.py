"""docs/adding-a-task.md does what it says: its files make a task that learns, and its YAML file is an experiment."""

import importlib
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ardae_rl.tasks

ROOT = Path(__file__).parents[2]

# Ray's workers import the installed package, so the page's experiment is planned here, not run.
PLAN = """
import sys
import ardae_rl.tasks
ardae_rl.tasks.__path__.append(sys.argv.pop(1))
from ardae_rl.tasks.gaussian_fit.config import GaussianFitSettings
from ardae_rl.tasks.registry import TASKS, TaskKind
TASKS.update({%s})
import typer
from ardae_rl.cli import tune
typer.run(tune)
"""


@pytest.fixture
def page() -> str:
    return (ROOT / "docs" / "adding-a-task.md").read_text()


@pytest.fixture
def rooms(page: str, tmp_path: Path) -> Path:
    """A folder that holds the files of the page as ``ardae_rl/tasks`` would."""
    files = re.findall(r"^## [^\n]*`ardae_rl/tasks/(gaussian_fit/\w+\.py)`$.*?```python\n(.*?)```", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["gaussian_fit/config.py", "gaussian_fit/task.py"]
    for name, text in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_task_learns(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ardae_rl.tasks, "__path__", [*ardae_rl.tasks.__path__, str(rooms)])
    config = importlib.import_module("ardae_rl.tasks.gaussian_fit.config")
    task = importlib.import_module("ardae_rl.tasks.gaussian_fit.task").GaussianFitTask(config.GaussianFitSettings(), seed=0)
    # KL(N(3, 2^2) || N(0, 1)) = (2^2 + 3^2 - 1) / 2 - log 2
    assert task.evaluate()["kl"] == pytest.approx(6 - math.log(2), rel=1e-5)
    for _ in range(2000):
        task.step()
    assert task.evaluate()["kl"] < 0.01
    assert list(task.figures()) == ["density"]


def test_its_experiment_is_planned_as_the_page_says(page: str, rooms: Path) -> None:
    (rooms / "gaussian_fit.yaml").write_text(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    entry = re.findall(r'^"gaussian_fit": TaskKind.*$', page, re.MULTILINE)[0]
    command = [sys.executable, "-c", PLAN % entry, str(rooms), str(rooms / "gaussian_fit.yaml"), "--dry-run"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=rooms, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "lr=0.01_seed=0: 1 CPU\n" in done.stdout and "15 trials, " in done.stdout
