"""The ladder: an agent's level falls by itself on evidence, and rises only by persons.

A fall happens in the transaction in which the breach is recorded, so that the next claim sees it. A rise is offered
when the evidence supports it, and waits for a person, for more than one level for two different ones; the database
refuses every other way up (execution/sql/guard_level_v1.sql). Each change is an `autonomy_change` verdict that rests on
the breach or the decision, and begins the agent's trial anew. Lock order: an agent's trial, then its offer and the
agent itself, which the trial guards; of several agents, by id.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import structlog
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from execution import agents, events, people, records
from execution.cycles import Cycle
from execution.exceptions import NotAllowed, NotPossible, OptionInvalid
from execution.models import Agent, Event, Level, RecordParent, Verdict
from graduation import measures, testimony, trials
from graduation.models import Evidence, Offer, OfferState
from recovery.exceptions import AlreadyDecided, NotFound

if TYPE_CHECKING:
    from execution.people import Person

log = structlog.get_logger(__name__)

Severity = Literal["low", "high", "critical"]
FALLS: dict[str, int] = {"low": 1, "high": 2, "critical": len(Level) - 1}
"""By how many levels an agent falls."""
BREACH = "quality_breach"
PRODUCER = "ladder"
READER = "graduation.ladder"
FALL_WANTED = "recovery.level_fall_wanted"
_UNDECIDED = (OfferState.OPEN, OfferState.SECONDED)
_READING_SECONDS = 20.0


# Down


@transaction.atomic
def breach(
    agent: str | Agent | uuid.UUID,
    severity: Severity,
    *,
    by: str = PRODUCER,
    reason: str,
    data: dict[str, Any] | None = None,
    parents: Sequence[records.Named] = (),
) -> Verdict:
    """Record a breach, and let the agent fall in the same transaction; returns the breach."""
    _check_severity(severity)
    row = trials.hold(_id(agent))
    found = records.judge(
        BREACH,
        subject=f"agent:{row.agent.name}",
        action="flag",
        producer=by,
        reasoning=reason,
        data=(data or {}) | {"severity": severity, "is_answered": True},
        parents=parents,
        agent=row.agent,
    )
    _fall(row, severity, breach=found, by=PRODUCER)
    return found


@transaction.atomic
def fall(agent: str | Agent | uuid.UUID, severity: Severity, *, breach: Verdict, by: str = PRODUCER) -> Level:
    """Let an agent fall because of a breach, once for each; returns the level at which it is then."""
    _check_severity(severity)
    row = trials.hold(_id(agent))
    if not _has_child(breach, agents.LEVEL_CHANGED):
        _fall(row, severity, breach=breach, by=by)
    return Level(Agent.objects.values_list("level", flat=True).get(pk=row.pk))


def answer(recorded: Verdict) -> None:
    """Let an agent fall now, in the transaction of whoever recorded a breach, or a critical outcome of its decision.

    It falls once for each, however often and by whomever this is called.
    """
    if recorded.outcome_of is not None:
        _answer_outcome(recorded)
        return
    agent_id = recorded.agent_id or _of_subject(recorded.subject)
    if agent_id is not None and not recorded.data.get("is_answered"):
        fall(agent_id, recorded.data.get("severity", "low"), breach=recorded)


@transaction.atomic
def _answer_outcome(outcome: Verdict) -> None:
    """Record the breach that a critical outcome is: that needs no statistics."""
    decision = Verdict.objects.filter(pk=outcome.outcome_of).first() if outcome.outcome_of else None
    if decision is None or decision.agent_id is None or not is_critical(outcome):
        return
    trials.hold(decision.agent_id)
    if testimony.is_own(outcome, decision) or _has_child(outcome, BREACH):
        return
    reason = outcome.reasoning or "a decision had a critical outcome"
    breach(decision.agent_id, "critical", reason=reason, parents=[outcome])


def is_critical(outcome: Verdict) -> bool:
    """Whether an outcome needs no statistics."""
    return outcome.data.get("severity") == "critical" and (outcome.outcome or 0.0) < 0.5


@transaction.atomic
def demote(agent: str | Agent, level: Level, *, by: str, reason: str) -> Verdict:
    """Lower an agent by hand; returns the verdict."""
    row = trials.hold(_id(agent))
    held = agents.hold(row.agent)
    decision = agents.decide(held, level, by=by, reason=reason, action="reject")
    verdict = agents.set_level(held, level, by=by, reason=reason, parents=[decision]) if level < held.level else None
    if verdict is None:
        raise NotPossible(f"agent {held.name!r} is {Level(held.level).label}: that is no lower level")
    _begin_anew(row, level, f"{by} lowered its level")
    return verdict


def _fall(row: Evidence, severity: Severity, *, breach: Verdict, by: str) -> None:
    level = Level(max(agents.hold(row.agent).level - FALLS[severity], Level.OBSERVER))
    agents.set_level(row.agent, level, by=by, reason=f"a {severity} breach: {breach.reasoning}", parents=[breach])
    _begin_anew(row, level, "it fell")


def _begin_anew(row: Evidence, level: int, reason: str, *, at: datetime | None = None) -> None:
    _withdraw(row, reason)
    trials.begin_anew(row, level, at=at)


def _withdraw(row: Evidence, reason: str) -> None:
    for offer in _undecided(row.agent_id):
        _decide(offer, OfferState.WITHDRAWN, decided_at=Now(), reason=reason)


def _has_child(verdict: Verdict, kind: str) -> bool:
    """Whether a verdict of this kind rests on another one."""
    children = RecordParent.objects.filter(parent_id=verdict.id).values("record_id")
    return Verdict.objects.filter(pk__in=children, kind=kind).exists()


# Up


@transaction.atomic
def promote(agent: str | Agent, level: Level, *, person: Person, reason: str) -> Offer:
    """Raise an agent by hand; for more than one level the offer waits for a second person. Returns the offer."""
    name = people.deciding(person, agents.RAISE)
    row = trials.hold(_id(agent))
    row.agent = agents.hold(row.agent)
    if level <= row.agent.level:
        raise NotPossible(f"agent {row.agent.name!r} is {Level(row.agent.level).label} already: that is no rise")
    offer = _undecided(row.agent_id).first()
    if offer is None or offer.level_after != level or offer.level_before != row.agent.level:
        _withdraw(row, f"{name} wants another level")
        offer = _offer(row, level, by=name)
    return accept(offer, person=person, reason=reason)


@transaction.atomic
def accept(offer: Offer | uuid.UUID | str, *, person: Person, reason: str) -> Offer:
    """Accept an offer; where it wants a second person, the first one's word is kept and nothing rises yet."""
    name = people.deciding(person, agents.RAISE)
    row, held = _held(offer)
    if held.state == OfferState.SECONDED and held.first_by == name:
        raise NotAllowed(f"{name!r} has agreed already: for more than one level a second person is wanted")
    first = [held.verdict_id] if held.verdict_id else []
    decision = agents.decide(row.agent, held.level_after, by=name, reason=reason, parents=first)
    if held.state == OfferState.OPEN and agents.needs_second(row.agent, held.level_after, name):
        _decide(held, OfferState.SECONDED, first_by=name, reason=reason, verdict_id=decision.id)
        return held
    verdict = agents.raise_level(
        row.agent,
        Level(held.level_after),
        person=people.named(held.first_by) if held.first_by else person,
        second=person if held.first_by else None,
        reason=reason,
        parents=[*first, decision],
    )
    who = {"second_by": name} if held.first_by else {"first_by": name}
    _decide(held, OfferState.ACCEPTED, decided_at=Now(), reason=reason, verdict_id=verdict.id, **who)
    trials.begin_anew(row, held.level_after)
    return held


