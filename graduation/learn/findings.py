"""Findings: what tells the outcome of a verdict, looked for in order, the strongest first.

A person's word goes before the truth from elsewhere, that before a later verdict of somebody else, that before how the
run ended, and that before how its output was scored. Nobody's own word about itself counts (`testimony`). That a run
ended well speaks for an approval alone: it says nothing of what was rejected or flagged, for that was not done. Who
escalates or defers abstains: only a person or the truth can say whether that was right.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from execution.models import Action, RecordParent, Run, RunState, Step, StepState, Verdict
from graduation import testimony
from graduation.models import Evaluator, Score
from recovery.models import CandidateState, RecoveryCandidate

PRODUCER = "graduation.outcomes"
OUTPUT = "output"
"""The kind of subject of which a score speaks: an output that is there, so that its step has ended well."""

OVERRIDE, REVIEW, TRUTH, LINEAGE, DOWNSTREAM, DIVERGENCE = (
    "override",
    "review",
    "truth",
    "lineage",
    "downstream",
    "divergence",
)
_PERSONS = (OVERRIDE, REVIEW)
_SAYS = {Action.APPROVE: True, Action.REJECT: False, Action.FLAG: False}
_NEAR, _FAR = 0.25, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of a verdict: 1 it held, 0 it did not, 0.5 partly; and by what that is known."""

    how: str
    outcome: float
    text: str
    given: uuid.UUID | None = None
    """The verdict that says so itself."""
    parents: tuple[uuid.UUID, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


def find(verdict: Verdict) -> Finding | None:
    """Return the strongest finding about a verdict, or None where nothing tells its outcome yet."""
    return next((found for look in _LOOKS if (found := look(verdict)) is not None), None)


def rank(how: str) -> int:
    """Return how strong a finding is: the least is the strongest."""
    return next((place for place, known in enumerate(_RANKS) if how in known), _RANKS.index((TRUTH,)))


def coarse(outcome: float) -> float:
    """Return an outcome as 1, 0.5 or 0, whichever is nearest."""
    return round(outcome * 2) / 2


def about(verdict: Verdict) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """Return the run and the step that a verdict is about: its subject, else those in which it was given."""
    kind, _, key = verdict.subject.partition(":")
    named = _uuid(key)
    run_id = named if kind == "run" and named else verdict.run_id
    step_id = named if kind == "step" and named else verdict.step_id
    return run_id, step_id


# What somebody says


def _override(verdict: Verdict) -> Finding | None:
    return next((_said(one) for one in _given(verdict) if one.data.get("how") in _PERSONS), None)


def _truth(verdict: Verdict) -> Finding | None:
    return next((_said(one) for one in _given(verdict) if one.data.get("how") not in _PERSONS), None)


def _given(verdict: Verdict) -> list[Verdict]:
    """Return what others have said became of a verdict, the latest first; what was found here is not heard again."""
    return [one for one in testimony.heard(verdict) if one.producer != PRODUCER]


def _said(one: Verdict) -> Finding:
    how = str(one.data.get("how") or TRUTH)
    return Finding(how=how, outcome=coarse(one.outcome or 0.0), text=one.reasoning, given=one.id, data=one.data)


# What others concluded


def _lineage(verdict: Verdict) -> Finding | None:
    """Look for a later verdict on the same subject that rests on this one: it agrees, or it does not."""
    mine = _SAYS.get(Action(verdict.action))
    if mine is None:
        return None
    children = RecordParent.objects.filter(parent_id=verdict.id).values("record_id")
    later = Verdict.objects.filter(pk__in=children, outcome_of=None, subject=verdict.subject, action__in=list(_SAYS))
    for one in later.exclude(producer=verdict.producer).order_by("-id"):
        if testimony.is_own(one, verdict):
            continue
        agrees = _SAYS[Action(one.action)] == mine
        text = f"{one.producer} {'agreed' if agrees else 'disagreed'}: {one.kind} says {one.action}"
        return Finding(how=LINEAGE, outcome=float(agrees), text=text, parents=(one.id,))
    return None


# What came of it


def _downstream(verdict: Verdict) -> Finding | None:
    """Look how what was approved has ended."""
    kind, _, key = verdict.subject.partition(":")
    if verdict.action != Action.APPROVE or kind == OUTPUT:
        return None
    if kind == "candidate":
        return _of_candidate(_uuid(key))
    run_id, step_id = about(verdict)
    if kind == "step" or run_id is None:
        return None if testimony.is_own_step(verdict, step_id) else _of_step(step_id)
    return None if testimony.is_own_run(verdict, run_id) else _of_run(run_id)


def _of_candidate(candidate_id: uuid.UUID | None) -> Finding | None:
    found = RecoveryCandidate.objects.filter(pk=candidate_id).first() if candidate_id else None
    states: dict[str, float] = {CandidateState.RECOVERED: 1.0, CandidateState.INEFFECTIVE: 0.0}
    if found is None or found.state not in states:
        return None
    return Finding(how=DOWNSTREAM, outcome=states[found.state], text=f"its candidate is {found.state}: {found.outcome}")


def _of_run(run_id: uuid.UUID) -> Finding | None:
    state = Run.objects.filter(pk=run_id).values_list("state", flat=True).first()
    return _ended("run", run_id, state, {RunState.COMPLETED: 1.0, RunState.FAILED: 0.0})


def _of_step(step_id: uuid.UUID | None) -> Finding | None:
    state = Step.objects.filter(pk=step_id).values_list("state", flat=True).first() if step_id else None
    return _ended("step", step_id, state, {StepState.COMPLETED: 1.0, StepState.FAILED: 0.0})


def _ended(noun: str, key: uuid.UUID | None, state: str | None, outcomes: dict[Any, float]) -> Finding | None:
    if state not in outcomes:
        return None
    return Finding(how=DOWNSTREAM, outcome=outcomes[state], text=f"{noun} {key} {state}")


# How it was scored


def _divergence(verdict: Verdict) -> Finding | None:
    """Compare what a verdict said with what evaluators think of the output that it is about."""
    says, step_id = _SAYS.get(Action(verdict.action)), about(verdict)[1]
    if says is None or step_id is None:
        return None
    degraded = Evaluator.objects.filter(is_degraded=True).values("name")
    scores = list(
        Score.objects.filter(step_id=step_id)
        .exclude(evaluator__in=degraded)
        .exclude(verdict_id=verdict.id)
        .order_by("id")
    )
    if not scores:
        return None
    sure = 1.0 if verdict.confidence is None else verdict.confidence
    mean = fmean(one.score for one in scores)
    apart = abs((sure if says else 1 - sure) - mean)
    outcome = 1.0 if apart <= _NEAR else 0.5 if apart <= _FAR else 0.0
    parents = tuple(one.verdict_id for one in scores if one.verdict_id)
    text = f"its output is scored {mean:.2f}; what it said is {apart:.2f} away from that"
    return Finding(how=DIVERGENCE, outcome=outcome, text=text, parents=parents)


_LOOKS: tuple[Callable[[Verdict], Finding | None], ...] = (_override, _truth, _lineage, _downstream, _divergence)
_RANKS: tuple[tuple[str, ...], ...] = (_PERSONS, (TRUTH,), (LINEAGE,), (DOWNSTREAM,), (DIVERGENCE,))


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
