"""Attempts: each claim of a step, and how it ended."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.models import Attempt, Ending


@admin.register(Attempt)
class AttemptAdmin(PlainAdmin):
    list_display = ["shown_id", "shown_step", "epoch", "shown_ending", "started", "took", "spent", "worker", "pid"]
    list_filter = [among("ending", "ending", [*Ending.choices])]
    by_id = ["id", "step_id"]
    unlisted = ["error"]
    search_help_text = "An attempt's or step's id."
    fields = [
        "shown_step", "run", "epoch", "version", "worker", "pid", "started_at", "touched_at", "ended_at", "took",
        "shown_ending", "alone", "spent", "shown_error",
    ]  # fmt: skip

    @admin.display(description="attempt")
    def shown_id(self, attempt: Attempt) -> str:
        return shown.short(attempt.id)

    @admin.display(description="step")
    def shown_step(self, attempt: Attempt) -> str:
        return shown.link("step", attempt.step_id)

    @admin.display(description="run")
    def run(self, attempt: Attempt) -> str:
        return shown.link("run", attempt.run_id)

    @admin.display(description="worker")
    def worker(self, attempt: Attempt) -> str:
        return shown.link("worker", attempt.worker_id)

    @admin.display(description="ending")
    def shown_ending(self, attempt: Attempt) -> SafeString:
        return shown.state(attempt.ending or "running")

    @admin.display(description="started")
    def started(self, attempt: Attempt) -> str:
        return shown.age(attempt.started_at)

    @admin.display(description="took")
    def took(self, attempt: Attempt) -> str:
        return shown.lasted(attempt.started_at, attempt.ended_at)

    @admin.display(description="spent")
    def spent(self, attempt: Attempt) -> str:
        return shown.spent(attempt.cost, attempt.tokens, None, None)

    @admin.display(description="retried alone")
    def alone(self, attempt: Attempt) -> str:
        return shown.yes(attempt.is_alone)

    @admin.display(description="error")
    def shown_error(self, attempt: Attempt) -> SafeString:
        return shown.failure(attempt.error)
