"""Sessions, and the states they were left in."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from execution import sessions
from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.models import Run, Session, SessionCheckpoint, SessionStatus
from execution.room import doing
from execution.room.sessionverbs import VERBS

RUNS_MOST = 50


@admin.register(Session)
class SessionAdmin(PlainAdmin):
    list_display = ["shown_id", "name", "shown_status", "tags", "version", "touched", "expires"]
    list_filter = [among("status", "status", SessionStatus.choices)]
    by_id = ["id"]
    by_name = ["name__startswith", "tags__contains"]
    unlisted = ["state"]
    search_help_text = "A session's id, the beginning of its name, or a tag."
    change_form_template = "admin/execution/session.html"
    fields = [
        "name", "tags", "version", "ttl", "opened_at", "touched_at", "expires_at", "ended_at",
        "shown_state",
    ]  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [path("<uuid:session_id>/do/<slug:verb>/", wrap(self.do), name="execution_session_do")]
        return [*own, *super().get_urls()]

    def do(self, request: HttpRequest, session_id: uuid.UUID, verb: str) -> HttpResponse:
        """Do something to a session: see `execution.room.sessionverbs`."""
        return doing.answer(self, request, Session.objects.filter(pk=session_id).first(), VERBS, verb)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        session: Session = context["original"]
        context |= {
            "title": session.name or shown.short(session.id),
            "activity": shown.state(sessions.status_of(session)),
            "runs": [_run(run) for run in _runs(session)],
            "buttons": doing.buttons(session, VERBS, request.user),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="session")
    def shown_id(self, session: Session) -> str:
        return shown.short(session.id)

    @admin.display(description="status")
    def shown_status(self, session: Session) -> SafeString:
        return shown.state(session.status)

    @admin.display(description="used")
    def touched(self, session: Session) -> str:
        return shown.age(session.touched_at)

    @admin.display(description="looked at again")
    def expires(self, session: Session) -> str:
        return shown.age(session.expires_at)

    @admin.display(description="state")
    def shown_state(self, session: Session) -> SafeString:
        return shown.value(session.state)


def _runs(session: Session) -> list[Run]:
    return list(Run.objects.filter(session_id=session.id).defer("input", "error").order_by("-id")[:RUNS_MOST])


def _run(run: Run) -> dict[str, Any]:
    return {
        "link": shown.link("run", run.id, f"{run.workflow} {shown.short(run.id)}"),
        "state": shown.state(run.state),
        "waiting": run.waiting or shown.EMPTY,
        "opened": shown.age(run.created_at),
        "took": shown.lasted(run.started_at, run.ended_at),
        "spent": shown.spent(run.spent_cost, run.spent_tokens, run.budget_cost, run.budget_tokens),
    }


@admin.register(SessionCheckpoint)
class SessionCheckpointAdmin(PlainAdmin):
    list_display = ["shown_id", "shown_session", "shown_status", "version", "saved"]
    by_id = ["id", "session_id"]
    unlisted = ["state"]
    search_help_text = "The id of a session."
    fields = ["shown_session", "shown_status", "version", "saved_at", "shown_state"]

    @admin.display(description="checkpoint")
    def shown_id(self, checkpoint: SessionCheckpoint) -> str:
        return shown.short(checkpoint.id)

    @admin.display(description="session")
    def shown_session(self, checkpoint: SessionCheckpoint) -> str:
        return shown.link("session", checkpoint.session_id)

    @admin.display(description="became")
    def shown_status(self, checkpoint: SessionCheckpoint) -> SafeString:
        return shown.state(checkpoint.status)

    @admin.display(description="saved")
    def saved(self, checkpoint: SessionCheckpoint) -> str:
        return shown.age(checkpoint.saved_at)

    @admin.display(description="state")
    def shown_state(self, checkpoint: SessionCheckpoint) -> SafeString:
        return shown.value(checkpoint.state)
