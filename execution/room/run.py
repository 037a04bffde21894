"""A run's page: what it does, what it waits for and who can move it, its graph, its times, and what it has recorded.

Each part is bounded and goes by an index, so that a run of a hundred thousand steps opens as one of three does.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.urls import reverse

from execution import conf, why, words
from execution.admin import shown
from execution.models import (
    UNFINISHED,
    Attempt,
    Effect,
    EffectState,
    Event,
    Run,
    RunState,
    Signal,
    Step,
    StepState,
)
from execution.models.agents import agent_name
from execution.room import graph, timeline, wholes
from execution.room.asking import asks
from execution.room.doing import buttons
from execution.room.runverbs import VERBS

STEPS_MOST = 100
EVENTS_MOST = 50
EFFECTS_MOST = 50
SIGNALS_MOST = 50
CHILDREN_MOST = 50
CHECKPOINTS_COUNTED = 100_000
_TOLD = frozenset({"attempt", "worker", "workflow"})
_TELLING = (
    StepState.FAILED, StepState.PARKED, StepState.RUNNING, StepState.WAITING, StepState.READY, StepState.BLOCKED,
    StepState.CANCELLED, StepState.SKIPPED, StepState.COMPLETED,
)  # fmt: skip
"""The order in which the steps of a large run are worth a look."""


def parts(run: Run, user: Any) -> dict[str, Any]:
    """Return what a run's page shows."""
    steps = graph.steps_of(run)
    listed = _worth_a_look(steps)
    ids = [step.id for step in listed]
    names = {step.id: step.name for step in steps}
    explanation = why.explain(run)
    waiting = [reason.step_id for reason in explanation.reasons if reason.step_id]
    intended = _effects([*ids, *waiting])
    logged = _events(run)
    names |= _further_names(names, [event.step_id for event in logged])
    return {
        "run": run,
        "head": head(run, explanation.at),
        "explanation": explanation,
        "asks": asks(run, explanation, intended, user),
        "buttons": buttons(run, VERBS, user),
        "picture": graph.picture(run, steps) if run.step_count > 1 else None,
        "timeline": timeline.of(run, steps, explanation.at),
        "steps": _steps(listed),
        "more_steps": max(0, run.step_count - len(listed)),
        "checkpoints": [_checkpoints(row, names) for row in checkpoint_counts(ids)],
        "effects": [_effect(effect, names) for effect in intended],
        "signals": [_signal(signal, names) for signal in _signals(run)],
        "children": _children(ids),
        "events": [_event(event, names) for event in logged],
        "values": _values(run, steps),
        "refresh_seconds": 0 if run.is_ended else 3 if len(steps) <= STEPS_MOST else 10,
    }


def head(run: Run, now: datetime) -> dict[str, Any]:
    """Return what stands at the top: state, agent, times, money."""
    return {
        "state": shown.state(run.state),
        "agent": shown.link("agent", run.agent_id, agent_name(run)),
        "opened": shown.age(run.created_at, until=now),
        "took": shown.lasted(run.started_at, run.ended_at),
        "ended": shown.age(run.ended_at, until=now),
        "deadline": shown.age(run.deadline_at, until=now),
        "spends": _spends(run),
        "links": _links(run),
        "facts": _facts(run),
    }


def _spends(run: Run) -> list[dict[str, Any]]:
    """Return what was spent of each budget, as bars; without a budget, as a figure alone."""
    money = _spend("money", run.spent_cost, run.reserved_cost, run.budget_cost, words.money)
    tokens = _spend("tokens", run.spent_tokens, run.reserved_tokens, run.budget_tokens, lambda count: f"{count:,}")
    return [one for one in (money, tokens) if one is not None]


def _spend(name: str, spent: Any, reserved: Any, budget: Any, say: Any) -> dict[str, Any] | None:
    if not spent and not reserved and budget is None:
        return None
    whole = Decimal(budget or 0)
    share = min(100, round(100 * Decimal(spent) / whole, 1)) if whole else (100 if spent and budget is not None else 0)
    return {
        "name": name,
        "text": f"{say(spent)} of {say(budget)}" if budget is not None else f"{say(spent)}, without a limit",
        "reserved": f"{say(reserved)} set aside" if reserved else "",
        "share": share if budget is not None else None,
        "is_over": budget is not None and spent >= budget,
    }


def _links(run: Run) -> list[tuple[str, str]]:
    """Return where more is told of a run."""
    found = [
        ("Provenance", f"{reverse('admin:execution_provenance_changelist')}?q={run.id}"),
        ("All events", f"{reverse('admin:execution_event_changelist')}?q={run.id}"),
    ]
    template = conf.current().logs_url
    return [("Logs", template.replace("{run}", str(run.id))), *found] if template else found


def _facts(run: Run) -> list[tuple[str, Any]]:
    """Return the facts that few ask for."""
    given = [
        ("id", str(run.id)),
        ("key", run.key),
        ("correlation id", run.correlation_id),
        ("tags", ", ".join(run.tags)),
        ("priority", run.priority or None),
        ("session", run.session_id and shown.link("session", run.session_id)),
        ("parent run", run.parent_run_id and shown.link("run", run.parent_run_id)),
        ("root run", run.root_run_id and shown.link("run", run.root_run_id)),
        ("forked from", run.forked_from_id and shown.link("run", run.forked_from_id)),
        ("set aside by its parent", shown.spent(run.carved_cost or Decimal(0), run.carved_tokens or 0, None, None)),
        ("starts", run.start_at and words.moment(run.start_at)),
        ("opened", words.moment(run.created_at)),
        ("started", run.started_at and words.moment(run.started_at)),
        ("ended", run.ended_at and words.moment(run.ended_at)),
        ("steps", f"{run.step_count:,}"),
    ]
    return [(name, value) for name, value in given if value not in (None, "", shown.EMPTY)]


