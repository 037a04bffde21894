"""Workflows: each version of each definition, as it was registered."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Workflow
from execution.workflows import catalog, svg


@admin.register(Workflow)
class WorkflowAdmin(PlainAdmin):
    list_display = ["name", "version", "step_count", "shown_age", "registered_by"]
    by_name = ["name__icontains"]
    search_help_text = "A part of a workflow's name."
    fields = ["name", "version", "digest", "shown_age", "registered_by", "file", "picture", "shown_source"]

    @admin.display(description="steps")
    def step_count(self, workflow: Workflow) -> str:
        return f"{len(catalog.of(workflow).definition.steps):,}"

    @admin.display(description="registered")
    def shown_age(self, workflow: Workflow) -> str | SafeString:
        return shown.age(workflow.registered_at)

    @admin.display(description="graph")
    def picture(self, workflow: Workflow) -> SafeString:
        return SafeString(svg.text(catalog.of(workflow).definition))

    @admin.display(description="definition")
    def shown_source(self, workflow: Workflow) -> SafeString:
        return format_html("<pre>{}</pre>", workflow.source or workflow.definition)
