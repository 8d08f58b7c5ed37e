"""A setting declared once: a dataclass field with its type, its range and a sentence. Plain Python.

From the declaration come the checks of what is built in Python (:class:`Settings`), of plain data from files (:func:`misfits`), in the same
words, the way from plain data to settings (:func:`build`, the inverse of ``dataclasses.asdict``), and the reference page.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

Activation = Literal["elu", "softplus", "tanh", "silu"]  # the smooth ones, of nn/activations.py
Path = tuple[str, ...]  # keys from the outermost section to a value
Rule = tuple[bool, str, str] | tuple[bool, str, str, object]  # whether it holds, the dotted field it is about, what that must be, and is


@dataclass(frozen=True)
class Range:
    """Of a number; None: no bound on that side."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    def __contains__(self, number: float) -> bool:
        low = number == number if self.above is None else number > self.above  # nothing contains NaN
        high = self.below is None or number < self.below
        return low and high and (self.at_least is None or number >= self.at_least) and (self.at_most is None or number <= self.at_most)

    def __str__(self) -> str:
        low, high = self.at_least if self.above is None else self.above, self.at_most if self.below is None else self.below
        if low is not None and high is not None:
            return f"in {'[' if self.above is None else '('}{low}, {high}{']' if self.below is None else ')'}"
        if low is not None:
            return f"{low} or greater" if self.above is None else f"greater than {low}"
        return f"{high} or less" if self.below is None else f"less than {high}"


def setting(default: Any = MISSING, text: str = "", *, factory: Callable[[], Any] | Any = MISSING, **bounds: float) -> Any:
    """A field of :class:`Settings`: its default (or what makes it), one sentence, and the bounds of :class:`Range` where it is a number.

    Of a list the bounds are those of each number in it.
    """
    metadata = {"text": text, "range": Range(**bounds) if bounds else None}
    return field(default=default, default_factory=factory, metadata=metadata)


@dataclass(frozen=True)
class Misfit:
    """What is wrong at ``path`` with ``value``, MISSING where there is none. ``must`` be what; "": there is no such key."""

    path: Path
    must: str
    value: object

    def __str__(self) -> str:
        name = ".".join(self.path)
        if not self.must:
            return f"{name} is no setting"
        if self.value is MISSING:
            return f"{name} is missing; it must be {self.must}"
        return f"{name} must be {self.must}, got {self.value!r:.200}"


class Settings:
    """Base of dataclasses of settings. Its ValueError has a line for each field that is not what it must be."""

    def __post_init__(self) -> None:
        hints = hints_of(cast(Any, type(self)))
        values = {name: getattr(self, name) for name in hints}
        broken = [str(misfit) for misfit in misfits(type(self), values)]
        for name, value in {} if broken else values.items():
            object.__setattr__(self, name, _as_declared(hints[name], value))
        broken = broken or [self._broken(name, must, *value) for holds, name, must, *value in self.rules() if not holds]
        if broken:
            raise ValueError("\n".join(broken))

    def _broken(self, name: str, must: str, *value: object) -> str:
        return f"{name} must be {must}, got {value[0] if value else attrgetter(name)(self)!r:.200}"

    def rules(self) -> Iterator[Rule]:
        """What fields must be beside each other; asked where each is what it must be by itself."""
        return iter(())


def misfits(kind: Any, value: Any, path: Path = (), *, strangers: bool = True) -> Iterator[Misfit]:
    """Where plain data, such as JSON and YAML hold, is not what can become ``kind``: each place, in the order of the fields.

    ``strangers``: whether keys that ``kind`` does not know are misfits.
    """
    section = section_of(kind)
    if section and isinstance(value, dict):
        yield from (Misfit((*path, name), "", value[name]) for name in value if strangers and name not in hints_of(section))
        for each in dataclasses.fields(section):
            hint, inner = hints_of(section)[each.name], (*path, each.name)
            if each.name in value:
                yield from _misfits_of_field(hint, value[each.name], inner, each.metadata.get("range"), strangers)
            elif each.default is MISSING and each.default_factory is MISSING:
                yield Misfit(inner, described(hint), MISSING)
    elif (container := next((part for part in alternatives(kind) if _contains(part, value)), None)) is not None:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from misfits(get_args(container)[-1], item, (*path, str(name)), strangers=strangers)
    elif not any(_fits(part, value) for part in alternatives(kind)):
        yield Misfit(path, described(kind), value)


