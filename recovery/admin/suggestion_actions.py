"""Actions: what may be suggested, changed under a version that rises each time; and how each has done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.admin.reasons import action
from execution.exceptions import CeleriacError
from recovery import decisions, playbook
from recovery.models import ActionRecord, SuggestionAction
from recovery.weighing import is_taken_back, lower_bound

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[SuggestionAction]
else:
    _ModelForm = forms.ModelForm

_CHANGEABLE = [
    "verb", "parameters", "description", "error_kinds", "categories", "skills", "weight", "risk", "level",
    "is_automated", "needs_approval", "cooldown_seconds", "is_enabled",
]  # fmt: skip


def enable(row: SuggestionAction, *, by: str, reason: str) -> None:
    """Let an action be suggested."""
    playbook.enable(row.name, by=by, reason=reason)


def disable(row: SuggestionAction, *, by: str, reason: str) -> None:
    """Let an action be suggested no more."""
    playbook.disable(row.name, by=by, reason=reason)


def clear(record: ActionRecord, *, by: str, reason: str) -> None:
    """Let an action that was taken back be applied alone again."""
    decisions.clear(record.action, record.fingerprint, by=by, reason=reason)


class SuggestionActionForm(_ModelForm):
    """An action that its verb can do, as it was when the form was opened."""

    seen_version = forms.IntegerField(widget=forms.HiddenInput)
    reason = forms.CharField(required=False, max_length=1000, help_text="Why it is changed; it is kept in the log.")

    class Meta:
        model = SuggestionAction
        fields = _CHANGEABLE

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["seen_version"].initial = self.instance.version

    def clean(self) -> dict[str, Any]:
        """Refuse what the action's verb does not take, and what somebody else has changed meanwhile."""
        cleaned = super().clean() or {}
        about = {name: cleaned[name] for name in _CHANGEABLE if name in cleaned}
        try:
            playbook.check(SuggestionAction(name=self.instance.name, **about))
        except CeleriacError as error:
            raise ValidationError(str(error)) from error
        if cleaned.get("seen_version") != playbook.get(self.instance.name).version:
            raise ValidationError("It was changed by somebody else meanwhile: look at it again.")
        return cleaned


@admin.register(SuggestionAction)
class SuggestionActionAdmin(PlainAdmin):
    form = SuggestionActionForm
    list_display = ["name", "verb", "version", "weight", "level", "risk", "automated", "asks", "enabled", "changed"]
    ordering = ("name",)
    by_name = ["name__icontains", "verb__icontains"]
    search_help_text = "A part of an action's or a verb's name."
    fields = [
        "name",
        "version",
        "changed_at",
        "changed_by",
        *_CHANGEABLE,
        "reason",
        "seen_version",
    ]
    readonly_fields = ["name", "version", "changed_at", "changed_by"]
    actions = [
        action("enable", enable, done="enabled", permission="change", noun="action"),
        action("disable", disable, done="disabled", permission="change", noun="action"),
    ]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def save_model(self, request: HttpRequest, obj: SuggestionAction, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Change what was changed, if nobody was faster."""
        changes = {name: form.cleaned_data[name] for name in form.changed_data if name in _CHANGEABLE}
        if changes:
            who = {"by": request.user.get_username(), "reason": form.cleaned_data["reason"]}
            playbook.change(obj.name, seen_version=form.cleaned_data["seen_version"], **who, **changes)

    @admin.display(description="by a program")
    def automated(self, row: SuggestionAction) -> str:
        return shown.yes(row.is_automated)

    @admin.display(description="asks always")
    def asks(self, row: SuggestionAction) -> str:
        return shown.yes(row.needs_approval)

    @admin.display(description="enabled")
    def enabled(self, row: SuggestionAction) -> str:
        return shown.yes(row.is_enabled)

    @admin.display(description="changed")
    def changed(self, row: SuggestionAction) -> str:
        return shown.age(row.changed_at)


@admin.register(ActionRecord)
class ActionRecordAdmin(PlainAdmin):
    list_display = ["fingerprint", "action", "proven_since", "tried_count", "recovered_count", "bound", "review"]
    by_name = ["fingerprint", "action"]
    search_help_text = "A kind of failure, or an action, by its whole name."
    fields = [
        "fingerprint", "fingerprint_version", "action", "proven_since", "tried_count", "recovered_count", "bound",
        "ineffective_at", "cleared_at", "changed_at",
    ]  # fmt: skip
    actions = [action("clear", clear, done="cleared", permission="decide", noun="record")]

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.decide_candidate")

    @admin.display(description="for sure")
    def bound(self, record: ActionRecord) -> str:
        return f"{lower_bound(record.recovered_count, record.tried_count):.2f}"

    @admin.display(description="taken back")
    def review(self, record: ActionRecord) -> str:
        return shown.yes(is_taken_back(record))
