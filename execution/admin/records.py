"""Assessments, verdicts, their lineage and what holds them: nothing here is ever changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.models import Action, Assessment, AssessmentKind, RecordHold, RecordParent, Verdict

_LINKED_MOST = 50


class RecordAdmin(PlainAdmin):
    """What the pages of both have in common."""

    by_id = ["id"]
    by_word = ["kind", "subject"]
    search_help_text = "A record's id; or, among the newest 100,000, a kind, or a subject such as agent:scout."
    unlisted = ["data"]

    @admin.display(description="age")
    def age(self, record: Any) -> str:
        return shown.age(record.created_at)

    @admin.display(description="rests on")
    def shown_parents(self, record: Any) -> str | SafeString:
        return _links(record.parents)

    @admin.display(description="is what these rest on")
    def shown_children(self, record: Any) -> str | SafeString:
        found = RecordParent.objects.filter(parent_id=record.id).order_by("-record_id")
        return _links(list(found.values_list("record_id", flat=True)[:_LINKED_MOST]))

    @admin.display(description="data")
    def shown_data(self, record: Any) -> SafeString:
        return shown.data(record.data)


@admin.register(Assessment)
class AssessmentAdmin(RecordAdmin):
    list_display = ["kind", "subject", "age", "producer"]
    list_filter = [among("kind", "kind", AssessmentKind.choices)]
    fields = [
        "id", "kind", "subject", "producer", "created_at", "window_start_at", "window_end_at", "shown_parents",
        "shown_children", "shown_data",
    ]  # fmt: skip


@admin.register(Verdict)
class VerdictAdmin(RecordAdmin):
    list_display = ["kind", "subject", "action", "confidence", "age", "producer", "said"]
    list_filter = [among("action", "action", Action.choices)]
    fields = [
        "id", "kind", "subject", "action", "confidence", "reasoning", "producer", "model", "prompt_version", "cost",
        "created_at", "shown_run", "shown_step", "shown_agent", "outcome_of", "outcome", "shown_parents",
        "shown_children", "shown_data",
    ]  # fmt: skip

    @admin.display(description="reasoning")
    def said(self, verdict: Verdict) -> str:
        return words.one_line(verdict.reasoning, 80) or shown.EMPTY

    @admin.display(description="run")
    def shown_run(self, verdict: Verdict) -> str:
        return shown.link("run", verdict.run_id)

    @admin.display(description="step")
    def shown_step(self, verdict: Verdict) -> str:
        return shown.link("step", verdict.step_id)

    @admin.display(description="agent")
    def shown_agent(self, verdict: Verdict) -> str:
        return shown.link("agent", verdict.agent_id)


@admin.register(RecordParent)
class RecordParentAdmin(PlainAdmin):
    list_display = ["id", "record_id", "parent_id"]
    by_id = ["record_id", "parent_id"]
    search_help_text = "The id of one of the two records."
    fields = ["record_id", "parent_id"]


@admin.register(RecordHold)
class RecordHoldAdmin(PlainAdmin):
    list_display = ["name", "record_id", "since"]
    by_id = ["record_id"]
    by_name = ["name"]
    search_help_text = "A record's id, or the name of a case such as incident:42."
    fields = ["name", "record_id", "created_at"]

    @admin.display(description="since")
    def since(self, hold: RecordHold) -> str:
        return shown.age(hold.created_at)


def _links(keys: list[Any]) -> str | SafeString:
    """Show links to records of either kind."""
    verdicts = set(Verdict.objects.filter(pk__in=keys).values_list("id", flat=True))
    links = ((shown.link("verdict" if key in verdicts else "assessment", key, str(key)),) for key in keys)
    return format_html_join(", ", "{}", links) or shown.EMPTY
