"""Mining: messages that differ only in what varies share a template. The version is part of every fingerprint.

A message is masked, and its words make its shape. Equal shapes are one template; that alone decides nearly always, and
it depends on no order. Where shapes differ in a word, Drain finds those that are alike, and a word is taken for a
variable one only where at least `VARIED` different ones were seen in its place, beside `FIXED` words that stay: so
"VM started" and "VM paused" stay apart, and six users of one refused login do not. Words that say what happened (-ed,
-ing, ALL CAPITALS, names of errors) are never taken for variable ones. What is alike is looked at in sorted order, so
that what is learnt depends on what was seen, and hardly on when.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from recovery.masks import MASK, mask

VERSION = 1
ANY = "<any>"
"""Stands for a word that varies, found by mining; a mask stands for what no mining is needed for."""
VARIED, LEAST_VARIED = 5, 3
FIXED = 2
ALIKE = 0.5
LONGEST_SHAPE = 48
CROWD = 500
"""More templates of one leaf than this are prose: of them only those that begin alike are compared."""
REMEMBERED_MOST = 50_000

Words = tuple[str, ...]
Leaf = tuple[int, Words]
"""Where alike templates are looked for: among those of one length that begin with the same word, or end the same."""

_SEPARATORS = re.compile(r"[\s,;:|()\[\]{}\"'=]+")
_DIGIT = re.compile(r"\d")
# What has digits and is a term all the same.
_TERM = re.compile(
    r"(?i)(?:ip-?v[46]|http/?[123](?:\.\d)?|h2|sha-?(?:1|224|256|384|512)|md[45]|utf-?(?:8|16|32)|s3|ec2|oauth2?|l[123]|"
    r"base(?:16|32|64)|x\.?509|tls-?v?1(?:\.\d)?|[rh]s256|aes-?(?:128|256)|x86(?:_64)?|amd64|arm64|win32|k8s|log4j|ssh2|"
    r"iso-?8859-\d+|latin-?1|cp125\d|mp[34]|py(?:thon)?3|u?int(?:8|16|32|64)?|float(?:16|32|64)|ext[234]|e2e|i18n)"
)
_TELLING = re.compile(
    r"[A-Za-z]+(?:ed|ing)|[A-Z][A-Z_-]+|\w*(?:Error|Exception|Warning)|up|down|on|off|open|close|start|stop|success|"
    r"failure|read|write|not|no"
)
_NAMING = frozenset(
    [
        "user", "username", "role", "login", "account", "owner", "table", "relation", "schema", "column", "index",
        "database", "queue", "topic", "exchange", "vhost", "consumer", "group", "bucket", "container", "pod", "node",
        "host", "hostname", "server", "service", "task", "job", "skill", "tool", "agent", "model", "module",
        "package", "file", "directory", "folder", "key", "field", "flag", "parameter", "argument", "attribute",
        "variable", "function", "method", "class", "device", "interface", "process", "thread", "domain", "project",
        "tenant", "organization", "region", "zone", "cluster", "repository", "branch", "plugin",
    ]
)  # fmt: skip
_LONGEST_REPEAT = 4


def shape_of(message: str) -> str:
    """Return a message's words with what varies masked, and what is said over and over said once."""
    return _shape(mask(message))


def _shape(masked: str) -> str:
    words: list[str] = []
    for part in _SEPARATORS.split(masked):
        word = part.strip(".!?") or part
        if not word:
            continue
        if MASK in word or (_DIGIT.search(word) and not _TERM.fullmatch(word)):
            if words and words[-1] == MASK:
                continue
            word = MASK
        words.append(word)
        _say_once(words)
        if len(words) == LONGEST_SHAPE:
            break
    return " ".join(words)


def _say_once(words: list[str]) -> None:
    """Remove the end of a list of words where it repeats what stands before it, and has something that varies."""
    for size in range(2, _LONGEST_REPEAT + 1):
        if words[-size:] == words[-2 * size : -size] and MASK in words[-size:]:
            del words[-size:]
            return


