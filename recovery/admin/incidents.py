"""Incidents with their timelines, and the windows that they are about."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.reasons import action
from recovery import incidents, remedies
from recovery.models import Incident, IncidentEntry, IncidentState, Occurrence, Severity, Window

_ENTRIES_MOST = 500


class CurrentFilter(admin.SimpleListFilter):
    """The working set, unless all are asked for."""

    title = "when"
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("current", "open, or ended within a day")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.current() if self.value() == "current" else queryset


@admin.register(Incident)
class IncidentAdmin(PlainAdmin):
    list_display = ["title", "shown_state", "shown_severity", "opened", "lasted", "run"]
    list_filter = [CurrentFilter, among("state", "state", IncidentState.choices)]
    by_id = ["id", "run_id", "breach_id"]
    by_word = ["title", "services__contains"]
    search_help_text = "The id of an incident, its run or its breach; or, among the newest 100,000, a service."
    unlisted = ["summary", "cause"]
    change_form_template = "admin/recovery/incident.html"
    fields = [
        "title", "shown_state", "shown_severity", "shown_services", "summary", "cause", "run", "snapshot", "breach",
        "opened_at", "ended_at", "ended_by",
    ]  # fmt: skip
    actions = [
        action("approve", incidents.approve, done="approved", permission="answer", noun="incident"),
        action("refuse", incidents.refuse, done="refused", permission="answer", noun="incident"),
        action("close", incidents.close, done="closed", permission="answer", noun="incident", is_grave=True),
        action(
            "comment", lambda incident, *, by, reason: incidents.comment(incident, reason, by=by),
            done="commented on", permission="answer", noun="incident",
        ),
    ]  # fmt: skip

    def has_answer_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.answer_incident")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the timeline, what is waited for, and what may be done about it."""
        incident = self.get_object(request, object_id)
        more = _page(incident, may_answer=self.has_answer_permission(request)) if incident is not None else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})

    @admin.display(description="state")
    def shown_state(self, incident: Incident) -> SafeString:
        return shown.state(incident.state)

    @admin.display(description="severity")
    def shown_severity(self, incident: Incident) -> SafeString:
        return shown.state(incident.severity)

    @admin.display(description="affected")
    def shown_services(self, incident: Incident) -> str:
        return words.listed(incident.services, 20) or shown.EMPTY

    @admin.display(description="opened")
    def opened(self, incident: Incident) -> str:
        return shown.age(incident.opened_at)

    @admin.display(description="lasted")
    def lasted(self, incident: Incident) -> str:
        return shown.lasted(incident.opened_at, incident.ended_at)

    @admin.display(description="run")
    def run(self, incident: Incident) -> str:
        return shown.link("run", incident.run_id)

    @admin.display(description="snapshot")
    def snapshot(self, incident: Incident) -> str:
        return shown.link("assessment", incident.snapshot_id)

    @admin.display(description="breach")
    def breach(self, incident: Incident) -> str:
        return shown.link("verdict", incident.breach_id)


def _page(incident: Incident, *, may_answer: bool) -> dict[str, Any]:
    entries = incident.entries.all()[:_ENTRIES_MOST]
    asked = incidents.waits_for(incident)
    verbs = ["approve", "refuse"] if asked else []
    verbs += ["close"] if incident.state in (IncidentState.OPEN, IncidentState.FAILED) else []
    return {
        "timeline": [
            {
                "at": shown.age(entry.at),
                "kind": entry.kind,
                "text": entry.text,
                "by": entry.by,
                "verdict": shown.link("verdict", entry.verdict_id),
            }
            for entry in entries
        ],
        "plan": remedies.Plan.of(asked["plan"]) if asked else None,
        "verbs": [*verbs, "comment"] if may_answer else [],
    }


