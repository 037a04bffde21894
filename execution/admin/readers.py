"""Readers of the log, and how far they have got."""

from __future__ import annotations

import uuid

from django.contrib import admin
from django.utils.safestring import SafeString

from execution import events
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import EventReader


@admin.register(EventReader)
class EventReaderAdmin(PlainAdmin):
    list_display = ["name", "read_until", "overrun", "moved"]
    ordering = ("name",)
    fields = ["name", "read_until", "overrun", "updated_at", "shown_cursor"]

    @admin.display(description="has read until")
    def read_until(self, reader: EventReader) -> str:
        last = events.Cursor.of(reader.cursor).event_id
        return shown.age(events.moment_of(last)) if last != uuid.UUID(int=0) else "the beginning"

    @admin.display(description="overrun")
    def overrun(self, reader: EventReader) -> str:
        return "yes: events were dropped that it had not read" if reader.is_overrun else "no"

    @admin.display(description="moved")
    def moved(self, reader: EventReader) -> str:
        return shown.age(reader.updated_at)

    @admin.display(description="cursor")
    def shown_cursor(self, reader: EventReader) -> SafeString:
        return shown.data(reader.cursor)
