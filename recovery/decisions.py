"""Decisions: an operator approves, rejects or changes a candidate; what is approved is applied, once.

Each decision is one guarded write: of the state and of the epoch that was looked at. Who comes second learns that by
AlreadyDecided, and nothing has changed. Applying is one transaction: the guard, the action's verb, the provenance and
the event; a run that went on meanwhile is left alone, and its candidate is `overtaken`. Locks: candidate, cool-down,
first run, run, agent, and what the verb takes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.db import Error as DatabaseError
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from execution import events, ledger, runs, words
from execution.exceptions import CeleriacError, NotAllowed, RunUnknown
from execution.models import Attempt, Run, Step
from recovery import actions, autonomy, candidates, patterns, playbook
from recovery.actions import Done, Target
from recovery.exceptions import AlreadyDecided, NotFound
from recovery.models import (
    ActionRecord,
    CandidateState,
    FailureMatch,
    FailurePattern,
    RecoveryCandidate,
    Stage,
    SuggestionAction,
    SuggestionProvenance,
)
from recovery.weighing import is_taken_back

log = structlog.get_logger(__name__)

COOLS_BY = {"run": "origin_run_id", "skill": "skill", "agent": "agent_id"}
_APPLIED_AT_ONCE = 200
_RULE = "rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one of several candidates."""

    id: uuid.UUID
    is_done: bool
    text: str


Named = RecoveryCandidate | uuid.UUID | str
"""A candidate by itself, as it was looked at, or by its id."""


def approve(candidate: Named, *, by: str, reason: str = "") -> RecoveryCandidate:
    """Approve what is suggested; it is due from now on, and `apply` does it."""
    seen = _seen(candidate)
    if not seen.action and seen.state == CandidateState.WAITING:
        raise NotAllowed(f"nothing is suggested for candidate {seen.id}: say what with change_and_approve")
    if seen.verb:
        actions.check(seen.verb, seen.parameters)
    return _decide(seen, CandidateState.APPROVED, "approved", by=by, reason=reason)


def reject(candidate: Named, *, by: str, reason: str = "") -> RecoveryCandidate:
    """Reject a candidate: nothing is done, and its run stays as it is."""
    return _decide(_seen(candidate), CandidateState.REJECTED, "rejected", by=by, reason=reason, ended_at=Now())


@transaction.atomic
def reopen(candidate: Named, *, by: str, reason: str = "") -> RecoveryCandidate:
    """Take a rejection back: the candidate waits for a decision again, if its run still stands where it left it."""
    held = RecoveryCandidate.objects.select_for_update().get(pk=_seen(candidate).pk)
    if held.state != CandidateState.REJECTED:
        raise AlreadyDecided(f"candidate {held.id} is {held.state}: only a rejected one is reopened")
    run = _held_run(held)
    if run is None or is_overtaken(held, run):
        raise NotAllowed(f"the run of candidate {held.id} went on or ended meanwhile: there is nothing to decide")
    ended = {"ended_at": None, "decision": "", "decided_by": "", "decided_at": None, "reason": ""}
    try:
        with transaction.atomic():
            RecoveryCandidate.objects.filter(pk=held.pk).update(
                state=CandidateState.WAITING, epoch=F("epoch") + 1, **ended
            )
    except IntegrityError:
        raise AlreadyDecided(f"another candidate is open for the same failure of run {held.run_id}") from None
    found = candidates.get(held)
    _note(found, Stage.DECIDED, actor=by, rule="reopened", reason=reason)
    candidates.tell("candidate.reopened", [(found, {"by": by, "reason": reason, "action": found.action})])
    return found


def change_and_approve(
    candidate: Named, *, action: str | None = None, parameters: dict[str, Any] | None = None, by: str, reason: str = ""
) -> RecoveryCandidate:
    """Approve another action, or other parameters; what a person changed is no evidence for the action."""
    seen = _seen(candidate)
    if not action and not seen.action:
        raise NotAllowed(f"nothing is suggested for candidate {seen.id}: say which action")
    template = playbook.get(action) if action else None
    base = template.parameters if template else seen.parameters
    wanted = base | (parameters or {})
    verb = template.verb if template else seen.verb
    actions.check(verb, wanted)
    changes: dict[str, Any] = {"parameters": wanted, "verb": verb, "needs": ""}
    if template is not None:
        changes |= {
            "action": template.name,
            "action_version": template.version,
            "proven_since": template.proven_since,
            "bound": None,
            "confidence": None,
        }
    if wanted != base:
        changes["proven_since"] = None
    return _decide(seen, CandidateState.APPROVED, "changed", by=by, reason=reason, **changes)


