"""Failures: what was recognised, and what they have in common."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from execution import words
from execution.admin import reasons, shown
from execution.admin.lists import PlainAdmin, among
from execution.retries import KINDS
from recovery import patterns
from recovery.models import FailureMatch, FailureNight, FailureTemplate, How


@admin.register(FailureMatch)
class FailureAdmin(PlainAdmin):
    list_display = ["said", "skill", "ending", "error_kind", "is_final", "cost", "pattern", "sure", "age", "shown_run"]
    list_select_related = ["pattern", "template"]
    list_filter = [
        among("kind", "error_kind", [(kind, kind) for kind in KINDS]),
        among("matched by", "how", How.choices),
    ]
    by_id = ["id", "run_id", "attempt_id"]
    by_word = ["skill", "fingerprint", "error_type"]
    search_help_text = (
        "The id of a failure, run or attempt; or, among the newest 100,000, a skill, error type or fingerprint."
    )
    unlisted = ["message"]
    actions = ["confirm"]
    fields = [
        "id", "shown_run", "shown_step", "shown_attempt", "shown_agent", "skill", "version", "ending", "is_final",
        "error_kind", "error_type", "message", "template", "pattern", "how", "confidence", "cost", "tokens",
        "failed_at", "fingerprint", "fingerprint_version",
    ]  # fmt: skip
    confirm = reasons.action("confirm", patterns.confirm_match, done="confirmed", permission="judge", noun="match")

    def has_judge_permission(self, request: Any) -> bool:
        return bool(request.user.has_perm("recovery.judge_pattern"))

    @admin.display(description="failure")
    def said(self, failure: FailureMatch) -> str:
        said = failure.template.text if failure.template else ""
        return words.one_line(f"{failure.error_type.rpartition('.')[2] or failure.error_kind} {said}", 80)

    @admin.display(description="confidence")
    def sure(self, failure: FailureMatch) -> str:
        return f"{failure.confidence:.2f}" if failure.pattern_id else shown.EMPTY

    @admin.display(description="age")
    def age(self, failure: FailureMatch) -> str:
        return shown.age(failure.failed_at)

    @admin.display(description="run")
    def shown_run(self, failure: FailureMatch) -> str:
        return shown.link("run", failure.run_id)

    @admin.display(description="step")
    def shown_step(self, failure: FailureMatch) -> str:
        return shown.link("step", failure.step_id)

    @admin.display(description="attempt")
    def shown_attempt(self, failure: FailureMatch) -> str:
        return shown.link("attempt", failure.attempt_id)

    @admin.display(description="agent")
    def shown_agent(self, failure: FailureMatch) -> str:
        return shown.link("agent", failure.agent_id)


@admin.register(FailureTemplate)
class FailureTemplateAdmin(PlainAdmin):
    list_display = ["text", "count", "version", "into_id", "created_at"]
    fields = ["text", "count", "version", "digest", "into", "created_at"]


@admin.register(FailureNight)
class FailureNightAdmin(PlainAdmin):
    list_display = ["night", "proposed_count", "adopted_count", "created_at", "exported_at"]
    unlisted = ["lines"]
    fields = ["night", "proposed_count", "adopted_count", "created_at", "exported_at", "shown_lines"]

    @admin.display(description="lines")
    def shown_lines(self, night: FailureNight) -> Any:
        return shown.data(night.lines)
