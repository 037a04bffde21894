"""Documents: the fenced code blocks of Markdown, found by a CommonMark parser.

A fence's info string says a language and, if its author likes, where the block belongs: a second word that is a
path, or `path=`, `file=`, `filename=` or `title=` with one. Inline text is not parsed, so a document of 10 MB takes
seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from execution.workflows.nodes import folders
from execution.workflows.nodes.exceptions import LibraryError, PathRefused, ToolMissing

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

PATTERNS = ["**/*.md", "**/*.markdown"]
MOST_BYTES = 32 * 1024 * 1024
_WORDS = re.compile(r"""([\w.-]+)=("[^"]*"|'[^']*'|[^\s}]+)|([^\s{}]+)""")
_PATH_WORDS = frozenset({"file", "filename", "path", "title"})
_PATH = re.compile(r"[\w./~\\-]*[\w~-]*(/|\.\w+$)[\w./\\-]*")


class DocumentUnreadable(LibraryError):
    """A document is no text that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """One fenced block: the line of its fence, what its info string says, and its text."""

    line: int
    language: str
    path: str
    text: str
    is_closed: bool


def find(root: Path, wanted: list[str]) -> list[str]:
    """Return the documents that are meant by files, folders and patterns below a root, each once, in order."""
    found: dict[str, None] = {}
    for one in wanted:
        if Path(one).is_absolute() or ".." in Path(one).parts:
            raise PathRefused(one, "leaves the root: name documents by their paths below it")
        place = root / one
        if place.is_dir():
            prefix = place.relative_to(root)
            found |= dict.fromkeys((prefix / path).as_posix() for path in folders.walk(place, include=PATTERNS).files)
        elif place.is_file():
            found[Path(one).as_posix()] = None
        else:
            matched = folders.walk(root, include=[one]).files
            if not matched:
                raise DocumentUnreadable(f"no document below {str(root)!r} is meant by {one!r}")
            found |= dict.fromkeys(matched)
    return list(found)


def read(root: Path, path: str) -> str:
    """Return a document's text with plain line ends, or say why it has none."""
    try:
        content = folders.read(root, path)
    except OSError as error:
        raise DocumentUnreadable(f"cannot be opened: {error.strerror}") from None
    if content is None:
        raise DocumentUnreadable("is not there any more")
    if len(content) > MOST_BYTES:
        raise DocumentUnreadable(f"has {len(content):,} bytes, more than {MOST_BYTES:,}")
    if b"\0" in content:
        raise DocumentUnreadable("is binary")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentUnreadable(f"is not UTF-8 at byte {error.start:,}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def fences(text: str) -> list[Fence]:
    """Return a document's fenced blocks in order."""
    lines = text.split("\n")
    return [_fence(token, lines) for token in _parser().parse(text) if token.type == "fence"]


@cache
def _parser() -> MarkdownIt:
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise ToolMissing("markdown-it-py", "reading Markdown") from None
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _fence(token: Token, lines: list[str]) -> Fence:
    first, end = token.map or [0, 0]
    last = lines[end - 1].strip().lstrip("> \t") if end - 1 > first else ""
    is_closed = len(last) >= len(token.markup) and set(last) == {token.markup[0]}
    language, path = _said(token.info)
    return Fence(line=first + 1, language=language, path=path, text=token.content, is_closed=is_closed)


def _said(info: str) -> tuple[str, str]:
    """Return the language and the path of an info string: `python app/a.py`, `{.python file="a.py"}`, `py:a.py`."""
    language = path = ""
    for name, value, word in _WORDS.findall(info):
        if name in _PATH_WORDS:
            path = path or value.strip("\"'")
        elif word and not language:
            language, _, path = word.lstrip(".").partition(":")
        elif word and not path and _PATH.fullmatch(word):
            path = word
    return language, path
