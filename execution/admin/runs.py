"""Runs: the list, and one page that says what a run does, what it waits for and what it has recorded."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from execution import runs, why, words
from execution.admin import shown
from execution.admin.lists import AgentFilter, PlainAdmin, as_uuid
from execution.admin.reasons import action
from execution.models import Attempt, Event, Run, RunState, Signal, Step, Worker
from execution.models.agents import agent_name

STEPS_MOST = 100
ATTEMPTS_MOST = 50
EVENTS_MOST = 50
CHECKPOINTS_COUNTED = 100_000
_TOLD = frozenset({"attempt", "worker", "workflow"})

VERBS: dict[str, tuple[RunState, ...]] = {
    "pause": (RunState.PENDING, RunState.RUNNING, RunState.PARKED),
    "resume": (RunState.PAUSED, RunState.PARKED),
    "retry": (RunState.FAILED,),
    "cancel": (RunState.PENDING, RunState.RUNNING, RunState.PAUSED, RunState.PARKED),
}


def _by_id(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Hand a verb the run's id: it reads the run afresh, under its lock."""

    def called(run: Run, *, by: str, reason: str) -> Any:
        return verb(run.id, by=by, reason=reason)

    return called


@admin.register(Run)
class RunAdmin(PlainAdmin):
    list_display = [
        "shown_id",
        "workflow",
        "shown_state",
        "waiting",
        "shown_agent",
        "opened",
        "took",
        "spent",
        "shown_tags",
    ]
    list_filter = ["state", AgentFilter]
    by_id = ["id", "root_run_id"]
    by_name = ["correlation_id"]
    by_word = ["workflow", "key", "tags__contains"]
    unlisted = ["input", "error", "key_digest"]
    search_help_text = "A run's id, its correlation id; or, among the newest 100,000, its workflow, key or a tag."
    change_form_template = "admin/execution/run.html"
    fieldsets = [
        (None, {"fields": ["shown_full_id", "workflow", "version", "shown_state", "shown_agent", "shown_tags"]}),
        ("Times", {"fields": ["created_at", "start_at", "started_at", "ended_at", "took", "deadline_at"]}),
        ("Money and tokens", {"fields": ["spent", "reserved", "carved"]}),
        (
            "Where it comes from",
            {
                "fields": ["key", "correlation_id", "parent", "root", "forked_from", "priority", "step_count"],
                "classes": ["collapse"],
            },
        ),
        ("Input and result", {"fields": ["shown_input", "result", "shown_error"]}),
    ]
    actions = [
        action("pause", _by_id(runs.pause), done="paused", permission="operate"),
        action("resume", _by_id(runs.resume), done="resumed", permission="operate"),
        action("cancel", _by_id(runs.cancel), done="cancelled", permission="operate", is_grave=True),
        action("retry", _by_id(runs.retry), done="retried", permission="operate"),
    ]

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("execution.operate_run")

    @admin.display(description="run")
    def shown_id(self, run: Run) -> str:
        return shown.short(run.id)

    @admin.display(description="id")
    def shown_full_id(self, run: Run) -> str:
        return str(run.id)

    @admin.display(description="state")
    def shown_state(self, run: Run) -> SafeString:
        return shown.state(run.state)

    @admin.display(description="agent")
    def shown_agent(self, run: Run) -> str:
        return shown.link("agent", run.agent_id, agent_name(run))

    @admin.display(description="opened")
    def opened(self, run: Run) -> str:
        return shown.age(run.created_at)

    @admin.display(description="took")
    def took(self, run: Run) -> str:
        return shown.lasted(run.started_at, run.ended_at)

    @admin.display(description="spent")
    def spent(self, run: Run) -> str:
        return shown.spent(run.spent_cost, run.spent_tokens, run.budget_cost, run.budget_tokens)

    @admin.display(description="reserved")
    def reserved(self, run: Run) -> str:
        return shown.spent(run.reserved_cost, run.reserved_tokens, None, None)

    @admin.display(description="set aside by its parent")
    def carved(self, run: Run) -> str:
        return shown.spent(run.carved_cost or 0, run.carved_tokens or 0, None, None)  # type: ignore[arg-type]

    @admin.display(description="tags")
    def shown_tags(self, run: Run) -> str:
        return ", ".join(run.tags) or shown.EMPTY

    @admin.display(description="parent run")
    def parent(self, run: Run) -> str:
        return shown.link("run", run.parent_run_id)

    @admin.display(description="root run")
    def root(self, run: Run) -> str:
        return shown.link("run", run.root_run_id)

    @admin.display(description="forked from")
    def forked_from(self, run: Run) -> str:
        return shown.link("run", run.forked_from_id)

    @admin.display(description="input")
    def shown_input(self, run: Run) -> SafeString:
        return shown.value(run.input)

    @admin.display(description="error")
    def shown_error(self, run: Run) -> SafeString:
        return shown.failure(run.error)

    @admin.display(description="result")
    def result(self, run: Run) -> SafeString:
        if run.state != RunState.COMPLETED:
            return SafeString(shown.EMPTY)
        last = Step.objects.filter(run_id=run.id, state="completed").order_by("-position", "-ended_at").first()
        return shown.value(last.output if last else None)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # A join would leave out the runs whose agent is gone.
        return super().get_queryset(request).prefetch_related("agent")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Run | None:
        return self.get_queryset(request).filter(pk=as_uuid(object_id)).first()

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        run: Run = context["original"]
        context |= parts(run)
        if self.has_operate_permission(request):
            context["verbs"] = [verb for verb, states in VERBS.items() if run.state in states]
        return super().render_change_form(request, context, *args, **kwargs)


