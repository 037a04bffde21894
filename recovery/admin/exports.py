"""Exports: what went up and what waits, uploaded and verified by hand; the admin's history keeps who and why."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.admin.reasons import action
from recovery import exports, uploads
from recovery.exceptions import ExportDamaged
from recovery.models import ExportState, FailurePatternExport


def upload(export: FailurePatternExport, *, by: str, reason: str) -> None:
    """Upload one that waits, in one try: a page does not wait through the pauses."""
    del by, reason
    if uploads.upload(export, tries=1).state != ExportState.UPLOADED:
        raise ExportDamaged(f"{export.night}: {export.last_error or 'somebody else uploads it now'}")


def verify(export: FailurePatternExport, *, by: str, reason: str) -> None:
    """Compare the object's hash with the row's."""
    del by, reason
    exports.verify(export)


@admin.register(FailurePatternExport)
class ExportAdmin(PlainAdmin):
    list_display = ["night", "shown_state", "line_count", "shown_size", "attempt_count", "verified", "problem"]
    list_filter = ["state"]
    ordering = ("-night",)
    by_name = ["name__icontains", "digest__startswith"]
    search_help_text = "A part of an export's name, or the beginning of its hash."
    fields = [
        "night", "name", "digest", "shown_state", "line_count", "shown_size", "kept_on", "attempt_count",
        "failure_count", "last_error", "lease_until", "created_at", "uploaded_at", "verified_at",
    ]  # fmt: skip
    actions = [
        action("upload", upload, done="uploaded", permission="operate", noun="export"),
        action("verify", verify, done="verified", permission="operate", noun="export"),
    ]

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this user may upload and verify."""
        return request.user.has_perm("recovery.operate_export")

    @admin.display(description="state")
    def shown_state(self, export: FailurePatternExport) -> SafeString:
        return shown.state(export.state)

    @admin.display(description="size")
    def shown_size(self, export: FailurePatternExport) -> str:
        return words.size(export.size)

    @admin.display(description="verified")
    def verified(self, export: FailurePatternExport) -> str:
        return shown.age(export.verified_at)

    @admin.display(description="problem")
    def problem(self, export: FailurePatternExport) -> str:
        return words.one_line(export.last_error)
