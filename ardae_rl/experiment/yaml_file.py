"""Read a YAML file with the numbers of YAML 1.2, remember where each key was written, refuse duplicate keys, follow ``base:``.

A file may name another, ``base: humanoid.yaml``, beside it: it then says only what differs. Sections are merged key by key, anything else
(a list or null, too) replaces what the base says; the base may have a base itself.

PyYAML follows YAML 1.1: it reads ``3e-4`` and ``1e6`` as text, ``on`` and ``no`` as booleans, ``010`` as eight and ``1:30`` as ninety.

A file may come from anywhere, so reading one runs none of its code and ends soon: no tags beyond plain data, and limits to nesting, to
what aliases expand to and to the digits of a number.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ardae_rl.experiment.problems import InvalidExperimentError, Problem

BASE = "base"  # the key that names the file to start from
MAX_DEPTH = 20
MAX_VALUES = 10_000

_TEXT_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
_CORE_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map"))


class _Loader(yaml.SafeLoader):
    """Plain data only, as SafeLoader, but scalars mean what the core schema of YAML 1.2 says (digits may be grouped: ``1_000_000``).

    Dates, sets and what else YAML 1.1 had tags for are no plain data. Every error is a ``yaml.YAMLError``.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's class-level registries; this one starts empty to drop the YAML 1.1 rules)
    yaml_constructors = {  # noqa: RUF012
        tag: construct for tag, construct in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _CORE_TAGS
    }

    def get_single_node(self) -> yaml.Node | None:
        try:
            node = super().get_single_node()
            if node is not None:
                self._measure(node, "", node.start_mark, {})
        except RecursionError:
            raise yaml.composer.ComposerError(problem="it is nested too deeply") from None
        return node

    def _measure(self, node: yaml.Node, name: str, mark: yaml.Mark, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
        """How many values ``node`` holds, counting aliases as often as they are used, and how deep it is; checks each scalar's tag."""
        if id(node) not in known:
            known[id(node)] = None
            below = [self._measure(child, path, mark, known) for child, path, mark in _children(node, name)]
            known[id(node)] = 1 + sum(values for values, _ in below), 1 + max((depth for _, depth in below), default=0)
        size = known[id(node)]
        if size is None:
            raise yaml.constructor.ConstructorError(problem=f"{name} refers to itself", problem_mark=mark)
        if size[0] > MAX_VALUES or size[1] > MAX_DEPTH:
            limits = f"it may hold {MAX_VALUES:,} values, nested {MAX_DEPTH} deep"
            raise yaml.constructor.ConstructorError(problem=f"{name or 'the file'} holds too much; {limits}", problem_mark=mark)
        self._check_tag(node)
        return size

    def _check_tag(self, node: yaml.Node) -> None:
        """``!!int x`` claims what it is not."""
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _CORE_TAGS[:4]:
            return
        if self.resolve(yaml.ScalarNode, node.value, (True, False)) != node.tag:
            raise yaml.constructor.ConstructorError(problem=f"{node.value!r} is not what its tag says", problem_mark=node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        for key in mapping:
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(problem=f"the key {key!r} is no text; quote it", problem_mark=node.start_mark)
        return mapping

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node)).replace("_", "")
        value = int(text, {"0x": 16, "0o": 8}.get(text[:2], 10)) if len(text) <= 64 else 2**63
        if abs(value) >= 2**63:
            raise yaml.constructor.ConstructorError(problem="a whole number does not fit into 64 bits", problem_mark=node.start_mark)
        return value

    def construct_real(self, node: yaml.ScalarNode) -> float:
        text = str(self.construct_scalar(node))
        value = float(self.construct_yaml_float(node))
        if value == 0 and re.search(r"[1-9]", re.split("[eE]", text)[0]):
            raise yaml.constructor.ConstructorError(problem=f"{text} is too small a number to be told from 0", problem_mark=node.start_mark)
        return value


