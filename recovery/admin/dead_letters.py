"""Dead letters: what could not be worked off, and another life for it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.lists import Rows
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import action
from recovery import dead_letters
from recovery.models import DeadLetter


class WaitingFilter(admin.SimpleListFilter):
    """Those that nobody has looked after, which is what one comes for; or all."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[DeadLetter]) -> list[tuple[str, str]]:
        return [("waiting", "waiting")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return queryset.filter(replayed_at=None) if self.value() == "waiting" else queryset


@admin.register(DeadLetter)
class DeadLetterAdmin(ToldAdmin):
    list_display = ["shown_id", "queue", "shown_state", "tries", "died", "shown_reason", "replayed_by"]
    list_filter = [WaitingFilter]
    by_id = ["id"]
    by_name = ["original_id"]
    unlisted = ["body"]
    search_help_text = "A letter's id, or the whole id of its original."
    change_form_template = "admin/recovery/dead_letter.html"
    stored = [
        "queue", "original_id", "shown_state", "tries", "died_at", "reason", "replayed_at", "replayed_by", "shown_body",
    ]  # fmt: skip
    readonly_fields = ["shown_state", "shown_body"]
    main = ["replay"]
    actions = [
        action(
            "replay", dead_letters.replay, done="replayed", permission="replay", noun="letter",
            label="Give it another life",
            tells="It is worked off once more, from the first try on.",
        ),
        action(
            "dismiss", dead_letters.dismiss, done="dismissed", permission="replay", noun="letter", is_grave=True,
            label="Put it aside", tells="It stays to be read, and is worked off no more.",
        ),
    ]  # fmt: skip

    def possible(self, row: DeadLetter) -> list[str]:
        return ["replay", "dismiss"] if row.replayed_at is None else []

    def parts(self, request: HttpRequest, row: DeadLetter) -> dict[str, Any]:
        return {
            "state": self.shown_state(row),
            "died": shown.age(row.died_at),
            "replayed": shown.age(row.replayed_at) if row.replayed_at else "",
            "reason": shown.pre(row.reason),
            "body": shown.data(row.body),
        }

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.replay_deadletter")

    @admin.display(description="letter")
    def shown_id(self, letter: DeadLetter) -> str:
        return shown.short(letter.pk)

    @admin.display(description="state")
    def shown_state(self, letter: DeadLetter) -> SafeString:
        return shown.state(
            "waiting" if letter.replayed_at is None else "dismissed" if letter.is_dismissed else "replayed"
        )

    @admin.display(description="died")
    def died(self, letter: DeadLetter) -> str:
        return shown.age(letter.died_at)

    @admin.display(description="reason")
    def shown_reason(self, letter: DeadLetter) -> str:
        return words.one_line(letter.reason.strip().rpartition("\n")[2], 120)

    @admin.display(description="body")
    def shown_body(self, letter: DeadLetter) -> SafeString:
        return shown.data(letter.body)
