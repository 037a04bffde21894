"""Services: declared here as by a file, checked by the same rules, and written by the same verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from pydantic import ValidationError as NotAsDeclared

from execution import services
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Service, ServiceDependency
from execution.workflows.spec import Part

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Service]
    _Inline = admin.TabularInline[ServiceDependency, Service]
else:
    _ModelForm, _Inline = forms.ModelForm, admin.TabularInline


class ServiceForm(_ModelForm):
    """A service that could stand in a file."""

    class Meta:
        model = Service
        fields = ["name", "tier", "owner", "description", "contract", "guarantees"]

    def clean_name(self) -> str:
        """Refuse a name that a file could not have."""
        return str(_checked(services.File, {"services": {self.cleaned_data["name"]: {}}}, self.cleaned_data["name"]))

    def clean_contract(self) -> Any:
        """Refuse what is no contract."""
        given = self.cleaned_data["contract"] or {}
        return _checked(services.Contract, given, given)


class DependencyInline(_Inline):
    model = ServiceDependency
    fk_name = "service"
    extra = 1
    verbose_name_plural = "dependencies"


@admin.register(Service)
class ServiceAdmin(PlainAdmin):
    form = ServiceForm
    inlines = [DependencyInline]
    list_display = ["name", "tier", "owner", "guarantees", "changed"]
    list_filter = ["tier"]
    ordering = ("name",)
    by_name = ["name__icontains", "owner__icontains"]
    search_help_text = "A part of a service's name, or of its owner's."
    fields = ["name", "tier", "owner", "description", "contract", "guarantees", "changed"]
    readonly_fields = ["changed"]
    shown_once_made = ["changed"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, *(["name"] if obj else [])]

    def save_model(self, request: HttpRequest, obj: Service, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Leave the writing to `save_related`, which knows the dependencies too."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Declare the service with its dependencies."""
        service: Service = form.instance
        for formset in formsets:
            formset.save(commit=False) if change else None
            formset.new_objects, formset.changed_objects, formset.deleted_objects = [], [], []
        needs = {
            row.cleaned_data["needed"].name: {"wants": row.cleaned_data.get("wants") or []}
            for formset in formsets
            for row in formset.forms
            if row.cleaned_data.get("needed") and not row.cleaned_data.get("DELETE")
        }
        declaration = services.Declaration.model_validate(
            {
                "tier": str(service.tier),
                "owner": service.owner,
                "description": service.description,
                "contract": service.contract,
                "guarantees": list(service.guarantees),
                "dependencies": needs,
            }
        )
        services.declare(service.name, declaration, by=request.user.get_username())

    @admin.display(description="changed")
    def changed(self, service: Service) -> str:
        return shown.age(service.changed_at)


def _checked(model: type[Part], given: Any, kept: Any) -> Any:
    try:
        model.model_validate(given)
    except NotAsDeclared as error:
        said = [f"{'.'.join(map(str, one['loc'][2:] or one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ValidationError(said) from error
    return kept
