"""Exports: what went up and what waits, uploaded and verified by hand; the admin's history keeps who and why."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import action
from recovery import exports, uploads
from recovery.exceptions import ExportDamaged
from recovery.models import ExportState, FailurePatternExport


def upload(export: FailurePatternExport, *, by: str, reason: str) -> None:
    """Upload one that waits, in one try: a page does not wait through the pauses."""
    del by, reason
    if uploads.upload(export, tries=1).state != ExportState.UPLOADED:
        raise ExportDamaged(f"{export.night}: {export.last_error or 'somebody else uploads it now'}")


def upload_again(export: FailurePatternExport, *, by: str, reason: str) -> None:
    """Put the kept bytes of one that was uploaded there once more."""
    del by, reason
    if uploads.upload(export, again=True, tries=1).state != ExportState.UPLOADED:
        raise ExportDamaged(f"{export.night}: {export.last_error or 'somebody else uploads it now'}")


def verify(export: FailurePatternExport, *, by: str, reason: str) -> None:
    """Compare the object's hash with the row's."""
    del by, reason
    exports.verify(export)


@admin.register(FailurePatternExport)
class ExportAdmin(ToldAdmin):
    list_display = ["night", "shown_state", "line_count", "shown_size", "attempt_count", "verified", "problem"]
    list_filter = ["state"]
    ordering = ("-night",)
    by_name = ["name__icontains", "digest__startswith"]
    search_help_text = "A part of an export's name, or the beginning of its hash."
    change_form_template = "admin/recovery/export.html"
    stored = [
        "night", "name", "digest", "shown_state", "line_count", "shown_size", "kept_on", "attempt_count",
        "failure_count", "last_error", "lease_until", "created_at", "uploaded_at", "verified_at",
    ]  # fmt: skip
    readonly_fields = ["shown_state", "shown_size"]
    main = ["upload", "verify"]
    actions = [
        action(
            "upload", upload, done="uploaded", permission="operate", noun="export", label="Upload now",
            tells="It goes up anyway when the storage answers: this tries at once.",
        ),
        action(
            "verify", verify, done="verified", permission="operate", noun="export",
            tells="The object is read back, and its hash compared with what was exported.",
        ),
        action(
            "again", upload_again, done="uploaded again", permission="operate", noun="export", label="Upload again",
            tells="The bytes that are kept on the host are put there once more: for one that is damaged or gone.",
        ),
    ]  # fmt: skip

    def possible(self, row: FailurePatternExport) -> list[str]:
        return ["verify", "again"] if row.state == ExportState.UPLOADED else ["upload"]

    def parts(self, request: HttpRequest, row: FailurePatternExport) -> dict[str, Any]:
        return {
            "state": shown.state(row.state),
            "size": words.size(row.size),
            "facts": [
                ("object", row.name),
                ("hash", row.digest),
                ("lines", f"{row.line_count:,}: one for each pattern of that night"),
                ("kept on", row.kept_on),
                ("tries", f"{row.attempt_count}, of which {row.failure_count} failed"),
                ("uploaded", shown.age(row.uploaded_at) if row.uploaded_at else "not yet"),
                ("verified", shown.age(row.verified_at) if row.verified_at else "never"),
            ],
        }

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
