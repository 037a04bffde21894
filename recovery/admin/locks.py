"""Locks: who leads what, and how often a holder's time ran out."""

from __future__ import annotations

from django.contrib import admin
from django.utils import timezone

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from recovery.models import DistributedLock


@admin.register(DistributedLock)
class DistributedLockAdmin(PlainAdmin):
    list_display = ["name", "held_by", "ends", "token", "acquired_count", "lost_count"]
    ordering = ("name",)
    by_name = ["name__icontains"]
    search_help_text = "A part of a lock's name."
    fields = ["name", "held_by", "until", "token", "acquired_count", "lost_count"]

    @admin.display(description="held by")
    def held_by(self, lock: DistributedLock) -> str:
        return lock.holder if lock.until and lock.until > timezone.now() else "nobody"

    @admin.display(description="ends")
    def ends(self, lock: DistributedLock) -> str:
        return shown.age(lock.until)
