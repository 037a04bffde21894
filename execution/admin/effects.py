"""Effects: what was intended, and what came of it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.models import Effect, EffectState, Step, StepState
from execution.room.runverbs import OPERATE


@admin.register(Effect)
class EffectAdmin(PlainAdmin):
    list_display = [
        "shown_id",
        "token",
        "shown_state",
        "policy",
        "epoch",
        "intended",
        "ended",
        "decided_by",
        "shown_step",
    ]
    list_filter = [among("state", "state", EffectState.choices)]
    by_id = ["id", "step_id"]
    by_word = ["key", "token"]
    unlisted = ["intent", "receipt"]
    search_help_text = "An effect's or step's id; or, among the newest 100,000, its idempotency key or token."
    change_form_template = "admin/execution/effect.html"
    fields = [
        "shown_step", "token", "key", "shown_state", "policy", "epoch", "intended_at", "ended_at", "decided_by",
        "shown_intent", "shown_receipt",
    ]  # fmt: skip

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["decide_url"] = _decide_url(context["original"], request.user)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="effect")
    def shown_id(self, effect: Effect) -> str:
        return shown.short(effect.id)

    @admin.display(description="step")
    def shown_step(self, effect: Effect) -> str:
        return shown.link("step", effect.step_id)

    @admin.display(description="state")
    def shown_state(self, effect: Effect) -> SafeString:
        return shown.state(effect.state)

    @admin.display(description="intended")
    def intended(self, effect: Effect) -> str:
        return shown.age(effect.intended_at)

    @admin.display(description="ended")
    def ended(self, effect: Effect) -> str:
        return shown.age(effect.ended_at)

    @admin.display(description="intent")
    def shown_intent(self, effect: Effect) -> SafeString:
        return shown.value(effect.intent)

    @admin.display(description="receipt")
    def shown_receipt(self, effect: Effect) -> SafeString:
        return shown.value(effect.receipt)


def _decide_url(effect: Effect, user: Any) -> str:
    """Return where a person decides about it; nothing while it is performed, or for who may not."""
    step = Step.objects.filter(pk=effect.step_id).only("run_id", "state").first()
    is_open = effect.state == EffectState.INTENDED and step is not None and step.state == StepState.PARKED
    if step is None or not is_open or not user.has_perm(OPERATE):
        return ""
    return f"{reverse('admin:execution_run_do', args=[step.run_id, 'decide'])}?effect={effect.pk}"
