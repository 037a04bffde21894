"""What the doctor finds: one statement each, with how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: its level is ok, warning or error."""

    id: str
    level: str
    text: str
    mend: str = ""


Look = Callable[[], Iterable[Finding]]


def ok(name: str, text: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(id=name, level=OK, text=text)


def warning(name: str, text: str, mend: str) -> Finding:
    """Say what may hurt, and how to mend it."""
    return Finding(id=name, level=WARNING, text=text, mend=mend)


def error(name: str, text: str, mend: str) -> Finding:
    """Say what breaks a promise, and how to mend it."""
    return Finding(id=name, level=ERROR, text=text, mend=mend)


def made(looks: Iterable[Look]) -> Iterator[Finding]:
    """Make each look; one that cannot be made is a finding of its own, and the others are made all the same."""
    for look in looks:
        try:
            yield from look()
        except Exception as problem:  # noqa: BLE001 - a doctor who faints helps nobody
            what = (look.__doc__ or look.__name__).strip().rstrip(".")
            reason = (str(problem).strip().splitlines() or [""])[0]
            yield error(
                f"doctor.{look.__name__}",
                f"could not look: {what} ({type(problem).__name__}: {reason})",
                "Mend what stands above first; if nothing does, this is a defect of the doctor.",
            )


def first_line(problem: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
