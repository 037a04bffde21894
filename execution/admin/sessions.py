"""Sessions, and the states they were left in."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution import sessions
from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.models import Session, SessionCheckpoint, SessionStatus


@admin.register(Session)
class SessionAdmin(PlainAdmin):
    list_display = ["shown_id", "name", "shown_status", "tags", "version", "touched", "expires"]
    list_filter = [among("status", "status", SessionStatus.choices)]
    by_id = ["id"]
    by_name = ["name__startswith", "tags__contains"]
    unlisted = ["state"]
    search_help_text = "A session's id, the beginning of its name, or a tag."
    fields = [
        "name", "shown_activity", "tags", "version", "ttl", "opened_at", "touched_at", "expires_at", "ended_at",
        "shown_state",
    ]  # fmt: skip

    @admin.display(description="session")
    def shown_id(self, session: Session) -> str:
        return shown.short(session.id)

    @admin.display(description="status")
    def shown_status(self, session: Session) -> SafeString:
        return shown.state(session.status)

    @admin.display(description="status")
    def shown_activity(self, session: Session) -> SafeString:
        return shown.state(sessions.status_of(session))

    @admin.display(description="used")
    def touched(self, session: Session) -> str:
        return shown.age(session.touched_at)

    @admin.display(description="looked at again")
    def expires(self, session: Session) -> str:
        return shown.age(session.expires_at)

    @admin.display(description="state")
    def shown_state(self, session: Session) -> SafeString:
        return shown.value(session.state)


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
