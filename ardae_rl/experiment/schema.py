"""What an experiment file may say: frozen dataclasses, complete and valid once built."""

import copy
import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml

from ardae_rl.experiment.problems import Problem
from ardae_rl.experiment.validation import shown, unknown_path, validate
from ardae_rl.experiment.yaml_file import Document
from ardae_rl.rllib.settings import TrainingSettings

MAX_SEEDS = 1000


def _require(*rules: tuple[bool, str, str, object]) -> None:
    """Raise one ValueError with a line for every (holds, field, rule, value) that does not hold."""
    broken = [f"{name} must be {rule}, got {value!r}" for holds, name, rule, value in rules if not holds]
    if broken:
        raise ValueError("\n".join(broken))


@dataclass(frozen=True, kw_only=True)
class StopSettings:
    """When a trial ends: after ``env_steps`` environment steps, or earlier once an evaluation reaches ``evaluation_return_mean``."""

    env_steps: int
    evaluation_return_mean: float | None = None

    def __post_init__(self) -> None:
        _require((self.env_steps > 0, "env_steps", "greater than 0", self.env_steps))


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """A checkpoint every ``every_env_steps`` environment steps (and at the end); the newest ``keep`` are kept."""

    every_env_steps: int = 10_000
    keep: int = 2

    def __post_init__(self) -> None:
        _require(
            (self.every_env_steps > 0, "every_env_steps", "greater than 0", self.every_env_steps),
            (self.keep >= 2, "keep", "2 or more (a crash can hit while one replaces the other)", self.keep),
        )


@dataclass(frozen=True, kw_only=True)
class ResourceSettings:
    """``max_concurrent_trials`` caps how many trials run at once; null: as many as the cluster has room for."""

    max_concurrent_trials: int | None = None

    def __post_init__(self) -> None:
        limit = self.max_concurrent_trials
        _require((limit is None or limit > 0, "max_concurrent_trials", "greater than 0, or null", limit))


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment file, complete and valid.

    ``seeds`` is a number of seeds (n: 0 ... n-1) or a list of them. ``grid_search`` maps dotted paths into ``config`` to the values to try;
    every combination runs with every seed. ``max_failures``: how often a trial that crashed restarts from its last checkpoint.
    """

    name: str
    run: Literal["SAC-AR-DAE"]
    env: str
    seeds: int | list[int] = 1
    stop: StopSettings
    config: TrainingSettings = field(default_factory=TrainingSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    storage_path: str = "./runs"
    grid_search: dict[str, list[Any]] = field(default_factory=dict)
    max_failures: int = 2

    def __post_init__(self) -> None:
        count = self.seeds if isinstance(self.seeds, int) else len(self.seeds)
        named = re.fullmatch(r"[\w.-]*\w[\w.-]*", self.name) is not None
        _require(
            (named, "name", "made of letters, digits, '.', '_' and '-' (it names a folder)", self.name),
            (self.env != "", "env", "the id of a Gymnasium environment, such as 'Pendulum-v1'", self.env),
            (0 < count <= MAX_SEEDS, "seeds", f"between 1 and {MAX_SEEDS} of them", self.seeds),
            (isinstance(self.seeds, int) or all(seed >= 0 for seed in self.seeds), "seeds", "0 or greater", self.seeds),
            (isinstance(self.seeds, int) or len(set(self.seeds)) == count, "seeds", "all different", self.seeds),
            ("://" not in self.storage_path, "storage_path", "a directory (on a cluster: one that every node mounts)", self.storage_path),
            (self.max_failures >= 0, "max_failures", "0 or greater", self.max_failures),
        )

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def storage_folder(self) -> Path:
        return Path(self.storage_path).expanduser().resolve()

    @property
    def folder(self) -> Path:
        """Where everything this experiment writes goes."""
        return self.storage_folder / self.name

    def grid_points(self) -> Iterator[dict[str, Any]]:
        """Every combination of ``grid_search``: {path into config: value}. One empty point without a grid."""
        for values in product(*self.grid_search.values()):
            yield dict(zip(self.grid_search, values, strict=True))

    def settings(self, point: Mapping[str, Any]) -> TrainingSettings:
        """``config`` with the values of one grid point put in. Raises ValueError, one line per mistake, if they do not fit."""
        data = dataclasses.asdict(self.config)
        for path, value in point.items():
            put(data, path, value)
        settings, problems = validate(TrainingSettings, Document("", data))
        if settings is None:
            raise ValueError("\n".join(f"{problem.key}: {problem.message}" for problem in problems))
        return settings


def parse(document: Document) -> tuple[Experiment | None, list[Problem]]:
    """The experiment in ``document``, or None and every mistake in it (grid values included)."""
    experiment, problems = validate(Experiment, document)
    if experiment is not None:
        problems = _grid_problems(experiment, document)
    return (None if problems else experiment), problems


def put(data: dict[str, Any], path: str, value: object) -> None:
    """Set the dotted ``path`` in nested mappings, creating the sections on the way (a null section becomes one)."""
    *sections, leaf = path.split(".")
    for section in sections:
        if not isinstance(data.get(section), dict):
            data[section] = {}
        data = data[section]
    data[leaf] = copy.deepcopy(value)


def to_yaml(experiment: Experiment) -> str:
    """The complete experiment, defaults included, in the format it is read from."""
    return yaml.safe_dump(dataclasses.asdict(experiment), sort_keys=False, default_flow_style=None, width=120)


def _grid_problems(experiment: Experiment, document: Document) -> list[Problem]:
    problems = [
        problem for path, values in experiment.grid_search.items() for problem in _axis_problems(experiment, path, values, document)
    ]
    if not problems:  # values that fit on their own may still not fit together
        misfits = (misfit for point in experiment.grid_points() for misfit in _misfits(experiment, point))
        problems = [Problem(document.place("grid_search"), "grid_search", misfit) for misfit in dict.fromkeys(misfits)]
    return problems


def _axis_problems(experiment: Experiment, path: str, values: list[Any], document: Document) -> list[Problem]:
    messages = []
    unknown = unknown_path(TrainingSettings, path)
    if unknown:
        messages.append(f"paths are relative to config; write {path[7:]!r}" if path.startswith("config.") else unknown)
    elif not values or any(value in values[:index] for index, value in enumerate(values)):
        messages.append(f"must list one or more different values, got {shown(values)}")
    else:
        messages += [misfit.removeprefix(f"{path}: ") for value in values for misfit in _misfits(experiment, {path: value})]
    key = f"grid_search.{path}"
    return [Problem(document.place(key), key, message) for message in messages]


def _misfits(experiment: Experiment, point: dict[str, Any]) -> list[str]:
    try:
        experiment.settings(point)
    except ValueError as error:
        return str(error).splitlines()
    return []
