"""The graduation evaluator: where each agent and the whole system stand, told by gates, and what that unlocks.

A status is derived, never declared: from what became of recoveries in the last thirty days, simulated runs excluded.
Each evaluation is written whole or not at all: the status (guarded by its epoch, so that of two evaluators one writes
and the other learns it), a row of history with its gates and evidence, and the lockouts. A status that loses a gate is
degraded and everything is locked in the same transaction; it is left when all that the former status wanted holds
again, or when a person has looked since. Locks: the status, then agents by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from execution import agents, events, people, words
from execution.cycles import Cycle
from execution.models import Agent, Run
from graduation import conf, intervals, lockouts
from graduation.exceptions import Overtaken
from graduation.models import GraduationHistory, GraduationStatus, Status
from recovery.models import CandidateState, RecoveryCandidate

if TYPE_CHECKING:
    from execution.people import Person

log = structlog.get_logger(__name__)

SYSTEM = "system"
SIMULATED = "simulated"
"""The tag of runs that prove nothing."""
AUTOMATIC = "automatic"
REVIEW = "graduation.view_graduationhistory"
"""The permission to look at a timeline."""
_EARNED = (Status.ALPHA, Status.BETA, Status.CANDIDATE, Status.COMPLETE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was counted for one subject."""

    recovered: int = 0
    recoveries: int = 0
    taken_back: int = 0
    automatic: int = 0
    evidence_at: datetime | None = None
    reviewed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate: whether it holds, and whether what it measures is so bad that nothing may be unlocked."""

    name: str
    holds: bool
    is_lost: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What one evaluation found and wrote."""

    subject: str
    before: str
    after: str
    gates: tuple[Gate, ...]
    changed: tuple[str, ...]


def evaluate(agent: Agent | str | None = None) -> Evaluation:
    """Evaluate one agent, or the whole system; Overtaken where another evaluator was faster."""
    found = _agent(agent)
    seen = _status(found)
    facts = _facts(found, seen.reviewed_at)
    gates = tuple(_gates(facts))
    after = _next(seen, gates, facts)
    with transaction.atomic():
        _write(seen, after, gates, facts)
        if found is None:
            _begin_agents()
        changed = lockouts.settle(found, after, reason=f"{seen.subject} is {after}: it must be earned")
    return Evaluation(subject=seen.subject, before=seen.status, after=after, gates=gates, changed=tuple(changed))


def evaluate_all() -> int:
    """Evaluate every agent, then the whole system; returns how many evaluations were written.

    The agents come first: what the system unlocks is locked for each of them that has not earned it.
    """
    wanted: list[Agent | None] = [*Agent.objects.order_by("id"), None]
    return sum(_evaluated(one) for one in wanted)


def review(agent: Agent | str | None = None, *, person: Person) -> GraduationStatus:
    """Note that a person has opened a timeline."""
    name = people.deciding(person, REVIEW)
    seen = _status(_agent(agent))
    GraduationStatus.objects.filter(pk=seen.pk).update(reviewed_at=Now(), reviewed_by=name)
    seen.refresh_from_db()
    return seen


def _evaluated(agent: Agent | None) -> bool:
    try:
        evaluate(agent)
    except Overtaken as error:
        log.info("graduation.overtaken", error=str(error))
        return False
    return True


def _pass(_: dict[str, Any]) -> int:
    return evaluate_all()


WATCH = Cycle(name="graduation.evaluator", period=timedelta(minutes=15), step=_pass, is_atomic=False)


# Looking


def _agent(agent: Agent | str | None) -> Agent | None:
    return Agent.objects.get(pk=agents.id_of(agent)) if isinstance(agent, str) else agent


def _begin_agents() -> None:
    """Lock what must be earned for agents that nobody has evaluated: the system's status does not stand for them."""
    for one in Agent.objects.filter(graduation=None).order_by("id"):
        lockouts.settle(one, Status.ALPHA, reason=f"agent {one.name} has shown nothing yet: it must be earned")


def _status(agent: Agent | None) -> GraduationStatus:
    if agent is None:
        return GraduationStatus.objects.get_or_create(subject=SYSTEM)[0]
    return GraduationStatus.objects.get_or_create(agent=agent, defaults={"subject": f"agent:{agent.name}"})[0]


def _facts(agent: Agent | None, reviewed_at: datetime | None) -> Facts:
    """Count what became of recoveries lately; one that was simulated proves nothing."""
    since = timezone.now() - timedelta(days=conf.current().graduation_days)
    rows = _real(agent).filter(ended_at__gte=since)
    held, failed = Q(state=CandidateState.RECOVERED), Q(state=CandidateState.INEFFECTIVE)
    alone = Q(decision=AUTOMATIC, applied_at__isnull=False)
    counts = rows.aggregate(
        recovered=Count("id", filter=held),
        recoveries=Count("id", filter=held | failed),
        taken_back=Count("id", filter=failed & alone),
        automatic=Count("id", filter=(held | failed) & alone),
    )
    latest = _real(agent).filter(held | failed).aggregate(at=Max("ended_at"))["at"]
    return Facts(**counts, evidence_at=latest, reviewed_at=reviewed_at)


