"""Recommendations: a person accepts or declines, once, with a reason; accepting does what the recommendation says.

A retry policy is changed by an envelope, a dependency by declaring the service, and a target by a write that refuses to
loosen, whatever has happened to it meanwhile. What no verb can do, such as asking the gate in somebody's pipeline, is
recorded as agreed. Locks: the recommendation, then what the verb takes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.db.models.functions import Now

from execution import events, people, records, services
from execution.exceptions import NotAllowed, OptionInvalid
from graduation.exceptions import EnvelopeRejected
from graduation.learn import policies
from graduation.learn.recommending import DEPENDENCY, RETRY, TIGHTEN
from graduation.models import Objective, Recommendation, RecommendationState
from recovery.exceptions import AlreadyDecided, NotFound

DECIDE = "graduation.decide_recommendation"
"""The permission to decide about recommendations."""
Named = Recommendation | uuid.UUID | str


def get(named: Named) -> Recommendation:
    """Return a recommendation by its id."""
    try:
        key = named.pk if isinstance(named, Recommendation) else uuid.UUID(str(named))
        found = Recommendation.objects.filter(pk=key).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound("recommendation", named, "`manage.py recommendations list` shows them")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person said: who, by the name of an account, and why."""

    by: str
    reason: str


def accept(recommendation: Named, *, by: str, reason: str) -> str:
    """Accept a recommendation and do what it says; returns what was done. Where that is refused it stays open."""
    with transaction.atomic():
        row, refusal, done = _hold(recommendation, by, reason), None, "recorded: somebody does it by hand"
        try:
            done = _ACTS[row.kind](row, Word(by=by, reason=reason)) if row.kind in _ACTS else done
        except EnvelopeRejected as error:
            refusal = error  # its row is kept, and says why
        else:
            _decide(row, RecommendationState.ACCEPTED, by=by, reason=reason, done=done)
    if refusal is not None:
        raise refusal
    return done


@transaction.atomic
def decline(recommendation: Named, *, by: str, reason: str) -> None:
    """Decline a recommendation; nothing is changed, and what was tried is put back."""
    row = _hold(recommendation, by, reason)
    policies.end(row, by=by, reason=f"declined: {reason}")
    _decide(row, RecommendationState.DECLINED, by=by, reason=reason)


@transaction.atomic
def reopen(recommendation: Named, *, by: str, reason: str) -> None:
    """Take it back that a recommendation was declined: it waits again, and keeps what it rests on."""
    row = _hold(recommendation, by, reason, state=RecommendationState.DECLINED)
    told = {"state": RecommendationState.OPEN, "decided_by": "", "reason": "", "decided_at": None}
    Recommendation.objects.filter(pk=row.pk).update(**told)
    records.hold(row.retrospective_id, f"recommendation:{row.pk}")
    events.note(
        "recommendation.reopened", {"recommendation": str(row.pk), "kind": row.kind, "by": by, "reason": reason}
    )


def _hold(
    named: Named, by: str, reason: str, *, state: RecommendationState = RecommendationState.OPEN
) -> Recommendation:
    """Lock a recommendation that is in this state, for a person who says why."""
    people.deciding(people.named(by), DECIDE)
    if not reason.strip():
        raise OptionInvalid("a decision says why: give a reason")
    row = Recommendation.objects.select_for_update().get(pk=get(named).pk)
    if row.state != state:
        who = f" already, by {row.decided_by}: {row.reason}" if row.decided_by else ""
        raise AlreadyDecided(f"recommendation {row.pk} is {row.state}{who}")
    return row


def _decide(row: Recommendation, state: RecommendationState, *, by: str, reason: str, done: str = "") -> None:
    Recommendation.objects.filter(pk=row.pk).update(state=state, decided_by=by, reason=reason, decided_at=Now())
    records.release(f"recommendation:{row.pk}")
    told = {"recommendation": str(row.pk), "kind": row.kind, "key": row.key, "change": row.change, "done": done}
    events.note(f"recommendation.{state}", told | {"by": by, "reason": reason})


# What accepting does


def _tighten(row: Recommendation, word: Word) -> str:
    """Raise an objective's target; the write itself refuses to lower it."""
    name, wanted = row.change["objective"], float(row.change["to"])
    higher = Objective.objects.filter(pk=name, target__lt=wanted)
    if not (wanted < 1 and higher.update(target=wanted, changed_at=Now(), changed_by=word.by)):
        now = Objective.objects.filter(pk=name).values_list("target", flat=True).first()
        why = "there is no such objective any more" if now is None else f"its target is {now:g}: that would loosen it"
        raise NotAllowed(f"{name} cannot be tightened to {wanted:g}: {why}")
    events.note("objective.tightened", {"objective": name, "target": wanted, "by": word.by, "reason": word.reason})
    return f"the target of {name} is {wanted:g}"


def _declare(row: Recommendation, word: Word) -> str:
    """Declare what a service needs, beside what it was known to need."""
    service, needed = row.change["service"], row.change["needs"]
    known = services.Declaration.of(services.get(service)).model_dump()
    known["dependencies"] = {needed: {}} | known["dependencies"]
    services.get(needed)
    services.declare(service, services.Declaration.model_validate(known), by=word.by)
    return f"{service} needs {needed}"


def _change(row: Recommendation, word: Word) -> str:
    """Change a retry policy for a time, by an envelope in the person's name; one that was on trial ends for it."""
    policies.end(row, by=word.by, reason=f"accepted: {word.reason}")
    envelope = policies.apply(row, by=word.by, reason=word.reason)
    return f"envelope {envelope.pk}: {envelope.tunable} of {envelope.subject} is {envelope.value:g}"


_ACTS: dict[str, Callable[[Recommendation, Word], str]] = {
    TIGHTEN: _tighten,
    DEPENDENCY: _declare,
    RETRY: _change,
}
