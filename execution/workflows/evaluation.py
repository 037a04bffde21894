"""What an expression is worth, given what the run knows: plain JSON values in, one out.

Values are compared as JSON: `true` is not 1, text and numbers have no order between them, and a condition is true or
false, never "something". What is not there is an error that names it, unless `has` or `default` asks.
"""

from __future__ import annotations

import ast
import datetime as dt
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from execution.exceptions import ExpressionFailed
from execution.workflows.expressions import CONSTANTS, Expression, is_small


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()
"""Stands for no value at all, where null is a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What expressions may name at one moment of a run."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    item: Any = NOTHING
    index: Any = NOTHING


class _Missing(Exception):
    """Something that was named is not there."""


class _Wrong(Exception):
    """Something cannot be done with these values."""


def evaluate(expression: Expression, scope: Scope) -> Any:
    """Return the value of an expression; raises ExpressionFailed, which says what was not there or did not fit."""
    try:
        return _value(expression.tree, scope)
    except (_Missing, _Wrong) as error:
        raise ExpressionFailed(expression.text, str(error)) from None
    except RecursionError:
        raise ExpressionFailed(expression.text, "its values are nested too deeply") from None


def kind_of(value: Any) -> str:
    """Say what kind of value this is."""
    if value is None:
        return "null"
    for kinds, word in _KINDS:
        if isinstance(value, kinds):
            return word
    return f"a value of type {type(value).__name__}"


_KINDS: tuple[tuple[Any, str], ...] = (
    (bool, "true or false"),
    ((int, float, Decimal), "a number"),
    (str, "text"),
    (Mapping, "an object"),
    (Sequence, "a list"),
)


def _value(node: ast.AST, scope: Scope) -> Any:
    return _RULES[type(node)](node, scope)


def _name(node: ast.Name, scope: Scope) -> Any:
    if node.id in CONSTANTS:
        return CONSTANTS[node.id]
    found = getattr(scope, node.id)
    if found is NOTHING:
        raise _Missing(f"there is no {node.id} outside a foreach")
    return found


def _attribute(node: ast.Attribute, scope: Scope) -> Any:
    _refuse_no_result(node.value, node.attr, scope)
    return _part(_value(node.value, scope), node.attr, node)


def _subscript(node: ast.Subscript, scope: Scope) -> Any:
    part = _value(node.slice, scope)
    _refuse_no_result(node.value, part, scope)
    return _part(_value(node.value, scope), part, node)


def _became(state: str) -> str:
    return "failed" if state == "failed" else f"was {state}"


def _refuse_no_result(whole: ast.expr, name: Any, scope: Scope) -> None:
    """Say of a step that has ended without a result what became of it."""
    if isinstance(whole, ast.Name) and whole.id == "steps" and name in scope.states and name not in scope.steps:
        raise _Missing(
            f"step {name!r} {_became(scope.states[name])} and has no result; write default(steps.{name}, ...)"
        )


def _part(whole: Any, part: Any, node: ast.Attribute | ast.Subscript) -> Any:
    place = ast.unparse(node.value)
    if isinstance(whole, Mapping) and isinstance(part, str):
        try:
            return whole[part]
        except KeyError:
            raise _Missing(f"{place} has no field {part!r}") from None
    if _is_list(whole) and isinstance(part, int) and not isinstance(part, bool):
        try:
            return whole[part]
        except IndexError:
            raise _Missing(f"{place} has {len(whole):,} entries, and none at {part}") from None
    wanted = f"no field {part!r}" if isinstance(part, str) else f"nothing at {part!r}"
    raise _Missing(f"{place} is {kind_of(whole)}: it has {wanted}")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _call(node: ast.Call, scope: Scope) -> Any:
    return _FUNCTIONS[node.func.id](node.args, scope)  # type: ignore[attr-defined]


def _size(args: list[ast.expr], scope: Scope) -> int:
    value = _value(args[0], scope)
    if isinstance(value, (str, Mapping)) or _is_list(value):
        return len(value)
    raise _Wrong(f"size() counts the entries of a list, an object or a text, not of {kind_of(value)}")


def _has(args: list[ast.expr], scope: Scope) -> bool:
    try:
        return _value(args[0], scope) is not None
    except _Missing:
        return False


def _default(args: list[ast.expr], scope: Scope) -> Any:
    try:
        found = _value(args[0], scope)
    except _Missing:
        found = None
    return _value(args[1], scope) if found is None else found


def _state(args: list[ast.expr], scope: Scope) -> str:
    name = args[0].attr if isinstance(args[0], ast.Attribute) else _value(args[0].slice, scope)  # type: ignore[attr-defined]
    try:
        return scope.states[name]
    except KeyError:
        raise _Missing(f"the state of step {name!r} is not known") from None


def _begins(args: list[ast.expr], scope: Scope) -> bool:
    return _text(args[0], scope).startswith(_text(args[1], scope))


def _ends(args: list[ast.expr], scope: Scope) -> bool:
    return _text(args[0], scope).endswith(_text(args[1], scope))


def _text(node: ast.expr, scope: Scope) -> str:
    value = _value(node, scope)
    if not isinstance(value, str):
        raise _Wrong(f"{ast.unparse(node)} is {kind_of(value)}, and has to be text")
    return value


def _truth(node: ast.expr, scope: Scope) -> bool:
    value = _value(node, scope)
    if not isinstance(value, bool):
        raise _Wrong(f"{ast.unparse(node)} is {kind_of(value)}, and has to be true or false")
    return value


def _join(node: ast.BoolOp, scope: Scope) -> bool:
    join = all if isinstance(node.op, ast.And) else any
    return join(_truth(one, scope) for one in node.values)


def _unary(node: ast.UnaryOp, scope: Scope) -> Any:
    if isinstance(node.op, ast.Not):
        return not _truth(node.operand, scope)
    return -_number(node.operand, scope)


def _number(node: ast.expr, scope: Scope) -> Any:
    value = _value(node, scope)
    if not _is_number(value):
        raise _Wrong(f"{ast.unparse(node)} is {kind_of(value)}, and has to be a number")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _reckon(node: ast.BinOp, scope: Scope) -> Any:
    left, right = _number(node.left, scope), _number(node.right, scope)
    try:
        found = _SIGNS[type(node.op)](left, right)
    except ZeroDivisionError:
        raise _Wrong(f"{ast.unparse(node)} divides by zero") from None
    except (TypeError, ArithmeticError):
        raise _Wrong(f"{ast.unparse(node)} cannot be reckoned") from None
    if not is_small(found):
        raise _Wrong(f"{ast.unparse(node)} is too large")
    return found


def _compare(node: ast.Compare, scope: Scope) -> bool:
    left = _value(node.left, scope)
    for sign, other in zip(node.ops, node.comparators, strict=True):
        right = _value(other, scope)
        if not _RELATIONS[type(sign)](left, right):
            return False
        left = right
    return True


def is_equal(left: Any, right: Any) -> bool:
    """Tell whether two values are the same JSON: true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(is_equal(value, right[key]) for key, value in left.items())
    if _is_list(left) and _is_list(right):
        return len(left) == len(right) and all(map(is_equal, left, right))
    return bool(left == right)


