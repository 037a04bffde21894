"""Definitions as they are written: YAML in, a definition out, or everything that is wrong with its place in the file.

Each finding has the file, the line, the column and the field, and where a name is misspelt the nearest one that there
is. What can be checked is checked, also beside a part that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from execution import words
from execution.exceptions import DefinitionInvalid
from execution.workflows import checking, fields, sources
from execution.workflows.checking import Draft
from execution.workflows.expressions import nearest
from execution.workflows.known import Known
from execution.workflows.spec import Definition, Fallback, Input, Phase, Retry, Step

_Model = TypeVar("_Model", bound=BaseModel)
_Known = Callable[[tuple[str | int, ...]], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a file, or, where it is no error, one that may be."""

    file: str
    line: int
    column: int
    path: str
    text: str
    is_error: bool = True

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {'' if self.is_error else 'note: '}{place}{self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What came of reading: a definition, unless there are errors among the findings."""

    definition: Definition | None
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that keep it from being a definition."""
        return tuple(finding for finding in self.findings if finding.is_error)


def load(path: str | Path, known: Known | None = None) -> Definition:
    """Return the definition in a file, or raise DefinitionInvalid with everything that is wrong."""
    return _whole(look_at(path, known))


def read(text: str, *, file: str = "<text>", known: Known | None = None) -> Definition:
    """Return the definition that a text holds, or raise DefinitionInvalid with everything that is wrong."""
    return _whole(look(text, file=file, known=known))


def look_at(path: str | Path, known: Known | None = None) -> Read:
    """Read a file and return what was found; nothing is raised."""
    file = str(path)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        return _unreadable(file, f"the file cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return _unreadable(file, "the file is not UTF-8 text")
    return look(text, file=file, known=known)


def look(text: str, *, file: str = "<text>", known: Known | None = None) -> Read:
    """Read a text and return what was found; nothing is raised."""
    source = sources.read(text)
    found = [finding(file, flaw.mark, flaw.path, flaw.text) for flaw in source.flaws]
    definition = None
    if source.data is None and not found:
        found.append(finding(file, sources.Mark(1, 1), (), "the file is empty; `manage.py workflow new` writes one"))
    elif source.data is not None:
        definition, more = _checked(source, file, known)
        found += more
    found.sort(key=lambda one: (one.line, one.column))
    if any(one.is_error for one in found):
        definition = None
    return Read(definition=definition, findings=tuple(found))


def _whole(found: Read) -> Definition:
    if found.definition is None:
        raise DefinitionInvalid(found.errors)
    return found.definition


def _unreadable(file: str, text: str) -> Read:
    return Read(definition=None, findings=(finding(file, sources.Mark(1, 1), (), text),))


def _checked(source: sources.Source, file: str, known: Known | None) -> tuple[Definition | None, list[Finding]]:
    """Return the definition and what is wrong with it: first field by field, then between its parts."""
    if not isinstance(source.data, Mapping):
        text = f"a definition is a mapping with name and steps, not {_kind(source.data)}"
        return None, [finding(file, source.mark(()), (), text)]
    definition, errors = None, []
    try:
        definition = Definition.model_validate(source.data)
    except ValidationError as error:
        errors = [one for one in error.errors(include_url=False) if one["type"] != fields.OF_THE_WHOLE]
    flawed = {flaw.path for flaw in source.flaws}
    errors = [one for one in errors if one["input"] is not None or one["loc"] not in flawed]
    found = [of_field(one, source, file) for one in errors[: checking.MOST_PROBLEMS]]
    draft = Draft.of(definition) if definition is not None else _draft(source.data)
    between = checking.problems(draft, known)
    for problem in islice(between, checking.MOST_PROBLEMS - len(found)):
        mark = source.mark(problem.path, of_key=problem.is_of_key)
        found.append(finding(file, mark, problem.path, problem.text, is_error=problem.is_error))
    return definition, found + list(_python_names(source, file))


def _python_names(source: sources.Source, file: str) -> Iterator[Finding]:
    """Yield the fields that are only written so in Python."""
    for path, mark in source.keys.items():
        if len(path) == 3 and path[0] == "steps" and path[2] == "with_":
            yield finding(file, mark, path, "there is no field 'with_'; did you mean 'with'?")


def _draft(data: Mapping[str, Any]) -> Draft:
    """Return what can be read of a definition that has errors."""
    return Draft(
        inputs=_parts(Input, data.get("inputs")),
        steps=_parts(Step, data.get("steps")),
        phases=_parts(Phase, data.get("phases")),
        outputs=found if isinstance(found := data.get("outputs"), Mapping) else {},
        budget=_amount(data.get("budget")),
    )


def _parts(model: type[_Model], given: Any) -> dict[str, _Model | None]:
    return {name: _part(model, one) for name, one in given.items()} if isinstance(given, Mapping) else {}


def _part(model: type[_Model], given: Any) -> _Model | None:
    """Return a part without those of its fields that are wrong, or None where that leaves nothing whole."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        if not isinstance(given, Mapping):
            return None
        wrong = {one["loc"][0] for one in error.errors() if one["loc"]}
        kept = {name: value for name, value in given.items() if name not in wrong}
    try:
        return model.model_validate(kept)
    except ValidationError:
        return None


def _amount(given: Any) -> fields.AmountOf | None:
    try:
        return TypeAdapter[fields.AmountOf](fields.Amount).validate_python(given)
    except ValidationError:
        return None


def finding(file: str, mark: sources.Mark, path: tuple[str | int, ...], text: str, *, is_error: bool = True) -> Finding:
    """Return what is wrong, or may be, at a place of a file."""
    return Finding(file=file, line=mark.line, column=mark.column, path=written(path), text=text, is_error=is_error)


def written(path: tuple[str | int, ...]) -> str:
    """Return a path as it would be written: `steps.extract.needs[0]`."""
    found = ""
    for part in path:
        found += f"[{part}]" if isinstance(part, int) else f".{part}" if found else part
    return found


def of_field(error: ErrorDetails, source: sources.Source, file: str, known: _Known | None = None) -> Finding:
    """Return pydantic's error as a finding, in this project's words; `known` tells which fields may stand at a path."""
    path = tuple(part for part in error["loc"] if part != "[key]")
    is_of_key = error["type"] in ("extra_forbidden", "missing") or path != error["loc"]
    return finding(file, source.mark(path, of_key=is_of_key), path, _said(error, path, known or _fields_at))


def _said(error: ErrorDetails, path: tuple[str | int, ...], known: _Known) -> str:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind in _WANTED:
        return f"is {fields.shown(given)}, and has to be {_WANTED[kind]}"
    if kind in _LIMITS:
        limit = next(value for name, value in context.items() if name in _BOUNDS)
        return f"is {fields.shown(given)}, and has to be {_LIMITS[kind]} {limit:,}"
    return {
        "extra_forbidden": lambda: _unknown_field(path, known(path[:-1])),
        "missing": lambda: f"{str(path[-1])!r} is missing",
        "string_pattern_mismatch": lambda: _misnamed(str(given), context["pattern"]),
        "literal_error": lambda: _not_one_of(given, context["expected"]),
    }.get(kind, lambda: _PLAINLY.get(kind) or error["msg"])()


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
}
_LIMITS = {
    "greater_than_equal": "at least",
    "less_than_equal": "at most",
    "less_than": "less than",
}
_BOUNDS = ("ge", "le", "lt")
_PLAINLY = {
    "string_too_short": "is empty",
    "too_short": "is empty; a workflow has at least one step",
    "string_too_long": "is too long",
}


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"{fields.shown(value)}"


_OTHER_WORDS = {
    **dict.fromkeys(("depends_on", "dependencies", "depends", "after", "requires", "dependsOn"), "needs"),
    **dict.fromkeys(("if", "condition", "only_if"), "when"),
    **dict.fromkeys(("uses", "run", "task", "action", "command", "function", "script"), "skill"),
    **dict.fromkeys(("args", "arguments", "params", "parameters", "input", "kwargs", "env"), "with"),
    **dict.fromkeys(("loop", "matrix", "map", "for_each", "scatter", "with_items", "each"), "foreach"),
    **dict.fromkeys(("parallel", "concurrency", "max_concurrency"), "max_parallel"),
    **dict.fromkeys(("approval", "approve"), "gate"),
    **dict.fromkeys(("wait", "delay", "pause"), "sleep"),
    **dict.fromkeys(("subworkflow", "call"), "workflow"),
    **dict.fromkeys(("continue_on_error", "allow_failure"), "on_failure"),
    **dict.fromkeys(("jobs", "tasks", "nodes", "stages"), "steps"),
    **dict.fromkeys(("deadline", "time_limit", "duration"), "timebox"),
}
"""What other systems call our fields."""


def _unknown_field(path: tuple[str | int, ...], known: Sequence[str]) -> str:
    name = str(path[-1])
    other = _OTHER_WORDS.get(name)
    if other in known:
        return f"there is no field {name!r}; here it is called {other!r}"
    hint = nearest(name, known) or f"; there are {', '.join(known)}"
    return f"there is no field {name!r}{hint}"


def _fields_at(path: tuple[str | int, ...]) -> list[str]:
    """Return the fields that may stand at a path."""
    models: dict[str, Any] = {"": Definition, "retry": Retry, "on_failure": Fallback}
    if len(path) == 2:
        models = {str(path[-1]): {"steps": Step, "inputs": Input, "phases": Phase}[str(path[0])]}
    model = models.get(str(path[-1]) if path else "", fields.AmountOf)
    return [one.alias or name for name, one in model.model_fields.items()]


def _misnamed(name: str, pattern: str) -> str:
    mark, case = ("-", "kebab-case") if pattern == fields.NAME else ("_", "snake_case")
    better = "".join(one if one.isalnum() else " " for one in name.lower()).split()
    hint = f": {mark.join(better)!r}" if better and better[0][0].isalpha() and name.isascii() else ""
    return f"{words.one_line(name, 60)!r} is no name here; write it in {case}{hint}"


def _not_one_of(given: Any, expected: str) -> str:
    allowed = expected.replace("'", "").replace(" or ", ", ").split(", ")
    hint = nearest(given, allowed) if isinstance(given, str) else ""
    return f"is {fields.shown(given)}, not one of {', '.join(allowed)}{hint}"
