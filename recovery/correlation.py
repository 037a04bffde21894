"""Correlation: reads what goes wrong and what is changed, and keeps what belongs together as windows and snapshots.

A pass reads the log by its cursor, keeps what counts as occurrences, and folds those for which nothing can come late
any more into windows; cursor, occurrences and windows commit together, and only one pass is under way at a time. A
window that has ended gets its snapshot in a transaction of its own, because its summary is made outside of any: a pass
that dies in between leaves a window without one, and the next pass makes it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q

from execution import events, ledger, records
from execution.cycles import Cycle
from execution.models import Assessment, AssessmentKind, CycleState, Event
from recovery import conf, occurrences, summaries, windows
from recovery.models import Incident, Occurrence, Severity, Window
from recovery.occurrences import Reading
from recovery.windows import Fold, Limits

log = structlog.get_logger(__name__)

READER = "recovery.correlation"
PRODUCER = "recovery.correlation"
_STATE = "recovery.windows"
_BATCH = 2000
_PASS_SECONDS = 5.0
_BEFORE_BIRTH = timedelta(hours=1)
_SNAPSHOTS_MOST = 20
_SUSPECTS_MOST = 20
_TIDY_MOST = 10_000


def correlate(*, now: datetime | None = None) -> int:
    """Read what the log tells, fold it into windows, and make the snapshots that are due; returns what was touched."""
    return fold(now=now) + snapshot_due()


@transaction.atomic
def fold(*, now: datetime | None = None) -> int:
    """Read and fold in one transaction; side by side only one does, the other returns 0 at once."""
    CycleState.objects.get_or_create(pk=_STATE)
    held = CycleState.objects.select_for_update(skip_locked=True).filter(pk=_STATE).first()
    if held is None:
        return 0
    clock = now or ledger.ask_in_transaction("SELECT clock_timestamp() AS now")[0].now
    reading = Reading(held.state.setdefault("versions", {}))
    held.state.setdefault("since", windows.stamp(clock - _BEFORE_BIRTH))
    count, last_at = _read(reading, datetime.fromisoformat(held.state["since"]))
    watermark = (last_at or clock) - Limits.current().late
    if "watermark" in held.state:
        watermark = max(watermark, datetime.fromisoformat(held.state["watermark"]))
    _settle(reading, watermark)
    held.state["watermark"] = windows.stamp(watermark)
    held.save(update_fields=["state"])
    return count


def _read(reading: Reading, since: datetime) -> tuple[int, datetime | None]:
    """Keep what the log tells as occurrences; where it tells more than one pass takes, also say how far it has come.

    What lies long before the first pass is history, and about that nobody is called.
    """
    count, ends_at, last = 0, time.monotonic() + _PASS_SECONDS, list[Event]()

    def keep(batch: list[Event]) -> None:
        last[:] = batch[-1:]
        found = [one for one in batch if one.at >= since]
        occurrences.keep(reading.of(found))

    while True:
        read = events.consume(READER, keep, limit=_BATCH)
        count += read
        if read < _BATCH:
            return count, None
        if time.monotonic() > ends_at:
            return count, last[0].at


def _settle(reading: Reading, watermark: datetime) -> None:
    """Fold the occurrences before the watermark, in the order of their time, and store the windows."""
    due = list(Occurrence.objects.filter(is_folded=False, at__lte=watermark).order_by("at", "id"))
    open_windows = list(Window.objects.filter(closed_at=None))
    if not due and not open_windows:
        return
    found = Fold(open_windows, near=reading.near, limits=Limits.current())
    for one in due:
        if one.nodes:
            found.add(one)
    found.close(watermark)
    _store(reading, found)
    _forget(due, watermark)


def _store(reading: Reading, found: Fold) -> None:
    for gone, window in found.absorbed:
        if not gone._state.adding:  # noqa: SLF001 - Django's documented name
            _hand_over(gone, window)
    for window in found.closed:
        _end(reading, window)
    for window in [*found.open, *(one for one in found.closed if _has_trouble(one))]:
        window.save()
    gone_ids = [gone.id for gone, _ in found.absorbed]
    gone_ids += [window.id for window in found.closed if not _has_trouble(window)]
    Window.objects.filter(pk__in=gone_ids).delete()


def _has_trouble(window: Window) -> bool:
    """Tell whether anything went wrong in a window; one of changes alone leaves nothing behind."""
    return bool(window.details.get("first"))


def _hand_over(gone: Window, window: Window) -> None:
    """Let the incident about a window that is now a part of another be about that one, unless that has its own."""
    window.save()
    if not Incident.objects.filter(window=window).exists():
        Incident.objects.filter(window=gone).update(window=window)


def _end(reading: Reading, window: Window) -> None:
    """Complete what a window says once it has ended: how grave it is, what is affected, and what may have caused it."""
    if window.counts.get("run.failed", 0) >= conf.current().incident_failures:
        window.severity = windows.worst(window.severity, Severity.HIGH)
    first, seen = window.details.get("first", {}), window.details.get("seen", {})
    window.details["affected"] = [
        {"node": node, "first_at": first[node], "count": seen.get(node, 0)} for node in reading.around.causal(first)
    ]
    window.details["suspects"] = _suspects(reading, window)


def _suspects(reading: Reading, window: Window) -> list[dict[str, Any]]:
    """Return what was changed near a window shortly before it, or while it lasted, the latest first."""
    earliest = window.started_at - timedelta(minutes=conf.current().suspect_minutes)
    near = reading.around.near(window.services)
    changes = Occurrence.objects.filter(is_change=True, at__range=(earliest, window.last_at)).order_by("-at", "id")
    fitting = [one for one in changes if not one.nodes or not near.isdisjoint(one.nodes)]
    return [
        {"at": windows.stamp(one.at), "kind": one.kind, "nodes": one.nodes, **one.data}
        for one in fitting[:_SUSPECTS_MOST]
    ]


def _forget(folded: Sequence[Occurrence], watermark: datetime) -> None:
    """Remove what is folded; changes stay as long as a window may still begin after them."""
    limits = Limits.current()
    oldest = watermark - timedelta(minutes=conf.current().suspect_minutes) - limits.most - limits.gap
    ledger.ask_in_transaction(
        "UPDATE recovery_occurrence SET is_folded = true WHERE id = ANY(%s)",
        [[one.id for one in folded if one.is_change]],
    )
    ledger.ask_in_transaction(
        "DELETE FROM recovery_occurrence WHERE id = ANY(%s)", [[one.id for one in folded if not one.is_change]]
    )
    Occurrence.objects.filter(is_change=True, is_folded=True, at__lt=oldest).delete()


# Snapshots


def snapshot_due() -> int:
    """Make the snapshots of the windows that have ended; returns how many."""
    ended = Window.objects.filter(closed_at__isnull=False, snapshot_id=None).order_by("closed_at")
    return sum(_tried(window) for window in ended[:_SNAPSHOTS_MOST])


def _tried(window: Window) -> bool:
    """Make one window's snapshot; one that cannot be made is tried again at each pass, and holds up no other."""
    try:
        return _snapshot(window)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("correlation.no_snapshot", window=str(window.pk))
        return False


