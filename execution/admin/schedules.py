"""What beat starts: django-celery-beat's own pages, with the last tick of each of our cycles beside its entry."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution import schedule, words
from execution.admin import shown
from execution.admin.lists import PreparedList
from execution.models import CycleState

if apps.is_installed("django_celery_beat"):
    # Imported first, so that it is registered whatever the order of the apps, and this page takes its place.
    from django_celery_beat.admin import PeriodicTaskAdmin
    from django_celery_beat.models import PeriodicTask

    admin.site.unregister(PeriodicTask)

    @admin.register(PeriodicTask)
    class ScheduleAdmin(PeriodicTaskAdmin):
        """The entries of beat; the room gives the page its look, and its actions to who may change entries."""

        list_display = ("name", "enabled", "when", "last_started", "last_tick", "fared")
        list_filter = ("enabled", "one_off")
        date_hierarchy = None
        list_per_page = 50

        def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PreparedList]:
            return PreparedList

        def prepare(self, rows: list[Any]) -> None:
            """Look the cycles of one page up."""
            names = {row.pk: schedule.cycle_of(row.task) for row in rows}
            found = CycleState.objects.defer("state").in_bulk([name for name in names.values() if name])
            for row in rows:
                row.cycle = found.get(names[row.pk])

        @admin.display(description="when")
        def when(self, task: Any) -> str:
            return f"every {words.length(task.schedule.run_every)}" if task.interval else str(task.scheduler)

        @admin.display(description="started by beat")
        def last_started(self, task: Any) -> str:
            return shown.age(task.last_run_at)

        @admin.display(description="last tick")
        def last_tick(self, task: Any) -> str:
            return shown.age(task.cycle.ticked_at) if task.cycle else shown.EMPTY

        @admin.display(description="how it fares")
        def fared(self, task: Any) -> str | SafeString:
            if task.cycle is None:
                return shown.EMPTY
            if task.cycle.last_error:
                error = words.one_line(task.cycle.last_error.strip().rpartition("\n")[2], 120)
                return format_html('<span class="room-bad-text">{}</span>', error)
            return shown.link("cyclestate", task.cycle.name, words.counted(task.cycle.tick_count, "tick"))
