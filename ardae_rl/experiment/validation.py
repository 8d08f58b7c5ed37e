"""The one way from a mapping to a typed dataclass, with every mistake explained.

pydantic does the checking: each dataclass is mirrored by a strict model that forbids unknown keys, and what passes is handed to the
dataclass, whose own rules (ranges, cross-field rules) then apply. Strict means: a text is not a number, true is not 1; but ``1e6`` may
stand where a whole number is expected. A dataclass reports broken rules as ValueError lines of the form ``field must be ..., got ...``.
"""

import copy
import dataclasses
import re
import types
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError, create_model

from ardae_rl.experiment.problems import Problem, nearest
from ardae_rl.experiment.yaml_file import Document

MAX_SHOWN = 200  # characters of a value in a message


def validate(cls: type, document: Document) -> tuple[Any, list[Problem]]:
    """An instance of dataclass ``cls`` from ``document``, or None and every mistake in it, in the order they were written.

    One mistake can hide others (a dataclass stops at its first broken rule), so the checks run again without the culprits so far.
    """
    data: dict[str, Any] = copy.deepcopy(document.data)
    result, found = _attempt(cls, data, document)
    problems: list[Problem] = []
    culprits: set[str] = set()
    while any(problem.key not in culprits for problem in found):
        problems += [problem for problem in found if not _is_consequence(problem, culprits)]
        culprits |= {problem.key for problem in found}
        for problem in found:
            _neutralise(cls, data, problem.key)
        found = _attempt(cls, data, document)[1]
    return result, sorted(dict.fromkeys(problems), key=lambda problem: document.order(problem.key))


def _attempt(cls: type, data: dict[str, Any], document: Document) -> tuple[Any, list[Problem]]:
    try:
        return _built(cls, _mirror(cls).model_validate(data)), []
    except ValidationError as error:
        return None, [problem for detail in error.errors() for problem in _explain(cls, detail, document)]
    except ValueError as error:
        return None, _rule_problems("", error, document)


def _neutralise(cls: type, data: dict[str, Any], key: str) -> None:
    """Take ``key`` out of nested ``data``, or give it some acceptable value where one is required."""
    inner, rest = data, key.split(".")
    while ".".join(rest) not in inner and len(rest) > 1:  # a key of grid_search holds dots itself
        inner = inner.get(rest.pop(0), {})
    inner.pop(".".join(rest), None)
    section = _section(_walk(cls, key.split(".")[: -len(rest)])[0])
    if section and rest[0] in _required(section):
        inner[rest[0]] = _acceptable(get_type_hints(section)[rest[0]])


def _required(cls: type) -> list[str]:
    return [
        item.name for item in dataclasses.fields(cls) if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]