def _children(node: yaml.Node, name: str) -> Iterator[tuple[yaml.Node, str, yaml.Mark]]:
    """What ``node`` holds, with its dotted path and where it was written."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{name}.{_text(key)}" if name else _text(key)
            yield from ((key, path, key.start_mark), (value, path, key.start_mark))
    elif isinstance(node, yaml.SequenceNode):
        yield from ((item, name, item.start_mark) for item in node.value)


def _text(key: yaml.Node) -> str:
    """The name that a key gives; of one that is no scalar, what it is."""
    return str(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"(?:[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_real)


@dataclass(frozen=True)
class Document:
    """A mapping read from a file, with the place each dotted key came from (``file:line``, or the option that set it)."""

    source: str
    data: dict[str, object]
    places: dict[str, str] = field(default_factory=dict)

    def place(self, key: str) -> str:
        """Where ``key``, or the innermost section around it that was written at all, came from."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places.get(key, self.source)

    def order(self, key: str) -> int:
        """The position of ``key``, or of the innermost section around it, among all keys written: for listing mistakes in that order."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return list(self.places).index(key) if key else 0


def read_document(path: Path) -> Document:
    """The mapping in the YAML file ``path``, merged into that of its base; each key is placed in the file that wrote it last.

    Raises InvalidExperimentError where there is none.
    """
    return _read(path, str(path), "", ())


def _read(path: Path, asked_at: str, key: str, derived: tuple[Path, ...]) -> Document:
    """``derived`` are the files that lead here, each the next one's base; ``key`` of ``asked_at`` is what named this one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        where = f"{path} " if key else ""
        raise InvalidExperimentError([Problem(asked_at, key, f"{where}cannot be read: {_reason(error)}")]) from error
    document = _parse(text, str(path))
    if BASE not in document.data:
        return document
    base, place = document.data.pop(BASE), document.places.pop(BASE)
    if not isinstance(base, str) or not base.isprintable():
        raise InvalidExperimentError([Problem(place, "base", f"must name a YAML file beside this one, got {base!r}")])
    chain = (*derived, path)
    if os.path.realpath(path.parent / base) in map(os.path.realpath, chain):
        raise InvalidExperimentError(
            [Problem(place, "base", f"goes round in a circle: {' -> '.join(file.name for file in chain)} -> {base}")]
        )
    return _merged(_read(path.parent / base, place, "base", chain), document)


def _merged(base: Document, document: Document) -> Document:
    data, replaced = _merge(base.data, document.data)
    kept = {key: place for key, place in base.places.items() if not any(key.startswith(f"{path}.") for path in replaced)}
    return Document(document.source, data, kept | document.places)


def _merge(base: dict[str, Any], changes: dict[str, Any], prefix: str = "") -> tuple[dict[str, Any], list[str]]:
    """``base`` with ``changes`` put in, and the dotted keys whose value was replaced as a whole."""
    data, replaced = dict(base), []
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            data[name], below = _merge(base[name], value, f"{prefix}{name}.")
            replaced += below
        else:
            data[name] = value
            replaced.append(f"{prefix}{name}")
    return data, replaced


def parse_value(text: str) -> object:
    """The value of ``--set key=text``, read by the same rules as a file. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def _parse(text: str, source: str) -> Document:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise InvalidExperimentError([Problem(source, "", "must hold 'key: value' lines at the top, such as 'name: quickstart'")])
        keys = list(_keys(node))
        places = {name: f"{source}:{key.start_mark.line + 1}" for name, key in keys}
        _check_keys(keys, source)
        data = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise InvalidExperimentError([_syntax_problem(error, source)]) from error
    return Document(source, data, places)


def _keys(node: yaml.MappingNode, prefix: str = "") -> Iterator[tuple[str, yaml.Node]]:
    for key, value in node.value:
        name = f"{prefix}{_text(key)}"
        yield name, key
        if isinstance(value, yaml.MappingNode):
            yield from _keys(value, f"{name}.")


def _check_keys(keys: list[tuple[str, yaml.Node]], source: str) -> None:
    first: dict[str, int] = {}
    problems = []
    for name, key in keys:
        line = key.start_mark.line + 1
        if not (isinstance(key, yaml.ScalarNode) and key.tag in _TEXT_TAGS):
            problems.append(Problem(f"{source}:{line}", name, "is no name for a key; if it is meant as text, quote it"))
        if name in first:
            problems.append(Problem(f"{source}:{line}", name, f"is written twice (first on line {first[name]}); keep one"))
        first.setdefault(name, line)
    if problems:
        raise InvalidExperimentError(problems)


def _syntax_problem(error: yaml.YAMLError, source: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    return Problem(place, "", f"is not valid YAML: {reason}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