def _contains(kind: Any, value: object) -> bool:
    return get_origin(kind) in (list, dict) and isinstance(value, get_origin(kind))


def _misfits_of_field(hint: Any, value: Any, path: Path, bounds: Range | None, strangers: bool) -> Iterator[Misfit]:
    found = list(misfits(hint, value, path, strangers=strangers))
    yield from found
    items = value if isinstance(value, list) else [value]
    if bounds and not found and not all(item in bounds for item in items if _is_number(item)):
        yield Misfit(path, str(bounds), value)


def build(kind: Any, value: Any) -> Any:
    """``kind`` from plain data without misfits; what is no section passes through.

    Raises ValueError with a line for every rule that does not hold, beginning with the dotted name of its field.
    """
    section = section_of(kind)
    return _build_section(section, value) if section and isinstance(value, dict) else value


def _build_section(section: type, data: dict[str, Any]) -> Any:
    values, broken = {}, []
    for name, hint in hints_of(section).items():
        if name in data:
            try:
                values[name] = build(hint, data[name])
            except ValueError as error:
                broken += [f"{name}.{line}" for line in str(error).splitlines()]
    if broken:
        raise ValueError("\n".join(broken))
    return section(**values)


def _as_declared(kind: Any, value: Any) -> Any:
    """1e6, in YAML a float, as the integer that it is where one was asked for; 1 as the float; plain data as the section they stand for."""
    if _is_number(value) and not isinstance(value, bool):
        return int(value) if int in alternatives(kind) else float(value) if float in alternatives(kind) else value
    if isinstance(value, dict):
        return build(kind, value)
    return [_as_declared(get_args(kind)[0], item) for item in value] if get_origin(kind) is list else value


@cache
def hints_of(section: Any) -> dict[str, Any]:
    """The types of a dataclass's fields by name."""
    hints = get_type_hints(section)
    return {each.name: hints[each.name] for each in dataclasses.fields(section)}


def alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def section_of(kind: Any) -> Any:
    """The dataclass in ``kind`` (looking into ``X | None``), or None."""
    return next((part for part in alternatives(kind) if dataclasses.is_dataclass(part)), None)


def _fits(kind: Any, value: Any) -> bool:
    if kind in (Any, object):
        return True
    if get_origin(kind) is Literal:
        return value in get_args(kind) and not isinstance(value, bool)
    if isinstance(value, bool):  # to Python an int
        return kind is bool
    if kind is int:
        return isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer() and abs(value) < 2**63)
    if kind is float:
        return _is_number(value) and math.isfinite(value)
    return isinstance(value, get_origin(kind) or kind)


def _is_number(value: object) -> bool:
    """Python's or numpy's."""
    return isinstance(value, numbers.Real)


def described(kind: Any) -> str:
    """A type in words: ``int | None`` is "a whole number or null"."""
    choices = [repr(choice) for part in alternatives(kind) for choice in get_args(part) if get_origin(part) is Literal]
    return " or ".join([*choices, *(_in_words(part) for part in alternatives(kind) if get_origin(part) is not Literal)])


def _in_words(kind: Any) -> str:
    plurals = {int: " of whole numbers", float: " of numbers"}
    if get_origin(kind) is list:
        return f"a list{plurals.get(get_args(kind)[0], '')}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
    return words.get(kind, "a section of 'key: value' lines")