def _worth_a_look(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that are listed: in their order; of many, those first that failed or have not ended."""
    if len(steps) <= STEPS_MOST:
        return list(steps)
    place = {state: number for number, state in enumerate(_TELLING)}
    return sorted(steps, key=lambda step: (place[StepState(step.state)], step.position))[:STEPS_MOST]


def _steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    ids = [step.id for step in steps]
    attempts = [step.attempt_id for step in steps if step.attempt_id]
    numbers = Attempt.objects.filter(pk__in=attempts).numbers() if attempts else {}
    errors = dict(Step.objects.filter(pk__in=ids, error__isnull=False).values_list("id", "error"))
    now = why.clock()
    return [
        {
            "link": shown.link("step", step.id, step.name),
            "skill": step.skill,
            "state": shown.state(step.state),
            "waiting": why.in_short(step, now) if step.state in UNFINISHED and step.state != "running" else "",
            "since": shown.age(step.changed_at, until=now),
            "attempt": numbers.get(step.attempt_id, 0) if step.attempt_id else 0,
            "queue": step.queue,
            "error": shown.error(errors[step.id]) if step.id in errors else "",
        }
        for step in steps
    ]


def _checkpoints(row: tuple[uuid.UUID, int, int], names: dict[uuid.UUID, str]) -> dict[str, Any]:
    step_id, count, size = row
    return {
        "step_id": step_id,
        "step": names[step_id],
        "count": f"{count:,}" if count < CHECKPOINTS_COUNTED else f"{CHECKPOINTS_COUNTED:,} or more",
        "size": words.size(size),
        "mean": words.size(size / count),
    }


def checkpoint_counts(step_ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, int, int]]:
    """Return how many checkpoints each step has and their bytes, counted up to a bound."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.id, c.count, c.size FROM unnest(%s::uuid[]) WITH ORDINALITY AS s(id, place) CROSS JOIN LATERAL "
            "(SELECT count(*) AS count, coalesce(sum(x.size), 0) AS size FROM (SELECT size FROM execution_checkpoint c "
            "WHERE c.step_id = s.id LIMIT %s) x) c WHERE c.count > 0 ORDER BY s.place",
            [step_ids, CHECKPOINTS_COUNTED],
        )
        return [(row[0], int(row[1]), int(row[2])) for row in cursor.fetchall()]


def _effects(step_ids: Sequence[uuid.UUID]) -> list[Effect]:
    rows = Effect.objects.filter(step_id__in=step_ids).defer("intent", "receipt")
    return list(rows.order_by("-intended_at", "-id")[:EFFECTS_MOST])


def _effect(effect: Effect, names: dict[uuid.UUID, str]) -> dict[str, Any]:
    return {
        "link": shown.link("effect", effect.id, why.shown_token(effect.token)),
        "state": shown.state(effect.state),
        "is_unknown": effect.state == EffectState.INTENDED,
        "step": names.get(effect.step_id, ""),
        "key": effect.key,
        "intended": shown.age(effect.intended_at),
        "decided_by": effect.decided_by,
    }


def _signals(run: Run) -> list[Signal]:
    return list(Signal.objects.filter(run_id=run.id).defer("data").order_by("-id")[:SIGNALS_MOST])


def _signal(signal: Signal, names: dict[uuid.UUID, str]) -> dict[str, Any]:
    return {
        "link": shown.link("signal", signal.id, signal.name),
        "sender": signal.sender,
        "came": shown.age(signal.created_at),
        "taken": f"by {names.get(signal.consumed_by, 'a step')}" if signal.consumed_by else "kept until a step asks",
    }


def _children(step_ids: list[uuid.UUID]) -> list[dict[str, Any]]:
    rows = Run.objects.filter(parent_step_id__in=step_ids).defer("input", "error").order_by("id")[:CHILDREN_MOST]
    return [
        {
            "link": shown.link("run", child.id, f"{child.workflow} {shown.short(child.id)}"),
            "state": shown.state(child.state),
            "opened": shown.age(child.created_at),
            "took": shown.lasted(child.started_at, child.ended_at),
        }
        for child in rows
    ]


def _events(run: Run) -> list[Event]:
    return list(Event.objects.filter(run_id=run.id).order_by("-id")[:EVENTS_MOST])


def _further_names(known: dict[uuid.UUID, str], wanted: Sequence[uuid.UUID | None]) -> dict[uuid.UUID, str]:
    """Return the names of entries of lists, which are no steps of the graph."""
    missing = {step_id for step_id in wanted if step_id is not None and step_id not in known}
    return dict(Step.objects.filter(pk__in=missing).values_list("id", "name")) if missing else {}


def _event(event: Event, names: dict[uuid.UUID, str]) -> dict[str, Any]:
    return {
        "link": shown.link("event", event.id, event.kind),
        "at": shown.age(event.at),
        "step": names.get(event.step_id, "") if event.step_id else "",
        "data": shown.facts(event.data, but=_TOLD),
    }


def _values(run: Run, steps: Sequence[Step]) -> list[tuple[str, Any]]:
    """Return what went in, what came out, and what went wrong."""
    found = [("Input", wholes.value("run-input", run))]
    if run.state == RunState.COMPLETED and steps:
        last = Step.objects.filter(run_id=run.id, state="completed").order_by("-position", "-ended_at").first()
        found += [("Result", wholes.value("step-output", last))] if last else []
    if run.error:
        found.append(("Error", shown.failure(run.error)))
    return found
