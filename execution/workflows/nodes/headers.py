"""Headers: where a harvested file comes from, written at its top in its own language's comments.

A header is put in once: one that is there already is replaced, so that injecting twice is injecting once. A first
line that a program reads (`#!`, a Python encoding, a YAML directive) stays first. JSON has no comments and stays as
it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from execution.workflows.nodes.languages import LANGUAGES

_BEGIN, _END = "harvested from", "end of header"
_KEPT_FIRST = re.compile(r"#!|#.*coding[:=]|%YAML|%TAG")


def injected(language: str, text: str, *, source: str, context: Mapping[str, object]) -> str:
    """Return a text with its header; `source` says where it comes from, `context` what else is to be known."""
    sign = LANGUAGES[language].comment
    if not sign:
        return text
    lines = without(language, text).splitlines(keepends=True)
    first = 0
    while first < min(2, len(lines)) and _KEPT_FIRST.match(lines[first]):
        first += 1
    said = [f"{_BEGIN} {_plain(source)}", *(f"{_plain(name)}: {_plain(value)}" for name, value in context.items())]
    header = [f"{sign} {line}\n" for line in [*said, _END]]
    return "".join([*lines[:first], *header, *lines[first:]])


def without(language: str, text: str) -> str:
    """Return a text without the header that was injected into it."""
    sign = re.escape(LANGUAGES[language].comment)
    header = re.compile(rf"\A((?:[#%].*\n){{0,2}}?){sign} {_BEGIN} .*\n(?:{sign} .*\n)*?{sign} {_END}\n")
    return header.sub(r"\1", text, count=1)


def _plain(value: object) -> str:
    """Return a value on one line, whatever it holds: a comment ends where its line ends, in every language."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in str(value)).split())
