"""What makes an experiment file a record: it states the version of the settings, ``schema``, and every one of them.

So no default of the code that reads it enters, and a record means for ever what it meant to the code that wrote it.
"""

from collections.abc import Iterator
from typing import Any

from ardae_rl.experiment.problems import InvalidExperimentError, Problem

KEY, SCHEMA = "schema", 1  # the version goes up where a key keeps its name and type and no longer means what it did
MISSING = (
    "is missing from a file that states its schema, so no default stands in for it; "
    "write the value that means what the code did that ran it (provenance.jsonl beside it names the commit)"
)
_WAY_ON = (
    "go on with the code that wrote it (git checkout the commit in provenance.jsonl beside it), "
    f"or convert it: state every setting as that code took it, and {KEY}: {SCHEMA} on top"
)


def check_version(record: dict[str, Any], place: str) -> None:
    """Raise InvalidExperimentError unless ``record``, found at ``place``, states the version that this code reads."""
    version = record.get(KEY)
    if type(version) is not int or version != SCHEMA:
        stated = f"is {repr(version)[:100]}" if KEY in record else "is not stated, as in records of older code,"
        raise InvalidExperimentError([Problem(place, KEY, f"{stated} and this code reads {SCHEMA}; {_WAY_ON}")])


def missing_keys(complete: Any, given: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of nested ``complete`` that ``given`` lacks, also in sections within lists, such as those of a grid."""
    if isinstance(complete, list) and isinstance(given, list):
        for whole, part in zip(complete, given, strict=False):
            yield from missing_keys(whole, part, prefix)
    elif isinstance(complete, dict) and isinstance(given, dict):
        for name, value in complete.items():
            key = f"{prefix}.{name}" if prefix else str(name)
            yield from missing_keys(value, given[name], key) if name in given else [key]
