"""How a pass of a skill can end, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from execution.ledger import Record
from execution.values import Packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The skill returned."""

    value: Any
    packed: Packed | None = None
    records: tuple[Record, ...] = ()
    is_ignored: bool = False  # it raised Celery's Ignore: nothing follows


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """The step's condition was not true."""

    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """The worker is freed; the details say what wakes the step."""

    waiting: str
    details: dict[str, Any] = field(default_factory=dict)
    records: tuple[Record, ...] = ()
    rejected: BaseException | None = None  # Celery's Reject: it is performed again


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """The worker is freed; a person must decide."""

    waiting: str
    reason: str = ""
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The skill raised; with a delay it is tried again."""

    error: BaseException
    kind: str
    delay_seconds: float | None = None
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The skill stopped because its run was cancelled."""

    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The claim was stale: nothing is written."""


Outcome = Completed | Skipped | Suspended | Parked | Failed | Cancelled | Lost
