"""From a YAML document to settings (:mod:`ardae_rl.nn.settings`), with every mistake placed, explained and, where one is near, repaired."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from difflib import get_close_matches
from typing import Any, get_args, get_origin

import yaml

from ardae_rl.experiment.problems import Problem, nearest
from ardae_rl.experiment.yaml_file import BASE, Document
from ardae_rl.nn.settings import Misfit, build, described, hints_of, misfits, section_of

MAX_SHOWN = 200  # characters of a value in a message
RENAMED = {
    "state_layers": "score.context_layers",
    "action_layers": "score.input_layers",
    "samples_per_state": "score.samples_per_context",
    "samples_per_image": "score.samples_per_context",
    "score_lr": "score.lr",
    "delta": "score.delta_scale",
    "network": "score",
}


def validate(cls: type, document: Document) -> tuple[Any, list[Problem]]:
    """An instance of dataclass ``cls`` from ``document``, or None and its mistakes, in the order they were written.

    Rules about several fields are asked once each field is what it must be by itself.
    """
    found = [_explained(cls, misfit, document) for misfit in misfits(cls, document.data)]
    try:
        result = None if found else build(cls, document.data)
    except ValueError as error:
        lines = (line.partition(" ") for line in str(error).splitlines())
        result, found = None, [Problem(document.place(key), key, rule) for key, _, rule in lines]
    return result, sorted(dict.fromkeys(found), key=lambda problem: document.order(problem.key))


def _explained(cls: type, misfit: Misfit, document: Document) -> Problem:
    key, path = ".".join(misfit.path), misfit.path
    if not misfit.must:
        return Problem(document.place(key), key, _unknown_key(_walk(cls, path[:-1])[0], path[-1], cls))
    if misfit.value is MISSING:
        return Problem(document.place(".".join(path[:-1])), key, f"is missing; it must be {misfit.must}")
    return Problem(
        document.place(key), key, f"must be {misfit.must}, got {shown(misfit.value)}{_repair(_walk(cls, path)[0], misfit.value)}"
    )


def unknown_path(cls: type, path: str) -> str | None:
    """What is wrong with a dotted ``path`` into dataclass ``cls``: None if it names something, else the repair to offer."""
    section, rest = _walk(cls, path.split("."))
    return _unknown_key(section, rest[0], cls) if rest else None


def _walk(hint: Any, path: Sequence[str]) -> tuple[Any, list[str]]:
    """Follow ``path`` from a type: the type reached, and what of the path it does not know."""
    rest = list(path)
    while rest:
        section = section_of(hint)
        if get_origin(hint) is dict:
            return (object, []) if get_args(hint)[1] is object else (get_args(hint)[1], rest[1:])
        if section is None or rest[0] not in hints_of(section):
            break
        hint = hints_of(section)[rest.pop(0)]
    return hint, rest


def _unknown_key(hint: Any, name: str, root: type) -> str:
    section = section_of(hint)
    if name in RENAMED:
        return f"unknown key; it is now {RENAMED[name]!r}"
    if section is None:
        return "unknown key: it lies below a single value"
    elsewhere = [path for path in _all_paths(root) if path.rpartition(".")[2] == name]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(map(repr, elsewhere))}?"
    names = [item.name for item in dataclasses.fields(section)] + ([BASE] if section is root else [])
    return f"unknown key; {nearest(name, names)}"


def _all_paths(cls: type, prefix: str = "") -> Iterator[str]:
    for name, hint in hints_of(cls).items():
        yield f"{prefix}{name}"
        if section_of(hint) is not None:
            yield from _all_paths(section_of(hint), f"{prefix}{name}.")


def _repair(hint: Any, value: object) -> str:
    """For a text in the place of a choice, a number or a truth value."""
    if not isinstance(value, str):
        return ""
    kinds = described(hint)
    if ("number" in kinds and _looks_numeric(value)) or ("true or false" in kinds and value.lower() in ("true", "false")):
        return " (write it without quotes)"
    choices = [choice for part in (hint, *get_args(hint)) for choice in get_args(part) if isinstance(choice, str)]
    close = get_close_matches(value, choices, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _looks_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def shown(value: object) -> str:
    """``value`` as a user wrote it in YAML, its beginning if it is long."""
    if isinstance(value, str):
        return f"the text {_beginning(repr(value))}"
    return _beginning(yaml.safe_dump(value, default_flow_style=True, width=10 * MAX_SHOWN).removesuffix("...\n").strip())


def _beginning(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
