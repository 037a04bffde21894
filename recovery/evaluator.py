"""The evaluator: finds for each open candidate what is best done, and whether a person must decide.

It claims, looks at everything in a few reads, weighs, and writes: the result, its provenance and its events in one
transaction, guarded by the epoch of the claim. So a candidate may reach an evaluator by the stream, by the express lane
and by the claim worker at once: it is decided once, and who comes late learns it. Templates are read once and frozen as
copies; one that changed since is not applied without a person.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from execution import ledger
from execution.models import Run
from recovery import actions, advice, autonomy, candidates, conf, decisions, weighing
from recovery.advice import Advice
from recovery.candidates import Claim
from recovery.exceptions import Late
from recovery.models import (
    ActionRecord,
    CandidateState,
    RecoveryCandidate,
    Stage,
    SuggestionAction,
    SuggestionProvenance,
)
from recovery.weighing import Case, Choice

log = structlog.get_logger(__name__)

CLAIMS_MOST = 5
"""After so many claims without an evaluation a candidate is left to a person."""
_AGAIN_SECONDS = 30
_ADVICE_SHARE = 1 / 3
"""How much of a lease may be spent on asking a model about a batch; the rest of the batch is decided by rules alone."""
_PROMPT_VERSION = "1"


class Suggestion(BaseModel):
    """What a language model is asked for."""

    action: str = Field(description="The name of one of the listed actions.")
    confidence: float = Field(ge=0, le=1)
    reason: str = Field(description="Why, in one or two sentences.")
    needs_approval: bool = Field(description="Whether a person should decide.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was read for a batch of candidates."""

    candidates: list[RecoveryCandidate]
    runs: dict[uuid.UUID, Run]
    templates: list[SuggestionAction]
    records: dict[tuple[int, str], dict[tuple[str, int], ActionRecord]]
    used: dict[uuid.UUID, autonomy.Used]
    cooling: list[tuple[str, Any]]
    advice_until: float
    """By this process's clock: a model that is slow must not cost the lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What came out for one candidate."""

    candidate: RecoveryCandidate
    case: Case
    choices: list[Choice] = field(default_factory=list)
    against: tuple[str, ...] = ()
    advised: Advice[Suggestion] | None = None
    seconds: float = 0.0

    @property
    def best(self) -> Choice | None:
        """The action that is suggested."""
        return self.choices[0] if self.choices else None

    @property
    def state(self) -> CandidateState:
        """The state in which it leaves the candidate."""
        if not self.case.standing:
            return CandidateState.OVERTAKEN
        return CandidateState.WAITING if self.against else CandidateState.APPROVED


def evaluate_ids(wanted: Iterable[uuid.UUID], *, source: str, by: str) -> set[uuid.UUID]:
    """Claim and evaluate those of these candidates that nobody holds; returns the ids that need no evaluation any more.

    Raises Late where a lease was lost on the way, after everything else was written.
    """
    asked = list(wanted)
    evaluate(candidates.claim(by=by, limit=len(asked), only=asked), source=source, by=by)
    closed = RecoveryCandidate.objects.filter(pk__in=asked).exclude(state=CandidateState.OPEN)
    return set(closed.values_list("pk", flat=True))


def evaluate_next(*, source: str, by: str, limit: int = candidates.BATCH) -> int:
    """Claim and evaluate the next candidates; returns how many."""
    return evaluate(candidates.claim(by=by, limit=limit), source=source, by=by)


def evaluate(claims: Sequence[Claim], *, source: str, by: str) -> int:
    """Evaluate what was claimed, together where that goes and one by one where it does not."""
    written: set[uuid.UUID] = set()
    for start in range(0, len(claims), candidates.BATCH):
        written |= _evaluated(claims[start : start + candidates.BATCH], source=source, by=by)
    decisions.apply_these(written)
    late = [str(claim.id) for claim in claims if claim.id not in written and not _is_noted(claim)]
    if late:
        raise Late(f"the lease of {', '.join(late[:5])} has gone to somebody else: what was found is not written")
    return len(written)


def _evaluated(claims: Sequence[Claim], *, source: str, by: str) -> set[uuid.UUID]:
    try:
        proposals = [_proposal(one, look) for look in [_look(claims)] for one in look.candidates]
        return _write(proposals, {claim.id: claim for claim in claims}, source=source, by=by)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if len(claims) > 1:
            return set().union(*(_evaluated([claim], source=source, by=by) for claim in claims))
        log.exception("candidate.not_evaluated", candidate=str(claims[0].id))
        _note_failure(claims[0], error)
        return set()