def parts(run: Run) -> dict[str, Any]:
    """Return what a run's page shows below its fields: each part bounded, each by an index."""
    steps = list(
        Step.objects.filter(run_id=run.id)
        .defer("input", "output", "canvas", "options")
        .order_by("position", "id")[:STEPS_MOST]
    )
    ids = [step.id for step in steps]
    attempts = list(Attempt.objects.filter(step_id__in=ids).order_by("-started_at")[:ATTEMPTS_MOST])
    workers = dict(
        Worker.objects.filter(pk__in={attempt.worker_id for attempt in attempts}).values_list("id", "hostname")
    )
    names = {step.id: step.name for step in steps}
    numbers = Attempt.objects.filter(
        pk__in=[*(one.id for one in attempts), *(one.attempt_id for one in steps)]
    ).numbers()
    return {
        "explanation": why.explain(run),
        "steps": [_step(step, numbers) for step in steps],
        "more_steps": max(0, run.step_count - len(steps)),
        "attempts": [_attempt(attempt, names, workers, numbers) for attempt in attempts],
        "checkpoints": [_checkpoints(row, names) for row in checkpoint_counts(ids)],
        "events": [_event(event, names) for event in Event.objects.filter(run_id=run.id).order_by("-id")[:EVENTS_MOST]],
        "signals": list(Signal.objects.filter(run_id=run.id, consumed_at=None).order_by("id")[:20]),
        "children": list(Run.objects.filter(parent_step_id__in=ids).defer("input").order_by("id")[:50] if ids else []),
    }


def _step(step: Step, numbers: dict[uuid.UUID, int]) -> dict[str, Any]:
    return {
        "link": shown.link("step", step.id, step.name),
        "skill": step.skill,
        "state": shown.state(step.state),
        "waiting": step.waiting,
        "since": shown.age(step.changed_at),
        "attempt": numbers.get(step.attempt_id, 0) if step.attempt_id else 0,
        "queue": step.queue,
        "error": shown.error(step.error),
    }


def _attempt(
    attempt: Attempt, names: dict[uuid.UUID, str], workers: dict[uuid.UUID, str], numbers: dict[uuid.UUID, int]
) -> dict[str, Any]:
    return {
        "link": shown.link("attempt", attempt.id, str(numbers[attempt.id])),
        "step": names.get(attempt.step_id, ""),
        "worker": shown.link("worker", attempt.worker_id, workers.get(attempt.worker_id, "")),
        "started": shown.age(attempt.started_at),
        "took": shown.lasted(attempt.started_at, attempt.ended_at),
        "ending": shown.state(attempt.ending or "running"),
        "spent": shown.spent(attempt.cost, attempt.tokens, None, None),
        "error": shown.error(attempt.error),
    }


def _checkpoints(row: tuple[uuid.UUID, int, int], names: dict[uuid.UUID, str]) -> dict[str, Any]:
    step_id, count, size = row
    return {
        "step_id": step_id,
        "step": names[step_id],
        "count": f"{count:,}" if count < CHECKPOINTS_COUNTED else f"{CHECKPOINTS_COUNTED:,} or more",
        "size": words.size(size),
        "mean": words.size(size / count),
    }


def _event(event: Event, names: dict[uuid.UUID, str]) -> dict[str, Any]:
    return {
        "link": shown.link("event", event.id, event.kind),
        "at": shown.age(event.at),
        "step": names.get(event.step_id, "") if event.step_id else "",
        "attempt": event.epoch or "",
        "data": shown.facts(event.data, but=_TOLD),
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
