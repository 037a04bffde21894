"""Workflows: each version of each definition, as it was registered, beside the others of its name."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from execution.admin import shown
from execution.admin.lists import PlainAdmin, Rows
from execution.models import Workflow
from execution.room import doing
from execution.room.workflowverbs import VERBS
from execution.workflows import catalog, differences, svg
from execution.workflows.spec import Definition

VERSIONS_MOST = 50


class NewestFilter(admin.SimpleListFilter):
    """The newest version of each name alone."""

    title = "versions"
    parameter_name = "versions"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("newest", "the newest of each")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        if self.value() != "newest":
            return queryset
        newer = Workflow.objects.filter(name=OuterRef("name"), version__gt=OuterRef("version"))
        return queryset.filter(~Exists(newer))


@admin.register(Workflow)
class WorkflowAdmin(PlainAdmin):
    list_display = ["name", "version", "step_count", "shown_age", "registered_by"]
    list_filter = [NewestFilter]
    by_name = ["name__icontains"]
    search_help_text = "A part of a workflow's name."
    change_form_template = "admin/execution/workflow.html"
    fields = ["name", "version", "digest", "shown_age", "registered_by", "file"]

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [path("<uuid:workflow_id>/do/<slug:verb>/", wrap(self.do), name="execution_workflow_do")]
        return [*own, *super().get_urls()]

    def do(self, request: HttpRequest, workflow_id: uuid.UUID, verb: str) -> HttpResponse:
        """Start a run: see `execution.room.workflowverbs`."""
        return doing.answer(self, request, Workflow.objects.filter(pk=workflow_id).first(), VERBS, verb)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        workflow: Workflow = context["original"]
        definition = catalog.of(workflow).definition
        title = f"{workflow.name}, version {workflow.version}"
        drawn = svg.part(f"graph of {workflow.name}", svg.nodes_of(definition), definition.needs)
        context |= {
            "title": title,
            "definition": definition,
            "drawn": mark_safe(drawn),  # noqa: S308 - every text in it was escaped where it was drawn
            "inputs": definition.inputs,
            "versions": _versions(workflow),
            "compared": _compared(workflow, definition, request.GET.get("against", "")),
            "source": _source(workflow),
            "buttons": doing.buttons(workflow, VERBS, request.user),
            "runs_url": f"{reverse('admin:execution_run_changelist')}?q={workflow.name}",
        }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="steps")
    def step_count(self, workflow: Workflow) -> str:
        return f"{len(catalog.of(workflow).definition.steps):,}"

    @admin.display(description="registered")
    def shown_age(self, workflow: Workflow) -> str | SafeString:
        return shown.age(workflow.registered_at)


def _versions(workflow: Workflow) -> list[dict[str, Any]]:
    """Return the versions of a name, the newest first."""
    rows = Workflow.objects.filter(name=workflow.name).defer("definition", "source").order_by("-version")
    return [
        {
            "number": one.version,
            "url": doing.page_of(one),
            "is_this": one.pk == workflow.pk,
            "registered": shown.age(one.registered_at),
            "by": one.registered_by,
        }
        for one in rows[:VERSIONS_MOST]
    ]


def _compared(workflow: Workflow, definition: Definition, against: str) -> dict[str, Any] | None:
    """Return what changed from another version to this one, with both texts; without one asked for, nothing."""
    other = Workflow.objects.filter(name=workflow.name, version=int(against)).first() if against.isdecimal() else None
    if other is None:
        return None
    return {
        "number": other.version,
        "differences": differences.between(catalog.of(other).definition, definition),
        "source": _source(other),
    }


def _source(workflow: Workflow) -> SafeString:
    text = workflow.source or json.dumps(json.loads(workflow.definition), indent=2, ensure_ascii=False)
    return format_html('<pre class="room-value" tabindex="0">{}</pre>', text)
