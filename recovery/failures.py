"""Failures: every attempt that failed, was lost, crashed or was parked is taken in from the log, once.

A cycle reads the log by cursor. In one transaction with the cursor it writes a row for each failure, with its
fingerprint, its cost and the pattern it matched, opens candidates for those that left their run failed or parked, and
says so by an event. A batch that is read again adds nothing, because an attempt has one row.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, LiteralString

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from execution import events, ledger
from execution.cycles import Cycle
from execution.models import Ending, Event
from recovery import candidates, conf, fingerprints, patterns, templates
from recovery.exceptions import NotFound
from recovery.models import ENDED, FailureMatch, How, RecoveryCandidate

READER = "recovery.failures"
PARKED = "parked"
PARKINGS = ("budget", "effect", "version")
"""What a step may be parked for that is a failure; one that waits for an approval is none."""
NOT_BEGUN = "it was claimed and not begun"

_BATCH = 4000
_PASS_SECONDS = 5.0
_FAILED = frozenset({"step.failed", "step.retrying"})
_PARKED = frozenset({"step.parked", "run.parked"})
_ENDINGS = ("run.failed", "run.parked", "step.parked")
_TELLING = _FAILED | {"step.given_back", *_ENDINGS}
_ATTEMPTS: LiteralString = """
    SELECT e.place, s.skill, s.agent_id, coalesce(nullif(t.version, ''), s.version) AS version, t.id AS attempt_id,
           CASE WHEN e.is_silent THEN t.error END AS error, coalesce(t.cost, 0) AS cost, coalesce(t.tokens, 0) AS tokens
    FROM unnest(%s::int[], %s::uuid[], %s::int[], %s::bool[]) AS e(place, step_id, epoch, is_silent)
    JOIN execution_step s ON s.id = e.step_id
    LEFT JOIN execution_attempt t ON t.step_id = e.step_id AND t.epoch = e.epoch
    ORDER BY e.place"""
_KNOWN: LiteralString = "SELECT attempt_id FROM recovery_failurematch WHERE attempt_id = ANY(%s::uuid[])"
_COLUMNS = tuple(field.attname for field in FailureMatch._meta.concrete_fields if field.name != "created_at")  # noqa: SLF001 - Django's name
_COPY = f"COPY recovery_failurematch ({', '.join(_COLUMNS)}) FROM STDIN"
_TELL: LiteralString = """
    SELECT execution_log_v1('failure.recognised', f.run_id, f.step_id, f.agent_id, NULL, jsonb_build_object(
        'failure', f.id, 'attempt', f.attempt_id, 'ending', f.ending, 'skill', f.skill, 'error_kind', f.error_kind,
        'error_type', f.error_type, 'fingerprint', f.fingerprint, 'fingerprint_version', f.fingerprint_version,
        'pattern', p.name, 'how', f.how, 'confidence', f.confidence))
    FROM (SELECT * FROM recovery_failurematch WHERE id = ANY(%s::uuid[]) ORDER BY id) f
    LEFT JOIN recovery_failurepattern p ON p.id = f.pattern_id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A failure as the log tells it."""

    event: Event
    step_id: uuid.UUID
    run_id: uuid.UUID
    ending: str
    waiting: str = ""


@dataclass(slots=True, kw_only=True)
class Batch:
    """What some events tell: the failures, and the runs that each transaction left failed or parked."""

    told: list[Told] = field(default_factory=list)
    stopped: set[tuple[int, uuid.UUID | None]] = field(default_factory=set)


Found = tuple[FailureMatch, dict[str, Any]]
"""A failure, and the error as the ledger keeps it."""


# The cycle


def take_in(pass_seconds: float = _PASS_SECONDS) -> int:
    """Take in the failures that the log tells of; returns how many events were read."""
    return events.consume_for(READER, _handle, seconds=pass_seconds, limit=_BATCH, kinds=_TELLING)


def _watch(_: dict[str, Any]) -> int:
    return take_in()


WATCH = Cycle(name=READER, period=timedelta(seconds=1), step=_watch, is_atomic=False)


def _handle(found: Sequence[Event]) -> None:
    """Write what a batch tells, and all that follows from it."""
    told = _without_known(_failures_of(_batch_of(found)))
    if not told:
        return
    made = _recognised(told)
    patterns.match(made)
    _write(made)
    patterns.count(made)
    candidates.open_for(made)
    _tell([failure for failure in made if failure.is_final])


def _batch_of(found: Sequence[Event]) -> Batch:
    """Part the failures from what else happened; a transaction's events follow each other, but may be cut in two."""
    edges = Event.objects.filter(xid__in={found[0].xid, found[-1].xid}, kind__in=_ENDINGS)
    batch, parked = Batch(), set()
    for event in (*edges, *found):
        if event.kind in ("run.failed", "run.parked"):
            batch.stopped.add((event.xid, event.run_id))
        elif event.kind == "step.parked":
            parked.add((event.xid, event.step_id))
    for event in found:
        batch.told.extend(_told(event, is_told_by_its_step=(event.xid, event.step_id) in parked))
    return batch


