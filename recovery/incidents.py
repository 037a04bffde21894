"""Incidents: what needs an answer, opened once for a window or a breach, and carried out by a run of a workflow.

A snapshot that is grave enough opens one, and so does a quality breach that has no snapshot after a minute. While one
is open, what goes on about the same service is taken in by it. The run is opened in the incident's own transaction; its
steps write what they find as entries and verdicts, each once. The pass opens what is new, gives an incident its
snapshot when that comes later, and notices runs that have ended.

Locks: window, incident, then what execution's verbs lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from execution import events, ledger, records, runs, words
from execution.cycles import Cycle
from execution.exceptions import NotAllowed
from execution.models import Agent, Assessment, Run, RunState, Verdict
from execution.schedule import QUEUE
from recovery import conf, correlation, windows
from recovery.exceptions import AlreadyDecided, NotFound
from recovery.models import TAKEN_IN, Incident, IncidentEntry, IncidentState, Severity, Window
from recovery.occurrences import OWN_PRODUCER, OWN_WORKFLOW

log = structlog.get_logger(__name__)

AGENT = "celeriac"
GATE = "approve"
_BREACH = "breach:{}"
"""Names the entry about a breach that an open incident has taken in."""
_BREACH_WAIT = timedelta(seconds=60)
_BREACHES_BACK = timedelta(days=7)
_MOST = 100


def watch(*, now: datetime | None = None) -> int:
    """Open what is new, add snapshots that have come, and notice what has ended; returns how many were touched."""
    clock = now or ledger.ask("SELECT clock_timestamp() AS now")[0].now
    count = sum(_each(_to_open(), open_for_window)) + sum(_each(_breaches(clock), open_for_breach))
    count += sum(_each(_without_snapshot(), _add_snapshot))
    count += sum(_each(Incident.objects.open().exclude(run_id=None).order_by("id")[:1000], _notice))
    count += sum(_each(_failed_lately(), _notice_retry))
    return count + correlation.tidy()


def _each(rows: Iterable[Any], verb: Callable[[Any], Any]) -> Iterable[bool]:
    """Do it to each row; what goes wrong with one is told and stops no other."""
    for row in rows:
        try:
            yield bool(verb(row))
        except Exception:
            log.exception("incident.pass_failed", row=str(row.pk), verb=verb.__name__)
            yield False


# Opening


def _to_open() -> QuerySet[Window]:
    """Return the windows whose snapshot is grave enough and that no incident is about."""
    grave = [one for one in Severity if windows.is_at_least(one, _least())]
    found = Window.objects.unanswered().filter(snapshot_id__isnull=False)
    return found.filter(Q(severity__in=grave) | Q(breach_at__isnull=False)).order_by("started_at")[:_MOST]


def _least() -> str:
    """Return the severity from which on a snapshot opens an incident."""
    least = conf.current().incident_least
    if least not in Severity.values:
        words_known = ", ".join(Severity.values)
        raise ImproperlyConfigured(f"CELERIAC['incident_least'] is {least!r}; it is one of {words_known}")
    return least


def open_for_window(window: Window) -> Incident | None:
    """Open the incident about a window, once, or return None where there is one, or an open one takes it in."""
    with transaction.atomic():
        held = Window.objects.select_for_update().get(pk=window.pk)
        if Window.objects.answered().filter(pk=held.pk).exists():
            return None
        known = Incident.objects.filter(breach_id__in=held.verdicts, window=None).order_by("id").first()
        if known is not None:
            Incident.objects.filter(pk=known.pk).update(window=held)
            return known
        going_on = _going_on(held.services, _root(held.services, held))
        if going_on is not None and held.snapshot_id is not None:
            _take_in(going_on, held, held.snapshot_id)
            return None
        return _opened(_title(held), severity=held.severity, services=held.services, window=held)


def _breaches(clock: datetime) -> list[Verdict]:
    """Return the breaches that are old enough to have a snapshot, have none, and have no incident."""
    recent = events.first_id_at(clock - _BREACHES_BACK)
    old_enough = Verdict.objects.filter(kind=windows.BREACH, pk__gte=recent, created_at__lte=clock - _BREACH_WAIT)
    found = list(old_enough.exclude(producer__startswith=OWN_PRODUCER).order_by("id"))
    keys = [verdict.id for verdict in found]
    answered = set(Incident.objects.filter(breach_id__in=keys).values_list("breach_id", flat=True))
    covering = Window.objects.filter(Q(snapshot_id__isnull=False) | Q(incident__isnull=False), verdicts__overlap=keys)
    answered |= {key for verdicts in covering.values_list("verdicts", flat=True) for key in verdicts}
    names = [_BREACH.format(key) for key in keys if key not in answered]
    answered |= set(IncidentEntry.objects.filter(key__in=names).values_list("verdict_id", flat=True))
    return [verdict for verdict in found if verdict.id not in answered][:_MOST]


def open_for_breach(verdict: Verdict) -> Incident | None:
    """Open the incident about a breach that has no snapshot, once, or return None where there is one or takes it in.

    Where its window is there already and only has no snapshot, the incident is about that window.
    """
    with transaction.atomic():
        window = Window.objects.select_for_update().filter(verdicts__contains=[verdict.id]).first()
        if window is not None and Incident.objects.filter(window=window).exists():
            return None
        said = (verdict.data or {}).get("severity")
        severity = Severity(said) if said in Severity.values else Severity.HIGH
        services = window.services if window else [verdict.subject]
        text = f"{verdict.subject} does not keep its objective"
        if going_on := _going_on(services, verdict.subject):
            if going_on.breach_id != verdict.id:
                name = _BREACH.format(verdict.id)
                _go_on(going_on, name, text, severity=severity, services=services, verdict=verdict)
            return None
        try:
            with transaction.atomic():
                return _opened(text, severity=severity, services=services, window=window, breach_id=verdict.id)
        except IntegrityError:
            return None


def _going_on(services: Sequence[str], root: str) -> Incident | None:
    """Return the open incident, held, that is about the same: where the one begins, the other is felt."""
    found = Incident.objects.open().filter(services__overlap=services).select_related("window").order_by("id")
    for incident in found.select_for_update(of=("self",)):
        if root in incident.services or _root(incident.services, incident.window) in services:
            return incident
    return None


def _root(services: Sequence[str], window: Window | None) -> str:
    """Return where trouble begins, as far as is known."""
    affected = window.details.get("affected") if window is not None else None
    return str(affected[0]["node"]) if affected else services[0]


def _take_in(incident: Incident, window: Window, snapshot_id: uuid.UUID) -> None:
    """Let an open incident be about a further window: an outage may last longer than one does."""
    window.details[TAKEN_IN] = str(incident.pk)
    window.save(update_fields=["details"])
    records.hold(snapshot_id, f"incident:{incident.pk}")
    said = Assessment.objects.values_list("data", flat=True).get(pk=snapshot_id)["summary"]
    about = {"window": str(window.pk), "snapshot": str(snapshot_id)}
    _go_on(incident, f"window:{window.pk}", said, severity=window.severity, services=window.services, data=about)


def _go_on(incident: Incident, key: str, text: str, *, severity: str, services: Sequence[str], **entry: Any) -> None:
    """Add to an open incident, which is held, what has happened further, and say so once."""
    if incident.entries.filter(key=key).exists():
        return
    Incident.objects.filter(pk=incident.pk).update(
        severity=windows.worst(incident.severity, severity),
        services=[*incident.services, *(one for one in services if one not in incident.services)],
    )
    incident.refresh_from_db()
    note(incident, key, kind="went_on", text=text, **entry)
    tell("incident.went_on", incident, text=text)
    log.info("incident.went_on", incident=str(incident.id), title=incident.title, severity=incident.severity)


def _title(window: Window) -> str:
    affected = window.details.get("affected") or [{"node": one} for one in window.services]
    rest = f" and {words.counted(len(affected) - 1, 'other')}" if len(affected) > 1 else ""
    return f"{affected[0]['node']}{rest} in trouble"


def _opened(title: str, **about: Any) -> Incident:
    """Write a new incident, its first entry and its event, and open the run that answers it, in one transaction."""
    made = Incident.objects.create(title=words.one_line(title, 300), **about)
    agent = Agent.objects.get_or_create(name=AGENT, defaults={"description": "Answers incidents."})[0]
    run = runs.start(
        OWN_WORKFLOW, {"incident": str(made.id)}, key=f"incident:{made.id}", queue=QUEUE, agent=agent,
        correlation_id=f"incident:{made.id}",
    )  # fmt: skip
    Incident.objects.filter(pk=made.pk).update(run_id=run.id)
    made.refresh_from_db()
    note(made, "opened", kind="opened", text=made.title)
    tell("incident.opened", made)
    if made.window is not None and made.window.snapshot_id is not None:
        _add_snapshot(made)
    log.info("incident.opened", incident=str(made.id), title=made.title, severity=made.severity)
    return made


def _without_snapshot() -> QuerySet[Incident]:
    found = Incident.objects.open().filter(snapshot_id=None, window__snapshot_id__isnull=False)
    return found.select_related("window").order_by("id")[:_MOST]


def _add_snapshot(incident: Incident) -> bool:
    """Give an incident the snapshot of its window; what it rests on is kept as long as the incident is open."""
    window = incident.window
    if window is None or window.snapshot_id is None:
        return False
    with transaction.atomic():
        severity = windows.worst(incident.severity, window.severity)
        changed = Incident.objects.filter(pk=incident.pk, snapshot_id=None).update(
            snapshot_id=window.snapshot_id, severity=severity, services=window.services
        )
        if changed:
            records.hold(window.snapshot_id, f"incident:{incident.pk}")
            said = Assessment.objects.values_list("data", flat=True).get(pk=window.snapshot_id)["summary"]
            Incident.objects.filter(pk=incident.pk, summary="").update(summary=said)
            note(incident, "snapshot", kind="snapshot", text=said)
    return bool(changed)


# The run's end


def _notice(incident: Incident) -> bool:
    """End an incident whose run has ended, as its run says."""
    run = _run_of(incident)
    if run is None or not run.is_ended:
        return False
    if run.state != RunState.COMPLETED:
        why = run.cancel_reason or f"its run was {run.state}"
        said = (run.error or {}).get("message", why)
        return end(incident, IncidentState.FAILED, f"a person goes on: {said}")
    outcome = runs.result(run)
    state = IncidentState.RESOLVED if outcome["is_resolved"] else IncidentState.FAILED
    return end(incident, state, outcome["text"] if outcome["is_resolved"] else f"a person goes on: {outcome['text']}")


@transaction.atomic
def end(incident: Incident, state: IncidentState, text: str, *, by: str = "") -> bool:
    """End an open incident, once; false where it has ended already."""
    changed = Incident.objects.filter(pk=incident.pk, state=IncidentState.OPEN).update(
        state=state, ended_at=Now(), ended_by=by
    )
    if not changed:
        return False
    incident.refresh_from_db()
    note(incident, f"{state}:{incident.entries.count()}", kind=str(state), text=text, by=by)
    tell(f"incident.{state}", incident, text=text)
    records.release(f"incident:{incident.pk}")
    return True


def _failed_lately() -> QuerySet[Incident]:
    current = Incident.objects.current().filter(state=IncidentState.FAILED)
    going_on = Run.objects.unended().filter(workflow=OWN_WORKFLOW, pk__in=current.values("run_id")).values("pk")
    return current.filter(run_id__in=going_on).order_by("id")[:_MOST]


@transaction.atomic
def _notice_retry(incident: Incident) -> bool:
    """Open an incident again whose run somebody has retried."""
    changed = Incident.objects.filter(pk=incident.pk, state=IncidentState.FAILED).update(
        state=IncidentState.OPEN, ended_at=None, ended_by=""
    )
    if changed:
        note(incident, f"reopened:{incident.entries.count()}", kind="reopened", text="its run was retried")
    return bool(changed)


# What a person does


def get(key: Incident | uuid.UUID | str) -> Incident:
    """Return an incident by its id."""
    if isinstance(key, Incident):
        return key
    try:
        found = Incident.objects.filter(pk=key if isinstance(key, uuid.UUID) else uuid.UUID(key)).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound("incident", key, "`manage.py incidents list` shows them")
    return found


def approve(incident: Incident | uuid.UUID | str, *, by: str, reason: str = "") -> Incident:
    """Let the remediation that waits for it be done."""
    return _decide(incident, runs.approve, "approved", by=by, reason=reason)


def refuse(incident: Incident | uuid.UUID | str, *, by: str, reason: str = "") -> Incident:
    """Refuse the remediation: a person goes on."""
    return _decide(incident, runs.refuse, "refused", by=by, reason=reason)


@transaction.atomic
def _decide(
    incident: Incident | uuid.UUID | str, verb: Callable[..., Any], kind: str, *, by: str, reason: str
) -> Incident:
    held = _hold_open(incident, f"be {kind}")
    if held.run_id is None:
        raise NotAllowed(f"incident {held.pk} has no run that could wait for a decision")
    verb(held.run_id, GATE, by=by, reason=reason)
    note(held, f"{kind}:{held.entries.count()}", kind=kind, text=reason or kind, by=by)
    return held


@transaction.atomic
def close(incident: Incident | uuid.UUID | str, *, by: str, reason: str = "") -> Incident:
    """End an incident by hand: its run is cancelled, or what has failed is taken as dealt with."""
    held = Incident.objects.select_for_update().get(pk=get(incident).pk)
    if held.state in (IncidentState.RESOLVED, IncidentState.CLOSED):
        raise AlreadyDecided(f"incident {held.pk} is {held.state} already")
    Incident.objects.filter(pk=held.pk).update(state=IncidentState.OPEN)
    end(held, IncidentState.CLOSED, reason or "closed by hand", by=by)
    run = _run_of(held)
    if run is not None and not run.is_ended:
        runs.cancel(run, by=by, reason=f"its incident was closed: {reason}" if reason else "its incident was closed")
    held.refresh_from_db()
    return held


@transaction.atomic
def comment(incident: Incident | uuid.UUID | str, text: str, *, by: str) -> IncidentEntry:
    """Add what somebody has to say to an incident's timeline."""
    held = Incident.objects.select_for_update().get(pk=get(incident).pk)
    if not text.strip():
        raise NotAllowed("a comment says something")
    return note(held, f"comment:{held.entries.count()}", kind="comment", text=text, by=by)


