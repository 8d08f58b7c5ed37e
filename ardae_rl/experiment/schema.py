"""What an experiment file may say: frozen dataclasses, complete and valid once built.

:class:`Experiment` is what all of them share. Each kind of run is one subclass (:mod:`.control`, :mod:`.task`) that adds its own sections
and says how it is trained, counted and judged; nothing else in this room asks which kind it has before it.
"""

import copy
import dataclasses
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import yaml

from ardae_rl.experiment.record import KEY, SCHEMA
from ardae_rl.experiment.validation import validate
from ardae_rl.experiment.yaml_file import Document
from ardae_rl.nn.settings import Rule, Settings, setting
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


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings(Settings):
    """Which checkpoints are kept; a subclass says how often they are made."""

    keep: int = setting(2, "The newest kept of each trial: two or more, for a crash can hit while one replaces the other", at_least=2)


@dataclass(frozen=True, kw_only=True)
class ResourceSettings(Settings):
    """How many trials run side by side."""

    max_concurrent_trials: int | None = setting(None, "The most trials at a time; null: as many as the cluster has room for", at_least=1)


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
class Experiment(Settings, ABC):
    """One experiment file, complete and valid."""

    name: str = setting(
        text="Folder of the results below `storage_path`. Letters, digits, `.`, `_` and (not first) `-`; at most 100 bytes. An experiment "
        "that is already there is never overwritten: add `--resume`, which wants the same configuration, or choose another name"
    )
    run: Run = setting(text="What is trained: soft actor-critic on an environment, or one of the [tasks](configuration.md#tasks)")
    seeds: int | list[int] = setting(
        1, "n: the seeds 0 to n − 1; or the seeds themselves, different. At most 1000. Each is one trial per grid point", at_least=0
    )
    config: Any = None
    checkpoint: CheckpointSettings = setting(text="How often, and how many are kept", factory=CheckpointSettings)
    resources: ResourceSettings = setting(text="How many trials run side by side", factory=ResourceSettings)
    storage_path: str = setting(
        "./runs",
        "Directory for results, `~` and `$VARIABLES` allowed; a relative one starts from where the command is given. On a cluster every "
        "node must mount it; URLs (`s3://…`) are refused",
    )
    grid_search: dict[str, list[Any]] = setting(
        text="Dotted paths relative to `config`, each with a list of values, such as `sac.alpha: [0.05, 0.2]`. Every combination runs with "
        "every seed; at most 10,000 trials. `--set 'grid_search.sac.alpha=[0.2]'` narrows it",
        factory=dict,
    )
    max_failures: int = setting(
        2,
        "How often a trial that crashed restarts from its last checkpoint; 0 never, −1 without limit as long as it gets on: ten crashes "
        "without a checkpoint in between are the end",
        at_least=-1,
    )

    reuses_processes: ClassVar[bool]
    resource_advice: ClassVar[str]

    def rules(self) -> Iterator[Rule]:
        count = self.seeds if isinstance(self.seeds, int) else len(self.seeds)
        trials = min(count, MAX_SEEDS) * math.prod(map(len, self.grid_search.values()))
        fits = len(self.name.encode(errors="replace")) <= MAX_NAME_BYTES
        plain = "made of letters, digits, '.', '_' and, not at its beginning, '-' (it names a folder)"
        yield is_folder_name(self.name), "name", plain
        yield fits, "name", f"no longer than {MAX_NAME_BYTES} bytes"
        yield 0 < count <= MAX_SEEDS, "seeds", f"between 1 and {MAX_SEEDS} of them"
        yield isinstance(self.seeds, int) or len(set(self.seeds)) == count, "seeds", "all different"
        yield "://" not in self.storage_path, "storage_path", "a directory (on a cluster: one that every node mounts)"
        yield "$" not in os.path.expandvars(self.storage_path), "storage_path", "a directory whose variables are set"
        yield _can_be_folder(self.storage_path), "storage_path", "the path of a directory there is or can be"
        yield trials <= MAX_TRIALS, "grid_search", f"at most {MAX_TRIALS:,} trials, counting every seed", trials

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
    def subject(self) -> dict[str, Any]:
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

    def has_ended(self, assignment: Mapping[str, Any], metrics: Mapping[str, float]) -> bool:
        """Whether the trial of ``assignment``, having reported ``metrics``, met a criterion to stop by."""
        total = self.total_steps({path: assignment[path] for path in self.grid_search})
        criteria = {self.reporting.steps: float(total), **self.stop_criteria()}
        return any(metrics.get(name, -math.inf) >= value for name, value in criteria.items())

    @abstractmethod
    def trainable(self) -> Any:
        """The class that Tune trains. Imports Ray."""

    @abstractmethod
    def smoke(self) -> "Experiment":
        """The first grid point with full-size networks and few steps, so few that it takes a minute or two."""

    def check(self, source: str, *, here: bool = True) -> None:
        """Find out what else is known to fail before anything starts. Raises InvalidExperimentError; ``source`` is the file to name.

        ``here``: whether it will run on this machine.
        """
        return

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def storage_folder(self) -> Path:
        return Path(os.path.expandvars(self.storage_path)).expanduser().resolve()

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