def bulk(
    verb: Callable[..., RecoveryCandidate],
    pattern: FailurePattern | str,
    *,
    by: str,
    reason: str = "",
    limit: int | None = None,
) -> list[Result]:
    """Decide everything that waits under a pattern, or the oldest so many; each on its own, with its own result."""
    return [_one(verb, candidate, by=by, reason=reason) for candidate in waiting_under(pattern)[:limit]]


def waiting_under(pattern: FailurePattern | str) -> QuerySet[RecoveryCandidate]:
    """Return the candidates of a pattern that wait for a person, the oldest first."""
    waiting = RecoveryCandidate.objects.filter(pattern=patterns.get(pattern), state=CandidateState.WAITING)
    return waiting.order_by("id")


def _one(verb: Callable[..., RecoveryCandidate], candidate: RecoveryCandidate, *, by: str, reason: str) -> Result:
    try:
        done = verb(candidate, by=by, reason=reason)
    except CeleriacError as error:
        return Result(id=candidate.id, is_done=False, text=str(error))
    return Result(id=candidate.id, is_done=done.state != CandidateState.WAITING, text=said(done))


def approve_and_apply(candidate: Named, *, by: str, reason: str = "") -> RecoveryCandidate:
    """Approve what is suggested, and do it at once."""
    return apply(approve(candidate, by=by, reason=reason), by=by)


def change_and_apply(
    candidate: Named, *, action: str | None = None, parameters: dict[str, Any] | None = None, by: str, reason: str = ""
) -> RecoveryCandidate:
    """Approve another action, or other parameters, and do it at once."""
    changed = change_and_approve(candidate, action=action, parameters=parameters, by=by, reason=reason)
    return apply(changed, by=by)


def said(candidate: RecoveryCandidate) -> str:
    """Say in words where a candidate stands."""
    if candidate.state == CandidateState.WAITING:
        return f"waits for a person: {candidate.needs}"
    return f"{candidate.state}: {candidate.outcome}" if candidate.outcome else candidate.state


def _seen(candidate: Named) -> RecoveryCandidate:
    return candidate if isinstance(candidate, RecoveryCandidate) else candidates.get(candidate)


@transaction.atomic
def _decide(
    seen: RecoveryCandidate, state: CandidateState, decision: str, *, by: str, reason: str, **changes: Any
) -> RecoveryCandidate:
    """Write a decision, if the candidate still is as it was looked at."""
    undecided = RecoveryCandidate.objects.filter(pk=seen.pk, epoch=seen.epoch, state=CandidateState.WAITING)
    told = {"decision": decision, "decided_by": by, "decided_at": Now(), "reason": reason}
    if not undecided.update(state=state, **told, **changes):
        raise _too_late(seen)
    found = candidates.get(seen)
    _note(found, Stage.DECIDED, actor=by, rule=decision, reason=reason, inputs=changes_shown(changes))
    kind = "candidate.rejected" if state == CandidateState.REJECTED else "candidate.approved"
    candidates.tell(kind, [(found, {"decision": decision, "by": by, "reason": reason, "action": found.action})])
    return found


def changes_shown(changes: dict[str, Any]) -> dict[str, Any]:
    """Return what a person changed, as JSON."""
    return {name: changes[name] for name in ("action", "action_version", "verb", "parameters") if name in changes}


def _too_late(seen: RecoveryCandidate) -> AlreadyDecided:
    now = candidates.get(seen)
    if now.state == CandidateState.OPEN:
        return AlreadyDecided(f"candidate {now.id} is open: it has not been evaluated yet")
    by = f" by {now.decided_by}" if now.decided_by else ""
    return AlreadyDecided(f"candidate {now.id} is {now.state}{by} already; nothing was changed")


def _note(candidate: RecoveryCandidate, stage: Stage, *, actor: str, **more: Any) -> None:
    SuggestionProvenance.objects.create(
        candidate=candidate,
        stage=stage,
        actor=actor,
        action=candidate.action,
        action_version=candidate.action_version,
        confidence_after=candidate.confidence,
        **more,
    )


# Applying


def apply_due(limit: int = _APPLIED_AT_ONCE) -> int:
    """Apply what is approved and was not applied by whoever approved it; returns how many."""
    due = RecoveryCandidate.objects.filter(state=CandidateState.APPROVED).order_by("id")
    return apply_these(due.values_list("id", flat=True)[:limit])


