"""Tunables: set and reset through their own verbs, within their bounds, with who and why in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from execution import tunables
from execution.admin import shown
from execution.admin.lists import PlainAdmin, Rows
from execution.exceptions import CeleriacError
from execution.models import Tunable

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Tunable]
else:
    _ModelForm = forms.ModelForm


class TunableForm(_ModelForm):
    """A value within its bounds."""

    name = forms.ChoiceField(choices=[(one, one) for one in tunables.KNOWN])

    class Meta:
        model = Tunable
        fields = ["name", "subject", "value", "reason"]

    def clean(self) -> dict[str, Any]:
        """Refuse what the tunable may not be."""
        cleaned = super().clean() or {}
        name, subject = (cleaned.get(one) or getattr(self.instance, one) or "" for one in ("name", "subject"))
        if name and "value" in cleaned:
            try:
                tunables.check(name, cleaned["value"], subject=subject)
            except CeleriacError as error:
                raise ValidationError(str(error)) from error
        return cleaned


@admin.register(Tunable)
class TunableAdmin(PlainAdmin):
    form = TunableForm
    list_display = ["name", "subject", "value", "unit", "kind", "bounds", "set_by", "changed"]
    ordering = ("name",)
    by_name = ["name__icontains", "subject__icontains"]
    search_help_text = "A part of a tunable's name, or of what it is set for."
    fields = ["name", "subject", "value", "reason", "unit", "bounds", "about"]
    readonly_fields = ["unit", "bounds", "about"]
    shown_once_made = ["unit", "bounds", "about"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, *(["name", "subject"] if obj else [])]

    def save_model(self, request: HttpRequest, obj: Tunable, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Set the tunable."""
        by = request.user.get_username()
        obj.pk = tunables.tune(obj.name, obj.value, subject=obj.subject, by=by, reason=obj.reason).pk

    def delete_model(self, request: HttpRequest, obj: Tunable) -> None:
        """Go back to what held before."""
        tunables.reset(obj.name, subject=obj.subject, by=request.user.get_username(), reason="reset in the admin")

    def delete_queryset(self, request: HttpRequest, queryset: Rows) -> None:
        """Reset each."""
        for row in queryset:
            self.delete_model(request, row)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Keep what was and what is in the history."""
        if add or "value" not in form.changed_data:
            return super().construct_change_message(request, form, formsets, add)
        reason = form.cleaned_data.get("reason")
        said = f"value: {form.initial.get('value')} → {form.cleaned_data.get('value')}"
        return said + (f". Reason: {reason}" if reason else "")

    @admin.display(description="unit")
    def unit(self, tunable: Tunable) -> str:
        known = tunables.KNOWN.get(tunable.name)
        return known.unit if known else shown.EMPTY

    @admin.display(description="class")
    def kind(self, tunable: Tunable) -> str:
        known = tunables.KNOWN.get(tunable.name)
        return known.kind if known else shown.EMPTY

    @admin.display(description="bounds")
    def bounds(self, tunable: Tunable) -> str:
        known = tunables.KNOWN.get(tunable.name)
        return f"{known.floor:g} to {known.most:g}" if known else shown.EMPTY

    @admin.display(description="what it is")
    def about(self, tunable: Tunable) -> str:
        known = tunables.KNOWN.get(tunable.name)
        return known.description if known else "this version does not know it"

    @admin.display(description="changed")
    def changed(self, tunable: Tunable) -> str:
        return shown.age(tunable.set_at)
