"""Envelopes: the only way in which an evaluation changes how the system runs.

An envelope is one tunable, a value within bounds, a class and a timebox; the coordinator applies it or says why not,
and what held before is put back when its time is over, when it is reverted, preempted, or by the kill switch. It never
lives a second time, and each decision is a row that never changes. Whoever decides holds the switch's row first, then
envelopes by id, then the tunable: so that no envelope slips past a switch that is being thrown.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from execution import durations, events, ledger, tunables
from execution.cycles import Cycle
from execution.exceptions import CeleriacError, OptionInvalid
from execution.models import Event, Tunable
from graduation.exceptions import EnvelopeRejected
from graduation.models import Envelope, EnvelopeDecision, EnvelopeState, Importance, KillSwitch
from recovery.exceptions import AlreadyDecided, NotFound

LONGEST_SECONDS = 30 * 86400
WANTED = "recovery.envelope_wanted"
_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far an envelope may go: in percent of what held before, or absolutely; at least one of them."""

    most_percent: float | None = None
    least: float | None = None
    most: float | None = None

    def problem(self, value: float, baseline: float) -> str:
        """Return why a value is out of these bounds, or nothing."""
        if self.least is not None and value < self.least:
            return f"{value:g} is below its floor of {self.least:g}"
        if self.most is not None and value > self.most:
            return f"{value:g} is above its ceiling of {self.most:g}"
        if self.most_percent is not None and abs(value - baseline) > abs(baseline) * self.most_percent / 100:
            return f"{value:g} is more than {self.most_percent:g} % away from {baseline:g}, which holds now"
        return ""


def propose(tunable: str, value: Any, *, by: str, **wishes: Any) -> Envelope:
    """Declare an envelope and apply it; where it may not be, the row is kept and EnvelopeRejected is raised."""
    return apply(declare(tunable, value, by=by, **wishes), by=by)


@transaction.atomic
def declare(
    tunable: str,
    value: Any,
    *,
    importance: Importance | str,
    timebox: durations.Duration,
    bounds: Bounds,
    by: str,
    subject: str = "",
    reason: str = "",
    verdict: uuid.UUID | None = None,
) -> Envelope:
    """Write an envelope down, checked: what it wants may be wanted. Nothing is changed yet."""
    wanted = tunables.check(tunable, value, subject=subject)
    _check_bounds(bounds)
    envelope = Envelope.objects.create(
        tunable=tunable,
        subject=subject,
        importance=_importance(importance),
        value=wanted,
        most_percent=bounds.most_percent,
        least=bounds.least,
        most=bounds.most,
        seconds=_timebox(timebox),
        state=EnvelopeState.VALIDATED,
        reason=reason,
        by=by,
        verdict_id=verdict,
    )
    _decide(envelope, "declared", reason or f"{by} wants {tunable} at {wanted:g}", by)
    _decide(envelope, "validated", "the value, its bounds and its timebox are sound", "coordinator")
    return envelope


def apply(envelope: Envelope | uuid.UUID, *, by: str) -> Envelope:
    """Apply a validated envelope, if nothing speaks against it; a refusal is kept before it is raised."""
    with transaction.atomic():
        switch = _hold_switch()
        row = _hold(_id(envelope), EnvelopeState.VALIDATED, "be applied")
        refusal = _refusal(row, switch)
        if not refusal:
            return _applied(row, by)
        Envelope.objects.filter(pk=row.pk).update(
            state=EnvelopeState.REJECTED, ended_at=Now(), ended_by="coordinator", ended_reason=refusal
        )
        _decide(row, "rejected", refusal, "coordinator")
    raise EnvelopeRejected(f"envelope {row.pk} on {row.tunable} is rejected: {refusal}")


@transaction.atomic
def revert(envelope: Envelope | uuid.UUID, *, by: str, reason: str = "") -> Envelope:
    """Put back what held before an active envelope."""
    _hold_switch()
    row = _hold(_id(envelope), EnvelopeState.ACTIVE, "be reverted")
    _end(row, EnvelopeState.REVERTED, by=by, reason=reason or "reverted")
    row.refresh_from_db()
    return row


def expire() -> int:
    """Put back the envelopes whose time is over; returns how many."""
    due = ledger.ask(
        "SELECT id FROM graduation_envelope WHERE state = 'active' AND until <= clock_timestamp() "
        "ORDER BY until LIMIT %s",
        [_BATCH],
    )
    return sum(_expire(row.id) for row in due)


