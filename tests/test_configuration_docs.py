"""docs/settings.md is made from the code; docs/configuration.md lists the tasks there are, and its example environment works."""

import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from ardae_rl.experiment.control import ControlExperiment
from ardae_rl.experiment.load import load_experiment
from ardae_rl.experiment.problems import InvalidExperimentError
from ardae_rl.experiment.yaml_file import parse_value
from ardae_rl.tasks.registry import TASKS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configuration.md"
TASK_SECTION, _, OWN_ENVIRONMENT = PAGE.read_text(encoding="utf-8").partition("\n## Tasks\n")[2].partition("\n## Your own environment\n")


def cells(table_row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", table_row.strip("|"))]


def reference() -> ModuleType:
    spec = spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_settings_is_what_its_script_makes_of_the_code() -> None:
    made = reference().page()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == made, "run python scripts/reference.py"
    rows = [cells(line) for line in made.splitlines() if line.startswith("| `") and "](" not in line]
    assert all(len(row) == 4 and row[3] for row in rows), [row for row in rows if len(row) != 4 or not row[3]]


def test_each_task_is_listed_with_its_settings_class_lengths_and_page() -> None:
    rows = [cells(line) for line in TASK_SECTION.splitlines() if line.startswith("| `") and len(cells(line)) == 7]
    assert [row[0].strip("`") for row in rows] == list(TASKS)
    for run, _, settings, *lengths, page in rows:
        cls = TASKS[run.strip("`")].settings
        names = ("steps", "report_every_steps", "evaluate_every_steps")
        assert settings == f"`{cls.__module__}.{cls.__qualname__}`"
        assert [parse_value(length.strip("`")) for length in lengths] == [getattr(cls(), name) for name in names]
        assert re.fullmatch(r"\[(.+)\]\(\1\)", page)


@pytest.mark.parametrize("page", ["configuration.md", "settings.md"])
def test_links_lead_somewhere(page: str) -> None:
    for name, anchor in re.findall(r"\]\(([\w.-]*\.md)?(?:#([\w-]+))?\)", (PAGE.parent / page).read_text(encoding="utf-8")):
        text = (PAGE.parent / (name or page)).read_text(encoding="utf-8")
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
