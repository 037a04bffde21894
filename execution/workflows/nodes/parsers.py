"""Parsers: what is wrong with a text in a language, by a parser of that language and without running anything.

Python is read by the interpreter's own compiler, shell by `bash -n`, JavaScript and TypeScript by tree-sitter's
grammars, SQL by sqlglot in a dialect, YAML by PyYAML's events, JSON and TOML by the standard library. A parser
knows the grammar and no more: that a name is defined, or a table there, it does not say.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from execution import words
from execution.workflows.nodes.exceptions import ToolMissing

DIALECT = "postgres"
_MOST = 20
_TOML_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
_BASH_PLACE = re.compile(r"bash: line (\d+): (.*)")
_GRAMMARS = {
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a parser cannot read, at a line of the text, counted from 1."""

    line: int
    message: str


def problems(language: str, text: str, *, dialect: str = DIALECT) -> list[Problem]:
    """Return what is wrong with a text, the first of it if there is much."""
    try:
        found = _sql(text, dialect) if language == "sql" else CHECKS[language](text)
    except RecursionError:
        found = [Problem(1, "is nested too deeply to be read")]
    return [Problem(one.line, words.one_line(one.message)) for one in found[:_MOST]]


def _python(text: str) -> list[Problem]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(ast.parse(text), "<block>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return [Problem(error.lineno or 1, error.msg)]
    except (ValueError, MemoryError) as error:
        return [Problem(1, str(error) or "is nested too deeply to be compiled")]
    return []


def _json(text: str) -> list[Problem]:
    def refused(name: str) -> None:
        raise json.JSONDecodeError(f"{name} is no JSON", text, max(text.find(name), 0))

    try:
        json.loads(text, parse_constant=refused)
    except json.JSONDecodeError as error:
        return [Problem(error.lineno, error.msg)]
    except ValueError as error:
        return [Problem(1, str(error))]
    return []


def _toml(text: str) -> list[Problem]:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.fullmatch(str(error))
        last = text.count("\n", 0, len(text.rstrip())) + 1
        return [Problem(int(place[2] or last), place[1]) if place else Problem(1, str(error))]
    return []


def _yaml(text: str) -> list[Problem]:
    """Read events only: no object is made, no alias is followed, so no small text becomes a large one."""
    try:
        import yaml
    except ImportError:
        raise ToolMissing("PyYAML", "reading YAML") from None
    anchors: set[str] = set()
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.DocumentStartEvent):
                anchors.clear()
            elif isinstance(event, yaml.AliasEvent) and event.anchor not in anchors:
                return [Problem(_yaml_line(event.start_mark), f"the alias *{event.anchor} has no anchor")]
            elif anchor := getattr(event, "anchor", None):
                anchors.add(anchor)
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        return [Problem(_yaml_line(place), error.problem or error.context or "cannot be read")]
    except yaml.YAMLError as error:
        return [Problem(1, str(error))]
    return []


def _yaml_line(place: Any) -> int:
    return place.line + 1 if place else 1


def _shell(text: str) -> list[Problem]:
    """Let bash read the text without running it; what it warns of, such as a here-document without an end, counts."""
    try:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-n"],
            input=text.encode(),
            capture_output=True,
            timeout=30,
            check=False,
            env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        )
    except FileNotFoundError:
        raise ToolMissing("bash", "checking shell") from None
    except subprocess.TimeoutExpired:
        return [Problem(1, "bash did not come to an end with it in 30 s")]
    said = done.stderr.decode(errors="replace").splitlines()
    found = [Problem(int(place[1]), place[2]) for line in said if (place := _BASH_PLACE.match(line))]
    return found or ([Problem(1, said[0] if said else "bash cannot read it")] if done.returncode else [])


def _sql(text: str, dialect: str) -> list[Problem]:
    try:
        from sqlglot import errors, expressions, parse
    except ImportError:
        raise ToolMissing("sqlglot", "checking SQL") from None
    try:
        with _quiet("sqlglot"):
            statements = parse(text, read=dialect, error_level=errors.ErrorLevel.RAISE)
    except errors.ParseError as error:
        return [Problem(one.get("line") or 1, one.get("description") or str(error)) for one in error.errors]
    except errors.TokenError as error:
        place = re.search(r"line (\d+)", str(error))
        return [Problem(int(place[1]) if place else 1, str(error))]
    no_statement = (expressions.Condition, expressions.Alias, expressions.Identifier, expressions.Tuple)
    return [
        Problem(_sql_line(one), f"is no statement: {one.sql(dialect)}")
        for one in statements
        if isinstance(one, no_statement) and not isinstance(one, expressions.Query)
    ]


def _sql_line(expression: Any) -> int:
    """Return the line of the first part of an expression that remembers where it stood."""
    return next((int(part.meta["line"]) for part in expression.walk() if "line" in part.meta), 1)


def _tree(language: str) -> Callable[[str], list[Problem]]:
    def check(text: str) -> list[Problem]:
        source = text.encode()
        found: list[Problem] = []
        waiting = [_grammar(language).parse(source).root_node]
        while waiting and len(found) < _MOST:
            node = waiting.pop()
            if node.is_missing:
                found.append(Problem(node.start_point[0] + 1, f"{node.type!r} is missing"))
            elif node.is_error:
                found.append(Problem(node.start_point[0] + 1, f"cannot be read: {_snippet(source, node)}"))
            elif node.has_error:
                waiting.extend(reversed(node.children))
        return found

    return check


def _snippet(source: bytes, node: Any) -> str:
    return repr(words.one_line(source[node.start_byte : node.end_byte].decode(errors="replace"), 60))


@cache
def _grammar(language: str) -> Any:
    module, function = _GRAMMARS[language]
    try:
        tree_sitter, grammar = import_module("tree_sitter"), import_module(module)
    except ImportError:
        raise ToolMissing(module.replace("_", "-"), f"checking {language}") from None
    return tree_sitter.Parser(tree_sitter.Language(getattr(grammar, function)()))


class _quiet:  # noqa: N801 - reads as a word: with _quiet("sqlglot")
    """Keep a library's warnings out of the worker's log."""

    def __init__(self, name: str) -> None:
        import logging

        self.log = logging.getLogger(name)

    def __enter__(self) -> None:
        self.was, self.log.disabled = self.log.disabled, True

    def __exit__(self, *_: object) -> None:
        self.log.disabled = self.was


CHECKS: dict[str, Callable[[str], list[Problem]]] = {
    "python": _python,
    "javascript": _tree("javascript"),
    "typescript": _tree("typescript"),
    "tsx": _tree("tsx"),
    "sql": lambda text: _sql(text, DIALECT),
    "shell": _shell,
    "json": _json,
    "yaml": _yaml,
    "toml": _toml,
}