@transaction.atomic
def decline(offer: Offer | uuid.UUID | str, *, person: Person, reason: str) -> Offer:
    """Decline an offer; what speaks for a rise must be shown anew."""
    name = people.deciding(person, agents.RAISE)
    row, held = _held(offer)
    decision = agents.decide(row.agent, row.agent.level, by=name, reason=reason, action="reject")
    who = {"second_by": name} if held.first_by else {"first_by": name}
    _decide(held, OfferState.DECLINED, decided_at=Now(), reason=reason, verdict_id=decision.id, **who)
    trials.begin_rising_anew(row)
    return held


def get(offer: uuid.UUID | str) -> Offer:
    """Return an offer by its id, with its agent."""
    try:
        found = Offer.objects.select_related("agent").filter(pk=uuid.UUID(str(offer))).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound("offer", offer, "`manage.py agents offers` shows them")
    return found


def _offer(row: Evidence, level: int, *, by: str) -> Offer:
    made = Offer.objects.create(
        agent=row.agent,
        level_before=row.agent.level,
        level_after=level,
        evidence=trials.snapshot(row),
        offered_by=by,
        state=OfferState.OPEN,
    )
    _note("offer.made", made, {"by": by})
    return made


def _held(offer: Offer | uuid.UUID | str) -> tuple[Evidence, Offer]:
    """Hold an undecided offer, before it the trial of its agent, and after it the agent."""
    seen = get(offer.pk if isinstance(offer, Offer) else offer)
    row = trials.hold(seen.agent_id)
    held = Offer.objects.select_for_update().get(pk=seen.pk)
    row.agent = agents.hold(row.agent)
    if held.state not in _UNDECIDED:
        raise AlreadyDecided(f"offer {held.pk} is {held.state} already; nothing was changed")
    if row.agent.level != held.level_before:
        raise AlreadyDecided(
            f"offer {held.pk} is from {Level(held.level_before).label}, and agent {row.agent.name!r} is "
            f"{Level(row.agent.level).label} by now"
        )
    return row, held


