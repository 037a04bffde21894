"""Patterns: known kinds of failures, those first that burnt most, and what people say of them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution.admin import reasons, shown
from execution.admin.lists import PlainAdmin
from recovery import patterns
from recovery.models import FailurePattern


@admin.register(FailurePattern)
class FailurePatternAdmin(PlainAdmin):
    list_display = ["name", "state", "category", "mode", "suggested_mode", "cost", "count", "last_seen"]
    list_filter = ["state", "category", "mode"]
    ordering = ("-cost", "-count", "-pk")  # type: ignore[assignment]
    by_word = ["name__icontains", "template__icontains", "skill"]
    search_help_text = "A pattern's name, words of it, or a skill."
    unlisted = ["examples", "template"]
    actions = ["confirm", "reject"]
    fields = [
        "name", "state", "category", "mode", "suggested_mode", "error_type", "skill", "template", "count", "cost",
        "versions", "first_seen_at", "last_seen_at", "confirmed_count", "confirmed_at", "changed_by", "reason",
        "fingerprint", "fingerprint_version", "shown_examples",
    ]  # fmt: skip
    confirm = reasons.action("confirm", patterns.confirm, done="confirmed", permission="judge", noun="pattern")
    reject = reasons.action(
        "reject", patterns.reject, done="rejected", permission="judge", noun="pattern", is_grave=True
    )

    def has_judge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.judge_pattern")

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
