"""Testimony: whose word says what became of a decision. An agent's own word about itself is no evidence.

Its own is what it says as itself, under its name, or as the producer of the decision; and that a run or a step of its
own ended well or badly. Cases, trials and objectives all ask here, so that none of them hears what another does not.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from execution.models import Agent, Run, Step, Verdict


def latest(decisions: Sequence[Verdict]) -> dict[uuid.UUID, Verdict]:
    """Return the latest word of somebody else about each of these decisions, where there is one."""
    by_id = {one.id: one for one in decisions}
    names = _names(decisions)
    words = Verdict.objects.raw("SELECT * FROM execution_verdict WHERE outcome_of = ANY(%s) ORDER BY id", [list(by_id)])
    return {
        word.outcome_of: word
        for word in words
        if word.outcome_of is not None and not _is_own(word, by_id[word.outcome_of], names)
    }


def heard(decision: Verdict) -> list[Verdict]:
    """Return what others have said became of a decision, the latest first."""
    names = _names([decision])
    words = Verdict.objects.filter(outcome_of=decision.id).order_by("-id")
    return [word for word in words if not _is_own(word, decision, names)]


def is_own(word: Verdict, decision: Verdict) -> bool:
    """Whether whoever decided speaks of its own decision here."""
    return _is_own(word, decision, _names([decision]))


def is_own_run(decision: Verdict, run_id: uuid.UUID) -> bool:
    """Whether a run is of the agent that decided."""
    return decision.agent_id is not None and Run.objects.filter(pk=run_id, agent_id=decision.agent_id).exists()


def is_own_step(decision: Verdict, step_id: uuid.UUID | None) -> bool:
    """Whether a step is of the agent that decided."""
    if decision.agent_id is None or step_id is None:
        return False
    return Step.objects.filter(pk=step_id, agent_id=decision.agent_id).exists()


def _is_own(word: Verdict, decision: Verdict, names: dict[uuid.UUID, str]) -> bool:
    if decision.agent_id is None:
        return False
    name = names.get(decision.agent_id)
    return word.agent_id == decision.agent_id or word.producer in {decision.producer, name, f"agent:{name}"}


def _names(decisions: Sequence[Verdict]) -> dict[uuid.UUID, str]:
    wanted = {one.agent_id for one in decisions if one.agent_id is not None}
    return dict(Agent.objects.filter(pk__in=wanted).values_list("id", "name"))
