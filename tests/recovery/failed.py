"""Failed runs for the tests of what answers them: performed here, and taken in as intake takes them in."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from django.db import transaction
from django.utils import timezone

from execution import agents, ids, runs
from execution.models import Agent, Attempt, Level, Run, RunState, Step
from recovery import candidates
from recovery.models import (
    ActionRecord,
    Category,
    FailureMatch,
    FailurePattern,
    Mode,
    PatternState,
    RecoveryCandidate,
)
from tests import candidate_skills as skills

KIND = "f" * 40


def failed_run(hands: Any, skill: Any = skills.flaky, **given: Any) -> Run:
    """Perform a run that fails."""
    options = {name: given.pop(name) for name in ("agent", "budget") if name in given}
    given = given or ({"gate": "/nowhere"} if skill is skills.flaky else {})
    run = skill.start(**given, **options)
    hands.perform(run)
    run.refresh_from_db()
    return run


def failure_of(run: Run, *, kind: str = "", pattern: FailurePattern | None = None, **more: Any) -> FailureMatch:
    """Take the last failure of a run in, as intake does; opens nothing."""
    run.refresh_from_db()
    step = Step.objects.filter(run_id=run.id).exclude(error=None).order_by("-ended_at").first() or Step.objects.get(
        pk=run.id
    )
    attempt = Attempt.objects.filter(step_id=step.id).order_by("-epoch").first()
    error = run.error or step.error or {}
    text = f"{error.get('type', '')} in {step.skill}"
    about = {
        "attempt_id": attempt.id if attempt and run.state != RunState.PARKED else ids.new(),
        "step_id": step.id,
        "run_id": run.id,
        "agent_id": run.agent_id,
        "skill": step.skill,
        "ending": "parked" if run.state == RunState.PARKED else "failed",
        "error_kind": "resource" if run.state == RunState.PARKED else error.get("kind", "unknown"),
        "error_type": error.get("type", ""),
        "message": error.get("message", ""),
        "fingerprint": kind or hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
        "fingerprint_version": 1,
        "is_final": True,
        "failed_at": run.ended_at or timezone.now(),
        "pattern": pattern,
    }
    return FailureMatch.objects.create(**about | more)


def candidate_for(run: Run, **more: Any) -> RecoveryCandidate:
    """Take a run's last failure in, and return the candidate that it opened or joined."""
    with transaction.atomic():
        failure = failure_of(run, **more)
        candidates.open_for([failure])
    return RecoveryCandidate.objects.filter(run_id=run.id, fingerprint=failure.fingerprint).latest("id")


def made_up_failures(count: int, *, kind: str = KIND, **more: Any) -> list[FailureMatch]:
    """Insert failures of runs that have failed, without performing anything."""
    agent = Agent.objects.get(pk=agents.id_of(None))
    made = [
        Run(id=ids.new(), workflow="candidates.flaky", agent=agent, state="failed", input=b"j{}") for _ in range(count)
    ]
    Run.objects.bulk_create(made)
    Step.objects.bulk_create(
        Step(id=run.id, run_id=run.id, agent=agent, name=run.workflow, skill=run.workflow, state="failed", waiting="")
        for run in made
    )
    return FailureMatch.objects.bulk_create(
        FailureMatch(
            attempt_id=uuid.uuid4(), step_id=run.id, run_id=run.id, agent_id=agent.id, skill=run.workflow,
            ending="failed", error_kind="transient", fingerprint=kind, fingerprint_version=1, is_final=True,
            failed_at=timezone.now(), **more,
        )
        for run in made
    )  # fmt: skip


def opened(count: int = 1, **more: Any) -> list[RecoveryCandidate]:
    """Open candidates of made-up failures."""
    with transaction.atomic():
        failures = made_up_failures(count, **more)
        candidates.open_for(failures)
    return list(RecoveryCandidate.objects.filter(failure__in=failures).order_by("id"))


def known_pattern(kind: str = KIND, mode: str = Mode.AUTOMATIC, **more: Any) -> FailurePattern:
    """Confirm a pattern."""
    about = {"name": f"pattern {kind[:8]}", "category": Category.TRANSIENT, "state": PatternState.CONFIRMED}
    return FailurePattern.objects.create(**about, mode=mode, fingerprint=kind, fingerprint_version=1, **more)


def proven(
    action: str = "retry", *, kind: str = KIND, recovered: int = 20, tried: int = 20, **more: Any
) -> ActionRecord:
    """Record how an action has done."""
    return ActionRecord.objects.create(
        action=action, fingerprint=kind, fingerprint_version=1, proven_since=1, tried_count=tried,
        recovered_count=recovered, **more,
    )  # fmt: skip


def unlock() -> None:
    """Lift the lockout of what is applied alone."""
    agents.lift("auto_apply_recovery")


def trusted(name: str = "scout", level: Level = Level.AUTONOMOUS) -> Agent:
    """Make an agent."""
    return Agent.objects.create(name=name, level=level)


def states(*found: RecoveryCandidate) -> list[str]:
    """Read the states of candidates."""
    rows = dict(RecoveryCandidate.objects.filter(pk__in=[one.pk for one in found]).values_list("pk", "state"))
    return [rows[one.pk] for one in found]


def go_on(hands: Any, run: Run | uuid.UUID) -> Run:
    """Perform a run's step now, whatever its timer says."""
    run_id = run if isinstance(run, uuid.UUID) else run.id
    Step.objects.filter(pk=run_id, state="waiting").update(state="ready", waiting="capacity", wake_at=None)
    hands.perform(run_id)
    return runs.get(str(run_id))
