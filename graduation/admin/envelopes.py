"""Envelopes: every change that an evaluation made, with its decisions; an operator reverts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.reasons import action
from graduation import envelopes
from graduation.models import Envelope, EnvelopeDecision, EnvelopeState, Importance

if TYPE_CHECKING:
    _Inline = admin.TabularInline[EnvelopeDecision, Envelope]
else:
    _Inline = admin.TabularInline


class DecisionInline(_Inline):
    model = EnvelopeDecision
    fields = ["at", "decision", "reason", "by"]
    readonly_fields = ["at", "decision", "reason", "by"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Envelope)
class EnvelopeAdmin(PlainAdmin):
    list_display = ["tunable", "subject", "value", "baseline", "kind", "state", "ends", "by", "reason"]
    list_filter = [among("state", "state", EnvelopeState.choices)]
    by_id = ["pk"]
    by_name = ["tunable"]
    search_help_text = "An envelope's id, or the name of a tunable."
    inlines = [DecisionInline]
    actions = [action("revert", envelopes.revert, done="reverted", permission="operate", noun="envelope")]

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("graduation.operate_envelope")

    @admin.display(description="class")
    def kind(self, envelope: Envelope) -> str:
        return str(Importance(envelope.importance).label)

    @admin.display(description="until")
    def ends(self, envelope: Envelope) -> str:
        return shown.age(envelope.ended_at or envelope.until)
