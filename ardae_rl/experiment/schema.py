"""What an experiment file may say: frozen dataclasses, complete and valid once built.

:class:`Experiment` is what all of them share. Each kind of run is one subclass (:mod:`.control`, :mod:`.task`) that adds its own sections
and says how it is trained, counted and judged; nothing else in this room asks which kind it has before it.
"""

import copy
import dataclasses
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import yaml

from ardae_rl.experiment.record import KEY, SCHEMA
from ardae_rl.experiment.validation import validate
from ardae_rl.experiment.yaml_file import Document
from ardae_rl.tasks.registry import TASKS

MAX_SEEDS = 1000
MAX_TRIALS = 10_000
MAX_NAME_BYTES = 100
MAX_FILE_NAME_BYTES = 255  # of every file system in use
MAX_PATH_LENGTH = 1000
CONTROL_RUN = "SAC-AR-DAE"

if TYPE_CHECKING:
    Run = str
else:
    Run = Literal[(CONTROL_RUN, *TASKS)]


def require(*rules: tuple[bool, str, str, object]) -> None:
    """Raise one ValueError with a line for every (holds, field, rule, value) that does not hold."""
    broken = [f"{name} must be {rule}, got {value!r}" for holds, name, rule, value in rules if not holds]
    if broken:
        raise ValueError("\n".join(broken))


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """The newest ``keep`` checkpoints are kept; a subclass says how often they are made."""

    keep: int = 2

    def __post_init__(self) -> None:
        require((self.keep >= 2, "keep", "2 or more (a crash can hit while one replaces the other)", self.keep))