def _hold_open(incident: Incident | uuid.UUID | str, wish: str) -> Incident:
    held = Incident.objects.select_for_update().get(pk=get(incident).pk)
    if held.state != IncidentState.OPEN:
        raise AlreadyDecided(f"incident {held.pk} is {held.state}: it cannot {wish} any more")
    return held


def waits_for(incident: Incident) -> dict[str, Any] | None:
    """Return what an incident's run asks a person, or None where it asks nothing."""
    from execution.workflows import gates

    run = _run_of(incident) if incident.state == IncidentState.OPEN else None
    waiting = [step for step in gates.open_gates(run) if step.name == GATE] if run is not None else []
    given: dict[str, Any] = gates.asked(waiting[0])["given"] if waiting else {}
    return given or None


def _run_of(incident: Incident) -> Run | None:
    return Run.objects.filter(pk=incident.run_id).first() if incident.run_id is not None else None


# What is written


def note(
    incident: Incident, key: str, *, kind: str, text: str, by: str = "", verdict: Verdict | None = None,
    data: dict[str, Any] | None = None,
) -> IncidentEntry:  # fmt: skip
    """Write a line of the timeline, once for its key."""
    entry, _ = IncidentEntry.objects.get_or_create(
        incident=incident,
        key=key,
        defaults={
            "kind": kind, "text": text, "by": by, "verdict_id": verdict.id if verdict else None, "data": data or {},
        },
    )  # fmt: skip
    return entry


def tell(kind: str, incident: Incident, **more: Any) -> None:
    """Write an event about an incident, in the caller's transaction; webhooks deliver it."""
    data = {
        "incident": str(incident.pk),
        "title": incident.title,
        "severity": str(incident.severity),
        "state": str(incident.state),
        "services": incident.services,
        "summary": incident.summary,
        **more,
    }
    events.note(kind, data, run_id=incident.run_id)


WATCH = Cycle(name="recovery.incidents", period=timedelta(seconds=30), step=lambda _: watch(), is_atomic=False)
