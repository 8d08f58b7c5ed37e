"""What holds the package together: one version number, rooms that import downwards only, one command for CI."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ardae_rl

ROOT = Path(__file__).parents[1]


def test_version_is_the_same_in_the_package_and_in_pyproject() -> None:
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert declared[1] == ardae_rl.__version__


@pytest.mark.parametrize(
    ("rooms", "strangers"),
    [
        (("ardae_rl.nn",), ("ray", "gymnasium", "ardae_rl.score", "ardae_rl.samplers")),
        (("ardae_rl.score",), ("ray", "gymnasium", "ardae_rl.samplers", "ardae_rl.sac")),
        (("ardae_rl.samplers",), ("ray", "gymnasium", "ardae_rl.entropy", "ardae_rl.sac")),
        (("ardae_rl.entropy",), ("ray", "gymnasium", "ardae_rl.sac", "ardae_rl.tasks")),
        (("ardae_rl.score", "ardae_rl.samplers", "ardae_rl.sac"), ("ray", "gymnasium", "ardae_rl.rllib")),
        (("ardae_rl.run.records", "ardae_rl.run.provenance", "ardae_rl.run.process"), ("ray", "ardae_rl.tasks", "ardae_rl.rllib")),
    ],
    ids=["nn", "score", "samplers", "entropy", "sac", "run"],
)
def test_rooms_import_downwards_only(rooms: tuple[str, ...], strangers: tuple[str, ...]) -> None:
    script = f"import sys, {', '.join(rooms)}; print([name for name in {strangers!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_benchmarks_start_in_a_clone_without_being_installed(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "scaling" in done.stdout, done.stderr
    include = re.search(r"^include = (.+)$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert include is not None and "benchmark" not in include[1]


def imported(module: str, modules: dict[str, Path]) -> Iterator[str]:
    """The modules of this package that one imports, within functions and for type checkers, too."""
    for node in ast.walk(ast.parse(modules[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules else node.module for name in names)


def test_no_import_goes_round_in_a_circle_between_modules_or_rooms() -> None:
    files = {path.relative_to(ROOT).with_suffix(""): path for path in (ROOT / "ardae_rl").rglob("*.py")}
    modules = {".".join(path.parts).removesuffix(".__init__"): file for path, file in files.items()}
    arrows = {module: set(imported(module, modules)) - {module} for module in modules}
    assert arrows["ardae_rl.experiment.launch"] >= {"ardae_rl.experiment.watch", "ardae_rl.run.disk"}
    assert "ardae_rl.rllib.trial" in arrows["ardae_rl.experiment.control"], "within a function"
    rooms: dict[str, set[str]] = {}
    for module, others in arrows.items():
        room = ".".join(module.split(".")[:2])
        rooms.setdefault(room, set()).update({".".join(other.split(".")[:2]) for other in others} - {room})
    for graph in (arrows, rooms):
        TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def test_ci_runs_exactly_make_test() -> None:
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]


def test_every_dependency_has_an_exact_pin() -> None:
    pinned = {_name(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    listed = re.findall(r'^    "([A-Za-z][\w-]*)(?:\[[\w,]+\])?>=', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert len(listed) > 10
    assert not {_name(name) for name in listed} - pinned


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", requirement).lower()