def apply_these(wanted: Iterable[uuid.UUID]) -> int:
    """Apply those of these that are approved; what fails is tried again by the claim worker. Returns how many."""
    due = RecoveryCandidate.objects.filter(pk__in=list(wanted), state=CandidateState.APPROVED).order_by("id")
    done = 0
    for candidate_id in due.values_list("id", flat=True):
        try:
            apply(candidate_id, by=_RULE)
            done += 1
        except AlreadyDecided:
            continue
        except DatabaseError:
            log.exception("candidate.not_applied", candidate=str(candidate_id))
    return done


@transaction.atomic
def apply(candidate: Named, *, by: str) -> RecoveryCandidate:
    """Do what was approved, once: together with its provenance and event, or not at all.

    It comes back `waiting` where it could not be done, with the reason in `needs`, and `overtaken` where the run has
    gone on meanwhile. Raises AlreadyDecided where it is not approved, or was applied by somebody else.
    """
    seen = _seen(candidate)
    approved = RecoveryCandidate.objects.filter(pk=seen.pk, state=CandidateState.APPROVED)
    if not approved.update(state=CandidateState.APPLIED, applied_at=Now()):
        raise _not_approved(seen)
    held = candidates.get(seen)
    run = _held_run(held)
    if run is None or is_overtaken(held, run):
        return _ended(held, CandidateState.OVERTAKEN, "the run went on or ended without it", by=by)
    against = _against(held)
    if against:
        return _returned(held, against, by=by)
    try:
        with transaction.atomic():
            done = actions.perform(held.verb, _target(held), held.parameters, by=_who(held, by), reason=_why(held))
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever an action fails with, a person must look at it
        return _returned(held, f"{held.action} could not be done: {error}", by=by)
    return _applied(held, done, run, by=by)


def _not_approved(seen: RecoveryCandidate) -> AlreadyDecided:
    now = candidates.get(seen)
    hint = "approve it first" if now.state in (CandidateState.OPEN, CandidateState.WAITING) else "nothing was done"
    return AlreadyDecided(f"candidate {now.id} is {now.state}: {hint}")


def _held_run(candidate: RecoveryCandidate) -> Run | None:
    try:
        return runs.hold(candidate.run_id)
    except RunUnknown:
        return None


def is_overtaken(candidate: RecoveryCandidate, run: Run) -> bool:
    """Tell whether a run does not stand any more where the failures of a candidate left it."""
    if not actions.standing(run):
        return True
    attempt = Step.objects.filter(pk=candidate.step_id).values_list("attempt_id", flat=True).first()
    if attempt is None or not Attempt.objects.filter(pk=attempt, started_at__gt=candidate.failed_at).exists():
        return False
    alike = {"fingerprint": candidate.fingerprint, "fingerprint_version": candidate.fingerprint_version}
    return not FailureMatch.objects.filter(attempt_id=attempt, **alike).exists()


def _against(candidate: RecoveryCandidate) -> str:
    """Say what speaks against it at this moment: a cool-down, and for what no person decided, all that asks for one."""
    if candidate.verb not in actions.KNOWN:
        return f"nothing here knows how to {candidate.verb!r}"
    found = [*_cooling(candidate)]
    if candidate.decision == autonomy.AUTOMATIC:
        found += [*_changed(candidate), *autonomy.against_pattern(candidate.pattern)]
        origin = candidate.origin_run_id or candidate.run_id
        autonomy.hold_origin(origin)
        used = autonomy.used_by([origin]).get(origin, autonomy.Used())
        # This one is counted already.
        others = autonomy.Used(count=used.count - 1, cost=used.cost, since=used.since)
        found += autonomy.against_run(candidate.failed_at, others)
        found += autonomy.against_agent(candidate.agent_id, candidate.evidence.get("level", 0), candidate.verb)
    return "; ".join(found)


def _changed(candidate: RecoveryCandidate) -> list[str]:
    """Say what has become of the action since it was weighed."""
    same = SuggestionAction.objects.filter(pk=candidate.action, version=candidate.action_version or 0, is_enabled=True)
    record = ActionRecord.objects.filter(
        action=candidate.action,
        proven_since=candidate.proven_since or 0,
        fingerprint=candidate.fingerprint,
        fingerprint_version=candidate.fingerprint_version,
    ).first()
    return [
        *([] if same.exists() else [f"{candidate.action} was changed or disabled since it was weighed"]),
        *([autonomy.taken_back(candidate.action)] if is_taken_back(record) else []),
    ]


