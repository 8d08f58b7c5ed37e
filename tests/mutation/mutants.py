"""Which mutants there are, by name: (operator, symbol, occurrence in that symbol), and the committed list of those that are tried.

A symbol is a function or ``Class.method`` of the rooms; ``module:symbol`` where two modules define it. So the list survives moves of files.
"""

import ast
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import NamedTuple

import yaml
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from parso.tree import search_ancestor

from tests.mutation.operators import Node, Provider

ROOMS = ("nn", "score", "samplers", "entropy", "sac")
HERE = Path(__file__).parent
LIST, HARMLESS = HERE / "mutants.txt", HERE / "harmless.yaml"
SEED = 0
UNSEEN = ("strict", "device")  # keyword arguments: zip's check of what is of equal length; all there is where a CPU is alone
OPERATORS = Provider()


class Mutant(NamedTuple):
    """One line of the list."""

    operator: str
    symbol: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.operator} {self.symbol} {self.occurrence}"

    @classmethod
    def parse(cls, line: str) -> "Mutant":
        operator, symbol, occurrence = line.split()
        return cls(operator, symbol, int(occurrence))


@dataclass(frozen=True)
class Place:
    """Where a mutant is in the code as it stands: the file, the operator's occurrence in that file, and the code's span."""

    path: Path
    occurrence: int
    start: tuple[int, int]
    end: tuple[int, int]

    def mutated(self, operator: str) -> str:
        return mutate_code(self.path.read_text(), OPERATORS[operator](), self.occurrence)


@dataclass(frozen=True)
class Symbol:
    """A function or method: its name, file, and first and last line, decorators included."""

    name: str
    path: Path
    first: int
    last: int


def modules(root: Path) -> list[Path]:
    return sorted(path for room in ROOMS for path in (root / "ardae_rl" / room).rglob("*.py"))


def symbols(root: Path) -> list[Symbol]:
    found = [symbol for path in modules(root) for symbol in _symbols_of(path)]
    count = Counter(name for name, _ in {(symbol.name, symbol.path) for symbol in found})
    return [Symbol(s.name if count[s.name] == 1 else f"{s.path.stem}:{s.name}", s.path, s.first, s.last) for s in found]


def _symbols_of(path: Path) -> Iterator[Symbol]:
    for node in ast.parse(path.read_text()).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for function in inside:
            if isinstance(function, ast.FunctionDef):
                first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
                yield Symbol(prefix + function.name, path, first, function.end_lineno or first)


def all_mutants(root: Path) -> dict[Mutant, Place]:
    """Every mutant of the rooms under ``root``."""
    of_path = defaultdict(list)
    for symbol in symbols(root):
        of_path[symbol.path].append(symbol)
    return {mutant: place for path, inside in of_path.items() for mutant, place in _mutants_of(path, inside)}


def _mutants_of(path: Path, inside: list[Symbol]) -> Iterator[tuple[Mutant, Place]]:
    nodes = list(ast_nodes(get_ast(path.read_text())))
    for operator in OPERATORS:
        count: Counter[str] = Counter()
        spans = [(node, span) for node in nodes for span in OPERATORS[operator]().mutation_positions(node)]
        for occurrence, (node, (start, end)) in enumerate(spans):
            symbol = next((s.name for s in inside if s.first <= start[0] <= s.last), None)
            if symbol is not None and not _says_nothing(node, start):
                yield Mutant(operator, symbol, count[symbol]), Place(path, occurrence, start, end)
                count[symbol] += 1


def _says_nothing(node: Node, start: tuple[int, int]) -> bool:
    """What no mathematics fixes (texts of messages, defaults of parameters) or no result shows (``UNSEEN``, the sign of an axis)."""
    leaf = node.get_leaf_for_position(start) if hasattr(node, "children") else node
    argument = search_ancestor(leaf, "argument")
    unseen = argument is not None and argument.get_first_leaf().value in UNSEEN
    axis = leaf.value == "-" and leaf.parent.type == "factor" and leaf.get_next_leaf().value.isdigit()
    return unseen or axis or search_ancestor(node, "fstring", "parameters") is not None


def sample(mutants: dict[Mutant, Place]) -> list[Mutant]:
    """A share of each symbol's mutants, as many operators as possible; which ones depends on the seed and on that symbol alone."""
    of_symbol = defaultdict(list)
    for mutant in mutants:
        of_symbol[mutant.symbol].append(mutant)
    chosen = [mutant for group in of_symbol.values() for mutant in _some_of(group, mutants)]
    return sorted(chosen, key=lambda mutant: (mutant.symbol, mutant.operator, mutant.occurrence))


def _differs(mutant: Mutant, place: Place) -> bool:
    try:
        return ast.dump(ast.parse(place.mutated(mutant.operator))) != ast.dump(ast.parse(place.path.read_text()))
    except SyntaxError:
        return False


def _some_of(group: list[Mutant], mutants: dict[Mutant, Place]) -> list[Mutant]:
    """Half the square root of their number, in turn from the operators that the symbol has."""
    telling = (mutant for mutant in _in_turn(group) if _differs(mutant, mutants[mutant]))
    return list(islice(telling, ceil(len(group) ** 0.5 / 2)))


def _in_turn(group: list[Mutant]) -> list[Mutant]:
    turns: Counter[str] = Counter()
    ranked = []
    for lot, mutant in sorted((_lot(mutant), mutant) for mutant in group):
        ranked.append((turns[mutant.operator], lot, mutant))
        turns[mutant.operator] += 1
    return [mutant for *_, mutant in sorted(ranked)]


def _lot(mutant: Mutant) -> str:
    return hashlib.sha256(f"{SEED} {mutant}".encode()).hexdigest()


def listed(path: Path = LIST) -> list[Mutant]:
    return [Mutant.parse(line) for line in path.read_text().splitlines() if line and not line.startswith("#")]


def write_list(mutants: Iterable[Mutant], path: Path = LIST) -> None:
    path.write_text("# operator symbol occurrence: written by python -m tests.mutation list\n" + "".join(f"{m}\n" for m in mutants))


def harmless(path: Path = HARMLESS) -> dict[Mutant, dict[str, str]]:
    """Survivors that change nothing that counts: ``mutant``, the line it ``becomes``, and the ``reason``."""
    return {Mutant.parse(entry["mutant"]): entry for entry in yaml.safe_load(path.read_text()) or []}
