"""A small valid experiment file, and a way to vary it."""

from collections.abc import Callable
from pathlib import Path

import pytest

BASE = """\
name: tiny
run: SAC-AR-DAE
env: Pendulum-v1
stop: {env_steps: 1000}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(text)`` makes a file of the lines every experiment needs followed by ``text``; ``base=""`` leaves those out."""

    def write_file(text: str = "", base: str = BASE) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(base + text)
        return path

    return write_file
