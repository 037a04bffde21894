"""Effects: what was intended, and what came of it."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.models import Effect, EffectState


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
    fields = [
        "shown_step", "token", "key", "shown_state", "policy", "epoch", "intended_at", "ended_at", "decided_by",
        "shown_intent", "shown_receipt",
    ]  # fmt: skip

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