@dataclass(frozen=True, kw_only=True)
class ResourceSettings:
    """``max_concurrent_trials`` caps how many trials run at once; null: as many as the cluster has room for."""

    max_concurrent_trials: int | None = None

    def __post_init__(self) -> None:
        limit = self.max_concurrent_trials
        require((limit is None or limit > 0, "max_concurrent_trials", "greater than 0, or null", limit))


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """By which names a kind of run reports, and how to read them.

    ``steps`` and ``steps_per_s`` are metrics of each result, ``steps`` also a column of the records. ``watched`` maps the headings shown
    while it runs to metrics. ``evaluation`` is the column of ``evaluations.csv`` that the closing table shows under ``title``; ``best``
    picks among its values, ``style`` formats them.
    """

    steps: str
    steps_per_s: str
    watched: Mapping[str, str]
    evaluation: str
    title: str
    best: Callable[..., Any]
    style: str

    @property
    def unit(self) -> str:
        return self.steps.replace("_", " ")

    def number(self, value: float) -> str:
        """A metric, or "-" where there is none yet."""
        return "-" if math.isnan(value) else f"{value:{self.style}}"


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC):
    """One experiment file, complete and valid.

    ``seeds`` is a number of seeds (n: 0 ... n-1) or a list of them. ``grid_search`` maps dotted paths into ``config`` to the values to try;
    every combination runs with every seed. ``max_failures``: how often a trial that crashed restarts from its last checkpoint;
    -1: as often as it takes, but no more than ten times without a checkpoint in between.
    """

    name: str
    run: Run
    seeds: int | list[int] = 1
    config: Any = None
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    storage_path: str = "./runs"
    grid_search: dict[str, list[Any]] = field(default_factory=dict)
    max_failures: int = 2

    reuses_processes: ClassVar[bool]
    resource_advice: ClassVar[str]

    def __post_init__(self) -> None:
        count = self.seeds if isinstance(self.seeds, int) else len(self.seeds)
        trials = min(count, MAX_SEEDS) * math.prod(map(len, self.grid_search.values()))
        fits = len(self.name.encode(errors="replace")) <= MAX_NAME_BYTES
        require(
            (
                is_folder_name(self.name),
                "name",
                "made of letters, digits, '.', '_' and, not at its beginning, '-' (it names a folder)",
                self.name,
            ),
            (fits, "name", f"no longer than {MAX_NAME_BYTES} bytes", self.name),
            (0 < count <= MAX_SEEDS, "seeds", f"between 1 and {MAX_SEEDS} of them", self.seeds),
            (isinstance(self.seeds, int) or all(seed >= 0 for seed in self.seeds), "seeds", "0 or greater", self.seeds),
            (isinstance(self.seeds, int) or len(set(self.seeds)) == count, "seeds", "all different", self.seeds),
            ("://" not in self.storage_path, "storage_path", "a directory (on a cluster: one that every node mounts)", self.storage_path),
            (_can_be_folder(self.storage_path), "storage_path", "the path of a directory there is or can be", self.storage_path),
            (trials <= MAX_TRIALS, "grid_search", f"at most {MAX_TRIALS:,} trials, counting every seed", trials),
            (self.max_failures >= -1, "max_failures", "0 or greater, or -1 for no limit", self.max_failures),
        )

    @property
    @abstractmethod
    def reporting(self) -> Reporting:
        """By which names its trials report."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What is trained and for how long, for people."""

    @property
    @abstractmethod
    def subject(self) -> dict[str, str]:
        """What is trained, for a trial: its config in Tune is this, ``settings`` as plain data, and ``seed``."""

    @property
    @abstractmethod
    def checkpoint_every(self) -> int:
        """Steps from one checkpoint to the next."""

    @abstractmethod
    def total_steps(self, point: Mapping[str, Any]) -> int:
        """How many steps the trials of a grid point make."""

    @abstractmethod
    def stop_criteria(self) -> dict[str, float]:
        """Metrics of a result, and the values from which on Tune ends a trial."""

    @abstractmethod
    def trainable(self) -> Any:
        """The class that Tune trains. Imports Ray."""

    @abstractmethod
    def smoke(self) -> "Experiment":
        """The first grid point with full-size networks and few steps, so few that it takes a minute or two."""

    def check(self, source: str) -> None:
        """Find out what else is known to fail before anything starts. Raises InvalidExperimentError; ``source`` is the file to name."""
        return

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

    def settings(self, point: Mapping[str, Any]) -> Any:
        """``config`` with the values of one grid point put in. Raises ValueError, one line per mistake, if they do not fit."""
        data = dataclasses.asdict(self.config)
        for path, value in point.items():
            put(data, path, value)
        settings, problems = validate(type(self.config), Document("", data))
        if settings is None:
            raise ValueError("\n".join(f"{problem.key}: {problem.message}" for problem in problems))
        return settings


def is_folder_name(text: str) -> bool:
    """Whether it names one folder, not a path that leads elsewhere."""
    return re.fullmatch(r"[\w.][\w.-]*", text) is not None and text.strip(".") != ""


def _can_be_folder(text: str) -> bool:
    """Whether ``text`` can be the path of a folder at all: printable, of a user there is (``~name``), no part of it too long."""
    if not text.isprintable() or len(text) > MAX_PATH_LENGTH:
        return False
    try:
        parts = Path(text).expanduser().parts
    except RuntimeError:  # no such user
        return False
    return all(len(part.encode()) <= MAX_FILE_NAME_BYTES for part in parts)


def put(data: dict[str, Any], path: str, value: object) -> None:
    """Set the dotted ``path`` in nested mappings, creating the sections on the way (a null section becomes one)."""
    *sections, leaf = path.split(".")
    for section in sections:
        if not isinstance(data.get(section), dict):
            data[section] = {}
        data = data[section]
    data[leaf] = copy.deepcopy(value)


def as_record(experiment: Experiment) -> dict[str, Any]:
    """The complete experiment, defaults included, as plain data with its version: what it is about first."""
    first = (KEY, "name", "run", "env", "seeds", "stop")
    data = {KEY: SCHEMA, **dataclasses.asdict(experiment)}
    return {key: data[key] for key in (*first, *data) if key in data}


def to_yaml(experiment: Experiment) -> str:
    """:func:`as_record` in the format it is read from."""
    return yaml.safe_dump(as_record(experiment), sort_keys=False, default_flow_style=None, width=120)