@admin.register(IncidentEntry)
class IncidentEntryAdmin(PlainAdmin):
    list_display = ["said", "kind", "incident", "made", "by", "verdict"]
    list_select_related = ["incident"]
    by_id = ["id", "incident_id", "verdict_id"]
    by_word = ["kind"]
    search_help_text = "The id of an entry, an incident or a verdict; or, among the newest 100,000, a kind."
    unlisted = ["data"]
    fields = ["incident", "kind", "text", "by", "at", "key", "verdict", "shown_data"]

    @admin.display(description="text")
    def said(self, entry: IncidentEntry) -> str:
        return words.one_line(entry.text, 100)

    @admin.display(description="when")
    def made(self, entry: IncidentEntry) -> str:
        return shown.age(entry.at)

    @admin.display(description="verdict")
    def verdict(self, entry: IncidentEntry) -> str:
        return shown.link("verdict", entry.verdict_id)

    @admin.display(description="data")
    def shown_data(self, entry: IncidentEntry) -> SafeString:
        return shown.data(entry.data)


@admin.register(Window)
class WindowAdmin(PlainAdmin):
    list_display = ["about", "shown_severity", "began", "lasted", "state", "snapshot"]
    list_filter = [among("severity", "severity", Severity.choices)]
    by_id = ["id", "snapshot_id"]
    by_word = ["services__contains"]
    search_help_text = (
        "The id of a window or its snapshot; or, among the newest 100,000, a node such as skill:mail.send."
    )
    unlisted = ["details", "verdicts"]
    fields = [
        "about", "shown_severity", "started_at", "last_at", "breach_at", "closed_at", "snapshot", "shown_counts",
        "shown_details",
    ]  # fmt: skip

    @admin.display(description="about")
    def about(self, window: Window) -> str:
        return words.listed(window.services, 3)

    @admin.display(description="severity")
    def shown_severity(self, window: Window) -> SafeString:
        return shown.state(window.severity)

    @admin.display(description="began")
    def began(self, window: Window) -> str:
        return shown.age(window.started_at)

    @admin.display(description="lasted")
    def lasted(self, window: Window) -> str:
        return shown.lasted(window.started_at, window.last_at)

    @admin.display(description="state")
    def state(self, window: Window) -> str:
        return "closed" if window.closed_at else "open"

    @admin.display(description="snapshot")
    def snapshot(self, window: Window) -> str:
        return shown.link("assessment", window.snapshot_id)

    @admin.display(description="events")
    def shown_counts(self, window: Window) -> SafeString:
        return shown.data(window.counts)

    @admin.display(description="details")
    def shown_details(self, window: Window) -> SafeString:
        return shown.data(window.details)


@admin.register(Occurrence)
class OccurrenceAdmin(PlainAdmin):
    list_display = ["shown_id", "kind", "about", "severity", "happened", "is_change", "is_folded"]
    by_id = ["id", "record_id", "run_id"]
    by_word = ["kind", "nodes__contains"]
    search_help_text = "The id of an event, a record or a run; or, among the newest 100,000, a kind or a node."
    unlisted = ["data"]
    fields = [
        "shown_event",
        "kind",
        "about",
        "severity",
        "at",
        "is_change",
        "is_folded",
        "record_id",
        "run",
        "shown_data",
    ]

    @admin.display(description="event")
    def shown_id(self, one: Occurrence) -> str:
        return shown.short(one.id)

    @admin.display(description="event")
    def shown_event(self, one: Occurrence) -> str | SafeString:
        return format_html("{}", one.id)

    @admin.display(description="about")
    def about(self, one: Occurrence) -> str:
        return words.listed(one.nodes, 4) or "everything"

    @admin.display(description="happened")
    def happened(self, one: Occurrence) -> str:
        return shown.age(one.at)

    @admin.display(description="run")
    def run(self, one: Occurrence) -> str:
        return shown.link("run", one.run_id)

    @admin.display(description="data")
    def shown_data(self, one: Occurrence) -> SafeString:
        return shown.data(one.data)