@transaction.atomic
def _expire(envelope_id: uuid.UUID) -> bool:
    _hold_switch()
    row = Envelope.objects.select_for_update().filter(pk=envelope_id, state=EnvelopeState.ACTIVE).first()
    if row is None:
        return False
    _end(row, EnvelopeState.EXPIRED, by="timebox", reason=f"its {timedelta(seconds=row.seconds)} are over")
    return True


# The kill switch


@transaction.atomic
def engage(*, by: str, reason: str) -> int:
    """Revert every envelope and keep new ones out until a person releases the switch; returns how many."""
    switch = _hold_switch()
    if not switch.is_engaged:
        KillSwitch.objects.filter(pk=switch.pk).update(
            is_engaged=True, engaged_at=Now(), engaged_by=by, reason=reason, released_at=None, released_by=""
        )
        events.note("killswitch.engaged", {"by": by, "reason": reason})
    active = list(Envelope.objects.select_for_update().filter(state=EnvelopeState.ACTIVE).order_by("id"))
    for row in active:
        _end(row, EnvelopeState.REVERTED, by=by, reason=f"the kill switch was engaged: {reason}")
    return len(active)


@transaction.atomic
def release(*, by: str, reason: str = "") -> None:
    """Let envelopes apply again; what was reverted stays so."""
    switch = _hold_switch()
    if not switch.is_engaged:
        raise AlreadyDecided("the kill switch is not engaged: there is nothing to release")
    KillSwitch.objects.filter(pk=switch.pk).update(is_engaged=False, released_at=Now(), released_by=by)
    events.note("killswitch.released", {"by": by, "reason": reason})


def switch() -> KillSwitch:
    """Return the kill switch as it is."""
    return KillSwitch.objects.get_or_create(pk=1)[0]


# Looking


def get(envelope_id: uuid.UUID | str) -> Envelope:
    """Return an envelope by its id."""
    try:
        found = Envelope.objects.filter(pk=uuid.UUID(str(envelope_id))).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound("envelope", envelope_id, "`manage.py envelopes list` shows them")
    return found


# What others ask for


def _take_wishes() -> int:
    """Propose what recovery has asked for by an event; one that is refused is a row that says why."""
    wishes: list[Event] = []
    events.consume("graduation.envelopes", lambda batch: wishes.extend(_wishes(batch)))
    return len(wishes)


def _wishes(batch: Iterable[Event]) -> list[Event]:
    found = [event for event in batch if event.kind == WANTED]
    for event in found:
        _declare_wish(event)
    return found


def _declare_wish(event: Event) -> None:
    """Write a wish down in the reader's transaction; it is applied by the same pass, or by the next after a crash."""
    try:
        with transaction.atomic():
            declare(**_wish(event.data))
    except (CeleriacError, KeyError, TypeError, ValueError) as error:
        events.note("envelope.refused", {"wish": event.data, "error": f"{type(error).__name__}: {error}"})


def _wish(data: dict[str, Any]) -> dict[str, Any]:
    bounds = Bounds(**{name: data[name] for name in ("most_percent", "least", "most") if data.get(name) is not None})
    return {
        "tunable": data["tunable"],
        "value": data["value"],
        "subject": data.get("subject", ""),
        "importance": data.get("importance", "reliability"),
        "timebox": data.get("timebox", "1h"),
        "bounds": bounds if bounds != Bounds() else Bounds(most_percent=100.0),
        "by": data.get("by") or "recovery",
        "reason": data.get("reason", ""),
    }


def _apply_validated() -> int:
    """Apply what is written down and was not applied yet."""
    waiting = Envelope.objects.filter(state=EnvelopeState.VALIDATED, created_at__lt=Now() - timedelta(seconds=1))
    applied = 0
    for envelope_id in waiting.order_by("-importance", "id").values_list("id", flat=True)[:_BATCH]:
        try:
            apply(envelope_id, by="coordinator")
        except (EnvelopeRejected, AlreadyDecided):
            continue
        applied += 1
    return applied


def _pass(_: dict[str, Any]) -> int:
    return expire() + _take_wishes() + _apply_validated()


WATCH = Cycle(name="graduation.envelopes", period=timedelta(seconds=1), step=_pass, is_atomic=False)


# The coordinator


def _hold_switch() -> KillSwitch:
    """Lock the switch: first of all locks here, so that decisions about envelopes come one after the other."""
    KillSwitch.objects.get_or_create(pk=1)
    return KillSwitch.objects.select_for_update().get(pk=1)


def _hold(envelope_id: uuid.UUID, state: EnvelopeState, wish: str) -> Envelope:
    row = Envelope.objects.select_for_update().filter(pk=envelope_id).first()
    if row is None:
        raise NotFound("envelope", envelope_id, "`manage.py envelopes list` shows them")
    if row.state != state:
        raise AlreadyDecided(f"envelope {row.pk} is {row.state}: only one that is {state} can {wish}")
    return row