def _note_failure(claim: Claim, error: Exception) -> None:
    """Keep why an evaluation failed, and let the candidate be claimed again in a while."""
    RecoveryCandidate.objects.filter(pk=claim.id, epoch=claim.epoch, state=CandidateState.OPEN).update(
        last_error=f"{type(error).__name__}: {error}"[:2000],
        lease_until=Now() + timedelta(seconds=_AGAIN_SECONDS * claim.claim_count),
    )


def _is_noted(claim: Claim) -> bool:
    return (
        RecoveryCandidate.objects.filter(pk=claim.id, epoch=claim.epoch, state=CandidateState.OPEN)
        .exclude(last_error="")
        .exists()
    )


# Looking


def _look(claims: Sequence[Claim]) -> Look:
    """Read everything that is weighed, in a few statements."""
    wanted = {claim.id: claim for claim in claims}
    found = list(RecoveryCandidate.objects.select_related("pattern").filter(pk__in=wanted).order_by("id"))
    templates = list(SuggestionAction.objects.filter(is_enabled=True).order_by("name"))
    return Look(
        candidates=found,
        runs={run.id: run for run in Run.objects.filter(pk__in={one.run_id for one in found}).defer("input")},
        templates=templates,
        records=_records({(one.fingerprint_version, one.fingerprint) for one in found}),
        used=autonomy.used_by({origin for one in found if (origin := one.origin_run_id)}),
        cooling=_cooling(found, templates),
        advice_until=time.monotonic() + conf.current().candidate_lease_seconds * _ADVICE_SHARE,
    )


def _records(kinds: Collection[tuple[int, str]]) -> dict[tuple[int, str], dict[tuple[str, int], ActionRecord]]:
    rows: dict[tuple[int, str], dict[tuple[str, int], ActionRecord]] = {}
    for record in ActionRecord.objects.filter(fingerprint__in={fingerprint for _, fingerprint in kinds}):
        kind = (record.fingerprint_version, record.fingerprint)
        rows.setdefault(kind, {})[record.action, record.proven_since] = record
    return rows


def _cooling(found: list[RecoveryCandidate], templates: list[SuggestionAction]) -> list[tuple[str, Any]]:
    """Return what was done a moment ago, each with the run, skill or agent that it was done to."""
    recent = []
    for action in templates:
        verb = actions.KNOWN.get(action.verb)
        if action.cooldown_seconds > 0 and verb is not None:
            place = decisions.COOLS_BY[verb.cools]
            since = timezone.now() - timedelta(seconds=action.cooldown_seconds)
            recent.append(
                Q(action=action.name, applied_at__gt=since, **{f"{place}__in": {getattr(c, place) for c in found}})
            )
    if not recent:
        return []
    rows = RecoveryCandidate.objects.filter(_any(recent)).only("action", "verb", *decisions.COOLS_BY.values())
    return [(one.action, decisions.cools_by(one)) for one in rows]


def _any(conditions: Iterable[Q]) -> Q:
    found = Q()
    for condition in conditions:
        found |= condition
    return found


# Weighing


def _proposal(candidate: RecoveryCandidate, look: Look) -> Proposal:
    began = time.perf_counter()
    done_to = {candidate.origin_run_id, candidate.skill, candidate.agent_id}
    case = Case(
        error_kind=candidate.error_kind,
        category=candidate.pattern.category if candidate.pattern else "",
        skill=candidate.skill,
        standing=actions.standing(look.runs.get(candidate.run_id)),
        cooling=frozenset(action for action, whom in look.cooling if whom in done_to),
    )
    choices = _choices(candidate, case, look) if case.standing else []
    found = Proposal(candidate=candidate, case=case, choices=choices)
    used = look.used.get(candidate.origin_run_id or candidate.run_id, autonomy.Used())
    found = replace(found, against=tuple(_against(found, used)))
    found = _advised(found) if choices and time.monotonic() < look.advice_until else found
    return replace(found, seconds=time.perf_counter() - began)


def _choices(candidate: RecoveryCandidate, case: Case, look: Look) -> list[Choice]:
    run = look.runs[candidate.run_id]
    possible = [one for one in look.templates if (verb := actions.KNOWN.get(one.verb)) and verb.is_possible(run)]
    kind = (candidate.fingerprint_version, candidate.fingerprint)
    return weighing.weigh(case, possible, look.records.get(kind, {}))


