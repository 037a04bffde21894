"""Outcomes: what became of each verdict, found out whenever that can be known.

Each verdict has a case from the moment at which its event is read. An open case always has its next look (a constraint
of the database), later and later; when it is too old it expires, without any calibration signal. News about a case that
has ended (a later verdict, an end of a run, a score, somebody's word) let it be looked at once more, and stronger or
other evidence resolves it anew, with its history kept. The outcome is a later verdict, written in one transaction with
the case and the calibration signal. Locks: the reader of events, then cases, then the ladder's; never two cases by one
look.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Least, Now

from execution import conf as execution_conf
from execution import events, ledger, people, records
from execution.cycles import Cycle
from execution.exceptions import NotAllowed, OptionInvalid, RecordUnknown
from execution.models import Action, Agent, AssessmentKind, Event, Verdict
from graduation import audits, conf, ladder, measures
from graduation.learn import findings
from graduation.learn.findings import OVERRIDE, PRODUCER, REVIEW, TRUTH, Finding
from graduation.models import Case, CaseState

log = structlog.get_logger(__name__)

READER = "graduation.outcomes"
KIND = "outcome"
RESOLVE = "graduation.resolve_case"
"""The permission to say what became of a verdict."""
OUTCOMES = (0.0, 0.5, 1.0)
_FIRST_LOOK, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=6)
_PASS_SECONDS = 20.0
_BATCH = 500
_ABSTENTIONS = (Action.ESCALATE, Action.DEFER)
_ENDS_OF_RUNS = frozenset({"run.completed", "run.failed"})
_ENDS_OF_CANDIDATES = frozenset({"candidate.recovered", "candidate.ineffective", "candidate.taken_back"})
_ENDS_OF_STEPS = frozenset({"step.completed", "step.failed"})


# What people and programs say


def override(
    verdict: records.Named, outcome: float, *, by: str, reason: str, is_critical: bool = False
) -> Verdict:  # fmt: skip
    """Let a person, by the name of an account, say what became of a verdict; it goes before everything else.

    What is critical lets the agent that decided fall in the same transaction. Returns the verdict that says it.
    """
    how, name = OVERRIDE if outcome < 1 else REVIEW, people.deciding(people.named(by), RESOLVE)
    return _give(verdict, outcome, how=how, producer=name, reason=_why(reason), is_critical=is_critical)


def truth(
    verdict: records.Named, outcome: float, *, source: str, reason: str = "", is_critical: bool = False
) -> Verdict:
    """Say what became of a verdict where that is known for certain, and whence; what is critical as in `override`."""
    if not source.strip():
        raise OptionInvalid("the truth has a source: say where it is known from")
    why = reason or f"{source} says so"
    return _give(verdict, outcome, how=TRUTH, producer=source, reason=why, is_critical=is_critical)


def _why(reason: str) -> str:
    if not reason.strip():
        raise OptionInvalid("a decision says why: give a reason")
    return reason


@transaction.atomic
def _give(
    named: records.Named, outcome: float, *, how: str, producer: str, reason: str, is_critical: bool
) -> Verdict:  # fmt: skip
    """Write what somebody says became of a verdict, and resolve its case by it."""
    _check(outcome, is_critical=is_critical)
    verdict = records.get(named)
    if not isinstance(verdict, Verdict):
        raise RecordUnknown(f"{verdict.id} is an assessment; only a verdict has an outcome")
    if verdict.outcome_of is not None:
        raise NotAllowed(f"{verdict.id} says what became of {verdict.outcome_of} itself: speak of that one")
    case = _hold(verdict)
    said = records.judge(
        KIND,
        subject=verdict.subject,
        action=_action(outcome),
        producer=producer,
        reasoning=reason,
        outcome_of=verdict,
        outcome=outcome,
        data={"how": how, "is_audited": audits.is_drawn(verdict.id, conf.current().audit_share)}
        | ({"severity": "critical"} if is_critical else {}),
    )
    ladder.answer(said)
    finding = findings.find(verdict)
    if finding is not None:
        _settle(case, verdict, finding)
    return said


def _check(outcome: float, *, is_critical: bool) -> None:
    if outcome not in OUTCOMES:
        raise OptionInvalid(f"the outcome is {outcome!r}; it is 1 (it held), 0.5 (partly) or 0 (it did not)")
    if is_critical and outcome:
        raise OptionInvalid(f"the outcome is {outcome:g}; only one that did not hold (0) is critical")


def _hold(verdict: Verdict) -> Case:
    """Lock the case of a verdict; it is opened where the log was not read so far."""
    _open([verdict.id])
    return Case.objects.select_for_update().get(pk=verdict.id)


def _action(outcome: float) -> str:
    return str(Action.APPROVE if outcome > 0.5 else Action.REJECT if outcome < 0.5 else Action.FLAG)


# Opening


def read(pass_seconds: float = _PASS_SECONDS) -> int:
    """Open the cases of new verdicts, and let those be looked at of which there are news; returns the events read."""
    return events.consume_for(READER, _handle, seconds=pass_seconds)


def adopt(limit: int = 10_000) -> int:
    """Open the cases of verdicts whose events were lost before they were read; returns how many."""
    rows = ledger.ask(
        "SELECT v.id FROM execution_verdict v WHERE v.outcome_of IS NULL "
        "AND v.created_at > clock_timestamp() - make_interval(secs => %s * 86400) "
        "AND v.created_at < clock_timestamp() - interval '1 hour' "
        "AND NOT EXISTS (SELECT 1 FROM graduation_case c WHERE c.verdict_id = v.id) ORDER BY v.id LIMIT %s",
        [execution_conf.current().verdict_days, limit],
    )
    with transaction.atomic():
        _open([row.id for row in rows])
    return len(rows)


def _handle(found: Sequence[Event]) -> None:
    given = [event for event in found if event.kind == "verdict.given" and event.data["producer"] != PRODUCER]
    _open([uuid.UUID(event.data["id"]) for event in given if not event.data.get("outcome_of")])
    news = {uuid.UUID(key) for event in given for key in [*event.data["parents"], event.data.get("outcome_of")] if key}
    runs = {event.run_id for event in found if event.kind in _ENDS_OF_RUNS}
    steps = {event.step_id for event in found if event.kind in _ENDS_OF_STEPS}
    candidates = {f"candidate:{event.data['candidate']}" for event in found if event.kind in _ENDS_OF_CANDIDATES}
    for column, keys in (("verdict_id", news), ("run_id", runs), ("step_id", steps), ("subject", candidates)):
        if keys:
            look_again(Q(**{f"{column}__in": keys}))


def look_again(which: Q) -> int:
    """Let cases be looked at now, also those that have ended: there are news of them."""
    waiting = Case.objects.filter(which).filter(Q(look_at=None) | Q(look_at__gt=Now()))
    keys = waiting.order_by("verdict_id").select_for_update(no_key=True).values_list("verdict_id", flat=True)
    with transaction.atomic():
        return Case.objects.filter(pk__in=list(keys)).update(look_at=Now())


def _open(keys: Sequence[uuid.UUID]) -> None:
    """Open cases, each once; what an open case is about is kept by retention."""
    known = set(Case.objects.filter(pk__in=keys).values_list("verdict_id", flat=True))
    new = Verdict.objects.filter(pk__in=set(keys) - known, outcome_of=None).order_by("id")
    made = [_case(verdict) for verdict in new]
    Case.objects.bulk_create(made, ignore_conflicts=True)
    mine = Case.objects.filter(pk__in=[one.verdict_id for one in made], state=CaseState.OPEN)
    for key in mine.order_by("verdict_id").select_for_update(no_key=True).values_list("verdict_id", flat=True):
        records.hold(key, _held(key))


def _case(verdict: Verdict) -> Case:
    run_id, step_id = findings.about(verdict)
    return Case(
        verdict_id=verdict.id,
        kind=verdict.kind,
        subject=verdict.subject,
        confidence=verdict.confidence,
        run_id=run_id,
        step_id=step_id,
        judged_at=verdict.created_at,
    )


def _held(key: uuid.UUID) -> str:
    return f"case:{key}"


# Looking


def look(pass_seconds: float = _PASS_SECONDS) -> int:
    """Look at the cases that are due, each in a transaction of its own; returns how many."""
    ends_at, total = time.monotonic() + pass_seconds, 0
    while due := _due():
        total += sum(_look_alone(key) for key in due)
        if len(due) < _BATCH or time.monotonic() > ends_at:
            break
    return total


def _due() -> list[uuid.UUID]:
    due = Case.objects.filter(look_at__lte=Now()).order_by("look_at", "verdict_id")
    return list(due.values_list("verdict_id", flat=True)[:_BATCH])


def _look_alone(key: uuid.UUID) -> bool:
    """Look at one case; what goes wrong with it is told, and it is looked at again later like any other."""
    try:
        return _look(key)
    except Exception:
        log.exception("outcomes.look_failed", verdict=str(key))
        return bool(_postpone(Case.objects.get(pk=key)))


@transaction.atomic
def _look(key: uuid.UUID) -> bool:
    case = Case.objects.select_for_update(skip_locked=True).filter(pk=key, look_at__lte=Now()).first()
    if case is None:
        return False
    verdict = Verdict.objects.filter(pk=key).first()
    finding = findings.find(verdict) if verdict is not None else None
    if verdict is not None and finding is not None:
        _settle(case, verdict, finding)
    elif case.state != CaseState.OPEN:
        Case.objects.filter(pk=key).update(look_at=None)
    elif verdict is None or _is_over(case):
        _end(case, state=CaseState.EXPIRED)
    else:
        _postpone(case)
    return True


def _is_over(case: Case) -> bool:
    return Case.objects.filter(pk=case.pk, judged_at__lte=Now() - _most()).exists()


def _most() -> timedelta:
    return timedelta(days=conf.current().outcome_days)


def _postpone(case: Case) -> int:
    """Look again after a pause that doubles; for the last time when the case is too old."""
    pause = min(_FIRST_LOOK * 2 ** min(case.look_count, 20), _LONGEST_PAUSE)
    last = F("judged_at") + _most()
    next_look = Now() + pause if case.state != CaseState.OPEN else Least(Now() + pause, last)
    return Case.objects.filter(pk=case.pk).update(look_at=next_look, look_count=F("look_count") + 1)


# Resolving


def _settle(case: Case, verdict: Verdict, finding: Finding) -> None:
    """Resolve a case by what was found, unless it stands resolved by the same or by something stronger."""
    is_known = case.state == CaseState.RESOLVED
    if is_known and findings.rank(finding.how) > findings.rank(case.how):
        Case.objects.filter(pk=case.pk).update(look_at=None)
        return
    said = _said(verdict, finding)
    if is_known and (case.outcome_id, case.how, case.outcome) == (said.id, finding.how, finding.outcome):
        Case.objects.filter(pk=case.pk).update(look_at=None)
        return
    _end(case, state=CaseState.RESOLVED, how=finding.how, outcome=finding.outcome, outcome_id=said.id)
    _calibrate(verdict, said, finding)


def _said(verdict: Verdict, finding: Finding) -> Verdict:
    """Return the latest word on a verdict where it is this finding's, else write it: the latest word counts."""
    latest = records.outcome(verdict)
    if latest is not None and latest.id == finding.given:
        return latest
    is_mine = latest is not None and latest.producer == PRODUCER
    if latest is not None and is_mine and (latest.data.get("how"), latest.outcome) == (finding.how, finding.outcome):
        return latest
    return records.judge(
        KIND,
        subject=verdict.subject,
        action=_action(finding.outcome),
        producer=PRODUCER,
        reasoning=finding.text,
        parents=[*finding.parents, *([finding.given] if finding.given else [])],
        outcome_of=verdict,
        outcome=finding.outcome,
        data=finding.data | {"how": finding.how},
    )


