"""What is never shown: values whose name tells of a secret, or that a skill has marked with `secret=["name", ...]`.

The ledger keeps them, as the skill needs them; no page, no command and no line of the log shows them. A marked name is
hidden wherever it occurs, in every process that has imported the skill.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "[hidden]"

# `tokens`, the count that a model has used, is no secret; `token` is.
_SECRET = re.compile(
    r"(^|[_\-.])(password|passwd|passphrase|secret|token|authorization|api[_-]?key|credentials?|cookie|private[_-]?key)$",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(://[^:/@\s]*:)[^@/\s]+@")
_IN_HEADER = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=\-]{8,}", re.IGNORECASE)
_DEEPEST = 50
_marked: set[str] = set()


def mark(names: Iterable[str]) -> None:
    """Let the values of these names be hidden."""
    _marked.update(names)


def is_secret(key: Any, value: Any) -> bool:
    """Tell whether a value is hidden, by its name; nothing at all hides nothing."""
    if value in (None, "") or not isinstance(key, str):
        return False
    return key in _marked or bool(_SECRET.search(key))


def hidden(value: Any, depth: int = 0) -> Any:
    """Return a value without its secrets, at any depth, and without passwords inside addresses."""
    if isinstance(value, str):
        return _IN_HEADER.sub(rf"\1 {MASK}", _IN_URL.sub(rf"\1{MASK}@", value))
    if depth >= _DEEPEST:
        return value
    if isinstance(value, Mapping):
        return {key: MASK if is_secret(key, found) else hidden(found, depth + 1) for key, found in value.items()}
    if isinstance(value, list | tuple):
        return [hidden(found, depth + 1) for found in value]
    return value
