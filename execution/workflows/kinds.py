"""What kind of value an expression gives, as far as it is known before there is a run, and what it names in vain."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from execution.exceptions import ExpressionInvalid
from execution.workflows import shapes
from execution.workflows.expressions import RUN_FIELDS, Expression, Part, Reference, nearest, path_of
from execution.workflows.shapes import ANYTHING, Impossible, Shape
from execution.workflows.templates import expression

INPUTS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "list": {"type": "array"},
    "object": {"type": "object"},
}
_OF_FUNCTIONS = {"size": shapes.INTEGER, "state": shapes.TEXT}
_TRUTHS = ("has", "starts_with", "ends_with")
_RUN = shapes.closed(dict.fromkeys(RUN_FIELDS, ANYTHING))
_ITEM = ("item", "index")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The shapes of what expressions may name at one place of a definition."""

    inputs: Mapping[str, Shape] = field(default_factory=dict)
    steps: Mapping[str, Shape] = field(default_factory=dict)
    item: Shape | None = None
    """The shape of one entry inside a foreach; None outside."""

    def inside(self, foreach: Any) -> Names:
        """Return what may be named inside a foreach."""
        return replace(self, item=self._entry(foreach))

    def _entry(self, foreach: Any) -> Shape:
        if not isinstance(foreach, str):
            return ANYTHING
        try:
            found = expression(foreach)
            return look(found, self)[0].part(0) if found is not None else ANYTHING
        except (ExpressionInvalid, Impossible):
            return ANYTHING  # what is wrong with the list is said where it stands


def look(found: Expression, names: Names) -> tuple[Shape, list[str]]:
    """Return the shape of an expression's value, and everything that it names in vain or uses against its kind."""
    wrongs: list[str] = []
    for reference in found.references:
        try:
            _shape(reference, names)
        except Impossible as error:
            wrongs.append(str(error))
    return _of(found.tree, names, wrongs), list(dict.fromkeys(wrongs))


def _shape(reference: Reference, names: Names) -> Shape:
    root, path = reference.root, reference.path
    if root in _ITEM:
        if names.item is None:
            raise Impossible(f"{root!r} is only known in a step with foreach, in what is done for each entry")
        return _walk(names.item if root == "item" else shapes.INTEGER, root, path)
    if root == "run":
        return _walk(_RUN, root, path)
    return _named(reference, names)


def _named(reference: Reference, names: Names) -> Shape:
    root, path = reference.root, reference.path
    known, noun = (names.steps, "step") if root == "steps" else (names.inputs, "input")
    if not path or not isinstance(path[0], str):
        raise Impossible(f"say which {noun}: {root}.NAME")
    name = path[0]
    if name not in known:
        listed = f"; there are {', '.join(list(known)[:5])}" if known else "; there are none"
        raise Impossible(f"there is no {noun} {name!r}{nearest(name, known) or (listed if noun == 'input' else '')}")
    return shapes.TEXT if reference.is_state else _walk(known[name], f"{root}.{name}", path[1:])


def _walk(shape: Shape, place: str, path: tuple[Part, ...]) -> Shape:
    for part in path:
        try:
            shape = shape.part(part)
        except Impossible as error:
            raise Impossible(f"{place} {error}") from None
        place += f".{part}" if isinstance(part, str) else f"[{'...' if part is None else part}]"
    return shape


def _of(node: ast.AST, names: Names, wrongs: list[str]) -> Shape:
    """Return the shape of a node, as far as it is known, and note where a truth is wanted and none can be."""
    if isinstance(node, ast.BoolOp):
        for one in node.values:
            _want_truth(one, names, wrongs)
        return shapes.BOOLEAN
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _want_truth(node.operand, names, wrongs)
        return shapes.BOOLEAN
    if isinstance(node, ast.Compare):
        return shapes.BOOLEAN
    if isinstance(node, (ast.BinOp, ast.UnaryOp)):
        return shapes.NUMBER
    if isinstance(node, ast.IfExp):
        _want_truth(node.test, names, wrongs)
        return ANYTHING
    return _of_value(node, names)


def _of_value(node: ast.AST, names: Names) -> Shape:
    if isinstance(node, ast.List):
        return Shape({"type": "array"})
    if isinstance(node, ast.Constant):
        return shapes.TEXT if isinstance(node.value, str) else shapes.NUMBER
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", "")
        return shapes.BOOLEAN if name in _TRUTHS else _OF_FUNCTIONS.get(name, ANYTHING)
    if isinstance(node, ast.Name) and node.id in ("true", "false"):
        return shapes.BOOLEAN
    named = path_of(node) if isinstance(node, ast.expr) else None
    try:
        return _shape(Reference(*named), names) if named is not None else ANYTHING
    except Impossible:
        return ANYTHING


def _want_truth(node: ast.AST, names: Names, wrongs: list[str]) -> None:
    found = _of(node, names, wrongs)
    if found.kind not in ("", "boolean"):
        wrongs.append(f"{ast.unparse(node)} is {found.said}, and has to be true or false")
