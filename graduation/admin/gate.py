"""The gate: who was let through, who was not, and the freezes and overrides that people made."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from execution.admin.lists import PlainAdmin
from execution.admin.reasons import action
from execution.exceptions import CeleriacError
from graduation.models import Freeze, GateCall, Override
from graduation.observe import gate


class _Governed(PlainAdmin):
    """Rows that a person makes by a verb, and nobody changes."""

    made_from: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("graduation.govern_gate")

    def has_govern_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("graduation.govern_gate")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fields(request, obj) if obj else self.made_from

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Let the verb refuse while the form can still say why."""
        base: Any = super().get_form(request, obj, change, **kwargs)
        page = self

        class Asked(base):
            def clean(self) -> Any:
                found = super().clean() or self.cleaned_data
                if not self.errors:
                    try:
                        self.made = page.make(found, by=request.user.get_username())
                    except CeleriacError as error:
                        raise ValidationError(str(error)) from error
                return found

        return Asked

    def make(self, found: dict[str, Any], *, by: str) -> Any:
        """Call the verb."""
        raise NotImplementedError

    def save_form(self, request: HttpRequest, form: forms.ModelForm[Any], change: bool) -> Any:  # noqa: FBT001 - Django's
        """Return what the verb has made."""
        return form.made  # type: ignore[attr-defined]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Write nothing: the verb has."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Write nothing here either."""


def _lift(row: Freeze, *, by: str, reason: str) -> Any:
    return gate.lift(row, by=by, reason=reason)


@admin.register(Freeze)
class FreezeAdmin(_Governed):
    list_display = ["__str__", "since", "until", "by", "reason", "lifted_at", "lifted_by"]
    by_name = ["service"]
    made_from = ("service", "reason", "until")
    actions = [action("lift", _lift, done="lifted", permission="govern", noun="freeze")]

    def make(self, found: dict[str, Any], *, by: str) -> Freeze:
        return gate.freeze(found["service"] or "", by=by, reason=found["reason"], until=found.get("until"))


@admin.register(Override)
class OverrideAdmin(_Governed):
    list_display = ["__str__", "commit", "since", "until", "by", "reason"]
    by_name = ["service"]
    made_from = ("service", "commit", "reason", "until")

    def make(self, found: dict[str, Any], *, by: str) -> Override:
        commit = found.get("commit") or ""
        return gate.override(found["service"], commit=commit, by=by, reason=found["reason"], until=found["until"])


@admin.register(GateCall)
class GateCallAdmin(PlainAdmin):
    list_display = ["service", "tier", "commit", "answer", "by", "at"]
    by_id = ["pk", "assessment_id"]
    by_name = ["service"]
    search_help_text = "A call's id, its assessment's, or the whole name of a service."