def _against(found: Proposal, used: autonomy.Used) -> Iterator[str]:
    """Say what asks for a person, as far as that can be told without a lock."""
    if found.candidate.claim_count > CLAIMS_MOST:
        error = found.candidate.last_error or "its evaluators ended without a word"
        yield f"it was claimed {found.candidate.claim_count} times and never evaluated: {error}"
    if found.best is None:
        yield f"no action fits a run that {_said(found.case.standing)}"
        return
    if found.best.name in found.case.cooling:
        yield f"{found.best.name} was done to the same a moment ago"
    missing = [word for word in actions.named(found.best.verb).wanted if word not in found.best.parameters]
    if missing:
        yield f"{found.best.name} must be told {', '.join(missing)}"
    yield from autonomy.against_choice(found.best, found.candidate.pattern)
    yield from autonomy.against_run(found.candidate.failed_at, used)


def _said(standing: str) -> str:
    return "has failed" if standing == actions.FAILED else f"is parked for {standing or 'nothing'}"


def _advised(found: Proposal) -> Proposal:
    """Ask the model, where one is configured; it may change the order, and never takes away what asks for a person."""
    listed = "; ".join(f"{one.name} ({one.verb}, {one.confidence:.2f})" for one in found.choices)
    told = advice.ask(
        f"A run of {found.candidate.skill!r} {_said(found.case.standing)}: an error of kind {found.case.error_kind!r}, "
        f"category {found.case.category or 'unknown'!r}. Which of these actions puts it right? {listed}",
        Suggestion,
        purpose="candidate",
        prompt_version=_PROMPT_VERSION,
    )
    if told is None:
        return found
    wished = next((one for one in found.choices if one.name == told.answer.action), None)
    if wished is None:
        return replace(found, advised=told)
    choices = [wished, *(one for one in found.choices if one is not wished)]
    more = list(autonomy.against_choice(wished, found.candidate.pattern))
    if told.answer.needs_approval:
        more.append(f"the model {told.model} asks for a person: {told.answer.reason}")
    return replace(found, choices=choices, advised=told, against=tuple(dict.fromkeys((*found.against, *more))))


# Writing

# One that seems overtaken stays open where a failure has joined it since: nobody else would answer that.
_WRITE = """
    UPDATE recovery_recoverycandidate c SET
        state = v.state, source = v.source, action = v.action, action_version = v.action_version,
        proven_since = v.proven_since, verb = v.verb, parameters = v.parameters, confidence = v.confidence,
        bound = v.bound, evidence = v.evidence, alternatives = v.alternatives, needs = v.needs, decision = v.decision,
        decided_by = v.decided_by, decided_at = CASE WHEN v.decision <> '' THEN clock_timestamp() END,
        ended_at = CASE WHEN v.state = 'overtaken' THEN clock_timestamp() END, outcome = v.outcome,
        evaluated_at = clock_timestamp(), lease_until = NULL, last_error = ''
    FROM jsonb_to_recordset(%s) AS v(
        id uuid, epoch int, state text, source text, action text, action_version int, proven_since int, verb text,
        parameters jsonb, confidence float8, bound float8, evidence jsonb, alternatives jsonb, needs text,
        decision text, decided_by text, outcome text, joined_count int)
    WHERE c.id = v.id AND c.epoch = v.epoch AND c.state = 'open'
        AND (v.state <> 'overtaken' OR v.joined_count = c.joined_count)
    RETURNING c.id"""


@transaction.atomic
def _write(
    proposals: Sequence[Proposal], claims: dict[uuid.UUID, Claim], *, source: str, by: str
) -> set[uuid.UUID]:  # fmt: skip
    """Write what was found, with its provenance and events; returns whose lease still held."""
    checked = _checked(proposals)
    rows = [_row(one, claims[one.candidate.id], source) for one in checked]
    written = {row.id for row in ledger.ask_in_transaction(_WRITE, [Jsonb(rows)])} if rows else set()
    kept = [one for one in checked if one.candidate.id in written]
    SuggestionProvenance.objects.bulk_create([line for one in kept for line in _provenance(one, by)])
    candidates.tell("candidate.evaluated", [(one.candidate, _told(one, source)) for one in kept])
    for state, kind in ((CandidateState.APPROVED, "approved"), (CandidateState.OVERTAKEN, "overtaken")):
        told = {"by": weighing.RULE, "decision": autonomy.AUTOMATIC} if kind == "approved" else {}
        candidates.tell(f"candidate.{kind}", [(one.candidate, told) for one in kept if one.state == state])
    return written


