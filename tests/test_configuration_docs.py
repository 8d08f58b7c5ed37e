"""docs/configuration.md has every key of an experiment file, with its type and default, and no other; its example environment works."""

import dataclasses
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from ardae_rl.experiment.control import ControlExperiment
from ardae_rl.experiment.kinds import KINDS
from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.experiment.yaml_file import parse_value
from ardae_rl.tasks.registry import TASKS

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
REFERENCE, _, _REST = PAGE.read_text(encoding="utf-8").partition("\n## Tasks\n")
TASK_SECTION, _, OWN_ENVIRONMENT = _REST.partition("\n## Your own environment\n")
BASE = {"base": ("text", "none"), "schema": ("int", "none")}  # read before there are dataclasses

Keys = dict[str, tuple[str, str]]  # dotted path: its type in the page's words, and its default


def cells(table_row: str) -> list[str]:
    return [cell.strip() for cell in table_row.strip("|").split("|")]


def documented(text: str) -> Keys:
    """What the tables ``key | type | default | meaning`` say. Below a heading such as `config.sac` keys are relative to that path."""
    found: Keys = {}
    prefix = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = re.fullmatch(r"#+ `([\w.]+)`", line)
            prefix = f"{heading[1]}." if heading else ""
        row = cells(line) if re.match(r"\| `[\w.]+` \|", line) else []
        if len(row) == 4:
            path = prefix + row[0].strip("`")
            assert path not in found, f"{path} is there twice"
            assert row[3], f"{path} has no meaning"
            found[path] = row[1], written_default(path, row[2])
    return found


def written_default(path: str, cell: str) -> str:
    if cell.startswith("["):
        assert cell == f"[below](#{path.replace('.', '')})", f"the default of {path} should link to its table"
        return "section"
    return repr(parse_value(cell.strip("`"))) if cell.startswith("`") else cell


def in_code(cls: Any, prefix: str = "") -> Keys:
    """The keys of a dataclass of settings and of the sections in it."""
    found: Keys = {}
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        section = next((option for option in (hints[item.name], *get_args(hints[item.name])) if dataclasses.is_dataclass(option)), None)
        found[prefix + item.name] = type_in_words(hints[item.name]), default_of(item, section)
        if section is not None:
            found |= in_code(section, f"{prefix}{item.name}.")
    return found


def default_of(item: "dataclasses.Field[Any]", section: Any) -> str:
    if section is not None and item.default is dataclasses.MISSING:
        assert item.default_factory in (section, dataclasses.MISSING), f"{item.name}: defaults of a section that differ from its class's"
        return "section"
    if item.default_factory is not dataclasses.MISSING:
        return repr(item.default_factory())
    return "required" if item.default is dataclasses.MISSING else repr(item.default)


def type_in_words(hint: Any) -> str:
    """``float | None`` is "float or null", a choice its quoted values."""
    if get_origin(hint) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(type_in_words(option) for option in get_args(hint))
    if get_origin(hint) is list:
        return f"list of {type_in_words(get_args(hint)[0])}"
    if dataclasses.is_dataclass(hint) or get_origin(hint) is dict or hint is Any:
        return "section"
    return {int: "int", float: "float", bool: "bool", str: "text", type(None): "null"}[hint]


def test_the_tables_are_the_keys_types_and_defaults_of_the_code() -> None:
    assert documented(REFERENCE) == in_code(ControlExperiment) | BASE


@pytest.mark.parametrize("run", TASKS)
def test_the_tables_of_tasks_are_what_their_files_have_otherwise(run: str) -> None:
    shared = {path: key for path, key in in_code(KINDS[run]).items() if not path.startswith("config.")}
    of_control = in_code(ControlExperiment)
    assert documented(TASK_SECTION) == {path: key for path, key in shared.items() if of_control.get(path) != key}
    for path in set(of_control) - set(shared):
        assert path.startswith("config.") or f"`{path}`" in TASK_SECTION, f"{path} is no key of tasks, which the page should say"


def test_each_task_is_listed_with_its_settings_class_lengths_and_page() -> None:
    rows = [cells(line) for line in TASK_SECTION.splitlines() if line.startswith("| `") and len(cells(line)) == 7]
    assert [row[0].strip("`") for row in rows] == list(TASKS)
    for run, _, settings, *lengths, page in rows:
        cls = TASKS[run.strip("`")].settings
        names = ("steps", "report_every_steps", "evaluate_every_steps")
        assert settings == f"`{cls.__module__}.{cls.__qualname__}`"
        assert [parse_value(length.strip("`")) for length in lengths] == [getattr(cls(), name) for name in names]
        assert re.fullmatch(r"\[(.+)\]\(\1\)", page)


def test_links_lead_somewhere() -> None:
    for name, anchor in re.findall(r"\]\(([\w.-]*\.md)?(?:#([\w-]+))?\)", PAGE.read_text(encoding="utf-8")):
        text = (PAGE.parent / name if name else PAGE).read_text(encoding="utf-8")
        headings = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
        assert not anchor or anchor in headings, f"{name}#{anchor}"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's ``my_env.yaml`` beside its ``my_envs.py``, which can be imported."""
    for name, language in (("my_envs.py", "python"), ("my_env.yaml", "yaml")):
        block = re.search(rf"```{language}\n(.*?)```", OWN_ENVIRONMENT, re.DOTALL)
        assert block is not None
        (tmp_path / name).write_text(block[1], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "my_env.yaml"
    sys.modules.pop("my_envs", None)
    gym.registry.pop("MyEnv-v0", None)


@pytest.mark.filterwarnings("ignore:.*A Box observation space")
def test_the_example_environment_is_accepted_and_steps_as_an_env_runner_steps_it(example: Path) -> None:
    experiment = load_experiment(example)
    assert isinstance(experiment, ControlExperiment)
    experiment.check(str(example))
    check_env(gym.make(experiment.env).unwrapped)
    arguments: dict[str, Any] = experiment.config.env_config
    envs = gym.make_vec(experiment.env, num_envs=2, vectorization_mode="sync", **arguments)
    assert envs.single_action_space == gym.spaces.Box(-2, 2, (1,))
    state, _ = envs.reset(seed=0)
    for step in range(1, 201):
        state, _, terminated, truncated, _ = envs.step((-state.sum(1, keepdims=True)).clip(-2, 2))  # a spring with friction
        assert not terminated.any() and truncated.all() == truncated.any() == (step == 200)
    assert abs(state).max() < 0.1


REFUSALS = [cells(line)[1:] for line in OWN_ENVIRONMENT.splitlines() if "| `--set " in line]


@pytest.mark.parametrize(("options", "message"), REFUSALS, ids=[options.strip("`") for options, _ in REFUSALS])
def test_what_is_refused_says_what_the_page_says(example: Path, options: str, message: str) -> None:
    assignments = re.findall(r"--set (\S+)", options.strip("`"))
    experiment = load_experiment(example, assignments=["config.env_config={}", *assignments])
    with pytest.raises(InvalidExperimentError) as caught:
        experiment.check("my_env.yaml")
    assert message.strip("`") in [f"{problem.key}: {problem.message}" for problem in caught.value.problems]
