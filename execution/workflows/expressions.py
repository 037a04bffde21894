"""Expressions: the small language between `${` and `}`, read into a tree and never run as Python.

They name inputs, steps' results, the run and, inside a `foreach`, the item; they compare, join conditions, count and
reckon. A text is scanned word by word, parsed by Python's own `ast` and refused unless every node is on the list here.
Nothing loops, so an expression takes time in proportion to its length and to the values that it touches.
"""

from __future__ import annotations

import ast
import functools
import heapq
import keyword
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from execution.exceptions import ExpressionInvalid

LONGEST = 1000
DEEPEST = 32
LARGEST = 2**63
_LIKELY = 30
ROOTS = ("inputs", "steps", "run", "item", "index")
RUN_FIELDS = ("id", "workflow", "version", "agent", "key", "correlation_id")
CONSTANTS = {"true": True, "false": False, "null": None}
FUNCTIONS = {"size": 1, "has": 1, "default": 2, "state": 1, "starts_with": 2, "ends_with": 2}
"""Each function with the number of values that it takes."""

_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<text>'[^'\\\n]*'|\"[^\"\\\n]*\")"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<sign>==|!=|<=|>=|[<>()\[\],.+\-*/%])"
)
_INSTEAD = {
    "&": "'and'",
    "|": "'or'",
    "!": "'not'",
    "=": "'=='",
    "?": "'a if condition else b'",
    "{": "a list, or an object in the definition",
}
_NAMES_INSTEAD = {"True": "true", "False": "false", "None": "null", "is": "==", "len": "size"}
_NODES: tuple[type[ast.AST], ...] = (
    *(ast.Name, ast.Constant, ast.Attribute, ast.Subscript, ast.List, ast.Call, ast.Compare, ast.BoolOp, ast.UnaryOp),
    *(ast.BinOp, ast.IfExp, ast.Load, ast.And, ast.Or, ast.Not, ast.USub, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
)

Part = str | int | None
"""One stretch of a path: a field, a position, or None for one that is only known when it is reckoned."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One thing that an expression names: `steps.extract.blocks[0]` is `steps` and `("extract", "blocks", 0)`."""

    root: str
    path: tuple[Part, ...]
    is_state: bool = False
    """Whether only the state of a step is asked for, by `state(steps.extract)`."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A text that has been read: its tree, and everything that it names."""

    text: str
    tree: ast.expr
    references: tuple[Reference, ...]

    @property
    def is_constant(self) -> bool:
        """Whether it names nothing, so that its value is known now."""
        return not self.references

    def __str__(self) -> str:
        return f"${{{self.text}}}"


@functools.lru_cache(maxsize=8192)
def parse(text: str) -> Expression:
    """Return the expression, or say what cannot be read in it; names are looked up elsewhere."""
    stripped = text.strip()
    if not stripped:
        raise ExpressionInvalid(stripped, "there is nothing between the braces")
    if len(stripped) > LONGEST:
        raise ExpressionInvalid(stripped, f"it has {len(stripped):,} characters, more than {LONGEST:,}")
    tree = _tree(stripped)
    _check(tree, stripped)
    return Expression(stripped, tree, tuple(dict.fromkeys(_references(tree))))


def path_of(node: ast.expr) -> tuple[str, tuple[Part, ...]] | None:
    """Return the root and the path that a chain of fields and positions names, or None where it is no such chain."""
    parts: list[Part] = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
        elif isinstance(node, ast.Subscript):
            parts.append(position(node.slice))
        else:
            return None
        node = node.value
    return (node.id, tuple(reversed(parts))) if node.id in ROOTS else None


def position(node: ast.expr) -> Part:
    """Return what stands in brackets where it is written out: a key, a position from the start or from the end."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = position(node.operand)
        return -inner if isinstance(inner, int) else None
    if isinstance(node, ast.Constant) and type(node.value) in (str, int):
        return node.value  # type: ignore[return-value]
    return None


def _tree(text: str) -> ast.expr:
    source = "".join(_words(text))
    try:
        return ast.parse(source, mode="eval").body
    except SyntaxError:
        raise ExpressionInvalid(text, "it does not read as an expression") from None
    except (ValueError, MemoryError, RecursionError):
        raise ExpressionInvalid(text, "it is nested too deeply") from None


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text as Python would write them: a field may be called `from` or `class`."""
    place, before = 0, ""
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ExpressionInvalid(text, _unreadable(text[place], place))
        kind, word = str(found.lastgroup), found.group()
        if kind in ("name", "text") and before in ("name", "number", "text"):
            raise ExpressionInvalid(text, f"something is missing before {word} (character {place + 1})")
        if kind == "name" and before != "." and word in _NAMES_INSTEAD:
            raise ExpressionInvalid(text, f"write {_NAMES_INSTEAD[word]}, not {word}")
        yield " " if kind == "space" else f"{word}_" if _is_keyword_field(word, before) else word
        place, before = found.end(), word if word == "." else kind


def _is_keyword_field(word: str, before: str) -> bool:
    return before == "." and word.rstrip("_") in keyword.kwlist


def _unreadable(character: str, place: int) -> str:
    if character in "'\"":
        return f"the text that begins at character {place + 1} does not end"
    instead = f"; write {_INSTEAD[character]}" if character in _INSTEAD else ""
    return f"{character!r} at character {place + 1} has no meaning here{instead}"


def _check(tree: ast.expr, text: str) -> None:
    """Refuse every node that is not on the list, names that nobody knows, and trees that are too deep."""
    level: list[ast.AST] = [tree]
    for _ in range(DEEPEST):
        for node in level:
            _check_node(node, text)
        level = [child for node in level for child in ast.iter_child_nodes(node) if not _is_function(node, child)]
        if not level:
            return
    raise ExpressionInvalid(text, "it is nested too deeply")


def _is_function(node: ast.AST, child: ast.AST) -> bool:
    return isinstance(node, ast.Call) and child is node.func


def _check_node(node: ast.AST, text: str) -> None:
    if not isinstance(node, _NODES):
        raise ExpressionInvalid(text, "it says something that expressions do not know")
    if isinstance(node, ast.Attribute) and node.attr.endswith("_") and keyword.iskeyword(node.attr.rstrip("_")):
        node.attr = node.attr[:-1]
    elif isinstance(node, ast.Name):
        _check_name(node.id, text)
    elif isinstance(node, ast.Call):
        _check_call(node, text)
    elif isinstance(node, ast.Constant) and not is_small(node.value):
        raise ExpressionInvalid(text, "a number in it is too large")


def is_small(value: object) -> bool:
    """Tell whether a number is one that expressions reckon with; what is no number is."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -LARGEST < value < LARGEST


def _check_name(name: str, text: str) -> None:
    if name not in ROOTS and name not in CONSTANTS:
        known = f"; it knows {', '.join(ROOTS)}; write $${{ for text that is to stay"
        hint = nearest(name, [*ROOTS, *CONSTANTS, *FUNCTIONS]) or known
        raise ExpressionInvalid(text, f"nothing is called {name!r}{hint}")


def _check_call(node: ast.Call, text: str) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in FUNCTIONS:
        hint = nearest(name, FUNCTIONS) or f"; it knows {', '.join(FUNCTIONS)}"
        raise ExpressionInvalid(text, f"there is no function {name!r}{hint}" if name else "only functions are called")
    wanted = FUNCTIONS[name]
    if node.keywords or len(node.args) != wanted:
        raise ExpressionInvalid(text, f"{name}() takes {'one value' if wanted == 1 else 'two values'}")
    named = path_of(node.args[0])
    if name == "has" and named is None:
        raise ExpressionInvalid(text, "has() asks for something by its name: has(steps.extract.blocks)")
    if name == "state" and (named is None or named[0] != "steps" or len(named[1]) != 1):
        raise ExpressionInvalid(text, "state() asks for the state of a step: state(steps.extract)")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest name, or nothing; of many only those with most pairs of letters are compared."""
    pairs = _pairs(name)
    likely = heapq.nlargest(_LIKELY, known, key=lambda one: len(pairs & _pairs(one)))
    found = get_close_matches(name, likely, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _pairs(name: str) -> set[str]:
    return {name[place : place + 2] for place in range(len(name) - 1)}


def _references(node: ast.AST) -> Iterator[Reference]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        for child in node.args:
            named = path_of(child)
            if node.func.id == "state" and named is not None:
                yield Reference(*named, is_state=True)
            else:
                yield from _references(child)
        return
    named = path_of(node) if isinstance(node, ast.expr) else None
    if named is not None:
        yield Reference(*named)
        yield from _inside_brackets(node)
        return
    for inner in ast.iter_child_nodes(node):
        yield from _references(inner)


def _inside_brackets(node: ast.AST) -> Iterator[Reference]:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        if isinstance(node, ast.Subscript):
            yield from _references(node.slice)
        node = node.value
