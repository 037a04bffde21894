"""`manage.py services VERB`: declare the services that skills call, and look at them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from execution import services, words
from execution.management.commands._command import operator, table, yaml_files
from execution.management.commands._verbs import VerbsCommand
from execution.models import Service

_TITLES = ["SERVICE", "TIER", "OWNER", "NEEDS", "GUARANTEES"]


class Command(VerbsCommand):
    help = "Declare the services that skills call, and look at them."

    def add_verbs(self, verbs: Any) -> None:
        imported = self.add_verb(verbs, "import", "Declare the services of YAML files; twice changes nothing.")
        imported.add_argument("files", nargs="+", metavar="FILE", help="A file, or a folder of .yaml files.")
        imported.add_argument("--dry-run", action="store_true", help="Only say what that would change.")
        imported.add_argument("--by", default=operator(), help="Who; the user of the system unless given.")
        self.add_verb(verbs, "list", "Show every service.")
        show = self.add_verb(verbs, "show", "Show one service.")
        show.add_argument("name", metavar="NAME", help="The service.")
        export = self.add_verb(verbs, "export", "Print the services as a file that `import` reads.")
        export.add_argument("names", nargs="*", metavar="NAME", help="Some services; all unless given.")
        export.add_argument("--output", help="The file to write; standard output unless given.")

    def _import(self, options: dict[str, Any]) -> None:
        files = yaml_files(options["files"])
        with transaction.atomic():
            changes = services.import_(files, by=options["by"])
            odd = services.notes(services.listed())
            transaction.set_rollback(options["dry_run"])
        if options["as_json"]:
            self.document({"is_dry": options["dry_run"], "changes": [asdict(one) for one in changes], "notes": odd})
            return
        for change in changes:
            self.say(str(change))
        self._say_notes(odd)
        if options["dry_run"]:
            self.say("nothing was written: this was a dry run")

    def _list(self, options: dict[str, Any]) -> None:
        found = services.listed()
        if options["as_json"]:
            self.document({"services": [_row(one) for one in found], "notes": services.notes(found)})
            return
        if not found:
            self.say("no service is declared; `manage.py services import FILE` declares some")
            return
        self.say(table([_line(one) for one in found], _TITLES))
        self._say_notes(services.notes(found))

    def _show(self, options: dict[str, Any]) -> None:
        found = services.get(options["name"])
        if options["as_json"]:
            self.document(_row(found))
        else:
            self.say(services.exported([found]).rstrip())

    def _export(self, options: dict[str, Any]) -> None:
        found = [services.get(name) for name in options["names"]] or services.listed()
        text = services.exported(found)
        if not options["output"]:
            self.document({"services": [_row(one) for one in found]}) if options["as_json"] else self.say(text.rstrip())
            return
        try:
            Path(options["output"]).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}") from None
        told = words.counted(len(found), "service")
        self.document({"file": options["output"]}) if options["as_json"] else self.say(
            f"{options['output']} is written: {told}"
        )

    def _say_notes(self, odd: list[str]) -> None:
        for note in odd:
            self.say(f"note: {note}")


def _row(service: Service) -> dict[str, Any]:
    return {"name": service.name, **services.Declaration.of(service).model_dump(mode="json", by_alias=True)}


def _line(service: Service) -> list[str]:
    needs = [one.needed_id for one in service.dependencies.all()]
    return [service.name, service.tier, service.owner, ", ".join(needs), ", ".join(service.guarantees)]
