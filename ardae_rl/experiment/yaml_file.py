"""Read a YAML file with the numbers of YAML 1.2, remember where each key was written, refuse duplicate keys, follow ``base:``.

A file may name another, ``base: humanoid.yaml``, beside it: it then says only what differs. Sections are merged key by key, anything else
(a list or null, too) replaces what the base says; the base may have a base itself.

PyYAML follows YAML 1.1: it reads ``3e-4`` and ``1e6`` as text, ``on`` and ``no`` as booleans, ``010`` as eight and ``1:30`` as ninety.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ardae_rl.experiment.problems import InvalidExperimentError, Problem

_TEXT_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


class _Loader(yaml.SafeLoader):
    """Plain data only, as SafeLoader, but scalars mean what the core schema of YAML 1.2 says (digits may be grouped: ``1_000_000``)."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's class-level registry; starts empty to drop the YAML 1.1 rules)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node)).replace("_", "")
        return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


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

    Raises:
        InvalidExperimentError: no such file, not YAML, not a mapping, a key written twice (all of them are listed), or files that are each
            other's base.
    """
    return _read(path, str(path), "", ())


def _read(path: Path, asked_at: str, key: str, derived: tuple[Path, ...]) -> Document:
    """``derived`` are the files that lead here, each the next one's base; ``key`` of ``asked_at`` is what named this one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        where = f"{path} " if key else ""
        raise InvalidExperimentError([Problem(asked_at, key, f"{where}cannot be read: {_reason(error)}")]) from error
    document = _parse(text, str(path))
    if "base" not in document.data:
        return document
    base, place = document.data.pop("base"), document.places.pop("base")
    if not isinstance(base, str):
        raise InvalidExperimentError([Problem(place, "base", f"must name a YAML file beside this one, got {base!r}")])
    chain = (*derived, path)
    if (path.parent / base).resolve() in [file.resolve() for file in chain]:
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
    """The value of ``--set key=text``, read by the same rules as a file: ``3e-4`` is a number, ``[1, 2]`` a list, ``auto`` a text."""
    return yaml.load(text, Loader=_Loader)


def _parse(text: str, source: str) -> Document:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise InvalidExperimentError([Problem(source, "", "must hold 'key: value' lines at the top, such as 'name: quickstart'")])
        keys = list(_keys(node))
        _check_keys(keys, source)
        data = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise InvalidExperimentError([_syntax_problem(error, source)]) from error
    finally:
        loader.dispose()
    return Document(source, data, {key.name: f"{source}:{key.line}" for key in keys})


@dataclass(frozen=True)
class _Key:
    name: str
    line: int
    is_text: bool


def _keys(node: yaml.MappingNode, prefix: str = "", around: tuple[yaml.Node, ...] = ()) -> Iterator[_Key]:
    for key_node, value_node in node.value:
        name = f"{prefix}{key_node.value}"
        yield _Key(name, key_node.start_mark.line + 1, key_node.tag in _TEXT_TAGS)
        if value_node in (*around, node):
            raise yaml.constructor.ConstructorError(problem=f"{name} refers to itself", problem_mark=key_node.start_mark)
        if isinstance(value_node, yaml.MappingNode):
            yield from _keys(value_node, f"{name}.", (*around, node))


def _check_keys(keys: list[_Key], source: str) -> None:
    first: dict[str, int] = {}
    problems = []
    for key in keys:
        place = f"{source}:{key.line}"
        if not key.is_text:
            problems.append(Problem(place, key.name, "is no name for a key; if it is meant as text, quote it"))
        if key.name in first:
            problems.append(Problem(place, key.name, f"is written twice (first on line {first[key.name]}); keep one"))
        first.setdefault(key.name, key.line)
    if problems:
        raise InvalidExperimentError(problems)


def _syntax_problem(error: yaml.YAMLError, source: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
    return Problem(place, "", f"is not valid YAML: {getattr(error, 'problem', None) or error}")


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
