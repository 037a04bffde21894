"""Effects: what a person decides about one whose outcome nobody knows."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from execution import openings, runs, values
from execution.exceptions import NotPossible, OptionInvalid
from execution.models import Effect, EffectState, RunState, Step, StepState

DECISIONS = ("done", "again", "failed")


@transaction.atomic
def decide(effect: Effect, decision: str, *, receipt: Any = None, by: str = "", reason: str = "") -> Effect:
    """Say of an unknown effect that it was `done` (with its receipt), shall be done `again`, or has `failed`."""
    if decision not in DECISIONS:
        raise OptionInvalid(f"an effect is {', '.join(DECISIONS)}, not {decision!r}")
    run = runs.hold(Step.objects.values_list("run_id", flat=True).get(pk=effect.step_id))
    held = Effect.objects.select_for_update().get(pk=effect.pk)
    if held.state != EffectState.INTENDED:
        raise NotPossible(f"the effect {held.token!r} is {held.state}: there is nothing to decide")
    if Step.objects.filter(pk=held.step_id, state=StepState.RUNNING, epoch=held.epoch).exists():
        raise NotPossible(f"the effect {held.token!r} is being performed now: wait until its step has left it")
    held.decided_by, held.ended_at = by, timezone.now()
    if decision == "done":
        packed = values.pack(receipt, place=f"the receipt of {held.token!r}")
        openings.keep_blobs([packed])
        held.state, held.receipt = EffectState.DONE, packed.data
    else:
        held.state = EffectState.FAILED
    held.save(update_fields=["decided_by", "ended_at", "state", "receipt"])
    runs.note("effect.decided", run, {"effect": held.token, "decision": decision, "by": by, "reason": reason})
    if decision == "failed":
        runs.cancel(run, by=by, reason=reason or f"the effect {held.token!r} failed")
    elif run.state == RunState.PARKED:
        runs.resume(run, by=by, reason=reason)
    return held
