"""Ids: UUID version 7, so that rows made together lie together; a step's id is its Celery id."""

from __future__ import annotations

import uuid

import uuid_utils

_CELERY_IDS = uuid.UUID("6f2e0d8a-7d0c-4a52-9a8e-2f6c1f4f7c11")


def new() -> uuid.UUID:
    """Return a new id, ordered by time."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def from_celery(task_id: str) -> uuid.UUID:
    """Return the step id for a Celery id; any string is accepted, as Celery does."""
    try:
        return uuid.UUID(task_id)
    except ValueError:
        return uuid.uuid5(_CELERY_IDS, task_id)


def span(beginning: str) -> tuple[uuid.UUID, uuid.UUID]:
    """Return the least and the largest id that begins with these digits; raises ValueError where no id does."""
    digits = beginning.replace("-", "")
    if not 0 < len(digits) <= 32:
        raise ValueError(f"no id begins with {beginning!r}")
    return uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
