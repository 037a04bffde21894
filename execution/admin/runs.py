"""Runs: the list, and one page that says what a run does, what it waits for and what it has recorded."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from execution import runs
from execution.admin import shown
from execution.admin.lists import AgentFilter, PlainAdmin, as_uuid
from execution.admin.reasons import action
from execution.models import Run
from execution.models.agents import agent_name
from execution.room import doing
from execution.room.run import parts
from execution.room.runverbs import VERBS


def _by_id(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Hand a verb the run's id: it reads the run afresh, under its lock."""

    def called(run: Run, *, by: str, reason: str) -> Any:
        return verb(run.id, by=by, reason=reason)

    return called


@admin.register(Run)
class RunAdmin(PlainAdmin):
    list_display = [
        "shown_id",
        "workflow",
        "shown_state",
        "waiting",
        "shown_agent",
        "opened",
        "took",
        "spent",
        "shown_tags",
    ]
    list_filter = ["state", AgentFilter]
    by_id = ["id", "root_run_id"]
    by_name = ["correlation_id"]
    by_word = ["workflow", "key", "tags__contains"]
    unlisted = ["input", "error", "key_digest"]
    search_help_text = "A run's id, its correlation id; or, among the newest 100,000, its workflow, key or a tag."
    change_form_template = "admin/execution/run.html"
    fields = ()
    actions = [
        action("pause", _by_id(runs.pause), done="paused", permission="operate"),
        action("resume", _by_id(runs.resume), done="resumed", permission="operate"),
        action("cancel", _by_id(runs.cancel), done="cancelled", permission="operate", is_grave=True),
        action("retry", _by_id(runs.retry), done="retried", permission="operate"),
    ]

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("execution.operate_run")

    @admin.display(description="run")
    def shown_id(self, run: Run) -> str:
        return shown.short(run.id)

    @admin.display(description="state")
    def shown_state(self, run: Run) -> SafeString:
        return shown.state(run.state)

    @admin.display(description="agent")
    def shown_agent(self, run: Run) -> str:
        return shown.link("agent", run.agent_id, agent_name(run))

    @admin.display(description="opened")
    def opened(self, run: Run) -> str:
        return shown.age(run.created_at)

    @admin.display(description="took")
    def took(self, run: Run) -> str:
        return shown.lasted(run.started_at, run.ended_at)

    @admin.display(description="spent")
    def spent(self, run: Run) -> str:
        return shown.spent(run.spent_cost, run.spent_tokens, run.budget_cost, run.budget_tokens)

    @admin.display(description="tags")
    def shown_tags(self, run: Run) -> str:
        return ", ".join(run.tags) or shown.EMPTY

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # A join would leave out the runs whose agent is gone.
        return super().get_queryset(request).prefetch_related("agent")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Run | None:
        return self.get_queryset(request).filter(pk=as_uuid(object_id)).first()

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<uuid:run_id>/now/", wrap(self.now), name="execution_run_now"),
            path("<uuid:run_id>/do/<slug:verb>/", wrap(self.do), name="execution_run_do"),
        ]
        return [*own, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        run: Run = context["original"]
        context |= {"title": f"{run.workflow}", "subtitle": shown.short(run.id), **parts(run, request.user)}
        return super().render_change_form(request, context, *args, **kwargs)

    def now(self, request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
        """Answer with what of a run's page changes while it runs."""
        run = self.get_object(request, str(run_id))
        if run is None:
            raise Http404(f"there is no run {run_id}")
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        return TemplateResponse(request, "admin/execution/run_now.html", parts(run, request.user))

    def do(self, request: HttpRequest, run_id: uuid.UUID, verb: str) -> HttpResponse:
        """Do something to a run: see `execution.room.runverbs`."""
        return doing.answer(self, request, self.get_object(request, str(run_id)), VERBS, verb)