def _refusal(row: Envelope, switch: KillSwitch) -> str:
    """Return why an envelope may not be applied now, or nothing; a lower one in its way is reverted."""
    if switch.is_engaged:
        return f"the kill switch was engaged by {switch.engaged_by}: {switch.reason}"
    other = _in_the_way(row)
    if other is not None and other.importance >= row.importance:
        return f"envelope {other.pk} of class {_named(other)} holds {row.tunable} until {other.until:%H:%M:%S}"
    baseline = other.baseline if other is not None else _baseline(row)
    problem = Bounds(most_percent=row.most_percent, least=row.least, most=row.most).problem(row.value, baseline or 0.0)
    if not problem and other is not None:
        _end(other, EnvelopeState.REVERTED, by="coordinator", reason=f"preempted by {_named(row)} envelope {row.pk}")
    return problem


def _in_the_way(row: Envelope) -> Envelope | None:
    active = Envelope.objects.select_for_update().filter(state=EnvelopeState.ACTIVE)
    return active.filter(tunable=row.tunable, subject=row.subject).first()


def _baseline(row: Envelope) -> float:
    tunables.forget()
    return tunables.value(row.tunable, row.subject)


def _applied(row: Envelope, by: str) -> Envelope:
    was_set = Tunable.objects.filter(name=row.tunable, subject=row.subject).exists()
    baseline = _baseline(row)
    tunables.tune(row.tunable, row.value, subject=row.subject, by=f"envelope {row.pk}", reason=row.reason)
    ledger.ask_in_transaction(
        "UPDATE graduation_envelope SET state = 'active', baseline = %s, was_set = %s, applied_at = clock_timestamp(), "
        "until = clock_timestamp() + make_interval(secs => seconds) WHERE id = %s",
        [baseline, was_set, row.pk],
    )
    _decide(row, "applied", f"{row.tunable} goes from {baseline:g} to {row.value:g}", by)
    row.refresh_from_db()
    return row


def _end(row: Envelope, state: EnvelopeState, *, by: str, reason: str) -> None:
    """Put back what held before, unless a person has changed it since."""
    now = Tunable.objects.filter(name=row.tunable, subject=row.subject).first()
    if now is None or now.value != row.value or now.set_by != f"envelope {row.pk}":
        reason += "; somebody has changed it since, and that stays"
    elif row.was_set:
        tunables.tune(row.tunable, row.baseline, subject=row.subject, by=by, reason=reason)
    else:
        tunables.reset(row.tunable, subject=row.subject, by=by, reason=reason)
    Envelope.objects.filter(pk=row.pk).update(state=state, ended_at=Now(), ended_by=by, ended_reason=reason)
    _decide(row, str(state), reason, by)


def _decide(row: Envelope, decision: str, reason: str, by: str) -> None:
    """Write a decision down: a row that is never changed, and an event."""
    EnvelopeDecision.objects.create(envelope=row, decision=decision, reason=reason, by=by)
    told = {"envelope": str(row.pk), "tunable": row.tunable, "subject": row.subject, "value": row.value}
    events.note(f"envelope.{decision}", told | {"by": by, "reason": reason})


def _check_bounds(bounds: Bounds) -> None:
    if bounds == Bounds():
        raise OptionInvalid("an envelope has bounds: most_percent, or least and most")
    if bounds.most_percent is not None and not 0 < bounds.most_percent <= 1000:
        raise OptionInvalid(f"most_percent is {bounds.most_percent!r}; it is above 0 and at most 1000")
    if bounds.least is not None and bounds.most is not None and bounds.least > bounds.most:
        raise OptionInvalid(f"the floor {bounds.least:g} is above the ceiling {bounds.most:g}")


def _importance(given: Importance | str) -> Importance:
    if isinstance(given, Importance):
        return given
    known = {one.label: one for one in Importance}
    if given not in known:
        raise OptionInvalid(f"the class of an envelope is one of {', '.join(reversed(known))}, not {given!r}")
    return known[given]


def _named(row: Envelope) -> str:
    return str(Importance(row.importance).label)


def _timebox(given: durations.Duration) -> int:
    found = durations.seconds(given, name="the timebox")
    if not 1 <= found <= LONGEST_SECONDS:
        raise OptionInvalid(f"the timebox is {given!r}; it is between one second and 30 days")
    return int(found)


def _id(envelope: Envelope | uuid.UUID) -> uuid.UUID:
    return envelope.pk if isinstance(envelope, Envelope) else envelope