def _is_in(part: Any, whole: Any) -> bool:
    if isinstance(whole, str) and isinstance(part, str):
        return part in whole
    if isinstance(whole, Mapping) and isinstance(part, str):
        return part in whole
    if _is_list(whole):
        return any(is_equal(part, one) for one in whole)
    raise _Wrong(f"'in' looks into a list, an object or a text: {kind_of(part)} in {kind_of(whole)} has no meaning")


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        is_alike = type(left) is type(right) and isinstance(left, (str, dt.date, dt.time))
        if not is_alike and not (_is_number(left) and _is_number(right)):
            raise _Wrong(f"{kind_of(left)} and {kind_of(right)} have no order")
        try:
            return compare(left, right)
        except TypeError:
            raise _Wrong("a time with a zone and one without have no order") from None

    return ordered


def _choose(node: ast.IfExp, scope: Scope) -> Any:
    return _value(node.body if _truth(node.test, scope) else node.orelse, scope)


_SIGNS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_RELATIONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: is_equal,
    ast.NotEq: lambda left, right: not is_equal(left, right),
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _is_in,
    ast.NotIn: lambda part, whole: not _is_in(part, whole),
}
_FUNCTIONS: dict[str, Callable[[list[ast.expr], Scope], Any]] = {
    "size": _size,
    "has": _has,
    "default": _default,
    "state": _state,
    "starts_with": _begins,
    "ends_with": _ends,
}
_RULES: dict[type[ast.AST], Callable[[Any, Scope], Any]] = {
    ast.Name: _name,
    ast.Constant: lambda node, _: node.value,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.List: lambda node, scope: [_value(one, scope) for one in node.elts],
    ast.Call: _call,
    ast.Compare: _compare,
    ast.BoolOp: _join,
    ast.UnaryOp: _unary,
    ast.BinOp: _reckon,
    ast.IfExp: _choose,
}
