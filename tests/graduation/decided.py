"""What agents have decided, and what became of it, in the shortest way."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.utils import timezone

from execution import agents, ids
from execution.models import Agent, Run, Verdict
from recovery.models import FailureMatch, RecoveryCandidate


def decisions(count, *, agent="scout", **more):
    """Let an agent decide so many things."""
    about = {"kind": "review", "action": "approve", "producer": f"agent:{agent}", "agent_id": agents.id_of(agent)}
    made = [Verdict(id=ids.new(), subject=f"document:{number}", **about | more) for number in range(count)]
    return Verdict.objects.bulk_create(made)


def outcomes(decided, bad=0, **more):
    """Say what became of decisions: the first so many were bad."""
    about = {"kind": "outcome", "action": "approve", "producer": "person:eva"} | more
    return Verdict.objects.bulk_create(
        Verdict(id=ids.new(), subject=one.subject, outcome_of=one.id, outcome=0.0 if number < bad else 1.0, **about)
        for number, one in enumerate(decided)
    )


def decided(count, bad=0, **more):
    """Let an agent decide, and say what became of all of it."""
    made = decisions(count, **more)
    outcomes(made, bad)
    return made


def recoveries(recovered, failed=0, *, agent="scout", decision="approved", days=1.0, tags=()):
    """Insert recoveries of an agent's runs that ended so long ago, so many of them well."""
    owner = Agent.objects.get(name=agent)
    ended = timezone.now() - timedelta(days=days)
    total = recovered + failed
    runs = Run.objects.bulk_create(
        Run(id=ids.new(), workflow="tests.flaky", agent=owner, state="failed", tags=list(tags)) for _ in range(total)
    )
    failures = FailureMatch.objects.bulk_create(
        FailureMatch(
            attempt_id=uuid.uuid4(), step_id=run.id, run_id=run.id, agent_id=owner.id, skill="tests.flaky",
            ending="failed", error_kind="transient", fingerprint="f" * 40, fingerprint_version=1, failed_at=ended,
        )
        for run in runs
    )  # fmt: skip
    return RecoveryCandidate.objects.bulk_create(
        RecoveryCandidate(
            failure=failure, run_id=run.id, step_id=run.id, agent_id=owner.id, skill="tests.flaky",
            error_kind="transient", fingerprint="f" * 40, fingerprint_version=1, decision=decision, applied_at=ended,
            ended_at=ended, state="recovered" if number < recovered else "ineffective",
        )
        for number, (run, failure) in enumerate(zip(runs, failures, strict=True))
    )  # fmt: skip
