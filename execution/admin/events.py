"""The log, newest first."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Event


@admin.register(Event)
class EventAdmin(PlainAdmin):
    list_display = ["kind", "age", "run", "step", "epoch", "summary"]
    by_id = ["id", "run_id"]
    by_word = ["kind"]
    search_help_text = "An event's or run's id; or, among the newest 100,000, a kind such as step.failed."
    fields = ["id", "kind", "at", "run", "step", "agent", "epoch", "xid", "shown_data"]

    @admin.display(description="age")
    def age(self, event: Event) -> str:
        return shown.age(event.at)

    @admin.display(description="run")
    def run(self, event: Event) -> str:
        return shown.link("run", event.run_id)

    @admin.display(description="step")
    def step(self, event: Event) -> str:
        return shown.link("step", event.step_id)

    @admin.display(description="agent")
    def agent(self, event: Event) -> str:
        return shown.link("agent", event.agent_id)

    @admin.display(description="data")
    def summary(self, event: Event) -> str:
        return shown.facts(event.data, most=120)

    @admin.display(description="data")
    def shown_data(self, event: Event) -> SafeString:
        return shown.data(event.data, is_ours=True)
