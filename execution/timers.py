"""Timers: stored wake-ups, fired by upkeep in due order, each exactly once."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from execution import ids, openings, values
from execution.durations import Duration, seconds
from execution.exceptions import NotPossible, OptionInvalid
from execution.models import Timer, TimerKind

if TYPE_CHECKING:
    from execution.skills import SkillTask


def at(
    when: datetime | Duration,
    skill: SkillTask | str,
    input: Mapping[str, Any] | None = None,  # noqa: A002 - as in runs.start
    *,
    name: str | None = None,
    **options: Any,
) -> Timer:
    """Store a timer that opens a run when it fires; under a name there is at most one pending at a time.

    The options are those of `runs.start`; a deadline given as a length counts from the moment at which it fires.
    """
    due_at = when if isinstance(when, datetime) else timezone.now() + timedelta(seconds=seconds(when, name="when"))
    if timezone.is_naive(due_at):
        raise OptionInvalid(f"when is {when!r}, which has no time zone; use django.utils.timezone")
    task = openings.task_of(skill)
    if options.get("deadline") is not None and not isinstance(options["deadline"], datetime):
        options["deadline"] = due_at + timedelta(seconds=seconds(options["deadline"], name="deadline"))
    packed = values.pack(task.bind_input((), input or {}), place=f"the input of {task.name!r}")
    opening = {
        "id": str(ids.new()),
        "template": openings.template_of(task, **options),
        "input": base64.b64encode(packed.data).decode(),
    }
    openings.keep_blobs([packed])
    try:
        with transaction.atomic():
            return Timer.objects.create(kind=TimerKind.CUSTOM, due_at=due_at, name=name, opening=opening)
    except IntegrityError:
        raise NotPossible(
            f"a timer named {name!r} is pending already; cancel it with timers.cancel({name!r}), or use another name"
        ) from None


def cancel(timer: Timer | uuid.UUID | str) -> bool:
    """Cancel a custom timer, by itself, its id or its name; returns false when it has fired or is not there."""
    pending = Timer.objects.filter(fired_at=None, cancelled_at=None, kind=TimerKind.CUSTOM)
    if isinstance(timer, Timer):
        pending = pending.filter(pk=timer.pk)
    elif isinstance(timer, uuid.UUID):
        pending = pending.filter(pk=timer)
    else:
        pending = pending.filter(name=timer)
    return pending.update(cancelled_at=timezone.now()) > 0
