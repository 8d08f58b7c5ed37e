"""Typed settings back from the plain data that Tune carries."""

from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list", NoneType: "null"}


def rebuild(kind: Any, value: Any) -> Any:
    """The inverse of ``dataclasses.asdict`` for dataclass ``kind``, dataclasses inside it included; values of other kinds pass through."""
    if get_origin(kind) in (Union, UnionType):
        kind = next((part for part in get_args(kind) if is_dataclass(part)), NoneType)
    if not is_dataclass(kind) or not isinstance(value, dict):
        return value
    hints = get_type_hints(kind)
    values = {field.name: rebuild(hints[field.name], value[field.name]) for field in fields(kind) if field.name in value}
    return cast(type, kind)(**values)


def check_plain(kind: Any, value: Any, key: str = "") -> None:
    """Make sure that ``value``, read from a file that anyone may have changed, is plain data of which :func:`rebuild` can make ``kind``.

    Keys that ``kind`` has a default for may be left out, and keys it does not know are none of its business.

    Raises:
        ValueError: names the key, such as ``sac.implicit.width``, and says what it must be and what it is.
    """
    section = next((part for part in _alternatives(kind) if is_dataclass(part)), None)
    if section and isinstance(value, dict):
        hints = get_type_hints(section)
        for field in fields(section):
            inner = f"{key}.{field.name}".lstrip(".")
            if field.name in value:
                check_plain(hints[field.name], value[field.name], inner)
            elif not _has_default(field):
                raise ValueError(f"{inner} is missing; it must be {_described(hints[field.name])}")
    elif get_origin(kind) is list and isinstance(value, list):
        for index, item in enumerate(value):
            check_plain(get_args(kind)[0], item, f"{key}[{index}]")
    elif not any(_fits(part, value) for part in _alternatives(kind)):
        raise ValueError(f"{key} must be {_described(kind)}, got {value!r:.100}")


def _has_default(field: Field) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _fits(kind: Any, value: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool):  # to Python an int
        return kind is bool
    return isinstance(value, (int, float) if kind is float else get_origin(kind) or kind)


def _described(kind: Any) -> str:
    parts = [get_args(part) if get_origin(part) is Literal else (part,) for part in _alternatives(kind)]
    return " or ".join(repr(part) if isinstance(part, str) else _word(part) for choices in parts for part in choices)


def _word(kind: Any) -> str:
    return _WORDS.get(get_origin(kind) or kind, "a section of keys")
