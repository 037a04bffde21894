"""Celery's chords as the ledger counts them, and their parts."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Chord, ChordPart


@admin.register(Chord)
class ChordAdmin(PlainAdmin):
    list_display = ["group_id", "size", "created", "fired"]
    by_name = ["group_id"]
    unlisted = ["body"]
    search_help_text = "A group's id."
    fields = ["group_id", "size", "created_at", "fired_at", "shown_body"]

    @admin.display(description="made")
    def created(self, chord: Chord) -> str:
        return shown.age(chord.created_at)

    @admin.display(description="fired")
    def fired(self, chord: Chord) -> str:
        return shown.age(chord.fired_at)

    @admin.display(description="body")
    def shown_body(self, chord: Chord) -> SafeString:
        return shown.data(chord.body)


@admin.register(ChordPart)
class ChordPartAdmin(PlainAdmin):
    list_display = ["group_id", "index", "is_success", "task_id"]
    by_name = ["group_id"]
    unlisted = ["result"]
    search_help_text = "A group's id."
    fields = ["group_id", "index", "task_id", "is_success", "shown_result"]

    @admin.display(description="result")
    def shown_result(self, part: ChordPart) -> SafeString:
        return shown.value(part.result)
