"""Days of advice: what the model was asked and what that cost."""

from __future__ import annotations

from django.contrib import admin

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from recovery.models import AdviceDay


@admin.register(AdviceDay)
class AdviceDayAdmin(PlainAdmin):
    list_display = ["day", "call_count", "failure_count", "refused_count", "shown_spent", "shown_reserved", "silent"]

    @admin.display(description="spent")
    def shown_spent(self, day: AdviceDay) -> str:
        return words.money(day.spent)

    @admin.display(description="reserved")
    def shown_reserved(self, day: AdviceDay) -> str:
        return words.money(day.reserved)

    @admin.display(description="not asked until")
    def silent(self, day: AdviceDay) -> str:
        return shown.age(day.silent_until)
