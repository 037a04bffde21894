"""Handlings: one event in one handler, and the questions that handlers ask."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.reasons import ReasonForm, action
from recovery import handling
from recovery.models import Handling, HandlingState


class AnswerForm(ReasonForm):
    """What a handler is answered, and why."""

    answer = forms.CharField(max_length=4000, help_text="The handler is called again with it.")
    field_order = ("answer", "reason")


def _answer(row: Handling, *, answer: str, **who: Any) -> None:
    handling.resolve(row, answer, **who)


@admin.register(Handling)
class HandlingAdmin(PlainAdmin):
    list_display = ["shown_id", "handler", "kind", "shown_state", "try_count", "due", "ended", "question", "error"]
    list_filter = [among("state", "state", HandlingState.choices)]
    by_id = ["id", "event_id"]
    by_word = ["handler"]
    unlisted = ["event", "answers"]
    search_help_text = "An id of a handling or an event; or, among the newest 100,000, a handler."
    fields = [
        "handler", "kind", "event_id", "shown_state", "try_count", "due_at", "lease_until", "question", "shown_answers",
        "answered_by", "last_error", "created_at", "ended_at", "shown_event",
    ]  # fmt: skip
    actions = [
        action("answer", _answer, done="answered", permission="answer", noun="question", form_class=AnswerForm),
    ]

    def has_answer_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.answer_handling")

    @admin.display(description="handling")
    def shown_id(self, row: Handling) -> str:
        return shown.short(row.pk)

    @admin.display(description="state")
    def shown_state(self, row: Handling) -> SafeString:
        return shown.state(row.state)

    @admin.display(description="due")
    def due(self, row: Handling) -> str:
        return shown.age(row.due_at) if row.state == HandlingState.PENDING else shown.EMPTY

    @admin.display(description="ended")
    def ended(self, row: Handling) -> str:
        return shown.age(row.ended_at)

    @admin.display(description="error")
    def error(self, row: Handling) -> str:
        return words.one_line(row.last_error.strip().rpartition("\n")[2], 120)

    @admin.display(description="event")
    def shown_event(self, row: Handling) -> SafeString:
        return shown.data(row.event)

    @admin.display(description="answers")
    def shown_answers(self, row: Handling) -> SafeString:
        return shown.data(row.answers)
