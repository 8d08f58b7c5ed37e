"""10,000 mutated experiment files: each is a valid experiment or refused with one-line messages, whatever is in it; nothing else happens.

Mutants of the shipped files: of what they say (keys misspelt, moved, given values of another kind) and of how it is written (text cut out,
doubled, put in). Spread over chunks so that parallel test workers share them; every chunk draws the same mutants each time.
"""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.plan import param_space, trial_assignments, trial_name
from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.experiment.schema import Experiment, to_yaml
from ardae_rl.experiment.yaml_file import read_document

CHUNKS, MUTANTS_PER_CHUNK = 8, 500
STORED_ONE_IN = 4  # storing and reading takes longer than everything else
SHIPPED = sorted((Path(__file__).parents[2] / "tune_configs").rglob("*.yaml"))
TEXTS = [path.read_text() for path in SHIPPED]
DOCUMENTS: list[dict[str, Any]] = [dict(read_document(path).data) for path in SHIPPED]
KEYS = sorted(
    {name for data in DOCUMENTS for path in [*data, *data["config"]] for name in path.split(".")} | {"..", "a.b", "x\n\x1b[2J", ""}
)
VALUES: list[object] = [
    None,
    True,
    0,
    -1,
    1,
    2.5,
    1e300,
    -0.0,
    float("inf"),
    float("nan"),
    2**63,
    10**400,
    "",
    "auto",
    "1e-3",
    "..",
    "/",
    "~x",
]
VALUES += ["a/b", "\0", "\x1b[31m", "x" * 5000, "/".join("x" * 9), [], [1, 1], ["a b", "a_b"], [[None]], {}, {"x": {}}, {1: 2}]
SNIPPETS = [
    "!!int ",
    "!!float ",
    "!!set ",
    "!!python/name:os.system ",
    "&a ",
    "*a",
    "<<: ",
    "? ",
    "\t",
    "\0",
    "\x1b",
    "{",
    "[",
    "]",
    "}",
    ": ",
]
SNIPPETS += [
    "'",
    '"',
    "- ",
    "#",
    "|",
    "\n",
    "---\n",
    "%YAML 9",
    "base: ",
    "é",
    "\u2028",
    "[" * 2000,
    "9" * 5000,
    '"\\ud800"',
    "0x",
    "_",
    "1e999",
    "~nobody/",
]


def places(data: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of every value in nested ``data``."""
    found = []
    for key in data if isinstance(data, dict) else range(len(data)):
        found.append((data, key))
        if isinstance(data[key], dict | list):
            found += places(data[key])
    return found


def change(data: dict[str, Any], draw: Callable[[Any], Any]) -> None:
    """One mutation of what a file says."""
    container, key = draw(st.sampled_from(places(data))) if data else (data, "name")
    kind = draw(st.sampled_from(["replace", "remove", "rename", "wrap", "copy", "add"]))
    value = draw(st.sampled_from(VALUES))
    if kind == "replace":
        container[key] = copy.deepcopy(value)
    elif kind == "remove":
        container.pop(key, None) if isinstance(container, dict) else container.pop(key)
    elif kind == "rename" and isinstance(container, dict):
        container[draw(st.sampled_from(KEYS))] = container.pop(key, value)
    elif kind == "wrap":
        container[key] = [container.get(key) if isinstance(container, dict) else container[key], copy.deepcopy(value)]
    elif kind == "copy" and data:
        other, source = draw(st.sampled_from(places(data)))
        container[key] = copy.deepcopy(other[source])
    elif kind == "add" and isinstance(container, dict):
        container[draw(st.sampled_from(KEYS))] = copy.deepcopy(value)


def rewrite(text: str, draw: Callable[[Any], Any]) -> str:
    """One mutation of how a file is written."""
    start = draw(st.integers(0, len(text)))
    end = min(len(text), start + draw(st.integers(0, 30)))
    middle = draw(st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=3), st.just(""), st.just(text[start:end] * 2)))
    return text[:start] + middle + text[end:]


@st.composite
def contents(draw: Callable[[Any], Any]) -> bytes:
    """What a mutant of a shipped file holds."""
    count = draw(st.integers(1, 3))
    if draw(st.booleans()):
        data = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
        for _ in range(count):
            change(data, draw)
        return str(yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))).encode()
    text = draw(st.sampled_from(TEXTS))
    for _ in range(count):
        text = rewrite(text, draw)
    return text.encode(errors="surrogatepass")


def accepted(path: Path, *assignments: str) -> Experiment | None:
    """The file's experiment, whose trials have names fit for folders; or None for one refused in plain lines."""
    try:
        experiment = load_experiment(path, assignments=assignments)
    except InvalidExperimentError as error:
        assert error.problems
        assert all(str(problem).isprintable() and 10 < len(str(problem)) <= 1000 for problem in error.problems)
        return None
    names = [trial_name(assignment) for assignment in trial_assignments(experiment)]
    assert len(set(names)) == len(names) and param_space(experiment)
    for name in (*names, experiment.name):
        assert name.isprintable() and os.path.basename(name) == name and name.strip(".") and len(name.encode()) <= 255
    assert experiment.folder.parent == experiment.storage_folder
    return experiment


def assert_reads_back(experiment: Experiment, path: Path) -> None:
    path.write_text(to_yaml(experiment))
    assert repr(load_experiment(path)) == repr(experiment)  # unlike ==, also where there is a NaN in it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a copy of every shipped file: mutants name them as their base."""
    folder = tmp_path_factory.mktemp("fuzz")
    for path, text in zip(SHIPPED, TEXTS, strict=True):
        (folder / path.name).write_text(text)
    return folder


def fuzz(number: int, examples: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    limits = settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck)
    )
    seed(number)(limits(given(strategy)(check)))()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_mutated_file_is_a_valid_experiment_or_refused_in_plain_lines(chunk: int, folder: Path) -> None:
    outcomes = []

    def check(mutant: bytes) -> None:
        (folder / "mutant.yaml").write_bytes(mutant)
        experiment = accepted(folder / "mutant.yaml")
        outcomes.append(experiment is not None)
        if experiment and len(outcomes) % STORED_ONE_IN == 0:
            assert_reads_back(experiment, folder / "stored.yaml")

    fuzz(chunk, MUTANTS_PER_CHUNK, contents(), check)
    assert len(outcomes) == MUTANTS_PER_CHUNK
    assert 0.1 < sum(outcomes) / len(outcomes) < 0.9, "mutants are to be near the border, on either side of it"


def test_an_option_is_applied_or_refused_in_plain_lines(folder: Path) -> None:
    keys = st.sampled_from(
        ["name", "seeds", "config.sac.alpha", "config.env_config", "config.env_config.x", "storage_path", "grid_search.sac.tau", *KEYS]
    )
    options = st.builds(
        "{}={}".format, keys, st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=6), st.sampled_from(["{1: 2}", "[1, 2]", "3", "x"]))
    )

    outcomes = []

    def check(option: str) -> None:
        outcomes.append(accepted(folder / "quickstart.yaml", option) is not None)

    fuzz(0, 400, options, check)
    assert len(outcomes) == 400 and 0.02 < sum(outcomes) / len(outcomes) < 0.98, "some are to be applied, some refused"
