"""Provenance: how finished steps came about, and the edges between them."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution import provenance_formats
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Lineage, Provenance, Relation


@admin.register(Provenance)
class ProvenanceAdmin(PlainAdmin):
    list_display = ["step", "name", "skill", "version", "shown_state", "attempt_count", "worker", "spent", "ended"]
    by_id = ["step_id", "run_id"]
    search_help_text = "The id of a step or run."
    fields = [
        "step", "run", "agent", "name", "skill", "version", "shown_state", "input_sha", "output_sha", "attempt_count",
        "worker", "spent", "shown_models", "started_at", "ended_at", "recorded_at",
    ]  # fmt: skip

    @admin.display(description="step")
    def step(self, record: Provenance) -> str:
        return shown.link("step", record.step_id)

    @admin.display(description="run")
    def run(self, record: Provenance) -> str:
        return shown.link("run", record.run_id)

    @admin.display(description="agent")
    def agent(self, record: Provenance) -> str:
        return shown.link("agent", record.agent_id)

    @admin.display(description="state")
    def shown_state(self, record: Provenance) -> SafeString:
        return shown.state(record.state)

    @admin.display(description="spent")
    def spent(self, record: Provenance) -> str:
        return shown.spent(record.cost, record.tokens, None, None)

    @admin.display(description="models")
    def shown_models(self, record: Provenance) -> SafeString:
        return shown.data(record.models_used)

    @admin.display(description="ended")
    def ended(self, record: Provenance) -> str:
        return shown.age(record.ended_at)

    @admin.display(description="SHA-256 of the input")
    def input_sha(self, record: Provenance) -> str:
        return provenance_formats.hex_of(record.input_hash) or shown.EMPTY

    @admin.display(description="SHA-256 of the output")
    def output_sha(self, record: Provenance) -> str:
        return provenance_formats.hex_of(record.output_hash) or shown.EMPTY


@admin.register(Lineage)
class LineageAdmin(PlainAdmin):
    list_display = ["id", "step", "shown_relation", "parent"]
    by_id = ["step_id", "parent_id"]
    search_help_text = "The id of one of the two steps."
    fields = ["step", "shown_relation", "parent"]

    @admin.display(description="step")
    def step(self, edge: Lineage) -> str:
        return shown.link("step", edge.step_id)

    @admin.display(description="relation")
    def shown_relation(self, edge: Lineage) -> str:
        return str(Relation(edge.relation))

    @admin.display(description="came from")
    def parent(self, edge: Lineage) -> str:
        return shown.link("step", edge.parent_id)