def _decide(held: Offer, state: OfferState, **changes: Any) -> None:
    Offer.objects.filter(pk=held.pk).update(state=state, **changes)
    held.refresh_from_db()
    _note(f"offer.{state}", held, {"by": held.second_by or held.first_by, "reason": held.reason})


def _note(kind: str, offer: Offer, data: dict[str, Any]) -> None:
    """Write an event about an offer, in the transaction of what happened to it."""
    told = {"offer": str(offer.pk), "level": offer.level_after, "before": offer.level_before} | data
    events.note(kind, told, agent_id=offer.agent_id)


def _undecided(agent_id: uuid.UUID) -> QuerySet[Offer]:
    return Offer.objects.filter(agent_id=agent_id, state__in=_UNDECIDED)


# What was seen


def take(agent: str | Agent | uuid.UUID) -> None:
    """Tell an agent's trial what became of its decisions: it falls, is offered a rise, or neither."""
    with transaction.atomic():
        row = trials.hold(_id(agent))
        if row.level != row.agent.level:
            _begin_anew(row, row.agent.level, "its level was changed")
        trial = trials.tell(row)
        if trials.must_fall(trial):
            share = measures.Share(hits=round(trial.against.bad), total=trial.against.count)
            _breach_by(row, measures.severity(share, row.target))
        elif trials.may_rise(trial) and row.agent.level < max(Level) and not _undecided(row.agent_id).exists():
            _offer(row, row.agent.level + 1, by=PRODUCER)


def _breach_by(row: Evidence, severity: Severity) -> None:
    text = f"{row.error_count:g} of {row.outcome_count} audited decisions were wrong, where {row.target:.0%} may be"
    breach(row.agent, severity, reason=text, data={"evidence": trials.snapshot(row)})


def take_all() -> int:
    """Read what happened, then tell every trial what is known; returns how many events and agents were looked at.

    What goes wrong with one agent keeps nobody else waiting, and is raised when all are done.
    """
    looked = _hear()
    wanted = list(Evidence.objects.order_by("agent_id").values_list("agent_id", flat=True))
    errors = [error for agent_id in wanted if (error := _taken(agent_id)) is not None]
    if errors:
        raise errors[0]
    return looked + len(wanted)


