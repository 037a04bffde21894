"""Texts: names and words that the ledger keeps in columns of a certain length."""

from __future__ import annotations

from typing import Any

from execution.exceptions import OptionInvalid

LONGEST = 255


def checked(name: str, value: Any, *, least: int = 0, longest: int = LONGEST, hint: str = "") -> str:
    """Return a text that its column can hold; PostgreSQL knows no NUL."""
    if not isinstance(value, str) or "\0" in value:
        raise OptionInvalid(f"{name} is {value!r:.80}; it is text")
    if not least <= len(value) <= longest:
        most = f"{longest} at most" if len(value) > longest else f"{least} at least"
        raise OptionInvalid(f"{name} has {len(value)} characters, {most}: {value[:60]!r}...{hint}")
    return value
