"""Graduation: where each agent and the whole system stand; whoever opens a timeline is noted as having looked."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import among
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import action
from execution.exceptions import NotAllowed
from graduation import evaluator
from graduation.models import GraduationHistory, GraduationStatus, Status

_SHOWN = 50


STATUSES = {
    Status.ALPHA: "Nothing is shown yet: nothing is applied without a person.",
    Status.BETA: "What was recovered held: recoveries may be applied alone.",
    Status.CANDIDATE: "And little was regretted: policies may be applied alone.",
    Status.COMPLETE: "And a person has looked: work may be routed alone.",
    Status.DEGRADED: "A gate was lost: everything that was earned is locked again.",
}


def _evaluate(row: GraduationStatus, *, by: str, reason: str) -> Any:
    del by, reason
    return evaluator.evaluate(row.agent)


@admin.register(GraduationStatus)
class GraduationStatusAdmin(ToldAdmin):
    list_display = ["subject", "shown_status", "gates_that_hold", "reviewed_by", "reviewed", "since"]
    list_filter = [among("status", "status", Status.choices)]
    list_select_related = ["agent"]
    by_name = ["subject__icontains"]
    search_help_text = "A part of an agent's name."
    change_form_template = "admin/graduation/status.html"
    stored = ["subject", "shown_status", "former_status", "reviewed_by", "reviewed", "since"]
    readonly_fields = ["shown_status", "reviewed", "since"]
    actions = [
        action(
            "evaluate", _evaluate, done="evaluated", permission="evaluate", noun="status", label="Evaluate now",
            tells="Where it stands is found out now instead of within a quarter of an hour.",
        )
    ]  # fmt: skip

    def has_evaluate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("execution.change_agent")

    def possible(self, row: GraduationStatus) -> list[str]:
        return ["evaluate"]

    def parts(self, request: HttpRequest, row: GraduationStatus) -> dict[str, Any]:
        rows = GraduationHistory.objects.filter(subject=row.subject).order_by("-id")[:_SHOWN]
        return {
            "status": shown.state(row.status),
            "status_said": STATUSES[Status(row.status)],
            "agent": shown.link("agent", row.agent_id, row.agent.name) if row.agent else "the whole system",
            "gates": row.gates or [],
            "timeline": [_line(one) for one in rows],
            "looked": f"{row.reviewed_by} has looked" if row.reviewed_at else "",
            "looked_at": shown.age(row.reviewed_at),
        }

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

    @admin.display(description="reviewed")
    def reviewed(self, row: GraduationStatus) -> str:
        return shown.age(row.reviewed_at)

    @admin.display(description="since")
    def since(self, row: GraduationStatus) -> str:
        return shown.age(row.changed_at)


def _line(row: GraduationHistory) -> dict[str, Any]:
    is_better = row.after not in {row.before, Status.DEGRADED}
    return {
        "mark": "is-bad" if row.after == Status.DEGRADED else "is-good" if is_better else "",
        "what": row.after if row.before == row.after else f"{row.before} → {row.after}",
        "at": shown.age(row.at),
        "gates": "; ".join(gate["text"] for gate in row.gates),
    }


def _note_review(row: GraduationStatus, request: HttpRequest) -> None:
    """Note it of who may; another's look is no review."""
    try:
        evaluator.review(row.agent, person=request.user)
    except NotAllowed:
        return
