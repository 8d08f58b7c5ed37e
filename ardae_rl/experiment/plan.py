"""The trials of an experiment: their names, what Tune is asked to vary, and what each asks of the cluster."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ardae_rl.experiment.schema import Experiment, put

Resources = Mapping[str, float]
MAX_NAME_BYTES = 200
_ROUNDING = 1e-6  # sums of fractions of a CPU or GPU; Ray counts in units of 1e-4


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


def with_stored_grid(experiment: Experiment) -> Experiment:
    """The same experiment, its grid values as the settings hold them: a section there says everything, too."""
    grid = {path: [_stored(experiment, {path: value})[path] for value in values] for path, values in experiment.grid_search.items()}
    return dataclasses.replace(experiment, grid_search=grid)


def param_space(experiment: Experiment) -> dict[str, Any]:
    """Tune's search space: the settings as plain data with each grid path, and the seed, marked to be varied."""
    settings = dataclasses.asdict(experiment.settings(next(experiment.grid_points())))
    for path, values in with_stored_grid(experiment).grid_search.items():
        put(settings, path, {"grid_search": values})
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
        """ "5 CPU, 1 GPU = 1 x (1 CPU) + 1 x (2 CPU, 1 GPU) + 1 x (2 CPU)"; of a single bundle only what it is."""
        if len(self.bundles) == 1:
            return _amounts(self.total)
        kinds = Counter(_amounts(bundle) for bundle in self.bundles)
        return f"{_amounts(self.total)} = {' + '.join(f'{count} x ({kind})' for kind, count in kinds.items())}"


def concurrent_trials(footprints: Sequence[Footprint], nodes: Sequence[Resources], limit: int | None) -> int:
    """How many of the trials run at once on ``nodes``: as many as fit, in order, up to ``limit``."""
    left = nodes
    for count, footprint in enumerate(footprints[:limit]):
        remaining = _placed(footprint, left)
        if remaining is None:
            return count
        left = remaining
    return len(footprints[:limit])


def shortfall(footprint: Footprint, nodes: Sequence[Resources]) -> str | None:
    """Why a trial can never start on ``nodes``, however empty they are; None if it can."""
    for bundle in footprint.bundles:
        if not any(_fits(bundle, node) for node in nodes):
            return _too_large(bundle, nodes)
    if _placed(footprint, nodes) is not None:
        return None
    everything = {name: sum(node.get(name, 0.0) for node in nodes) for name in footprint.total}
    if not _fits(footprint.total, everything):
        return f"it needs {_amounts(footprint.total)} in all, the cluster has {_amounts(everything)}"
    shapes = Counter(_amounts({name: node.get(name, 0.0) for name in footprint.total}) for node in nodes)
    machines = ", ".join(f"{count} with {shape}" for shape, count in shapes.items())
    return f"its processes, {footprint}, do not fit side by side on the machines there are: {machines}"


def _too_large(bundle: Resources, nodes: Sequence[Resources]) -> str:
    """What is asked of one machine, and what the largest has: by GPUs first, then by CPUs."""
    missing = [name for name, amount in bundle.items() if amount > 0 and not any(node.get(name, 0.0) > 0 for node in nodes)]
    if missing:
        asked = _amounts({name: bundle[name] for name in missing})
        return f"one of its processes needs {asked}, and no machine there ({len(nodes)} in all) has any"
    largest = max(nodes, key=lambda node: [node.get(name, 0.0) for name in sorted(bundle, reverse=True)])
    has = _amounts({name: largest.get(name, 0.0) for name in bundle})
    return f"one of its processes needs {_amounts(bundle)} on one machine, the largest has {has}"


def _placed(footprint: Footprint, nodes: Sequence[Resources]) -> list[Resources] | None:
    """What is left of ``nodes`` once a trial runs; None if it has no room. GPUs first, largest first, each where least is left over.

    That is not the best packing there is, but finds one wherever the bundles are of two sizes, one of them a multiple of the other, and
    nearly always else.
    """
    left = [dict(node) for node in nodes]
    for bundle in sorted(footprint.bundles, key=lambda bundle: (bundle.get("GPU", 0.0), bundle.get("CPU", 0.0)), reverse=True):
        room = [node for node in left if _fits(bundle, node)]
        if not room:
            return None
        node = min(room, key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)))
        node.update({name: node.get(name, 0.0) - amount for name, amount in bundle.items()})
    return list(left)


def _fits(asked: Resources, node: Resources) -> bool:
    return all(node.get(name, 0.0) >= amount - _ROUNDING for name, amount in asked.items())


def _amounts(resources: Resources) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())


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
