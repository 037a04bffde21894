"""Jobs: how far each has got, how fast it goes, its lanes and what failed; and the items of each."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution import jobs, words
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import ENDED, ItemState, Job, JobItem, JobLane, Run
from execution.room import doing
from execution.room.runverbs import VERBS

PAGE = 50
LANES_MOST = 100
FAILED_MOST = 20
LOOKED_AT = 100_000


@admin.register(Job)
class JobAdmin(PlainAdmin):
    list_display = ["shown_id", "skill", "shown_state", "bar", "failed", "pace", "left", "created"]
    list_select_related = ["run"]
    by_id = ["run_id"]
    search_help_text = "A job's id."
    change_form_template = "admin/execution/job.html"
    fields = [
        "run_link", "skill", "item_count", "next_position", "chunk", "lane_count", "reopened_count", "reserve_cost",
        "reserve_tokens", "shown_options", "created_at",
    ]  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        own = [path("<uuid:job_id>/items/", self.admin_site.admin_view(self.items), name="execution_job_items")]
        return [*own, *super().get_urls()]

    def prepare(self, rows: list[Any]) -> None:
        found = {one.job_id: one for one in jobs.progress_of(row.pk for row in rows)}
        for row in rows:
            row.progress = found[row.pk]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        job: Job = context["original"]
        context |= {"title": job.skill, "subtitle": shown.short(job.pk), **_parts(job, request.user)}
        return super().render_change_form(request, context, *args, **kwargs)

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

    @admin.display(description="done")
    def bar(self, job: Any) -> SafeString:
        return meter(job.progress)

    @admin.display(description="failed")
    def failed(self, job: Any) -> str:
        return f"{job.progress.failed_count:,}" if job.progress.failed_count else shown.EMPTY

    @admin.display(description="items a second")
    def pace(self, job: Any) -> str:
        return f"{job.progress.rate:,.1f}" if job.progress.rate else shown.EMPTY

    @admin.display(description="time left")
    def left(self, job: Any) -> str:
        return words.length(job.progress.seconds_left) if job.progress.seconds_left else shown.EMPTY

    @admin.display(description="options")
    def shown_options(self, job: Job) -> SafeString:
        return shown.data(job.options)

    @admin.display(description="spawned")
    def created(self, job: Job) -> str:
        return shown.age(job.created_at)


def meter(progress: jobs.Progress) -> SafeString:
    """Show how far a job has got: what completed, and beside it what failed."""
    count = max(progress.item_count, 1)
    done, failed = 100 * progress.completed_count / count, 100 * progress.failed_count / count
    ended = progress.completed_count + progress.failed_count
    text = f"{ended:,} of {progress.item_count:,}"
    return format_html(
        '<span class="room-quiet">{}</span><svg class="room-meter" role="img" aria-label="{}">'
        '<rect class="whole" width="100%" height="6" rx="3"/><rect class="part" width="{}%" height="6"/>'
        '<rect class="bad" x="{}%" width="{}%" height="6"/></svg>',
        text, f"{text} items have ended", f"{done:.2f}", f"{done:.2f}", f"{failed:.2f}",
    )  # fmt: skip


def _parts(job: Job, user: Any) -> dict[str, Any]:
    """Return what a job's page shows above its fields."""
    progress, run = jobs.progress(job), Run.objects.get(pk=job.pk)
    lanes = JobLane.objects.filter(job_id=job.pk).select_related("step").order_by("step__position")
    # No index leads to what failed: in a large job it is looked for on demand, on the page of its items.
    failed = JobItem.objects.filter(job_id=job.pk, state=ItemState.FAILED).order_by("position")
    return {
        "run": run,
        "state": shown.state(run.state),
        "progress": progress,
        "meter": meter(progress),
        "spent": shown.spent(progress.cost, progress.tokens, run.budget_cost, run.budget_tokens),
        "left": words.length(progress.seconds_left) if progress.seconds_left else "",
        "took": shown.lasted(run.started_at, run.ended_at),
        "buttons": doing.buttons(run, VERBS, user),
        "lanes": [_lane(lane) for lane in lanes.defer("step__input", "step__output", "step__canvas")[:LANES_MOST]],
        "failed": [_row(item) for item in failed[:FAILED_MOST]] if _are_few(progress) else [],
        "refresh_seconds": 0 if run.state in ENDED else 3,
    }


def _are_few(progress: jobs.Progress) -> bool:
    return progress.failed_count > 0 and progress.item_count <= LOOKED_AT


def _lane(lane: JobLane) -> dict[str, Any]:
    return {
        "link": shown.link("step", lane.step_id, lane.step.name),
        "state": shown.state(lane.step.state),
        "at": lane.at or "",
        "taken": len(lane.open),
        "completed": f"{lane.completed_count:,}",
        "failed": f"{lane.failed_count:,}",
        "rate": f"{lane.rate:,.1f}",
        "heard": shown.age(lane.heard_at),
    }


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
