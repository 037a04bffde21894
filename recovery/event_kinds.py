"""Patterns of the kinds of events, as somebody writes them who wants to hear of some: `run.failed`, `run.*`, `*`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from execution.exceptions import OptionInvalid

_PATTERN = re.compile(r"\*|[a-z_]+(\.[a-z_]+)*(\.\*)?")
_LONGEST = 64

FAMILIES: dict[str, tuple[str, ...]] = {
    "run": (
        "answered_by_hand", "approval_withdrawn", "approved", "cancel_requested", "cancelled", "completed", "failed",
        "forked", "opened", "parked", "paused", "resumed", "retried", "started_by_hand",
    ),
    **dict.fromkeys(
        (
            "action", "advice", "agent", "assessment", "breaker", "budget", "candidate", "capability", "effect",
            "envelope", "failure", "graduation", "handler", "incident", "job", "killswitch", "letter", "memory",
            "objective", "pattern", "phase", "recommendation", "recovery", "service", "session", "signal", "step",
            "timer", "tunable", "verdict", "webhook", "workflow",
        ),
        (),
    ),
}  # fmt: skip
"""The first words of kinds; and what may follow, where all of that is known."""


def checked(patterns: Iterable[str]) -> list[str]:
    """Return patterns, each once, or say which of them can fit nothing; none and `*` fit all."""
    found = [patterns] if isinstance(patterns, str) else list(dict.fromkeys(patterns))
    for pattern in found:
        _check(pattern)
    return [] if "*" in found else found


def _check(pattern: str) -> None:
    if not _PATTERN.fullmatch(pattern) or len(pattern) > _LONGEST:
        raise OptionInvalid(f"{pattern!r:.80} is no pattern of kinds: write run.failed, run.* or *")
    family, _, rest = pattern.partition(".")
    if pattern == "*":
        return
    if family not in FAMILIES:
        hint = _nearest(family, FAMILIES) or f"kinds begin with {', '.join(sorted(FAMILIES))}"
        raise OptionInvalid(f"no kind of event begins with {family!r}, so {pattern!r} fits nothing; {hint}")
    if not rest:
        raise OptionInvalid(f"{pattern!r} is only the beginning of kinds; did you mean '{pattern}.*'?")
    known = [f"{family}.{word}" for word in FAMILIES[family]]
    if known and rest != "*" and pattern not in known:
        raise OptionInvalid(f"there is no event {pattern!r}; {_nearest(pattern, known) or f'there are {known}'}")


def _nearest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def fits(pattern: str, kind: str) -> bool:
    """Tell whether a kind is one of those that a pattern means."""
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern
