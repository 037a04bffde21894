"""Dead letters: what could not be worked off, and another life for it."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin, Rows
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
class DeadLetterAdmin(PlainAdmin):
    list_display = ["shown_id", "queue", "shown_state", "tries", "died", "shown_reason", "replayed_by"]
    list_filter = [WaitingFilter]
    by_id = ["id"]
    by_name = ["original_id"]
    unlisted = ["body"]
    search_help_text = "A letter's id, or the whole id of its original."
    fields = [
        "queue", "original_id", "shown_state", "tries", "died_at", "reason", "replayed_at", "replayed_by", "shown_body",
    ]  # fmt: skip
    actions = [
        action("replay", dead_letters.replay, done="replayed", permission="replay", noun="letter"),
        action("dismiss", dead_letters.dismiss, done="dismissed", permission="replay", noun="letter", is_grave=True),
    ]

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