def _told(event: Event, *, is_told_by_its_step: bool) -> Iterator[Told]:
    """Yield the failure that an event tells of, if it does; a parked step tells of itself and of its run."""
    if event.step_id is None or event.run_id is None:
        return
    about: dict[str, Any] = {"event": event, "step_id": event.step_id, "run_id": event.run_id}
    waiting = event.data.get("waiting") if event.kind == "step.parked" else event.data.get("reason")
    if event.kind in _FAILED:
        yield Told(**about, ending=Ending.FAILED)
    elif event.kind == "step.given_back" and waiting != NOT_BEGUN:
        yield Told(**about, ending=event.data.get("ending") or Ending.LOST)
    elif event.kind in _PARKED and waiting in PARKINGS and not (event.kind == "run.parked" and is_told_by_its_step):
        yield Told(**about, ending=PARKED, waiting=waiting)


# What is written


def _failures_of(batch: Batch) -> list[Found]:
    """Return a row for each failure, and the error that it tells of; what its attempt cost is settled by now."""
    return [_failure(batch.told[row.place], row, batch.stopped) for row in _attempts(batch.told)]


def _recognised(found: Sequence[Found]) -> list[FailureMatch]:
    """Give failures their templates and fingerprints."""
    mined = templates.of([failure.message for failure, _ in found])
    for (failure, error), template in zip(found, mined, strict=True):
        _recognise(failure, error, template.digest if template else "")
        failure.template_id = template.id if template else None
    return [failure for failure, _ in found]


def _attempts(told: Sequence[Told]) -> list[Any]:
    if not told:
        return []
    return ledger.ask_in_transaction(
        _ATTEMPTS,
        [
            list(range(len(told))),
            [one.step_id for one in told],
            [one.event.epoch for one in told],
            [not one.event.data.get("error") for one in told],
        ],
    )


def _failure(told: Told, row: Any, stopped: set[tuple[int, uuid.UUID | None]]) -> Found:
    """Return a row and the error that it tells of."""
    event = told.event
    is_attempt = row.attempt_id is not None and event.kind != "run.parked"
    error: dict[str, Any] = event.data.get("error") or (row.error if is_attempt else None) or {}
    failure = FailureMatch(
        attempt_id=row.attempt_id if is_attempt else event.id,
        step_id=told.step_id,
        run_id=told.run_id,
        agent_id=row.agent_id,
        skill=row.skill,
        version=row.version,
        ending=told.ending,
        error_kind=str(error.get("kind") or "unknown")[:16],
        error_type=fingerprints.type_of(error)[-200:],
        message=str(error.get("message") or "")[:4000],
        is_by_message=False,
        how=How.NONE,
        confidence=0.0,
        is_final=(event.xid, event.run_id) in stopped and event.kind not in ("step.given_back", "step.retrying"),
        cost=row.cost if is_attempt else Decimal(0),
        tokens=row.tokens if is_attempt else 0,
        failed_at=event.at,
    )
    if told.waiting:
        failure.error_kind = "resource" if told.waiting == "budget" else failure.error_kind
        failure.error_type = f"{PARKED}:{told.waiting}"
        failure.message = failure.message or f"the step was parked before it began: {told.waiting}"
    return failure, error


def _recognise(failure: FailureMatch, error: dict[str, Any], template: str) -> None:
    """Give a failure its fingerprint: by what it waits for, by its stack, or else by its message."""
    failure.fingerprint_version = fingerprints.VERSION
    if failure.ending == PARKED:
        failure.fingerprint = fingerprints.of_parking(failure.error_type.partition(":")[2], failure.skill)
        return
    stack = fingerprints.stack_of(error)
    failure.is_by_message = not stack.frames
    failure.fingerprint = (
        fingerprints.of_message(failure.error_type, template)
        if failure.is_by_message
        else fingerprints.of_stack(failure.error_type, stack, failure.skill)
    )


def _without_known(found: Sequence[Found]) -> list[Found]:
    """Leave out what has a row already, and what the same batch tells twice."""
    by_attempt = {failure.attempt_id: (failure, error) for failure, error in found}
    if not by_attempt:
        return []
    known = {row.attempt_id for row in ledger.ask_in_transaction(_KNOWN, [list(by_attempt)])}
    return [one for attempt_id, one in by_attempt.items() if attempt_id not in known]


def _write(made: Sequence[FailureMatch]) -> None:
    """Write rows by COPY: Django's INSERT of thousands takes three times as long to put together as to do."""
    with connection.cursor() as cursor, cursor.copy(_COPY) as rows:
        for failure in made:
            rows.write_row([getattr(failure, name) for name in _COLUMNS])


def _tell(final: Sequence[FailureMatch]) -> None:
    """Write one event for each failure that left its run failed or parked."""
    if final:
        ledger.ask_in_transaction(_TELL, [[failure.id for failure in final]])


# Looking, and letting go


def get(failure: uuid.UUID | str) -> FailureMatch:
    """Return a failure by its id."""
    try:
        found = FailureMatch.objects.select_related("pattern", "template").filter(pk=failure).first()
    except ValidationError:
        found = None
    if found is None:
        raise NotFound("failure", failure, "`manage.py failures list` shows the newest")
    return found


def forget(batch: int = 1000) -> int:
    """Remove the failures that are old enough, in batches, but none with a candidate that is open."""
    total = 0
    while removed := _forgotten(batch):
        total += removed
    return total


@transaction.atomic
def _forgotten(batch: int) -> int:
    open_ones = RecoveryCandidate.objects.filter(failure=OuterRef("pk")).exclude(state__in=ENDED)
    old = FailureMatch.objects.filter(failed_at__lt=Now() - timedelta(days=conf.current().failure_days))
    ids = list(old.filter(~Exists(open_ones)).order_by("failed_at").values_list("pk", flat=True)[:batch])
    FailureMatch.objects.filter(pk__in=ids).delete()
    return len(ids)
