"""Lanes: what each lane of a job holds and has done."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F, Func, IntegerField
from django.http import HttpRequest

from execution.admin import shown
from execution.admin.lists import PlainAdmin, Rows
from execution.models import JobLane


@admin.register(JobLane)
class JobLaneAdmin(PlainAdmin):
    list_display = ["shown_id", "job_link", "taken", "at", "completed_count", "failed_count", "shown_rate", "heard"]
    by_id = ["step_id", "job_id"]
    unlisted = ["open"]
    search_help_text = "A lane's id, or its job's."
    fields = [
        "step_link", "job_link", "taken", "at", "completed_count", "failed_count", "cost", "tokens", "shown_rate",
        "heard_at",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> Rows:
        held = Func(F("open"), function="cardinality", output_field=IntegerField())
        rows: Rows = super().get_queryset(request).annotate(taken_count=held)
        return rows

    @admin.display(description="lane")
    def shown_id(self, lane: JobLane) -> str:
        return shown.short(lane.step_id)

    @admin.display(description="step")
    def step_link(self, lane: JobLane) -> str:
        return shown.link("step", lane.step_id)

    @admin.display(description="job")
    def job_link(self, lane: JobLane) -> str:
        return shown.link("job", lane.job_id)

    @admin.display(description="items taken")
    def taken(self, lane: Any) -> int:
        return int(lane.taken_count)

    @admin.display(description="items a second")
    def shown_rate(self, lane: JobLane) -> str:
        return f"{lane.rate:,.1f}"

    @admin.display(description="heard of")
    def heard(self, lane: JobLane) -> str:
        return shown.age(lane.heard_at)
