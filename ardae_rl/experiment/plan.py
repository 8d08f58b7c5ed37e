"""The trials of an experiment: their names, what Tune is asked to vary, and what each asks of the cluster."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ardae_rl.experiment.schema import Experiment, put

Resources = Mapping[str, float]
MAX_NAME_BYTES = 200


def trial_name(assignment: Mapping[str, Any]) -> str:
    """A short stable name, fit for a folder, from what is particular to a trial: {"sac.alpha": 0.2, "seed": 0} is "alpha=0.2_seed=0".

    Letters, digits and ``=._+-,{}[]`` stay, anything else becomes "_"; of a long name the end gives way to a digest of the whole.
    """
    name = "_".join(f"{_short(path, assignment)}={_label(value)}" for path, value in sorted(assignment.items(), key=_seed_last))
    name = re.sub(r"[^\w=.+,{}\[\]-]", "_", name)
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    kept = name.encode()[: MAX_NAME_BYTES - 9].decode(errors="ignore")
    return f"{kept}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def trial_assignments(experiment: Experiment) -> list[dict[str, Any]]:
    """What is particular to each trial, in the order Tune starts them: a value per grid path (as stored), and the seed."""
    points = [_stored(experiment, point) for point in experiment.grid_points()]
    return [{**point, "seed": seed} for point in points for seed in experiment.seed_list]


def total_steps(experiment: Experiment) -> dict[str, int]:
    """How many steps each trial makes, by name, in the order Tune starts them."""
    points = ((assignment, {path: assignment[path] for path in experiment.grid_search}) for assignment in trial_assignments(experiment))
    return {trial_name(assignment): experiment.total_steps(point) for assignment, point in points}


def param_space(experiment: Experiment) -> dict[str, Any]:
    """Tune's search space: the settings as plain data with each grid path, and the seed, marked to be varied."""
    settings = dataclasses.asdict(experiment.settings(next(experiment.grid_points())))
    for path, values in experiment.grid_search.items():
        put(settings, path, {"grid_search": [_stored(experiment, {path: value})[path] for value in values]})
    return {**experiment.subject, "settings": settings, "seed": {"grid_search": experiment.seed_list}}


def assignment_of(config: Mapping[str, Any], grid_paths: Sequence[str]) -> dict[str, Any]:
    """The inverse of :func:`param_space` for one trial: its values at ``grid_paths``, and its seed."""
    return {**{path: _at(config["settings"], path) for path in grid_paths}, "seed": config["seed"]}


@dataclass(frozen=True)
class Footprint:
    """What one trial reserves: bundles that must each fit on one node, such as ({"CPU": 1.0},)."""

    bundles: tuple[Resources, ...]

    @property
    def total(self) -> dict[str, float]:
        names = dict.fromkeys(name for bundle in self.bundles for name in bundle)
        return {name: sum(bundle.get(name, 0.0) for bundle in self.bundles) for name in names}

    def __str__(self) -> str:
        amounts = ", ".join(f"{amount:g} {name}" for name, amount in self.total.items())
        return amounts if len(self.bundles) == 1 else f"{amounts} in {len(self.bundles)} bundles"


def concurrent_trials(footprints: Sequence[Footprint], available: Resources, limit: int | None) -> int:
    """How many of the trials run at once on a cluster with ``available`` resources: as many as fit, in order, up to ``limit``."""
    left, count = dict(available), 0
    for footprint in footprints[:limit]:
        if any(left.get(name, 0.0) < amount for name, amount in footprint.total.items()):
            break
        left = {name: amount - footprint.total.get(name, 0.0) for name, amount in left.items()}
        count += 1
    return count


def shortfall(footprint: Footprint, nodes: Sequence[Resources]) -> str | None:
    """Why a trial can never start on these nodes, or None: a bundle larger than any node, or more in total than all together."""
    for bundle in footprint.bundles:
        if not any(all(node.get(name, 0.0) >= amount for name, amount in bundle.items()) for node in nodes):
            return f"one of its processes needs {_amounts(bundle)} on one machine, the largest has {_amounts(_largest(nodes, bundle))}"
    everything = {name: sum(node.get(name, 0.0) for node in nodes) for name in footprint.total}
    if any(everything[name] < amount for name, amount in footprint.total.items()):
        return f"it needs {_amounts(footprint.total)} in all, the cluster has {_amounts(everything)}"
    return None


def _amounts(resources: Resources) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())


def _largest(nodes: Sequence[Resources], names: Resources) -> Resources:
    return {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in names}


def _stored(experiment: Experiment, point: dict[str, Any]) -> dict[str, Any]:
    """The values of ``point`` as the settings hold them: with defaults, and the declared types."""
    settings = dataclasses.asdict(experiment.settings(point)) if point else {}
    return {path: _at(settings, path) for path in point}


def _at(data: Any, path: str) -> Any:
    for name in path.split("."):
        data = data[name]
    return data


def _short(path: str, others: Mapping[str, Any]) -> str:
    """The shortest ending of ``path`` that no other path shares."""
    parts = path.split(".")
    for start in range(len(parts) - 1, -1, -1):
        ending = ".".join(parts[start:])
        if sum(other == ending or other.endswith(f".{ending}") for other in others) == 1:
            return ending
    return path


def _label(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}={_label(item)}" for name, item in value.items()) + "}"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _seed_last(item: tuple[str, Any]) -> tuple[bool, str]:
    return item[0] == "seed", item[0]
