"""Patterns: known kinds of failures, those first that burnt most, what they hit, and how all of one are recovered."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString

from execution import words
from execution.admin import drawn, reasons, shown
from execution.admin.pages import ToldAdmin
from recovery import affected, decisions, patterns, trends
from recovery.admin.recovering import recover
from recovery.models import Category, FailurePattern, Mode, PatternState

_CANDIDATES_MOST = 20
_HISTORY_MOST = 20
_COUNTED_MOST = 1000
MODES = {
    Mode.AUTOMATIC: "applied alone where the evidence allows it",
    Mode.ASK: "a person decides each",
    Mode.IGNORE: "nothing is proposed",
}
STATES = {
    PatternState.PROPOSED: "Proposed by the night's aggregation: say whether it is one kind of failure.",
    PatternState.CONFIRMED: "Confirmed: failures are matched with it.",
    PatternState.REJECTED: "Rejected: nothing is matched with it any more.",
}


class ConfirmForm(reasons.ReasonForm):
    """How failures of a pattern are answered from now on."""

    mode = forms.ChoiceField(
        required=False,
        label="Recoveries are",
        choices=[("", "as suggested"), *((mode.value, said) for mode, said in MODES.items())],
    )
    field_order = ("mode", "reason")


class ChangeForm(reasons.ReasonForm):
    """What of a pattern is changed; what stays empty stays as it is."""

    name = forms.CharField(required=False, max_length=200, help_text="Empty: as it is.")
    category = forms.ChoiceField(required=False, choices=[("", "as it is"), *Category.choices])
    mode = forms.ChoiceField(
        required=False, label="Recoveries are", choices=[("", "as it is"), *((m.value, s) for m, s in MODES.items())]
    )
    field_order = ("name", "category", "mode", "reason")


def _confirm(pattern: FailurePattern, *, by: str, reason: str, mode: str = "") -> None:
    patterns.confirm(pattern, by=by, reason=reason, mode=mode or None)


def _change(pattern: FailurePattern, *, by: str, reason: str, **wanted: str) -> None:
    patterns.change(pattern, by=by, reason=reason, **{name: value or None for name, value in wanted.items()})


@admin.register(FailurePattern)
class FailurePatternAdmin(ToldAdmin):
    list_display = [
        "name",
        "shown_state",
        "week",
        "shown_count",
        "shown_cost",
        "category",
        "answered",
        "last_seen",
    ]
    list_filter = ["state", "category", "mode"]
    ordering = ("-cost", "-count", "-pk")  # type: ignore[assignment]
    by_word = ["name__icontains", "template__icontains", "skill"]
    search_help_text = "A pattern's name, words of it, or a skill."
    unlisted = ["examples", "template"]
    change_form_template = "admin/recovery/pattern.html"
    stored = [
        "name", "state", "category", "mode", "suggested_mode", "error_type", "skill", "template", "count", "cost",
        "versions", "first_seen_at", "last_seen_at", "confirmed_count", "confirmed_at", "changed_by", "reason",
        "fingerprint", "fingerprint_version", "shown_examples",
    ]  # fmt: skip
    readonly_fields = ["shown_examples"]
    actions = [
        reasons.action(
            "confirm", _confirm, done="confirmed", permission="judge", noun="pattern", form_class=ConfirmForm,
            tells="Failures that look like this are one kind: further ones are matched with it and answered so.",
        ),
        reasons.action(
            "reject", patterns.reject, done="rejected", permission="judge", noun="pattern", is_grave=True,
            tells="It is matched no more and not proposed again.",
        ),
        reasons.action(
            "change", _change, done="changed", permission="judge", noun="pattern", form_class=ChangeForm,
            tells="Its name, what kind of trouble it is, or how its failures are answered.",
        ),
    ]  # fmt: skip

    def has_judge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.judge_pattern")

    def get_urls(self) -> list[URLPattern]:
        """Add the page that recovers all failed runs of a pattern."""
        view = self.admin_site.admin_view(lambda request, key: recover(self, request, key))
        return [path("<int:key>/recover/", view, name="recovery_failurepattern_recover"), *super().get_urls()]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Read the trends of one page of the list at once."""
        listed = super().get_changelist_instance(request)
        rows = list(listed.result_list)
        found = trends.of([row.pk for row in rows], bars=7, each=trends.DAY)
        for row in rows:
            row.week = found[row.pk]
        listed.result_list = rows
        return listed

    def possible(self, row: FailurePattern) -> list[str]:
        return ["change", "confirm"] if row.state == PatternState.REJECTED else _judgments(row)

    def parts(self, request: HttpRequest, row: FailurePattern) -> dict[str, Any]:
        hits = affected.by(row)
        waiting = len(decisions.waiting_under(row).values_list("pk")[: _COUNTED_MOST + 1])
        may = request.user.has_perm("recovery.decide_candidate")
        return {
            "lead": _lead(row),
            "state": shown.state(row.state),
            "state_said": STATES[PatternState(row.state)],
            "waiting": f"{_COUNTED_MOST:,} or more" if waiting > _COUNTED_MOST else waiting,
            "recover": reverse("admin:recovery_failurepattern_recover", args=[row.pk]) if may and waiting else "",
            "figures": _figures(row),
            "charts": _charts(row),
            "hits": hits,
            "services": affected.services([hit.name for hit in hits if hit.what == "skill"]),
            "remedies": [_remedy(one) for one in affected.remedies(row)],
            "states": [(shown.state(state), count) for state, count in affected.states(row).items()],
            "candidates": [_candidate(one) for one in row.candidates.order_by("-id")[:_CANDIDATES_MOST]],
            "examples": [_example(one) for one in row.examples],
            "history": history(row),
        }

    @admin.display(description="state")
    def shown_state(self, pattern: FailurePattern) -> SafeString:
        return shown.state(pattern.state)

    @admin.display(description="last 7 days")
    def week(self, pattern: Any) -> SafeString:
        return drawn.spark(pattern.week, trends.said(pattern.week, "day"))

    @admin.display(description="failures")
    def shown_count(self, pattern: FailurePattern) -> str:
        return f"{pattern.count:,}"

    @admin.display(description="burnt")
    def shown_cost(self, pattern: FailurePattern) -> str:
        return words.money(pattern.cost)

    @admin.display(description="recoveries are")
    def answered(self, pattern: FailurePattern) -> str:
        return MODES[Mode(pattern.mode)]

    @admin.display(description="last seen")
    def last_seen(self, pattern: FailurePattern) -> str:
        return shown.age(pattern.last_seen_at) if pattern.last_seen_at else shown.EMPTY

    @admin.display(description="examples")
    def shown_examples(self, pattern: FailurePattern) -> SafeString:
        return shown.data(pattern.examples)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search all patterns: they are few."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        found = queryset.filter(name__icontains=term) | queryset.filter(skill=term)
        return found | queryset.filter(template__icontains=term), False


