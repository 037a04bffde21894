"""Workers, as their keepers report them, with what each performs now."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from execution import why, words, workers
from execution.admin import shown
from execution.admin.lists import PlainAdmin, Rows
from execution.models import Attempt, Step, Worker

NAMED = 3


class AliveFilter(admin.SimpleListFilter):
    """Whether a worker is gone."""

    title = "alive"
    parameter_name = "alive"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "alive"), ("no", "gone")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        chosen = self.value()
        return queryset.filter(gone_at__isnull=chosen == "yes") if chosen else queryset


@admin.register(Worker)
class WorkerAdmin(PlainAdmin):
    list_display = ["hostname", "shown_state", "performs", "slots", "shown_queues", "pool", "pid", "seen", "up"]
    list_filter = [AliveFilter]
    by_id = ["id"]
    by_name = ["hostname__icontains"]
    search_help_text = "A worker's id, or a part of its name."
    change_form_template = "admin/execution/worker.html"
    fields = [
        "id", "hostname", "pid", "pool", "shown_queues", "slots", "shown_state", "started_at", "seen_at", "gone_at",
        "holds_lock", "lock_number", "missing_since", "missing_count",
    ]  # fmt: skip

    def prepare(self, rows: list[Any]) -> None:
        found, now = workers.performed(row.id for row in rows if row.gone_at is None), why.clock()
        for row in rows:
            row.performed, row.state = found.get(row.id, []), workers.state_of(row, now)

    @admin.display(description="state")
    def shown_state(self, worker: Any) -> SafeString:
        return shown.state(worker.state)

    @admin.display(description="performs")
    def performs(self, worker: Any) -> str:
        if not worker.performed:
            return shown.EMPTY
        first = [(shown.link("run", step.run_id, step.name),) for step in worker.performed[:NAMED]]
        more = len(worker.performed) - NAMED
        return format_html("{}{}", format_html_join(", ", "{}", first), f" and {more:,} more" if more > 0 else "")

    @admin.display(description="free slots")
    def slots(self, worker: Worker) -> str:
        return f"{worker.free_count} of {worker.slot_count}"

    @admin.display(description="queues")
    def shown_queues(self, worker: Worker) -> str:
        return ", ".join(worker.queues) or shown.EMPTY

    @admin.display(description="seen")
    def seen(self, worker: Worker) -> str:
        return shown.age(worker.seen_at)

    @admin.display(description="up for")
    def up(self, worker: Worker) -> str:
        return shown.lasted(worker.started_at, worker.gone_at or worker.seen_at)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        worker = context["original"]
        self.prepare([worker])
        steps = worker.performed
        now = why.clock()
        numbers = Attempt.objects.filter(pk__in=[step.attempt_id for step in steps if step.attempt_id]).numbers()
        context |= {"title": worker.hostname, "performed": [_performed(step, numbers, now) for step in steps]}
        return super().render_change_form(request, context, *args, **kwargs)


def _performed(step: Step, numbers: dict[uuid.UUID, int], now: datetime) -> dict[str, Any]:
    return {
        "step": shown.link("step", step.id, step.name),
        "run": shown.link("run", step.run_id),
        "skill": step.skill,
        "attempt": numbers.get(step.attempt_id, "") if step.attempt_id else "",
        "since": shown.age(step.changed_at, until=now),
        "lease": f"for {words.length(step.lease_until - now)} more"
        if step.lease_until and step.lease_until > now
        else "run out",
    }
