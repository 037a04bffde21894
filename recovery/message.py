"""A message to a receiver of webhooks, and what was answered: what the outbox holds and the wire carries."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes to an endpoint, and the secrets that sign it."""

    id: uuid.UUID
    event_id: uuid.UUID
    url: str
    body: Mapping[str, Any]
    secrets: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver answered: a status, or else an error; both in words where it was no success."""

    status: int | None = None
    error: str = ""
    response: str = ""
    duration_ms: float = 0.0
    retry_after: float | None = None
    """The seconds for which the receiver asked to be left alone."""

    @property
    def is_success(self) -> bool:
        """Whether the message was taken: only 2xx, and only in time."""
        return not self.error
