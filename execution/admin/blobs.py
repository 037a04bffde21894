"""Blobs: large values, by the hash of their content. Their key is bytes, so that they have a list and no pages."""

from __future__ import annotations

from django.contrib import admin

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Blob


@admin.register(Blob)
class BlobAdmin(PlainAdmin):
    list_display = ["shown_hash", "shown_size", "created"]
    list_display_links = None
    unlisted = ["data"]

    @admin.display(description="hash")
    def shown_hash(self, blob: Blob) -> str:
        return bytes(blob.hash).hex()

    @admin.display(description="size")
    def shown_size(self, blob: Blob) -> str:
        return words.size(blob.size)

    @admin.display(description="stored")
    def created(self, blob: Blob) -> str:
        return shown.age(blob.created_at)
