"""Workers, as their keepers report them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin, Rows
from execution.models import Worker

SILENT = timedelta(seconds=10)


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
    list_display = ["hostname", "shown_state", "slots", "shown_queues", "pool", "pid", "seen", "up"]
    list_filter = [AliveFilter]
    by_id = ["id"]
    by_name = ["hostname__icontains"]
    search_help_text = "A worker's id, or a part of its name."
    fields = [
        "id", "hostname", "pid", "pool", "shown_queues", "slots", "shown_state", "started_at", "seen_at", "gone_at",
        "holds_lock", "lock_number", "missing_since", "missing_count",
    ]  # fmt: skip

    @admin.display(description="state")
    def shown_state(self, worker: Worker) -> SafeString:
        if worker.gone_at:
            return shown.state("gone")
        if worker.seen_at < timezone.now() - SILENT:
            return shown.state("silent")
        return shown.state("draining" if worker.is_draining else "alive")

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