@dataclass(slots=True, eq=False)
class Template:
    """What messages have in common; its digest stays what it was when it was first seen, whatever is learnt later."""

    text: str
    digest: str
    id: int | None = None
    into: Template | None = None

    @classmethod
    def new(cls, text: str) -> Template:
        """Return the template of a shape that was never seen."""
        return cls(text=text, digest=hashlib.sha1(f"{VERSION} {text}".encode(), usedforsecurity=False).hexdigest())

    @property
    def words(self) -> Words:
        """Return its words."""
        return tuple(self.text.split(" "))

    def root(self) -> Template:
        """Return the template that this one was merged into, or itself."""
        found = self
        while found.into is not None:
            found = found.into
        return found


class Miner:
    """Templates as they were learnt, in memory: pure, so that every process that has read the same rows agrees."""

    def __init__(self) -> None:
        self._by_text: dict[str, Template] = {}
        self._by_place: dict[tuple[int, Words], dict[Words, Template]] = {}
        self._leaves: dict[Leaf, list[Template]] = defaultdict(list)
        self._found: dict[str, Template] = {}
        self._shapes: dict[str, str] = {}

    def shape_of(self, message: str) -> str:
        """Return a message's shape; masked messages are remembered."""
        masked = mask(message)
        shape = self._shapes.get(masked)
        if shape is None:
            if len(self._shapes) >= REMEMBERED_MOST:
                self._shapes.clear()
            shape = self._shapes[masked] = _shape(masked)
        return shape

    def add(self, template: Template) -> None:
        """Take in a template as it was stored."""
        self._found.clear()
        if template.into is not None:
            return
        self._by_text[template.text] = template
        for leaf in _leaves(template.words):
            self._leaves[leaf].append(template)
        if ANY in template.words:
            places = self._by_place.setdefault(_places(template.words), {})
            places[_fixed(template.words, _places(template.words)[1])] = template

    def find(self, shape: str) -> Template | None:
        """Return the template of a shape: its own, or the one with the fewest variable words that fits it."""
        found = self._found.get(shape) or self._by_text.get(shape) or self._fitting(shape)
        if found is None:
            return None
        if len(self._found) >= REMEMBERED_MOST:
            self._found.clear()
        self._found[shape] = found = found.root()
        return found

    def _fitting(self, shape: str) -> Template | None:
        words = tuple(shape.split(" "))
        fitting = [
            found
            for place, templates in self._by_place.items()
            if place[0] == len(words) and (found := templates.get(_fixed(words, place[1])))
        ]
        return min(fitting, key=lambda one: (one.words.count(ANY), one.text), default=None)

    def learn(self, shapes: Iterable[str]) -> list[Template]:
        """Learn the shapes that no template fits; returns the templates that are new or have changed."""
        fresh = [Template.new(shape) for shape in sorted({one for one in shapes if one and self.find(one) is None})]
        for template in fresh:
            self.add(template)
        changed = dict.fromkeys(fresh)
        for leaf in sorted({leaf for template in fresh for leaf in _leaves(template.words)}):
            changed |= dict.fromkeys(self._merge(leaf))
        return list(changed)

    def _merge(self, leaf: Leaf) -> Iterator[Template]:
        """Merge the templates of a leaf that differ in variable words only."""
        here = sorted({one for one in self._leaves[leaf] if one.into is None}, key=lambda one: one.text)
        self._leaves[leaf] = here
        if len(here) < 2:
            return
        for group in (group for crowd in _crowds(here) for group in _alike(crowd)):
            for part in _parts(group):
                left = [one for one in part if one.into is None]
                if len(left) > 1:
                    yield from self._merged(left, here)
        self._leaves[leaf] = [one for one in here if one.into is None]

    def _merged(self, part: Sequence[Template], here: Sequence[Template]) -> Iterator[Template]:
        """Merge templates into the oldest of them, with all others here that it fits then."""
        columns = zip(*(one.words for one in part), strict=True)
        words = tuple(column[0] if len(set(column)) == 1 else ANY for column in columns)
        fitting = [one for one in here if one.into is None and _fits(words, one.words)]
        oldest = min(fitting, key=lambda one: (one.id is None, one.id or 0, one.text))
        for one in fitting:
            self._by_text.pop(one.text, None)
            if one is not oldest:
                one.into = oldest
                yield one
        oldest.text = " ".join(words)
        self.add(oldest)
        yield oldest


