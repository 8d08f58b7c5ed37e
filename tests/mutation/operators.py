"""What a mutant changes: cosmic-ray's operators that suit numerical code, and seven that it lacks.

An operator sees one node of a parso tree: ``mutation_positions`` yields ``(start, end)`` once per change it can make there,
``mutate(node, index)`` makes the change. Every own operator shows what it does in ``examples``, which a test runs.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.operators.provider import OperatorProvider
from parso.python.tree import Name, PythonNode

Node = Any  # of a parso tree: a branch with children, or a leaf with a value
Span = tuple[tuple[int, int], tuple[int, int]]

FROM_COSMIC_RAY = (
    *("ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add", "ReplaceBinaryOperator_Mul_Div", "ReplaceBinaryOperator_Div_Mul"),
    *("ReplaceBinaryOperator_FloorDiv_Mul", "ReplaceBinaryOperator_Pow_Mul", "ReplaceBinaryOperator_Mod_Mul"),
    *("ReplaceComparisonOperator_Lt_LtE", "ReplaceComparisonOperator_LtE_Lt", "ReplaceComparisonOperator_Gt_GtE"),
    *("ReplaceComparisonOperator_GtE_Gt", "ReplaceComparisonOperator_Eq_NotEq", "ReplaceComparisonOperator_NotEq_Eq"),
    *("ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Not", "AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "NumberReplacer", "ZeroIterationForLoop"),
)

_PAIRS = (
    *(("min", "max"), ("amin", "amax"), ("argmin", "argmax"), ("minimum", "maximum"), ("clamp_min", "clamp_max")),
    *(("zeros", "ones"), ("zeros_like", "ones_like"), ("new_zeros", "new_ones"), ("zeros_", "ones_")),
    *(("sum", "mean"), ("floor", "ceil"), ("sqrt", "square")),
)
SWAPS = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])} | {
    "no_grad": "enable_grad",
    "detach": "clone",
    "abs": "positive",
    "exp": "expm1",
    "log": "log1p",
    "tanh": "atan",
    "softplus": "relu",
}
AUGMENTED = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*="}
_SYMMETRIC = {"isinstance", "min", "max", "minimum", "maximum", "add", "mul", "dot"}


def _span(node: Node) -> Span:
    return node.start_pos, node.end_pos


def _written(node: Node, code: str) -> Name:
    """``code`` in the place of ``node``; parso writes a leaf as it stands."""
    return Name(code, node.start_pos, prefix=node.get_first_leaf().prefix)


def _called(trailer: Node | None) -> str:
    """The last name before the brackets of a call, or nothing."""
    before = trailer.get_previous_leaf() if trailer is not None else None
    return before.value if before is not None else ""


def _arguments(trailer: Node) -> list[Node]:
    inside = trailer.children[1:-1]
    return inside[0].children[::2] if inside and inside[0].type == "arglist" else inside


class SwapName(Operator):
    """A function or method by its counterpart in ``SWAPS``: ``min`` by ``max``, ``detach`` by ``clone``, ``no_grad`` by ``enable_grad``."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        if node.type == "name" and node.value in SWAPS and node.get_next_leaf().value == "(":
            yield _span(node)

    def mutate(self, node: Node, index: int) -> Node:
        node.value = SWAPS[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example("x.min(0)", "x.max(0)"), Example("with no_grad(): f(x.detach())", "with no_grad(): f(x.clone())", occurrence=1)


class DoubleNumber(Operator):
    """A number by its double."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        if node.type == "number" and float(node.value) != 0:
            yield _span(node)

    def mutate(self, node: Node, index: int) -> Node:
        return _written(node, repr(2 * float(node.value)) if "." in node.value or "e" in node.value else str(2 * int(node.value)))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example("x = 0 + 3", "x = 0 + 6"), Example("f(0.5, 1)", "f(1.0, 1)")


class SwapArguments(Operator):
    """Two neighbouring positional arguments of a call, unless their order says nothing."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        for first, _ in self._pairs(node):
            yield _span(first)

    def mutate(self, node: Node, index: int) -> Node:
        first, second = self._pairs(node)[index]
        i, j = node.children.index(first), node.children.index(second)
        node.children[i], node.children[j] = _written(first, second.get_code(False)), _written(second, first.get_code(False))
        return node

    @staticmethod
    def _pairs(node: Node) -> list[tuple[Node, Node]]:
        if node.type != "arglist" or node.parent.type != "trailer" or _called(node.parent) in _SYMMETRIC:
            return []
        positional = [child for child in node.children[::2] if child.type != "argument"]
        return list(pairwise(positional))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example("f(a, b, c, k=1)", "f(a, c, b, k=1)", occurrence=1), Example("f(max(a, b), c)", "f(c, max(a, b))")


class DropKeywordArgument(Operator):
    """A keyword argument of a call, so that the default speaks."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        for argument in self._keywords(node):
            yield _span(argument)

    def mutate(self, node: Node, index: int) -> Node:
        dropped = self._keywords(node)[index]
        kept = [argument.get_code(False) for argument in _arguments(node) if argument is not dropped]
        return PythonNode("trailer", [node.children[0], _written(node.children[1], ", ".join(kept)), node.children[-1]])

    @staticmethod
    def _keywords(node: Node) -> list[Node]:
        if node.type != "trailer" or node.children[0].value != "(":
            return []
        return [argument for argument in _arguments(node) if argument.type == "argument" and argument.children[1] == "="]

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example("f(x, dim=1, k=g(2))", "f(x, dim=1)", occurrence=1), Example("f(k=2)", "f()")


class ReturnZero(Operator):
    """A returned value by zero times that value."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        if node.type == "return_stmt" and len(node.children) > 1 and self._multiplies(node.children[1]):
            yield _span(node)

    def mutate(self, node: Node, index: int) -> Node:
        value = node.children[1]
        node.children[1] = _written(value, f"0 * ({value.get_code(False)})")
        return node

    @staticmethod
    def _multiplies(value: Node) -> bool:
        first = value.get_first_leaf()
        return value.type not in ("testlist", "keyword", "string", "fstring", "lambdef") and first.value not in ("{", "[", "self")

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        bare = Example("def f():\n  return\n  return x", "def f():\n  return\n  return 0 * (x)")
        return Example("def f(): return x + 1", "def f(): return 0 * (x + 1)"), bare


class DropStatement(Operator):
    """A statement that is there for what it does: a call, or an assignment such as ``+=``."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        if node.parent is not None and node.parent.type == "simple_stmt" and (self._calls(node) or self._augments(node)):
            yield _span(node)

    def mutate(self, node: Node, index: int) -> Name:
        return _written(node, "pass")

    @staticmethod
    def _calls(node: Node) -> bool:
        return node.type in ("atom_expr", "power") and node.get_last_leaf().value == ")" and node.get_first_leaf().value != "super"

    @staticmethod
    def _augments(node: Node) -> bool:
        return node.type == "expr_stmt" and node.children[1].type == "operator" and node.children[1].value != "="

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example("x = f(1)\ng(x)\n", "x = f(1)\npass\n"), Example("if a:\n  x += 1\n", "if a:\n  pass\n")


class SwapAugmented(Operator):
    """``+=`` by ``-=``, ``*=`` by ``/=``, and back."""

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        if node.type == "operator" and node.value in AUGMENTED:
            yield _span(node)

    def mutate(self, node: Node, index: int) -> Node:
        node.value = AUGMENTED[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example("x += 1", "x -= 1"),)


OWN: tuple[type[Operator], ...] = (SwapName, DoubleNumber, SwapArguments, DropKeywordArgument, ReturnZero, DropStatement, SwapAugmented)


class Provider:
    """All operators by name; cosmic-ray finds them as ``ardae/NAME``."""

    def __init__(self) -> None:
        core = OperatorProvider()
        self._operators: dict[str, Any] = {name: core[name] for name in FROM_COSMIC_RAY} | {own.__name__: own for own in OWN}

    def __iter__(self) -> Iterator[str]:
        return iter(self._operators)

    def __getitem__(self, name: str) -> Any:
        return self._operators[name]