def _snapshot(window: Window) -> bool:
    """Make one window's snapshot: its summary outside of any transaction, then the assessment and its mark in one."""
    summary, by = summaries.of(window)
    with transaction.atomic():
        held = Window.objects.select_for_update(skip_locked=True).filter(pk=window.pk, snapshot_id=None).first()
        if held is None:
            return False
        held.snapshot_id = _assessed(held, summary, by).id
        held.save(update_fields=["snapshot_id"])
    log.info("correlation.snapshot", window=str(held.id), severity=held.severity, services=held.services)
    return True


def _assessed(window: Window, summary: str, by: str) -> Assessment:
    details = window.details
    affected = details.get("affected", [])
    return records.assess(
        AssessmentKind.CORRELATION_SNAPSHOT,
        subject=affected[0]["node"] if affected else window.services[0],
        producer=PRODUCER,
        window=(window.started_at, window.last_at),
        parents=_known([*window.verdicts, *map(uuid.UUID, details.get("assessments", []))]),
        data={
            "window": window.id,
            "counts": window.counts,
            "severity": window.severity,
            "affected": affected,
            "suspects": details.get("suspects", []),
            "errors": details.get("errors", {}),
            "summary": summary,
            "summary_by": by,
        },
    )


def _known(keys: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Return the records that are still there: retention may have been quicker than a pass that was late."""
    from execution.models import Verdict

    wanted = list(keys)
    there = {*Verdict.objects.filter(pk__in=wanted).values_list("id", flat=True),
             *Assessment.objects.filter(pk__in=wanted).values_list("id", flat=True)}  # fmt: skip
    return [key for key in wanted if key in there]


# What incidents ask


def is_trouble_since(nodes: Iterable[str], moment: datetime) -> bool:
    """Tell whether something went wrong with these nodes since a moment, as far as the log was read."""
    wanted = list(nodes)
    later = Window.objects.filter(services__overlap=wanted, last_at__gt=moment, details__has_key="first")
    pending = Occurrence.objects.filter(nodes__overlap=wanted, at__gt=moment, is_change=False, is_folded=False)
    return pending.exclude(kind="step.retrying").exists() or later.exists()


def tidy() -> int:
    """Remove windows that are as old as the assessments made of them, and belong to no incident."""
    from execution import conf as execution_conf

    days = timedelta(days=execution_conf.current().assessment_days)
    now = ledger.ask_in_transaction("SELECT clock_timestamp() AS now")[0].now
    old = Window.objects.filter(Q(incident=None), closed_at__lt=now - days).order_by("closed_at")
    return Window.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:_TIDY_MOST])).delete()[0]


CORRELATE = Cycle(
    name="recovery.correlation", period=timedelta(seconds=10), step=lambda _: correlate(), is_atomic=False
)