def _calibrate(verdict: Verdict, said: Verdict, finding: Finding) -> None:
    """Record how far what a verdict said was from what came; whoever abstains, or gives no figure, is left out."""
    if verdict.confidence is None or verdict.action in _ABSTENTIONS:
        return
    agent = Agent.objects.filter(pk=verdict.agent_id).first() if verdict.agent_id else None
    records.assess(
        AssessmentKind.CALIBRATION_SIGNAL,
        subject=f"agent:{agent.name}" if agent else verdict.subject,
        producer=PRODUCER,
        parents=[verdict, said],
        data={
            "verdict": verdict.id,
            "confidence": verdict.confidence,
            "outcome": finding.outcome,
            "signal": measures.signal(verdict.confidence, finding.outcome),
            "how": finding.how,
        },
    )


def _end(case: Case, *, state: CaseState, **found: Any) -> None:
    """End a case, or end it anew; how it stood before is kept."""
    has_ended = case.state != CaseState.OPEN
    history = [*case.history, *([_standing(case)] if has_ended else [])]
    Case.objects.filter(pk=case.pk).update(
        state=state,
        look_at=None,
        ended_at=Now(),
        history=history,
        reopened_count=F("reopened_count") + int(has_ended),
        look_count=F("look_count") + 1,
        **found,
    )
    records.release(_held(case.pk))


def _standing(case: Case) -> dict[str, Any]:
    return {
        "state": str(case.state),
        "how": case.how,
        "outcome": case.outcome,
        "outcome_id": str(case.outcome_id) if case.outcome_id else None,
        "ended_at": case.ended_at.isoformat() if case.ended_at else None,
    }


def _pass(_: dict[str, Any]) -> int:
    return read() + look()


WATCH = Cycle(name="graduation.outcomes", period=timedelta(seconds=60), step=_pass, is_atomic=False)
