"""Typed settings back from the plain data that Tune carries."""

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints


def rebuild(kind: Any, value: Any) -> Any:
    """The inverse of ``dataclasses.asdict`` for dataclass ``kind``, dataclasses inside it included; values of other kinds pass through."""
    if get_origin(kind) in (Union, UnionType):
        kind = next((part for part in get_args(kind) if is_dataclass(part)), NoneType)
    if not is_dataclass(kind) or not isinstance(value, dict):
        return value
    hints = get_type_hints(kind)
    values = {field.name: rebuild(hints[field.name], value[field.name]) for field in fields(kind) if field.name in value}
    return cast(type, kind)(**values)