def _acceptable(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return {name: _acceptable(hints[name]) for name in _required(hint)}  # type: ignore[arg-type]
    return get_args(hint)[0] if get_args(hint) else {int: 1, str: "x"}[hint]


def _is_consequence(problem: Problem, culprits: set[str]) -> bool:
    """Whether a mistake appears only because keys already reported were left out: it is one of them, or its rule refers to one."""
    names = {key.rpartition(".")[2] for key in culprits}
    return problem.key in culprits or not names.isdisjoint(re.findall(r"\w+", problem.message))


@cache
def _mirror(cls: type) -> type[BaseModel]:
    """A pydantic model with the fields of dataclass ``cls``: strict, unknown keys forbidden."""
    hints = get_type_hints(cls)
    fields: dict[str, Any] = {name: (_strict(hint), ... if name in _required(cls) else None) for name, hint in hints.items()}
    return create_model(cls.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _strict(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return Annotated[_mirror(hint), AfterValidator(partial(_built, hint))]  # type: ignore[arg-type]
    if hint is int:
        return Annotated[int, Strict(), BeforeValidator(_whole)]
    if hint is float:
        return Annotated[float, Strict(), Field(allow_inf_nan=False)]
    if hint in (bool, str):
        return Annotated[hint, Strict()]
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(_strict(option) for option in get_args(hint))]  # noqa: UP007 (built at run time)
    if get_origin(hint) in (list, dict):
        return get_origin(hint)[tuple(_strict(part) for part in get_args(hint))]
    return hint


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


def _built(cls: type, model: BaseModel) -> Any:
    return cls(**{name: getattr(model, name) for name in model.model_fields_set})


def _explain(cls: type, detail: Any, document: Document) -> Iterator[Problem]:
    path = [str(part) for part in detail["loc"]]
    section, rest = _walk(cls, path)
    known = path[: len(path) - len(rest)]
    key = ".".join(known)
    if detail["type"] == "extra_forbidden":
        written = ".".join(path)
        yield Problem(document.place(written), written, _unknown_key(section, path[-1], cls))
    elif detail["type"] == "missing":
        yield Problem(document.place(key.rpartition(".")[0]), key, f"is missing; expected {describe(section)}")
    elif detail["type"] == "value_error":
        yield from _rule_problems(key, detail["ctx"]["error"], document)
    else:
        yield Problem(document.place(key), key, _type_message(section, _value_at(document.data, known)))


def _rule_problems(section: str, error: ValueError, document: Document) -> list[Problem]:
    """The rules a dataclass found broken: each line of its error begins with the field's name."""
    lines = (line.partition(" ") for line in str(error).splitlines())
    keyed = [(f"{section}.{name}" if section else name, rule) for name, _, rule in lines]
    return [Problem(document.place(key), key, rule) for key, rule in keyed]


def unknown_path(cls: type, path: str) -> str | None:
    """What is wrong with a dotted ``path`` into dataclass ``cls``: None if it names something, else the repair to offer."""
    section, rest = _walk(cls, path.split("."))
    return _unknown_key(section, rest[0], cls) if rest else None


def _walk(hint: Any, path: Sequence[str]) -> tuple[Any, list[str]]:
    """Follow ``path`` from a type: the type reached, and what of the path it does not know."""
    rest = list(path)
    while rest:
        section = _section(hint)
        if get_origin(hint) is dict:
            return (object, []) if get_args(hint)[1] is object else (get_args(hint)[1], rest[1:])
        if section is None or rest[0] not in (hints := get_type_hints(section)):
            break
        hint = hints[rest.pop(0)]
    return hint, rest


def _section(hint: Any) -> Any:
    """The dataclass in ``hint`` (looking into ``X | None``), or None."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)


def _unknown_key(hint: Any, name: str, root: type) -> str:
    section = _section(hint)
    if section is None:
        return "unknown key: it lies below a single value"
    elsewhere = [path for path in _all_paths(root) if path.rpartition(".")[2] == name]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(map(repr, elsewhere))}?"
    return f"unknown key; {nearest(name, [item.name for item in dataclasses.fields(section)])}"


def _all_paths(cls: type, prefix: str = "") -> Iterator[str]:
    for name, hint in get_type_hints(cls).items():
        yield f"{prefix}{name}"
        section = _section(hint)
        if section is not None:
            yield from _all_paths(section, f"{prefix}{name}.")


def _value_at(data: Any, path: Sequence[str]) -> Any:
    for name in path:
        data = data[name]
    return data


def _type_message(hint: Any, value: object) -> str:
    choices = [choice for choice in get_args(hint) if isinstance(choice, str)]
    if isinstance(value, str) and choices:
        return f"expected {describe(hint)}, got {shown(value)}; {nearest(value, choices)}"
    repair = " (write it without quotes)" if isinstance(value, str) and _looks_numeric(value) else ""
    return f"expected {describe(hint)}, got {shown(value)}{repair}"


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


def describe(hint: Any) -> str:
    """A type in words: ``int | None`` is "a whole number or null"."""
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    if hint in plain:
        return plain[hint]
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) is list:
        return "a list"
    if get_args(hint) and get_origin(hint) is not dict:
        return " or ".join(describe(option) for option in get_args(hint))
    return "a section of 'key: value' lines"
