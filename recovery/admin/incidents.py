"""Incidents with their timelines, and the windows that they are about."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import ReasonForm, action
from recovery import incidents, remedies
from recovery.admin import spreading
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


class CommentForm(ReasonForm):
    """What somebody has to say about an incident."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.fields["reason"].label = "Comment"
        self.fields["reason"].help_text = "It becomes a line of the timeline, under your name."


def _comment(incident: Incident, *, by: str, reason: str) -> Any:
    return incidents.comment(incident, reason, by=by)


@admin.register(Incident)
class IncidentAdmin(ToldAdmin):
    list_display = ["title", "shown_state", "shown_severity", "opened", "lasted", "run"]
    list_filter = [CurrentFilter, among("state", "state", IncidentState.choices)]
    by_id = ["id", "run_id", "breach_id"]
    by_word = ["title", "services__contains"]
    search_help_text = "The id of an incident, its run or its breach; or, among the newest 100,000, a service."
    unlisted = ["summary", "cause"]
    change_form_template = "admin/recovery/incident.html"
    stored = [
        "title", "shown_state", "shown_severity", "shown_services", "summary", "cause", "run", "snapshot", "breach",
        "opened_at", "ended_at", "ended_by",
    ]  # fmt: skip
    readonly_fields = ["shown_state", "shown_severity", "shown_services", "run", "snapshot", "breach"]
    main = ["approve"]
    actions = [
        action(
            "approve", incidents.approve, done="approved", permission="answer", noun="incident",
            tells="What is planned is done at once, in your name; then it is watched whether it has helped.",
        ),
        action(
            "refuse", incidents.refuse, done="refused", permission="answer", noun="incident",
            tells="Nothing is done by the program: a person goes on.",
        ),
        action(
            "close", incidents.close, done="closed", permission="answer", noun="incident", is_grave=True,
            tells="It ends as it is: what its run still does is cancelled.",
        ),
        action(
            "comment", _comment, done="commented on", permission="answer", noun="incident", form_class=CommentForm
        ),
    ]  # fmt: skip

    def has_answer_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.answer_incident")

    def possible(self, row: Incident) -> list[str]:
        verbs = ["approve", "refuse"] if incidents.waits_for(row) else []
        may_end = row.state in (IncidentState.OPEN, IncidentState.FAILED)
        return [*verbs, "comment", *(["close"] if may_end else [])]

    def parts(self, request: HttpRequest, row: Incident) -> dict[str, Any]:
        asked = incidents.waits_for(row)
        details = row.window.details if row.window else {}
        return {
            "state": shown.state(row.state),
            "severity": shown.state(row.severity),
            "lasted": shown.lasted(row.opened_at, row.ended_at),
            "opened": shown.age(row.opened_at),
            "plan": remedies.Plan.of(asked["plan"]) if asked else None,
            "timeline": [_entry(entry) for entry in row.entries.all()[:_ENTRIES_MOST]],
            "picture": spreading.picture(details.get("affected") or [{"node": one} for one in row.services]),
            "affected": [_affected(one) for one in details.get("affected", [])],
            "suspects": [_suspect(one) for one in details.get("suspects", [])],
            "failing": [_error(key, one) for key, one in list(details.get("errors", {}).items())[:10]],
            "links": _links(row),
        }

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


_MARKS = {
    "opened": "is-bad", "failed": "is-bad", "refused": "is-bad", "approved": "is-good", "resolved": "is-good",
    "remediated": "is-good", "closed": "is-good", "waits": "is-wait", "planned": "is-wait", "reopened": "is-bad",
}  # fmt: skip


def _links(row: Incident) -> list[Any]:
    found = (
        ("run", row.run_id, "The run that answers it"),
        ("assessment", row.snapshot_id, "What was seen"),
        ("verdict", row.breach_id, "The breach that opened it"),
    )
    return [shown.link(page, key, text) for page, key, text in found if key]


def _entry(entry: IncidentEntry) -> dict[str, Any]:
    return {
        "mark": _MARKS.get(entry.kind, ""),
        "at": shown.age(entry.at),
        "kind": entry.kind.replace("_", " "),
        "text": entry.text,
        "by": entry.by,
        "verdict": shown.link("verdict", entry.verdict_id, "verdict") if entry.verdict_id else "",
    }


def _affected(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "node": one["node"],
        "since": shown.age(parse_datetime(one["first_at"])) if one.get("first_at") else shown.EMPTY,
        "count": f"{one.get('count', 0):,}",
    }


def _suspect(one: dict[str, Any]) -> dict[str, Any]:
    about = {name: value for name, value in one.items() if name not in ("at", "kind", "nodes")}
    return {
        "at": shown.age(parse_datetime(one["at"])),
        "kind": one["kind"],
        "nodes": words.listed(one["nodes"], 3) or "everything",
        "about": shown.facts(about),
    }


def _error(key: str, one: dict[str, Any]) -> dict[str, Any]:
    skill, kind, *_ = [*key.split("|"), ""]
    return {"skill": skill, "kind": kind, "count": f"{one['count']:,}", "message": words.one_line(one["message"], 200)}


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
