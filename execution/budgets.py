"""Budgets: money and tokens that a run may spend, reserved in the claim, settled at the ending.

The arithmetic stands in the ledger's functions (`reserve`, `charge`, `settle`, `overdraw`, `tell_parent`); here is what
a person does to a budget. Locks: parent run, run, steps by id.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet

from execution import ledger, runs
from execution.amounts import money
from execution.exceptions import BudgetTooSmall, BudgetUnlimited, RunEnded
from execution.models import ENDED, Errand, Run, RunState, Signal, Step, StepState, Waiting


@transaction.atomic
def top_up(
    run: Run | uuid.UUID | str, *, cost: Decimal | float | str = 0, tokens: int = 0, by: str = "", reason: str = ""
) -> Run:
    """Raise a run's budget and let it go on if it was parked for that; a child's is carved from its parent's."""
    amount = money(cost, "top_up")
    parent, held = _hold(run)
    if held.state in ENDED and held.state != RunState.FAILED:
        raise RunEnded(held.id, held.state, "be topped up")
    if held.budget_cost is None and held.budget_tokens is None:
        raise BudgetUnlimited(f"run {held.id} has no budget: nothing limits it, so there is nothing to top up")
    changes: dict[str, Any] = {}
    if held.budget_cost is not None:
        changes |= {"budget_cost": F("budget_cost") + amount, "carved_cost": F("carved_cost") + amount}
    if held.budget_tokens is not None:
        changes |= {"budget_tokens": F("budget_tokens") + tokens, "carved_tokens": F("carved_tokens") + tokens}
    if parent is not None and not _is_told(held):
        _set_aside(
            parent,
            cost=amount if held.carved_cost is not None else 0,
            tokens=tokens if held.carved_tokens is not None else 0,
        )
    Run.objects.filter(pk=held.id).update(**changes)
    runs.note("budget.topped_up", held, {"cost": str(amount), "tokens": tokens, "by": by, "reason": reason})
    _unmark(held)
    if held.state == RunState.PARKED and held.waiting == Waiting.BUDGET:
        return runs.resume(held, by=by, reason=reason or "topped up")
    return Run.objects.get(pk=held.id)


def reopen(run: Run | uuid.UUID | str) -> Run:
    """Hold a run that is to go on after its failure; for a child, undo what its parent was told of its end.

    What the parent had booked of it is taken out again, and the child's budget set aside once more.
    """
    parent, held = _hold(run)
    if parent is None or held.state != RunState.FAILED:
        return held
    if not _is_told(held):
        _news(held).delete()
        return held
    # An overdraft stays covered: a child that spent more than its budget gets no less than that.
    limits = {
        limit: max(carved, spent)
        for limit, carved, spent in (
            ("cost", held.carved_cost, held.spent_cost),
            ("tokens", held.carved_tokens, held.spent_tokens),
        )
        if carved is not None
    }
    _set_aside(
        parent,
        cost=limits.get("cost", 0) - held.reserved_cost,
        tokens=limits.get("tokens", 0) - held.reserved_tokens,
        unbooked=held,
    )
    Run.objects.filter(pk=held.id).update(
        **{f"{kind}_{limit}": value for limit, value in limits.items() for kind in ("budget", "carved")}
    )
    Signal.objects.filter(pk=held.id).delete()
    return Run.objects.get(pk=held.id)


def _hold(run: Run | uuid.UUID | str) -> tuple[Run | None, Run]:
    """Hold a run, and before it the one that it is a child of."""
    found = runs.get(run)
    parent = runs.hold(found.parent_run_id) if found.parent_run_id is not None else None
    return parent, runs.hold(found)


def _is_told(child: Run) -> bool:
    """Tell whether the parent has heard of a child's end: what was carved has gone back."""
    is_performed = Step.objects.filter(run_id=child.id, state=StepState.RUNNING).exists()
    return child.state in ENDED and not is_performed and not _news(child).exists()


def _news(child: Run) -> QuerySet[Errand]:
    """Return the errand that will tell a child's parent of its end."""
    return Errand.objects.filter(kind="child", payload__run=str(child.id)).exclude(payload__has_key="late")


def _set_aside(parent: Run, *, cost: Decimal | int, tokens: Decimal | int, unbooked: Run | None = None) -> None:
    """Reserve more of a parent's budget for a child, and take out again what was booked of it, all the way up."""
    spent_cost = parent.spent_cost - (unbooked.spent_cost if unbooked else 0)
    spent_tokens = parent.spent_tokens - (unbooked.spent_tokens if unbooked else 0)
    if _is_short(parent.budget_cost, spent_cost + parent.reserved_cost + cost) or _is_short(
        parent.budget_tokens, spent_tokens + parent.reserved_tokens + tokens
    ):
        raise BudgetTooSmall(
            f"the parent run {parent.id} has not that much left for its child; top up the parent first"
        )
    Run.objects.filter(pk=parent.id).update(
        spent_cost=spent_cost,
        spent_tokens=spent_tokens,
        reserved_cost=F("reserved_cost") + cost,
        reserved_tokens=F("reserved_tokens") + tokens,
    )
    booked = (-unbooked.spent_cost, -unbooked.spent_tokens) if unbooked else (0, 0)
    ledger.ask_in_transaction("SELECT execution_pass_on_v1(%s, %s, %s, %s, %s)", [parent.id, *booked, -cost, -tokens])


def _is_short(limit: Decimal | int | None, wanted: Decimal | int) -> bool:
    return limit is not None and wanted > limit


def _unmark(run: Run) -> None:
    """A step that was refused and has not parked yet finds its mark changed, and does not park."""
    marked = Step.objects.select_for_update(no_key=True).filter(run_id=run.id, state="running", waiting="budget")
    found = list(marked.order_by("id").values_list("id", flat=True))
    Step.objects.filter(pk__in=found).update(waiting=Waiting.CAPACITY)