def _checked(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Ask once more of what would be applied alone, under locks: is its action unchanged, and may its agent?"""
    alone = [one for one in proposals if one.state == CandidateState.APPROVED and one.best]
    if not alone:
        return list(proposals)
    asked = {one.candidate.id for one in alone}
    agents = {(one.candidate.agent_id, one.best.level, one.best.verb) for one in alone if one.best}
    against = {asking: tuple(autonomy.against_agent(*asking)) for asking in sorted(agents)}
    versions = _versions({one.best.name for one in alone if one.best})
    return [_rechecked(one, against, versions) if one.candidate.id in asked else one for one in proposals]


def _rechecked(
    found: Proposal, against: dict[tuple[uuid.UUID, int, str], tuple[str, ...]], versions: dict[str, int]
) -> Proposal:
    if found.best is None:
        return found
    more = list(against[found.candidate.agent_id, found.best.level, found.best.verb])
    if versions.get(found.best.name) != found.best.version:
        more.append(f"{found.best.name} was changed while it was weighed")
    return replace(found, against=(*found.against, *more))


def _versions(names: Collection[str]) -> dict[str, int]:
    """Return the versions of the enabled ones, held against changes until the end of the transaction."""
    rows = ledger.ask_in_transaction(
        "SELECT a.name, a.version FROM recovery_suggestionaction a WHERE a.name = ANY(%s) AND a.is_enabled "
        "ORDER BY a.name FOR SHARE",
        [sorted(names)],
    )
    return {row.name: row.version for row in rows}


def _row(found: Proposal, claim: Claim, source: str) -> dict[str, Any]:
    best, is_alone = found.best, found.state == CandidateState.APPROVED
    return {
        "id": str(found.candidate.id),
        "epoch": claim.epoch,
        "state": found.state,
        "source": source,
        "action": best.name if best else "",
        "action_version": best.version if best else None,
        "proven_since": best.proven_since if best else None,
        "verb": best.verb if best else "",
        "parameters": best.parameters if best else {},
        "confidence": best.confidence if best else None,
        "bound": best.bound if best else None,
        "evidence": _evidence(found),
        "alternatives": [one.shown() for one in found.choices[1:]],
        "needs": "; ".join(found.against) if found.state == CandidateState.WAITING else "",
        "decision": autonomy.AUTOMATIC if is_alone else "",
        "decided_by": weighing.RULE if is_alone else "",
        "joined_count": found.candidate.joined_count,
        "outcome": "" if found.case.standing else "the run went on or ended without it",
    }


def _evidence(found: Proposal) -> dict[str, Any]:
    best = found.best
    told: dict[str, Any] = {
        "rule": weighing.RULE,
        "rule_version": weighing.RULE_VERSION,
        "standing": found.case.standing,
    }
    if best is not None:
        told |= {"tried": best.tried, "recovered": best.recovered, "prior": best.prior, "level": best.level}
    return told


def _told(found: Proposal, source: str) -> dict[str, Any]:
    best = found.best
    return {
        "state": found.state,
        "source": source,
        "action": best.name if best else "",
        "version": best.version if best else None,
        "confidence": round(best.confidence, 4) if best else None,
        "bound": round(best.bound, 4) if best else None,
    }


def _provenance(found: Proposal, by: str) -> Iterator[SuggestionProvenance]:
    """Yield the lines of the audit that tell how it came to this."""
    best = found.best
    common: dict[str, Any] = {
        "candidate": found.candidate,
        "action": best.name if best else "",
        "action_version": best.version if best else None,
    }
    yield SuggestionProvenance(
        **common,
        stage=Stage.EVALUATED,
        actor=by,
        rule=weighing.RULE,
        rule_version=weighing.RULE_VERSION,
        inputs=_inputs(found),
        confidence_before=best.prior if best else None,
        confidence_after=best.confidence if best else None,
        duration_ms=round(found.seconds * 1000, 3),
        reason="; ".join(found.against),
    )
    if found.advised is not None:
        answer = found.advised.answer
        yield SuggestionProvenance(
            **common,
            stage=Stage.EVALUATED,
            actor=found.advised.model,
            rule="advice",
            rule_version=int(_PROMPT_VERSION),
            inputs=answer.model_dump(mode="json") | {"cost": str(found.advised.cost)},
            confidence_after=answer.confidence,
            reason=answer.reason,
        )
    if found.state == CandidateState.APPROVED:
        yield SuggestionProvenance(
            **common, stage=Stage.DECIDED, actor=weighing.RULE, reason="nothing asks for a person"
        )


def _inputs(found: Proposal) -> dict[str, Any]:
    case = found.case
    weighed = {one.name: [one.version, round(one.confidence, 4), one.recovered, one.tried] for one in found.choices}
    return {
        "error_kind": case.error_kind,
        "category": case.category,
        "skill": case.skill,
        "standing": case.standing,
        "parameters": found.best.parameters if found.best else {},
        "weighed": weighed,
    }
