"""What earlier passes of a step recorded, read on demand: a resumed pass costs what it touches, not what is stored.

A pass meets its tokens mostly in the order in which they were recorded, so they are read ahead in pages; what is met
out of order, or is large, is read alone. What was served is forgotten, so that the memory of a long pass stays
bounded.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from execution import ledger

PAGE = 200
APPENDED_PAGE = 1000
_INLINE_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Found:
    """One recorded thing: which verb recorded it, and its packed value."""

    kind: str
    data: bytes | None

    def value(self) -> Any:
        """Return the recorded value."""
        return ledger.unpack(self.data)


class Replay:
    """The records of a step's earlier passes."""

    def __init__(self, step_id: uuid.UUID, *, is_empty: bool) -> None:
        self._step_id = step_id
        self._is_empty = is_empty
        self._in_order = _Ahead()
        self._appended: dict[str, _Ahead] = {}

    def take(self, token: str) -> Found | None:
        """Return what stands under a token of the step itself, once."""
        if self._is_empty:
            return None
        ahead = self._in_order
        if ahead.wants_page(token):
            ahead.add(self._page(ahead.until), PAGE)
        if token in ahead.tokens:
            found = ahead.tokens.pop(token)
            return found or self.look_up(token)
        return None if ahead.is_complete else self.look_up(token)

    def take_appended(self, name: str, token: str) -> bool:
        """Tell whether a value was appended to a list under a token."""
        if self._is_empty:
            return False
        ahead = self._appended.setdefault(name, _Ahead())
        if ahead.wants_page(token):
            ahead.add(self._appended_page(name, ahead.until), APPENDED_PAGE)
        if token in ahead.tokens:
            del ahead.tokens[token]
            return True
        return not ahead.is_complete and self.look_up(token) is not None

    def look_up(self, token: str) -> Found | None:
        """Return what stands under any token, by a query of its own."""
        rows = ledger.ask(
            "SELECT kind, data FROM execution_checkpoint WHERE step_id = %s AND token = %s", [self._step_id, token]
        )
        return Found(rows[0].kind, rows[0].data) if rows else None

    def _page(self, until: int) -> list[Any]:
        return ledger.ask(
            "SELECT token, kind, position, coalesce(octet_length(data), 0) > %s AS is_large, "
            "CASE WHEN octet_length(data) <= %s THEN data END AS data FROM execution_checkpoint "
            "WHERE step_id = %s AND position > %s AND NOT is_scoped AND kind <> 'append' ORDER BY position LIMIT %s",
            [_INLINE_BYTES, _INLINE_BYTES, self._step_id, until, PAGE],
        )

    def _appended_page(self, name: str, until: int) -> list[Any]:
        return ledger.ask(
            "SELECT token, kind, position, false AS is_large, NULL::bytea AS data FROM execution_checkpoint "
            "WHERE step_id = %s AND name = %s AND kind = 'append' AND position > %s ORDER BY position LIMIT %s",
            [self._step_id, name, until, APPENDED_PAGE],
        )


class _Ahead:
    """What was read ahead and not met yet; None stands for a large value, which is read when it is met."""

    def __init__(self) -> None:
        self.tokens: dict[str, Found | None] = {}
        self.until = -1
        self.is_complete = False

    def wants_page(self, token: str) -> bool:
        return token not in self.tokens and not self.is_complete and len(self.tokens) < PAGE // 2

    def add(self, rows: list[Any], wanted: int) -> None:
        for row in rows:
            self.tokens[row.token] = None if row.is_large else Found(row.kind, row.data)
            self.until = row.position
        self.is_complete = len(rows) < wanted


class Items(Sequence[Any]):
    """What was appended to a list, in order; each value is unpacked when it is looked at."""

    def __init__(self, packed: Sequence[bytes]) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [ledger.unpack(data) for data in self._packed[index]]
        return ledger.unpack(self._packed[index])

    def __iter__(self) -> Iterator[Any]:
        return map(ledger.unpack, self._packed)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Items, list, tuple)):
            return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} items>"


def appended(step_id: uuid.UUID, name: str) -> list[bytes]:
    """Return the packed values of a list, in order."""
    rows = ledger.ask(
        "SELECT data FROM execution_checkpoint WHERE step_id = %s AND name = %s AND kind = 'append' ORDER BY position",
        [step_id, name],
    )
    return [row.data for row in rows]


def latest_saved(step_id: uuid.UUID) -> tuple[str, Any] | None:
    """Return the token and the data of the latest plain checkpoint."""
    rows = ledger.ask(
        "SELECT token, data FROM execution_checkpoint WHERE step_id = %s AND kind = 'save' AND NOT is_scoped "
        "ORDER BY position DESC LIMIT 1",
        [step_id],
    )
    return (rows[0].token, ledger.unpack(rows[0].data)) if rows else None
