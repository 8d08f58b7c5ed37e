"""A small valid experiment file, a way to vary it, and a way to run one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.experiment.process import Run

BASE = """\
name: tiny
run: SAC-AR-DAE
env: Pendulum-v1
stop: {env_steps: 20000}
"""

Write = Callable[..., Path]
Launch = Callable[..., Run]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(text)`` makes a file of the lines every experiment needs followed by ``text``; ``base=""`` leaves those out."""

    def write_file(text: str = "", base: str = BASE) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(base + text)
        return path

    return write_file


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """``launch(text, *options)`` runs the experiment ``text`` below ``tmp_path``; ``arguments`` replaces the whole command line."""
    runs = []

    def start(text: str = "", *options: str, arguments: list[str] | None = None) -> Run:
        path = tmp_path / "tiny.yaml"
        if arguments is None:
            path.write_text(text)
            arguments = ["scripts/tune.py", str(path), "--storage-path", str(tmp_path), *options]
        runs.append(Run(tmp_path, arguments))
        return runs[-1]

    yield start
    for run in runs:
        run.end()
