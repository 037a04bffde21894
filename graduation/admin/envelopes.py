"""Envelopes: every change that an evaluation made, with its decisions; proposed and reverted by an operator."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from execution import tunables, words
from execution.admin import shown
from execution.admin.lists import among
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import ReasonForm, action
from execution.exceptions import CeleriacError
from graduation import envelopes
from graduation.models import Envelope, EnvelopeState, Importance

STATES = {
    EnvelopeState.DECLARED: "It is written down; nothing is changed yet.",
    EnvelopeState.VALIDATED: "It is sound, and applied by the next pass.",
    EnvelopeState.ACTIVE: "It is in force. When its time is over, what held before is put back by itself.",
    EnvelopeState.REJECTED: "It was not let in: nothing was changed.",
    EnvelopeState.EXPIRED: "Its time was over: what held before was put back.",
    EnvelopeState.REVERTED: "It was ended early: what held before was put back.",
}
_PROPOSING = "One tunable is changed within bounds and for a time; then what held before is put back by itself."


class ProposeForm(ReasonForm):
    """A bounded change of one tunable for a time."""

    tunable = forms.ChoiceField()
    subject = forms.CharField(required=False, label="For", help_text="One skill or key; empty: all.")
    value = forms.CharField(max_length=50, help_text="What holds while it lasts.")
    timebox = forms.CharField(initial="1h", max_length=20, label="For how long", help_text="Such as 15m or 2h.")
    importance = forms.ChoiceField(
        label="Class",
        initial="reliability",
        choices=[(one, one) for one in Importance.labels],
        help_text="One of a higher class takes the place of one of a lower.",
    )
    within = forms.FloatField(
        required=False, initial=50, label="Within percent", help_text="At most so far from what holds now."
    )
    least = forms.FloatField(required=False, label="Floor", help_text="It may never be less.")
    most = forms.FloatField(required=False, label="Ceiling", help_text="It may never be more.")
    field_order = ("tunable", "subject", "value", "timebox", "importance", "within", "least", "most", "reason")

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.fields["tunable"].choices = [(name, name) for name in sorted(tunables.KNOWN)]  # type: ignore[attr-defined]


@admin.register(Envelope)
class EnvelopeAdmin(ToldAdmin):
    list_display = ["tunable", "shown_subject", "change", "kind", "shown_state", "ends", "by", "shown_reason"]
    list_filter = [among("state", "state", EnvelopeState.choices)]
    by_id = ["pk"]
    by_name = ["tunable"]
    search_help_text = "An envelope's id, or the name of a tunable."
    change_form_template = "admin/graduation/envelope.html"
    stored = [
        "tunable", "subject", "importance", "value", "most_percent", "least", "most", "seconds", "baseline", "was_set",
        "state", "reason", "by", "verdict_id", "created_at", "applied_at", "until", "ended_at", "ended_by",
        "ended_reason",
    ]  # fmt: skip
    main = ["revert"]
    actions = [
        action(
            "revert", envelopes.revert, done="reverted", permission="operate", noun="envelope", label="Revert it now",
            tells="What held before is put back at once; it never lives a second time.",
        )
    ]  # fmt: skip

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("graduation.operate_envelope")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Propose an envelope by its verb; the coordinator's refusal is told in its own words."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ProposeForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                made = _proposed(form.cleaned_data, by=request.user.get_username())
            except CeleriacError as error:
                form.add_error(None, str(error))
            else:
                self.log_addition(request, made, f"Proposed: {made.reason}")
                self.message_user(request, f"{made} is in force.", messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:graduation_envelope_change", args=[made.pk]))
        context = {**self.admin_site.each_context(request), "opts": self.opts, "form": form, "tells": _PROPOSING}
        return TemplateResponse(
            request, "admin/room/form.html", {**context, "title": "Propose an envelope", "button": "Apply it"}
        )  # fmt: skip

    def possible(self, row: Envelope) -> list[str]:
        return ["revert"] if row.state == EnvelopeState.ACTIVE else []

    def parts(self, request: HttpRequest, row: Envelope) -> dict[str, Any]:
        return {
            "shown_state": shown.state(row.state),
            "state_said": STATES[EnvelopeState(row.state)],
            "did": _did(row),
            "left": _left(row),
            "facts": _facts(row),
            "decisions": [
                {"at": shown.age(one.at), "what": one.decision, "by": one.by, "reason": one.reason}
                for one in row.decisions.all()[:100]
            ],
        }

    @admin.display(description="for")
    def shown_subject(self, envelope: Envelope) -> str:
        return envelope.subject or "all"

    @admin.display(description="what it changed")
    def change(self, envelope: Envelope) -> str:
        before = "?" if envelope.baseline is None else f"{envelope.baseline:g}"
        return f"{before} → {envelope.value:g}"

    @admin.display(description="state")
    def shown_state(self, envelope: Envelope) -> str:
        return shown.state(envelope.state)

    @admin.display(description="class")
    def kind(self, envelope: Envelope) -> str:
        return str(Importance(envelope.importance).label)

    @admin.display(description="until")
    def ends(self, envelope: Envelope) -> str:
        return shown.age(envelope.ended_at or envelope.until)

    @admin.display(description="reason")
    def shown_reason(self, envelope: Envelope) -> str:
        return words.one_line(envelope.reason, 80) or shown.EMPTY


def _proposed(given: dict[str, Any], *, by: str) -> Envelope:
    bounds = envelopes.Bounds(most_percent=given["within"], least=given["least"], most=given["most"])
    wishes = {name: given[name] for name in ("subject", "importance", "timebox", "reason")}
    return envelopes.propose(given["tunable"], _number(given["value"]), bounds=bounds, by=by, **wishes)


def _number(given: str) -> float | str:
    """Return what was typed as a number where it is one; what else it may be the tunable's declaration knows."""
    try:
        return float(given)
    except ValueError:
        return given


def _did(row: Envelope) -> str:
    whom = f" of {row.subject}" if row.subject else ""
    if row.baseline is None:
        return f"It wants {row.tunable}{whom} at {row.value:g}."
    return f"{row.tunable}{whom} goes from {row.baseline:g} to {row.value:g}."


def _left(row: Envelope) -> dict[str, Any] | None:
    """Return how much of its time is left, as a share and in words."""
    if row.state != EnvelopeState.ACTIVE or row.until is None:
        return None
    left = max((row.until - timezone.now()).total_seconds(), 0)
    percent = f"{min(left / row.seconds, 1) * 100:.0f}"
    return {"text": f"{words.length(left)} of {words.length(row.seconds)} left", "percent": percent}


def _facts(row: Envelope) -> list[tuple[str, Any]]:
    bounds = [
        f"at most {row.most_percent:g} % from what held" if row.most_percent is not None else "",
        f"never below {row.least:g}" if row.least is not None else "",
        f"never above {row.most:g}" if row.most is not None else "",
    ]
    found = [
        ("asked for by", row.by),
        ("why", row.reason),
        ("bounds", ", ".join(one for one in bounds if one)),
        ("class", Importance(row.importance).label),
        ("asked for", shown.age(row.created_at)),
        ("judgment", shown.link("verdict", row.verdict_id) if row.verdict_id else ""),
        ("ended by", f"{row.ended_by}: {row.ended_reason}" if row.ended_by else ""),
    ]
    return [(name, value) for name, value in found if value]