def history(row: Any) -> list[dict[str, Any]]:
    """Return what persons did to a row here, the newest first."""
    kind = ContentType.objects.get_for_model(type(row))
    rows = LogEntry.objects.filter(content_type=kind, object_id=str(row.pk)).select_related("user")
    return [
        {"at": shown.age(one.action_time), "who": one.user.get_username(), "text": one.get_change_message()}
        for one in rows.order_by("-id")[:_HISTORY_MOST]
    ]


def _judgments(row: FailurePattern) -> list[str]:
    return ["confirm", "change", "reject"] if row.state == PatternState.PROPOSED else ["change", "confirm", "reject"]


def _lead(row: FailurePattern) -> str:
    what = row.error_type.rpartition(".")[2] or "A failure"
    where = f" in {row.skill}" if row.skill else " in any skill"
    return f"{what}{where}: {row.get_category_display()} trouble. Recoveries: {MODES[Mode(row.mode)]}."


def _figures(row: FailurePattern) -> list[dict[str, Any]]:
    return [
        {"value": f"{row.count:,}", "text": "failures", "title": "Every attempt that was matched with this pattern."},
        {"value": words.money(row.cost), "text": "burnt", "title": "What the failed attempts have cost in all."},
        {"value": shown.age(row.last_seen_at), "text": "since the last one", "title": "When it was seen last."},
        {
            "value": f"{row.confirmed_count:,}",
            "text": "times confirmed",
            "title": "How often a person said that a match was right: it makes further matches surer.",
        },
    ]


def _charts(row: FailurePattern) -> list[dict[str, str]]:
    day = trends.of([row.pk], bars=24, each=trends.HOUR)[row.pk]
    week = trends.of([row.pk], bars=7, each=trends.DAY)[row.pk]
    return [
        _chart(day, [f"{hour} h ago" if hour else "now" for hour in range(23, -1, -1)], trends.said(day, "hour")),
        _chart(week, [f"{ago} d ago" if ago else "today" for ago in range(6, -1, -1)], trends.said(week, "day")),
    ]


def _chart(counts: list[int], labels: list[str], said: str) -> dict[str, str]:
    return drawn.chart("bar", labels, [drawn.series("failures", counts, "bad", borderRadius=3)], said)


def _remedy(one: affected.Remedy) -> dict[str, Any]:
    title = f"Of many such failures it recovers at least this share, so says a bound at 95 % over {one.tried} tries."
    return {
        "action": one.action,
        "did": f"{one.recovered:,} of {one.tried:,}",
        "surely": drawn.share(one.surely, title),
        "note": "taken back to review: it had stopped helping" if one.is_taken_back else "",
    }


def _candidate(one: Any) -> dict[str, Any]:
    return {
        "url": reverse("admin:recovery_recoverycandidate_change", args=[one.pk]),
        "id": shown.short(one.pk),
        "state": shown.state(one.state),
        "run": shown.link("run", one.run_id),
        "action": one.action or "nothing fits",
        "age": shown.age(one.created_at),
        "text": words.one_line(one.outcome or one.needs, 120),
    }


def _example(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": shown.age(parse_datetime(one["failed_at"])),
        "run": shown.link("run", one["run"], shown.short(one["run"])[-12:]),
        "skill": one["skill"],
        "message": words.one_line(one["message"], 300),
    }
