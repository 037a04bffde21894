"""Jobs, and the items of each: a list of their own, because their key has two columns."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from execution import jobs
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import ItemState, Job, JobItem

PAGE = 50


@admin.register(Job)
class JobAdmin(PlainAdmin):
    list_display = ["shown_id", "skill", "shown_state", "item_count", "next_position", "lane_count", "created"]
    list_select_related = ["run"]
    by_id = ["run_id"]
    search_help_text = "A job's id."
    change_form_template = "admin/execution/job.html"
    fields = [
        "run_link", "skill", "shown_state", "progress", "item_count", "next_position", "chunk", "lane_count",
        "reopened_count", "reserve_cost", "reserve_tokens", "shown_options", "created_at",
    ]  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        own = [path("<uuid:job_id>/items/", self.admin_site.admin_view(self.items), name="execution_job_items")]
        return [*own, *super().get_urls()]

    def items(self, request: HttpRequest, job_id: Any) -> HttpResponse:
        """Show a job's items, a page at a time."""
        job = Job.objects.filter(pk=job_id).first()
        if job is None:
            raise Http404(f"there is no job {job_id}")
        if not self.has_view_permission(request, job):
            raise PermissionDenied
        rows, more = _page(job, request.GET.get("after", ""), request.GET.get("state", ""))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Items of {job.skill}",
            "job": job,
            "rows": [_row(row) for row in rows],
            "after": rows[-1].position if more else None,
            "states": ItemState.values,
            "opts": self.opts,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/execution/items.html", context)

    @admin.display(description="job")
    def shown_id(self, job: Job) -> str:
        return shown.short(job.run_id)

    @admin.display(description="run")
    def run_link(self, job: Job) -> str:
        return shown.link("run", job.run_id)

    @admin.display(description="state")
    def shown_state(self, job: Job) -> SafeString:
        return shown.state(job.run.state)

    @admin.display(description="progress")
    def progress(self, job: Job) -> str:
        found = jobs.progress(job)
        return f"{found.completed_count:,} completed, {found.failed_count:,} failed, {found.left_count:,} left"

    @admin.display(description="options")
    def shown_options(self, job: Job) -> SafeString:
        return shown.data(job.options)

    @admin.display(description="spawned")
    def created(self, job: Job) -> str:
        return shown.age(job.created_at)


def _page(job: Job, after: str, state: str) -> tuple[list[JobItem], bool]:
    """Return one page of a job's items in their order; those of one state are looked for among them."""
    rows = JobItem.objects.filter(job_id=job.pk, position__gt=int(after) if after.isdecimal() else 0)
    if state in ItemState.values:
        rows = rows.filter(state=state)
    found = list(rows.order_by("position")[: PAGE + 1])
    return found[:PAGE], len(found) > PAGE


def _row(item: JobItem) -> dict[str, Any]:
    return {
        "position": item.position,
        "state": shown.state(item.state),
        "attempts": item.attempt_count,
        "due": shown.age(item.due_at),
        "spent": shown.spent(item.cost or 0, item.tokens or 0, None, None),  # type: ignore[arg-type]
        "input": shown.value(item.input),
        "output": shown.error(item.error) if item.error else shown.value(item.output),
    }
