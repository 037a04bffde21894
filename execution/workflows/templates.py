"""Values with expressions in them: texts, and lists and objects of texts.

A text that is one expression takes the expression's value and its type; inside a longer text the value is written out.
`$${` stands for `${`, so that a shell script can be passed on as it is.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from execution.exceptions import ExpressionInvalid
from execution.workflows import evaluation
from execution.workflows.evaluation import Scope
from execution.workflows.expressions import Expression, parse

_PIECE = re.compile(r"\$\$\{|\$\{((?:[^{}'\"]|'[^']*'|\"[^\"]*\")*)\}|\$\{")

Path = tuple[str | int, ...]


@functools.lru_cache(maxsize=8192)
def pieces(text: str) -> tuple[str | Expression, ...]:
    """Return a text as what is written and what is an expression, in order."""
    found: list[str | Expression] = []
    plain, place = "", 0
    for match in _PIECE.finditer(text):
        plain += text[place : match.start()]
        place = match.end()
        if match.group() == "$${":
            plain += "${"
            continue
        if match.group(1) is None:
            rest = text[match.end() :].partition("\n")[0]
            raise ExpressionInvalid(rest[:60], "it has no closing brace; write $${ for text that is to stay")
        found += [plain] if plain else []
        found.append(parse(match.group(1)))
        plain = ""
    plain += text[place:]
    return tuple([*found, plain] if plain or not found else found)


def expression(text: str) -> Expression | None:
    """Return the expression that a text is, or None where it is none, or more than one."""
    found = pieces(text)
    return found[0] if len(found) == 1 and isinstance(found[0], Expression) else None


def texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield every text in a value that may hold an expression, with its path."""
    if isinstance(value, str):
        if "${" in value:
            yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from texts(inner, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from texts(inner, (*path, index))


def expressions(value: Any) -> Iterator[Expression]:
    """Yield every expression in a value."""
    for _, text in texts(value):
        for piece in pieces(text):
            if isinstance(piece, Expression):
                yield piece


def render(value: Any, scope: Scope) -> Any:
    """Return a value with its expressions replaced by what they are worth."""
    if isinstance(value, str):
        return _rendered(value, scope) if "${" in value else value
    if isinstance(value, Mapping):
        return {key: render(inner, scope) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [render(inner, scope) for inner in value]
    return value


def _rendered(text: str, scope: Scope) -> Any:
    found = pieces(text)
    if len(found) == 1 and isinstance(found[0], Expression):
        return evaluation.evaluate(found[0], scope)
    return "".join(piece if isinstance(piece, str) else written(evaluation.evaluate(piece, scope)) for piece in found)


def written(value: Any) -> str:
    """Return a value as it stands inside a text: text as it is, the rest as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