def _hear() -> int:
    """Read the log to its end, or for so long; returns how many events were read."""
    return events.consume_for(READER, _handle, seconds=_READING_SECONDS)


def _taken(agent_id: uuid.UUID) -> Exception | None:
    try:
        take(agent_id)
    except Exception as error:
        log.exception("ladder.not_taken", agent=str(agent_id))
        return error
    return None


def _handle(found: Sequence[Event]) -> None:
    """Answer events in the transaction of the cursor, so that each is answered once; agents in the order of locks."""
    for agent_id, event in _heard(found):
        try:
            with transaction.atomic():
                _answer(agent_id, event)
        except DatabaseError:
            raise
        except Exception:
            # An event that makes no sense must not keep those behind it from being read.
            log.exception("ladder.unanswered", event_id=str(event.id), kind=event.kind)


def _heard(found: Sequence[Event]) -> list[tuple[uuid.UUID, Event]]:
    """Return the events that say something about an agent, with it; of outcomes that only count one for each agent."""
    asked = {event.data["outcome_of"] for event in found if _is_outcome(event)}
    judged = {
        str(key): agent_id for key, agent_id in Verdict.objects.filter(pk__in=asked).values_list("id", "agent_id")
    }
    heard: dict[tuple[uuid.UUID, object], Event] = {}
    for event in found:
        agent_id = judged.get(event.data["outcome_of"]) if _is_outcome(event) else _concerned(event)
        if agent_id is not None:
            heard[agent_id, event.id if _is_urgent(event) else "counts"] = event
    known = set(Agent.objects.filter(pk__in={agent_id for agent_id, _ in heard}).values_list("id", flat=True))
    pairs = [(agent_id, event) for (agent_id, _), event in heard.items() if agent_id in known]
    return sorted(pairs, key=lambda pair: pair[0])


def _is_outcome(event: Event) -> bool:
    return event.kind == "verdict.given" and bool(event.data.get("outcome_of"))


def _is_urgent(event: Event) -> bool:
    """Whether an event is answered by itself: all but outcomes that only count; a large one has left its data out."""
    return not _is_outcome(event) or event.data.get("data", {"severity": "critical"}).get("severity") == "critical"


def _concerned(event: Event) -> uuid.UUID | None:
    if event.kind in (FALL_WANTED, "agent.level_changed"):
        return event.agent_id
    if event.kind == "verdict.given" and event.data.get("kind") == BREACH:
        return event.agent_id or _of_subject(event.data.get("subject", ""))
    return None


def _of_subject(subject: str) -> uuid.UUID | None:
    kind, _, name = subject.partition(":")
    return Agent.objects.filter(name=name).values_list("id", flat=True).first() if kind == "agent" else None


def _answer(agent_id: uuid.UUID, event: Event) -> None:
    row = trials.hold(agent_id)
    if event.kind == "agent.level_changed":
        if event.at > row.began_at:
            _begin_anew(row, row.agent.level, "its level was changed", at=event.at)
        return
    if event.kind == FALL_WANTED:
        severity, reason = _by_levels(event.data.get("levels", 1)), event.data.get("reason") or "it was asked for"
        breach(agent_id, severity, by=event.data.get("by") or "recovery", reason=reason)
        return
    verdict = Verdict.objects.filter(pk=event.data["id"]).first() if _is_urgent(event) else None
    if verdict is not None:
        answer(verdict)


def _by_levels(levels: int) -> Severity:
    return "low" if levels <= 1 else "high" if levels == 2 else "critical"


def _check_severity(severity: str) -> None:
    if severity not in FALLS:
        raise OptionInvalid(f"the severity of a breach is one of {', '.join(FALLS)}, not {severity!r}")


def _id(agent: str | Agent | uuid.UUID) -> uuid.UUID:
    return agent if isinstance(agent, uuid.UUID) else agents.id_of(agent)


def _pass(_: dict[str, Any]) -> int:
    return take_all()


WATCH = Cycle(name="graduation.ladder", period=timedelta(seconds=60), step=_pass, is_atomic=False)