def _cooling(candidate: RecoveryCandidate) -> list[str]:
    template = SuggestionAction.objects.filter(pk=candidate.action, cooldown_seconds__gt=0).first()
    if template is None:
        return []
    place, whom = COOLS_BY[actions.named(candidate.verb).cools], cools_by(candidate)
    ledger.ask_in_transaction(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 7102))", [f"{candidate.action} {whom}"]
    )  # fmt: skip
    earlier = RecoveryCandidate.objects.filter(
        action=candidate.action, applied_at__gt=Now() - timedelta(seconds=template.cooldown_seconds), **{place: whom}
    ).exclude(pk=candidate.pk)
    last = earlier.order_by("-applied_at").values_list("applied_at", flat=True).first()
    if last is None:
        return []
    length = words.length(template.cooldown_seconds)
    return [f"{candidate.action} was done to the same at {last:%H:%M:%S} and cools down for {length}"]


def cools_by(candidate: RecoveryCandidate) -> Any:
    """Return the run, the skill or the agent for which the cool-down of a candidate's action is counted."""
    return getattr(candidate, COOLS_BY[actions.named(candidate.verb).cools])


def _target(candidate: RecoveryCandidate) -> Target:
    return Target(
        run_id=candidate.run_id, step_id=candidate.step_id, agent_id=candidate.agent_id, skill=candidate.skill
    )


def _who(candidate: RecoveryCandidate, by: str) -> str:
    return "recovery" if candidate.decision == autonomy.AUTOMATIC else candidate.decided_by or by


def _why(candidate: RecoveryCandidate) -> str:
    return candidate.reason or f"candidate {candidate.id}: {candidate.action}"


def _applied(candidate: RecoveryCandidate, done: Done, run: Run, *, by: str) -> RecoveryCandidate:
    is_measured = actions.named(candidate.verb).lets_go_on
    changes: dict[str, Any] = {"outcome": done.text, "needs": ""}
    if done.recovery_run_id is None:
        changes["spent_before"] = run.spent_cost
    else:
        changes["recovery_run_id"] = done.recovery_run_id
    if not is_measured:
        changes |= {"state": CandidateState.SETTLED, "ended_at": Now()}
    RecoveryCandidate.objects.filter(pk=candidate.pk).update(**changes)
    found = candidates.get(candidate)
    _note(found, Stage.APPLIED, actor=by, rule=found.verb, inputs=found.parameters, reason=done.text)
    told = {"action": found.action, "verb": found.verb, "text": done.text, "decision": found.decision, **done.details}
    candidates.tell("candidate.applied", [(found, told | {"by": _who(found, by)})])
    return found


def _ended(candidate: RecoveryCandidate, state: CandidateState, text: str, *, by: str) -> RecoveryCandidate:
    """End a candidate with nothing done."""
    RecoveryCandidate.objects.filter(pk=candidate.pk).update(
        state=state, outcome=text, applied_at=None, ended_at=Now(), needs=""
    )
    found = candidates.get(candidate)
    _note(found, Stage.APPLIED, actor=by, rule=state, reason=text)
    candidates.tell(f"candidate.{state}", [(found, {"text": text})])
    return found


def _returned(candidate: RecoveryCandidate, needs: str, *, by: str) -> RecoveryCandidate:
    """Give a candidate back to a person, with nothing done; what was decided before counts no more."""
    RecoveryCandidate.objects.filter(pk=candidate.pk).update(
        state=CandidateState.WAITING, applied_at=None, needs=needs, epoch=F("epoch") + 1, decision="", decided_by="",
        decided_at=None,
    )  # fmt: skip
    found = candidates.get(candidate)
    _note(found, Stage.APPLIED, actor=by, rule="returned", reason=needs)
    candidates.tell("candidate.returned", [(found, {"action": found.action, "needs": needs})])
    return found


# What was taken back to review


@transaction.atomic
def clear(action: str, fingerprint: str, *, by: str, reason: str = "") -> int:
    """Let an action be applied alone again for a kind of failure; returns how many records were cleared."""
    records = ActionRecord.objects.filter(
        action=action, fingerprint__startswith=fingerprint, ineffective_at__isnull=False
    )
    kinds = list(records.values_list("fingerprint", flat=True).distinct()[:2])
    if len(kinds) > 1:
        raise NotFound("kind of failure", repr(fingerprint), "several begin so: give more of it")
    cleared = records.exclude(cleared_at__gte=F("ineffective_at")).update(cleared_at=Now(), changed_at=Now())
    if not cleared:
        raise NotAllowed(f"{action!r} was not taken back to review for a kind of failure {fingerprint!r}")
    told = {"action": action, "kind": kinds[0], "by": by, "reason": reason}
    events.note("action.cleared", told)
    return cleared
