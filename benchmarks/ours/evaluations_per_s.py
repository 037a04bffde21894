"""Evaluations: candidates per second by one evaluator, claimed, weighed and written with provenance and events."""

import time

from benchmarks import command
from benchmarks.ours import project

KINDS = 50


def measure(load: command.Load) -> command.Measured:
    """Open the candidates of runs that have failed, each kind with evidence, then evaluate all of them."""
    project.open_for(load)
    from recovery import candidates, evaluator
    from recovery.models import RecoveryCandidate

    _fail(load.count)
    RecoveryCandidate.objects.filter(pk__in=[claim.id for claim in candidates.claim(by="warm", limit=1)]).delete()
    began = time.perf_counter()
    done = 0
    while found := evaluator.evaluate_next(source="claim", by="bench"):
        done += found
    seconds = time.perf_counter() - began
    assert RecoveryCandidate.objects.filter(state="waiting").count() == done >= load.count - 1
    return command.Measured.rate(done, seconds)


def _fail(count: int) -> None:
    """Insert failed runs of many kinds of failure, with patterns and records, and open their candidates."""
    from django.utils import timezone

    from execution import agents, ids
    from execution.models import Run, Step
    from recovery import candidates
    from recovery.models import ActionRecord, FailureMatch, FailurePattern

    agent = agents.id_of(None)
    kinds = [f"{number:040x}" for number in range(KINDS)]
    patterns = FailurePattern.objects.bulk_create(
        FailurePattern(name=kind, category="transient", state="confirmed", fingerprint=kind, fingerprint_version=1)
        for kind in kinds
    )
    ActionRecord.objects.bulk_create(
        ActionRecord(
            fingerprint=kind, fingerprint_version=1, action="retry", proven_since=1, tried_count=9, recovered_count=8
        )
        for kind in kinds
    )
    runs = [Run(id=ids.new(), workflow="bench", agent_id=agent, state="failed", input=b"j{}") for _ in range(count)]
    Run.objects.bulk_create(runs, batch_size=1000)
    steps = (Step(id=run.id, run=run, agent_id=agent, name="bench", skill="bench", state="failed") for run in runs)
    Step.objects.bulk_create(steps, batch_size=1000)
    failures = FailureMatch.objects.bulk_create(
        (
            FailureMatch(
                attempt_id=ids.new(), step_id=run.id, run_id=run.id, agent_id=agent, skill="bench", ending="failed",
                error_kind="transient", error_type="TimeoutError", fingerprint=kinds[number % KINDS],
                fingerprint_version=1, pattern=patterns[number % KINDS], is_final=True, failed_at=timezone.now(),
            )
            for number, run in enumerate(runs)
        ),
        batch_size=1000,
    )  # fmt: skip
    for start in range(0, count, 500):
        candidates.open_for(failures[start : start + 500])


if __name__ == "__main__":
    command.main(measure)
