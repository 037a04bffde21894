"""`manage.py exports VERB`: look at what was exported, verify it, upload what waits, and fetch it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.forms.models import model_to_dict
from django.utils import timezone

from execution import words
from execution.management.commands._command import table
from execution.management.commands._verbs import VerbsCommand
from recovery import exports, uploads
from recovery.exceptions import ExportDamaged
from recovery.models import ExportState, FailurePatternExport

_TITLES = ["NIGHT", "STATE", "LINES", "SIZE", "TRIES", "VERIFIED", "NAME OR PROBLEM"]


class Command(VerbsCommand):
    help = "Look at what was exported, verify it, upload what waits, and fetch it back."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show the newest exports.")
        listed.add_argument("--pending", action="store_true", help="Only those that wait for their upload.")
        listed.add_argument("--limit", type=int, default=20, help="How many; 20 unless given.")
        show = self.add_verb(verbs, "show", "Show one export.")
        verify = self.add_verb(verbs, "verify", "Read the object and compare its hash with the row's.")
        upload = self.add_verb(verbs, "upload", "Upload what waits and is kept on this host.")
        upload.add_argument("--again", action="store_true", help="Also one that was uploaded: name it.")
        download = self.add_verb(verbs, "download", "Write an export's bytes to a file, verified.")
        for parser in (show, download):
            parser.add_argument("export", metavar="NIGHT", help="The night, or a part of the name.")
        for parser in (verify, upload):
            parser.add_argument(
                "export", metavar="NIGHT", nargs="?", help="The night, or a part of the name; else all."
            )
        download.add_argument("--to", type=Path, help="The file; the object's own name in this folder unless given.")

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        rows = uploads.pending() if options["pending"] else FailurePatternExport.objects.all()
        found = list(rows.order_by("-night")[: options["limit"]])
        if options["as_json"]:
            self.document({"exports": [_row(one) for one in found], "totals": exports.totals()})
        elif found:
            self.say(table([_line(one) for one in found], _TITLES))
        else:
            self.say("no export waits" if options["pending"] else "nothing was exported yet")

    def _show(self, options: dict[str, Any]) -> None:
        export = exports.get(options["export"])
        if options["as_json"]:
            self.document(_row(export))
            return
        for name, value in _row(export).items():
            if value not in (None, ""):
                self.say(f"{name:15} {value}")

    def _verify(self, options: dict[str, Any]) -> None:
        found = [exports.get(options["export"])] if options["export"] else _uploaded()
        answers = [_verified(one) for one in found]
        if options["as_json"]:
            self.document({"exports": answers})
        else:
            for one in answers:
                self.say(f"{one['night']}  {one['problem'] or 'as it was exported'}")
        bad = sum(1 for one in answers if one["problem"])
        if bad:
            raise CommandError(f"{words.counted(bad, 'export')} of {len(answers)} not as exported")

    def _upload(self, options: dict[str, Any]) -> None:
        if options["again"] and not options["export"]:
            raise CommandError("--again needs the night of the export that is uploaded again")
        if not options["export"]:
            done = uploads.upload_pending()
            self._tell(options, {"uploaded": done, "pending": uploads.pending().count()})
            return
        export = uploads.upload(exports.get(options["export"]), again=options["again"])
        self._tell(options, _row(export))
        if export.state != ExportState.UPLOADED:
            raise CommandError(f"{export.name} is not uploaded: {export.last_error or 'somebody else is doing it now'}")

    def _tell(self, options: dict[str, Any], answer: dict[str, Any]) -> None:
        if options["as_json"]:
            self.document(answer)
        elif "pending" in answer:
            self.say(f"{answer['uploaded']} uploaded, {answer['pending']} waiting")
        elif answer["state"] == ExportState.UPLOADED:
            self.say(f"{answer['name']} is uploaded and verified")

    def _download(self, options: dict[str, Any]) -> None:
        export = exports.get(options["export"])
        path = options["to"] or Path(export.name.rpartition("/")[2])
        try:
            exports.download(export, path)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror or error}") from error
        if options["as_json"]:
            self.document({"export": export.name, "file": path, "sha256": export.digest})
        else:
            self.say(f"{path}: {words.counted(export.line_count, 'line')}, {words.size(export.size)}")


def _uploaded() -> list[FailurePatternExport]:
    return list(FailurePatternExport.objects.filter(uploaded_at__isnull=False).order_by("-night"))


def _verified(export: FailurePatternExport) -> dict[str, Any]:
    problem = ""
    try:
        exports.verify(export)
    except ExportDamaged as error:
        problem = str(error)
    return {"night": export.night, "name": export.name, "sha256": export.digest, "problem": problem}


def _row(export: FailurePatternExport) -> dict[str, Any]:
    found = model_to_dict(export, exclude=["id", "epoch", "lease_until"])
    return found | {"created_at": export.created_at, "manifest": uploads.manifest_name(export)}


def _line(export: FailurePatternExport) -> list[str]:
    verified = words.length(timezone.now() - export.verified_at) + " ago" if export.verified_at else "never"
    counts = [str(export.line_count), words.size(export.size), str(export.attempt_count), verified]
    return [str(export.night), export.state, *counts, words.one_line(export.last_error) or export.name]
