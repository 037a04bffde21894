"""Objectives: what is to be reached and where it stands; files declare them, a person may disable and enable them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from execution import words
from execution.admin import drawn, shown
from execution.admin.lists import PlainAdmin, newest
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import action, back
from execution.exceptions import NotPossible
from graduation import objectives
from graduation.models import Bucket, DriftState, GateCall, Objective, ObjectiveState, Standing
from graduation.observe import buckets, burn, calendars, gate
from graduation.observe import standing as observed

STANDINGS = {
    Standing.HEALTHY: "Less than half of what may go wrong has gone wrong.",
    Standing.WARNING: "Half of what may go wrong has gone wrong.",
    Standing.CRITICAL: "Four fifths of what may go wrong have gone wrong.",
    Standing.EXHAUSTED: "All that may go wrong has gone wrong: the objective is not kept.",
    Standing.NO_DATA: "Nothing was counted in its period: that is not the same as well.",
    Standing.ERROR: "It could not be counted.",
}
_BINS = 60
_CALLS_MOST = 10


def _enable(row: Objective, *, by: str, reason: str) -> Any:
    return objectives.enable(row.pk, by=by, reason=reason)


def _disable(row: Objective, *, by: str, reason: str) -> Any:
    return objectives.disable(row.pk, by=by, reason=reason)


def _remove(row: Objective, *, by: str, reason: str) -> Any:
    return objectives.remove(row.pk, by=by, reason=reason)


def _ask(row: Objective, *, by: str, reason: str) -> gate.Answer:
    del reason
    if not row.service:
        raise NotPossible(f"{row.pk} belongs to no service: the gate is asked about services")
    return gate.ask(row.service, by=by)


def _tell_answer(page: Any, request: HttpRequest, results: list[tuple[Any, Any]]) -> HttpResponse | None:
    for row, found in results:
        level = messages.SUCCESS if found.exit_code == 0 else messages.WARNING
        page.message_user(request, f"The gate says of {row.service}: {found.answer}, {found.reason}.", level)
    return back(request)


@admin.register(Objective)
class ObjectiveAdmin(ToldAdmin):
    list_display = ["name", "service", "subject", "shown_target", "standing", "left", "known", "enabled"]
    list_filter = ["origin", "is_enabled"]
    list_select_related = ["state"]
    ordering = ("name",)
    by_name = ["name__icontains", "service__icontains", "subject__icontains"]
    search_help_text = "A part of an objective's name, its service's, or its subject's."
    unlisted = ["document"]
    change_form_template = "admin/graduation/objective.html"
    stored = [
        "name", "subject", "service", "origin", "indicator", "target", "period_days", "calendar", "slices",
        "description", "document", "is_enabled", "created_at", "changed_at", "changed_by",
    ]  # fmt: skip
    actions = [
        action(
            "enable", _enable, done="enabled", permission="govern", noun="objective",
            tells="It is counted from now on and decides; of the time in which it was not, nothing is known.",
        ),
        action(
            "disable", _disable, done="disabled", permission="govern", noun="objective",
            tells="It is counted no longer, and decides nothing.",
        ),
        action(
            "ask", _ask, done="asked about", permission="gate", noun="objective", label="Ask the gate",
            then=_tell_answer, tells="May its service be deployed now? The answer is kept with what it rests on.",
        ),
        action(
            "remove", _remove, done="removed", permission="govern", noun="objective", is_grave=True,
            then=lambda *_: None, tells="It goes with its counts; its assessments and verdicts stay.",
        ),
    ]  # fmt: skip

    def has_govern_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("graduation.govern_objective")

    def has_gate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("graduation.govern_gate")

    def possible(self, row: Objective) -> list[str]:
        return [*(["ask"] if row.service else []), "disable" if row.is_enabled else "enable", "remove"]

    def parts(self, request: HttpRequest, row: Objective) -> dict[str, Any]:
        now, state = timezone.now(), observed.state_of(row)
        reading = observed.read(row, now)
        freezes = gate.frozen().filter(service__in=("", row.service))[:_CALLS_MOST]
        calls = newest(GateCall.objects.filter(service=row.service)).order_by("-pk")[:_CALLS_MOST]
        freeze_url = f"{reverse('admin:graduation_freeze_add')}?service={quote(row.service)}"
        return {
            "standing": shown.state(str(state.standing)),
            "standing_said": STANDINGS[Standing(state.standing)],
            "state": state,
            "known": shown.age(state.data_at),
            "aim": _aim(row),
            "figures": _figures(row, state),
            "chart": _burn_chart(row, now),
            "burns": [_burn(one) for one in reading.burns],
            "calls": [_call(one) for one in calls],
            "freezes": [
                {"text": str(one), "by": one.by, "reason": one.reason, "until": shown.age(one.until)} for one in freezes
            ],
            "freeze_url": freeze_url if row.service and self.has_gate_permission(request) else "",
            "breach": shown.link("verdict", state.breach_id, "the breach") if state.breach_id else "",
        }

    @admin.display(description="target")
    def shown_target(self, objective: Objective) -> str:
        return f"{objective.target * 100:.5g}%"

    @admin.display(description="standing")
    def standing(self, objective: Objective) -> Any:
        state = getattr(objective, "state", None)
        return shown.state(str(state.standing) if state else Standing.NO_DATA)

    @admin.display(description="budget left")
    def left(self, objective: Objective) -> Any:
        state = getattr(objective, "state", None)
        if state is None or state.consumed is None:
            return shown.EMPTY
        return drawn.share(max(1 - state.consumed, 0), "How much of what may go wrong has not gone wrong yet.")

    @admin.display(description="known until")
    def known(self, objective: Objective) -> Any:
        state = getattr(objective, "state", None)
        return shown.age(state.data_at) if state else shown.EMPTY

    @admin.display(description="counted")
    def enabled(self, objective: Objective) -> str:
        return shown.yes(objective.is_enabled)


def _aim(row: Objective) -> str:
    good = f"{row.target * 100:.5g}% of what {row.subject} does is good, over {row.period_days:g} days"
    return f"{row.description.rstrip('.')}. " * bool(row.description) + f"The aim: {good}."


def _figures(row: Objective, state: ObjectiveState) -> list[dict[str, Any]]:
    left = "-" if state.consumed is None else f"{max(1 - state.consumed, 0):.1%}"
    bad = state.total - state.good
    allowed = state.total * (1 - row.target)
    return [
        {"value": left, "text": "of the budget left", "title": "What may still go wrong in this period."},
        {"value": f"{bad:,}", "text": "went wrong", "title": "Bad events in this period."},
        {"value": f"{allowed:,.1f}", "text": "may go wrong", "title": "Of as many events as there were."},
        {"value": f"{state.total:,}", "text": "counted", "title": "All events in this period."},
    ]


def _burn_chart(row: Objective, now: datetime) -> dict[str, str]:
    """Return how fast the budget was burnt over the period, and how much of it was left, as a chart."""
    start = max(calendars.start_of(row, now), now - timedelta(days=row.period_days))
    step = (now - start) / _BINS
    starts = [start + number * step for number in range(_BINS)]
    found = {one.start_at: one.counts for one in buckets.spans(row, starts, until=now)}
    if not found:
        return {}
    total = sum(counts.total for counts in found.values())
    budget, bad = total * (1 - row.target), 0
    rates: list[float | None] = []
    left: list[float | None] = []
    for at in starts:
        counts = found.get(at)
        bad += counts.bad if counts else 0
        rate = burn.consumed(counts, row.target) if counts else None
        rates.append(None if rate is None else round(rate, 3))
        left.append(round(max(1 - bad / budget, 0) * 100, 2) if budget else None)
    said = (
        f"How fast the budget was burnt in each {words.length(step)}: 1 uses it up in just one period. "
        "Where nothing was counted there is no point."
    )
    rows = [
        drawn.series("burn rate", rates, "bad", spanGaps=True),
        drawn.level("1: just enough", 1, _BINS),
        drawn.series("budget left, %", left, "good", yAxisID="left"),
    ]
    labels = [timezone.localtime(at).strftime("%d %b %H:%M") for at in starts]
    return drawn.chart("line", labels, rows, said, right="left")


def _burn(one: burn.Burn) -> dict[str, Any]:
    pair = one.pair
    return {
        "windows": f"{words.length(pair.long)} and {words.length(pair.short)}",
        "long": _rate(one.long_rate),
        "short": _rate(one.short_rate),
        "most": f"{pair.rate:g}",
        "urgency": "somebody is called" if pair.urgency == "page" else "somebody looks at it by day",
        "is_alarming": one.is_alarming,
    }


def _rate(rate: float | None) -> str:
    return "nothing counted" if rate is None else f"{rate:.2f}"


def _call(one: GateCall) -> dict[str, Any]:
    return {
        "url": reverse("admin:graduation_gatecall_change", args=[one.pk]),
        "answer": shown.state(one.answer),
        "commit": one.commit[:12],
        "by": one.by,
        "at": shown.age(one.at),
        "why": shown.link("assessment", one.assessment_id, "why") if one.assessment_id else "",
    }


@admin.register(ObjectiveState)
class ObjectiveStateAdmin(PlainAdmin):
    list_display = ["objective_id", "standing", "consumed", "good", "total", "burning", "is_breached", "collected_at"]
    list_filter = ["standing", "is_breached"]
    ordering = ("objective_id",)
    by_name = ["objective__name__icontains"]


@admin.register(Bucket)
class BucketAdmin(PlainAdmin):
    list_display = ["objective_id", "minute", "good", "total", "value"]
    by_name = ["objective_id"]
    search_help_text = "The whole name of an objective."


@admin.register(DriftState)
class DriftStateAdmin(PlainAdmin):
    list_display = ["objective_id", "window", "severity", "seen_until", "changed_at"]
    list_filter = ["severity"]
    by_name = ["objective_id"]
    unlisted = ["state"]
    exclude = ["state"]
