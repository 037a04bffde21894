"""YAML as it stands in a file: its values, and the line and column of each.

Only plain values are read: mappings with text keys, lists, texts, numbers, true, false and null, as in YAML 1.2
(`on`, `yes` and dates are text). Tags make nothing, merge keys are refused, and anchors may be used as long as the
whole stays small.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml

LARGEST = 1_000_000
MOST_VALUES = 200_000
DEEPEST = 60

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a text; lines and columns count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that cannot be read, where it stands."""

    mark: Mark
    path: Path
    text: str


@dataclass(slots=True)
class Source:
    """What was read: the value, the places of keys and values by their path, and what could not be read."""

    data: Any = None
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)

    def mark(self, path: Path, *, of_key: bool = False) -> Mark:
        """Return where a path stands, or the nearest thing around it that stands anywhere."""
        for length in range(len(path), -1, -1):
            found = path[:length]
            if of_key and found in self.keys:
                return self.keys[found]
            if found in self.values:
                return self.values[found]
        return Mark(1, 1)


def read(text: str) -> Source:
    """Return what a text holds; what cannot be read is among its flaws."""
    source = Source()
    refused = _refused(text)
    if refused is not None:
        source.flaws.append(refused)
        return source
    try:
        root = yaml.compose(text, Loader=_Nodes)
    except yaml.MarkedYAMLError as error:
        source.flaws.append(_said(error))
        return source
    if root is not None:
        source.data = _Walk(source).value(root, ())
    return source


def read_all(text: str) -> list[Source]:
    """Return what each document of a text holds; where one cannot be read, it is the last."""
    found: list[Source] = []
    first = _refused(text)
    if first is not None:
        return [Source(flaws=[first])]
    try:
        for root in yaml.compose_all(text, Loader=_Nodes):
            source = Source()
            source.data = _Walk(source).value(root, ())
            found.append(source)
    except yaml.MarkedYAMLError as error:
        found.append(Source(flaws=[_said(error)]))
    return found


def _refused(text: str) -> Flaw | None:
    """Return why a text is not read at all."""
    if len(text) > LARGEST:
        return Flaw(Mark(1, 1), (), f"the file has {len(text):,} characters, more than {LARGEST:,}")
    try:
        too_deep = _too_deep(text)
    except yaml.MarkedYAMLError as error:
        return _said(error)
    except yaml.reader.ReaderError as error:
        return _unprintable(text, error)
    return None if too_deep is None else Flaw(too_deep, (), "it is nested too deeply")


class _Nodes(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """PyYAML's safe loader with the plain values of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Nodes.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def _too_deep(text: str) -> Mark | None:
    """Return where a text is nested too deeply; asked first, because the composer in C would crash the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Nodes):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                return _mark(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


class _Enough(Exception):
    """There is more than will be read."""


class _Walk:
    """Makes plain values of YAML's nodes, and notes where each stands."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._count = 0
        self._above: set[int] = set()

    def value(self, root: yaml.Node, path: Path) -> Any:
        """Return the value of a node and of everything in it."""
        try:
            return self._value(root, path)
        except _Enough:
            self._flaw(root, (), f"there are more than {MOST_VALUES:,} values, counting each use of an anchor")
            return None

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            raise _Enough
        self._source.values[path] = _mark(node)
        if id(node) in self._above:
            return self._flaw(node, path, "an anchor holds itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._above.add(id(node))
        found = self._list(node, path) if isinstance(node, yaml.SequenceNode) else self._mapping(node, path)
        self._above.discard(id(node))
        return found

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        make = _PLAIN.get(node.tag.removeprefix("tag:yaml.org,2002:"))
        if make is None:
            return self._flaw(node, path, f"the tag {node.tag!r} makes nothing here")
        try:
            return make(node.value)
        except ValueError:
            return self._flaw(node, path, "the number is too large")

    def _list(self, node: yaml.Node, path: Path) -> Any:
        if node.tag != "tag:yaml.org,2002:seq":
            return self._flaw(node, path, f"the tag {node.tag!r} makes nothing here")
        return [self._value(one, (*path, index)) for index, one in enumerate(node.value)]

    def _mapping(self, node: yaml.Node, path: Path) -> Any:
        if node.tag != "tag:yaml.org,2002:map":
            return self._flaw(node, path, f"the tag {node.tag!r} makes nothing here")
        found: dict[str, Any] = {}
        for key, value in self._pairs(node, path):
            inner = (*path, key.value)
            if key.value in found:
                first = self._source.keys[inner]
                self._flaw(key, inner, f"{key.value!r} stands here a second time; the first is on line {first.line}")
                continue
            self._source.keys[inner] = _mark(key)
            found[key.value] = self._value(value, inner)
        return found

    def _pairs(self, node: yaml.Node, path: Path) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._flaw(key, path, "a key is text, not a list or a mapping; quote an expression: '${...}'")
            elif key.value == "<<" and not key.style:
                self._flaw(
                    key, path, "merge keys (<<) are not read; write the fields out, or give an anchor a whole value"
                )
            else:
                yield key, value

    def _flaw(self, node: yaml.Node, path: Path, text: str) -> None:
        self._source.flaws.append(Flaw(_mark(node), path, text))


def _mark(found: Any) -> Mark:
    """Return where a node or an event begins."""
    return Mark(found.start_mark.line + 1, found.start_mark.column + 1)


def _truth(text: str) -> bool:
    return text.lower() == "true"


def _number(text: str) -> float:
    found = float(text)
    if abs(found) == float("inf"):
        raise ValueError(text)
    return found


def _nothing(_: str) -> None:
    return None


_PLAIN: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": _nothing,
    "bool": _truth,
    "int": int,
    "float": _number,
}
_SAID = (
    ("mapping values are not allowed", "a second ': ' on this line; quote a text that holds one"),
    ("could not find expected ':'", "a key without ':' after it"),
    (
        "cannot start any token",
        "this character begins nothing; indent with spaces, and quote a text that begins with it",
    ),
    ("expected ',' or", "a bracket is not closed here; quote an expression that stands in brackets: '${...}'"),
    ("expected <block end>", "this line is not indented like the ones around it"),
    ("did not find expected key", "this line is not indented like the ones around it"),
    ("did not find expected '-' indicator", "this line is not indented like the entries of the list above it"),
    ("found undefined alias", "there is no anchor of this name above"),
    ("found unexpected end of stream", "a quoted text has no end"),
    ("expected a single document", "there is a second document ('---') in the file; write one definition in a file"),
)
"""What YAML's own parser says, and how it is said here."""


def _said(error: yaml.MarkedYAMLError) -> Flaw:
    problem = " ".join(str(part) for part in (error.context, error.problem) if part)
    words = next((said for sign, said in _SAID if sign in problem), problem)
    place = error.problem_mark or error.context_mark
    mark = Mark(place.line + 1, place.column + 1) if place is not None else Mark(1, 1)
    return Flaw(mark, (), f"this is no YAML: {words}")


def _unprintable(text: str, error: yaml.reader.ReaderError) -> Flaw:
    before = text[: error.position] if isinstance(error.position, int) else ""
    mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
    return Flaw(mark, (), "this is no YAML: there is a character that cannot be printed")
