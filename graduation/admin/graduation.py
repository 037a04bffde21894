"""Graduation: where each agent and the whole system stand; whoever opens a timeline is noted as having looked."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.exceptions import NotAllowed
from graduation import evaluator
from graduation.models import GraduationHistory, GraduationStatus, Status

_SHOWN = 50


@admin.register(GraduationStatus)
class GraduationStatusAdmin(PlainAdmin):
    list_display = ["subject", "shown_status", "gates_that_hold", "reviewed_by", "reviewed", "since"]
    list_filter = [among("status", "status", Status.choices)]
    list_select_related = ["agent"]
    by_name = ["subject__icontains"]
    search_help_text = "A part of an agent's name."
    fields = ["subject", "shown_status", "former_status", "shown_gates", "reviewed_by", "reviewed", "since", "timeline"]
    readonly_fields = ["shown_status", "shown_gates", "reviewed", "since", "timeline"]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a timeline, and note that this person has opened it."""
        answer = super().change_view(request, object_id, form_url, extra_context)
        row = self.get_object(request, object_id)
        if row is not None and answer.status_code == 200:
            _note_review(row, request)
        return answer

    @admin.display(description="status")
    def shown_status(self, row: GraduationStatus) -> SafeString:
        return shown.state(row.status)

    @admin.display(description="gates that hold")
    def gates_that_hold(self, row: GraduationStatus) -> str:
        return ", ".join(gate["name"] for gate in row.gates or [] if gate["holds"]) or shown.EMPTY

    @admin.display(description="gates")
    def shown_gates(self, row: GraduationStatus) -> SafeString:
        lines = [("holds" if one["holds"] else "open", one["name"], one["text"]) for one in row.gates or []]
        return format_html_join("", "<div>{}: {} ({})</div>", ((name, text, word) for word, name, text in lines))

    @admin.display(description="reviewed")
    def reviewed(self, row: GraduationStatus) -> str:
        return shown.age(row.reviewed_at)

    @admin.display(description="since")
    def since(self, row: GraduationStatus) -> str:
        return shown.age(row.changed_at)

    @admin.display(description="timeline")
    def timeline(self, row: GraduationStatus) -> SafeString:
        rows = list(GraduationHistory.objects.filter(subject=row.subject).order_by("-id")[:_SHOWN])
        return format_html_join("", "{}", ((_line(one),) for one in rows))


def _line(row: GraduationHistory) -> SafeString:
    what = row.after if row.before == row.after else f"{row.before} → {row.after}"
    gates = "; ".join(gate["text"] for gate in row.gates)
    return format_html("<div>{} {}: {}</div>", f"{row.at:%Y-%m-%d %H:%M:%S}", what, gates)


def _note_review(row: GraduationStatus, request: HttpRequest) -> None:
    """Note it of who may; another's look is no review."""
    try:
        evaluator.review(row.agent, person=request.user)
    except NotAllowed:
        return
