"""Gates of approval: who may decide, and the decision.

A decision is a signal of its own kind, which nothing but `decide` may send: whoever calls it has to be one of those
that the gate names.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from execution import conf, ledger, runs, signals
from execution.exceptions import NotAllowed, NotPossible, OptionInvalid
from execution.models import Checkpoint, Run, Step, StepState
from execution.workflows.expressions import nearest

_ASKED = "asked"
_SKILL = "execution.approval"


def signal_name(gate: str) -> str:
    """Return the name of the signal that a decision is."""
    return f"{signals.DECISION}{gate}"


@transaction.atomic
def decide(run: Run | uuid.UUID | str, gate: str | None = None, *, approved: bool, by: str, reason: str = "") -> Run:
    """Approve or refuse at a gate, once; without a name, at the only one that waits."""
    held = runs.hold(run)
    step = _waiting(held, gate)
    _check_who(asked(step)["who"], step, by)
    if conf.current().workflow_audit:
        kind = "gate.approved" if approved else "gate.refused"
        runs.note(kind, held, {"by": by, "reason": reason, "gate": step.name}, step.id)
    decision = {"approved": approved, "by": by, "reason": reason}
    signals.send(
        held,
        signal_name(step.name),
        decision,
        sender=by,
        signal_id=uuid.uuid5(step.id, f"decision {step.epoch}"),
        is_decision=True,
    )
    return Run.objects.get(pk=held.id)


def open_gates(run: Run) -> list[Step]:
    """Return the gates at which a run waits for a person."""
    found = Step.objects.filter(run_id=run.id, skill=_SKILL, state=StepState.WAITING, waiting="signal")
    return list(found.order_by("position"))


def asked(step: Step) -> dict[str, Any]:
    """Return who may decide at a gate, and what is shown to them."""
    data = Checkpoint.objects.filter(step_id=step.id, token=_ASKED).values_list("data", flat=True).first()
    found: dict[str, Any] = ledger.unpack(data)
    return found


def _waiting(run: Run, gate: str | None) -> Step:
    waiting = open_gates(run)
    names = [step.name for step in waiting]
    if gate is None and len(waiting) == 1:
        return waiting[0]
    for step in waiting:
        if step.name == gate:
            return step
    if gate is None:
        listed = f"at {', '.join(names)}: say which" if names else "at no gate"
        raise NotPossible(f"run {run.id} waits for a decision {listed}")
    known = dict(Step.objects.filter(run_id=run.id, skill=_SKILL).values_list("name", "state"))
    if gate not in known:
        raise NotPossible(f"run {run.id} has no gate {gate!r}{nearest(gate, known)}")
    raise NotPossible(f"gate {gate!r} of run {run.id} is {known[gate]}: nothing is to be decided there now")


def may_decide(who: list[str], by: str) -> bool:
    """Tell whether somebody is one of those that a gate names; a gate that names nobody asks anybody."""
    if not who or by in who:
        return True
    groups = [one.removeprefix("group:") for one in who if one.startswith("group:")]
    if not groups:
        return False
    return get_user_model().objects.filter(username=by, is_active=True, groups__name__in=groups).exists()


def _check_who(who: list[str], step: Step, by: str) -> None:
    if not by:
        raise OptionInvalid(f"say who decides at gate {step.name!r}: by=...")
    if not may_decide(who, by):
        raise NotAllowed(f"{by!r} may not decide at gate {step.name!r}: {', '.join(who)} may")