def _leaves(words: Words) -> tuple[Leaf, Leaf]:
    return (len(words), words[:1]), (len(words), ("", *words[1:]))


def _places(words: Words) -> tuple[int, Words]:
    """Return where a template's variable words stand, as a mark for each place."""
    return len(words), tuple(ANY if word == ANY else "" for word in words)


def _fixed(words: Words, marks: Words) -> Words:
    return tuple(ANY if mark else word for word, mark in zip(words, marks, strict=True))


def _fits(template: Words, words: Words) -> bool:
    return all(one in (ANY, other) for one, other in zip(template, words, strict=True))


def _crowds(templates: Sequence[Template]) -> Iterator[Sequence[Template]]:
    """Part a leaf that is crowded by its words, one place after the other: to compare all with all would never end."""
    waiting = [(templates, 0)]
    while waiting:
        crowd, place = waiting.pop()
        if len(crowd) <= CROWD:
            yield crowd
            continue
        parts: dict[str, list[Template]] = defaultdict(list)
        for one in crowd:
            parts[one.words[place]].append(one)
        waiting += [(part, place + 1) for _, part in sorted(parts.items(), reverse=True) if len(part) > 1]


def _alike(templates: Sequence[Template]) -> list[list[Template]]:
    """Return templates of one leaf as Drain groups them, coarsely: half of the words are the same."""
    from drain3.drain import Drain

    drain = Drain(depth=3, sim_th=ALIKE, max_children=10_000, param_str=ANY)
    groups: dict[int, list[Template]] = defaultdict(list)
    for template in templates:
        cluster, _ = drain.add_log_message(template.text)
        groups[cluster.cluster_id].append(template)
    return [group for group in groups.values() if len(group) > 1]


def _parts(group: Sequence[Template]) -> list[list[Template]]:
    """Part what Drain found alike by the words that must not vary, the column with the fewest different ones first."""
    columns = [frozenset(column) for column in zip(*(one.words for one in group), strict=True)]
    varying = [(len(column), place) for place, column in enumerate(columns) if len(column) > 1]
    fixed = sum(1 for column in columns if len(column) == 1 and not column & {MASK, ANY})
    parting = [pair for pair in varying if fixed < FIXED or not _is_variable(columns, pair[1], fixed)]
    if not parting:
        return [list(group)]
    place = min(parting)[1]
    parts: dict[str, list[Template]] = defaultdict(list)
    for one in group:
        parts[one.words[place]].append(one)
    return [smaller for part in parts.values() for smaller in _parts(part)]


def _is_variable(columns: Sequence[frozenset[str]], place: int, fixed: int) -> bool:
    """Tell whether the words seen in one place are values: enough of them, and most do not say what happened.

    Fewer are enough the more words beside them stay the same; and two, where the word before them calls for a name, or
    where one of them was masked.
    """
    column, before = columns[place], columns[place - 1] if place else frozenset()
    varied = max(VARIED - (fixed - FIXED) // 2, LEAST_VARIED)
    if (len(before) == 1 and before <= _NAMING) or (MASK in column and fixed >= 2 * FIXED):
        varied = 2
    return ANY in column or (
        len(column) >= varied and 2 * sum(1 for word in column if _TELLING.fullmatch(word)) < len(column)
    )


def tells_the_same(one: str, other: str) -> bool:
    """Tell whether two templates say that the same happened, whatever it happened to."""
    return _told_in(one) == _told_in(other)


def _told_in(text: str) -> set[str]:
    return {word for word in text.split(" ") if _TELLING.fullmatch(word)}