def _real(agent: Agent | None) -> QuerySet[RecoveryCandidate]:
    simulated = Run.objects.filter(pk=OuterRef("run_id"), tags__contains=[SIMULATED])
    rows = RecoveryCandidate.objects.filter(~Exists(simulated))
    return rows.filter(agent_id=agent.pk) if agent else rows


# Judging


def _gates(facts: Facts) -> Iterator[Gate]:
    """Judge the three gates by what was counted."""
    yield _prevention(facts.recovered, facts.recoveries)
    yield _regret(facts.taken_back, facts.automatic)
    yield _review(facts.reviewed_at)


def _prevention(recovered: int, total: int) -> Gate:
    settings = conf.current()
    text = f"{recovered} of {words.counted(total, 'recovery', 'recoveries')} held"
    if total < settings.prevention_least:
        return _open("prevention", text)
    bound = intervals.wilson_lower(recovered, total)
    return Gate(
        name="prevention",
        holds=bound >= settings.prevention_bound,
        is_lost=recovered < total * settings.prevention_lost,
        text=f"{text}: surely {bound:.2f} of them, and {settings.prevention_bound:g} is wanted",
    )


def _regret(taken_back: int, total: int) -> Gate:
    settings = conf.current()
    text = f"{taken_back} of {words.counted(total, 'automatic action')} taken back"
    if total < settings.regret_least:
        return _open("regret", text)
    bound = intervals.wilson_upper(taken_back, total)
    return Gate(
        name="regret",
        holds=bound <= settings.regret_bound,
        is_lost=taken_back > total * settings.regret_lost,
        text=f"{text}: surely at most {bound:.2f} of them, and {settings.regret_bound:g} is allowed",
    )


def _review(at: datetime | None) -> Gate:
    text = f"a person looked at {at:%Y-%m-%d %H:%M:%S}" if at else "nobody has looked"
    return Gate(name="review", holds=at is not None, is_lost=False, text=text)


def _open(name: str, text: str) -> Gate:
    """Return a gate of which too little was seen."""
    return Gate(name=name, holds=False, is_lost=False, text=f"{text}, which is too few to judge")


def _supported(gates: Iterable[Gate]) -> Status:
    """Return the status that the gates support: each rung wants its own gate, and those below."""
    rung = 0
    for gate in gates:
        if not gate.holds:
            break
        rung += 1
    return _EARNED[rung]


def _next(seen: GraduationStatus, gates: tuple[Gate, ...], facts: Facts) -> Status:
    """Return the status that follows, by rules that remember the former one."""
    supported = _supported(gates)
    if any(gate.is_lost for gate in gates):
        return Status.DEGRADED
    if seen.status == Status.DEGRADED:
        return _after_degraded(seen, supported, facts)
    is_earned = seen.status != Status.ALPHA
    if is_earned and (lockouts.rank(supported) < lockouts.rank(seen.status) or _is_old(facts)):
        return Status.DEGRADED
    return supported


def _after_degraded(seen: GraduationStatus, supported: Status, facts: Facts) -> Status:
    """Leave it when all that the former status wanted holds again, or for what is left when a person looked since."""
    if lockouts.rank(seen.former_status) and _is_old(facts):
        return Status.DEGRADED
    if lockouts.rank(supported) >= lockouts.rank(seen.former_status):
        return supported
    has_looked = facts.reviewed_at is not None and facts.reviewed_at > seen.changed_at
    return supported if has_looked else Status.DEGRADED


def _is_old(facts: Facts) -> bool:
    """Whether nothing has been shown for too long."""
    oldest = timezone.now() - timedelta(days=conf.current().evidence_days)
    return facts.evidence_at is None or facts.evidence_at < oldest


# Writing


def _write(seen: GraduationStatus, after: Status, gates: tuple[Gate, ...], facts: Facts) -> None:
    """Write what was found, if nobody has written since it was looked at."""
    shown = [asdict(gate) for gate in gates]
    changes: dict[str, Any] = {"gates": shown, "evidence_at": facts.evidence_at, "evaluated_at": Now()}
    if after != seen.status:
        changes |= {"status": after, "former_status": seen.status, "changed_at": Now()}
    unchanged = GraduationStatus.objects.filter(pk=seen.pk, epoch=seen.epoch)
    if not unchanged.update(epoch=F("epoch") + 1, **changes):
        raise Overtaken(f"another evaluator was faster with {seen.subject}: nothing was written here")
    GraduationHistory.objects.create(
        subject=seen.subject, before=seen.status, after=after, gates=shown, evidence=_evidence(facts)
    )
    if after != seen.status:
        told = {"subject": seen.subject, "before": seen.status, "after": str(after)}
        events.note("graduation.changed", told, agent_id=seen.agent_id)


def _evidence(facts: Facts) -> dict[str, Any]:
    told = asdict(facts)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}
