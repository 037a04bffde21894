"""`manage.py provenance RUN`: how the steps of a run came about, and what they came from."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from execution import provenance, provenance_formats, words
from execution.management.commands._command import LedgerCommand, find
from execution.models import Provenance

_FORMATS = ("text", "json", "prov", "openlineage")


class Command(LedgerCommand):
    help = "Tell how each finished step of a run came about; or, with --catch-up, record what has no record yet."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", nargs="?", help="The run's id, or its first 8 characters or more.")
        parser.add_argument("--format", choices=_FORMATS, default="text", help="text unless given; prov is W3C PROV.")
        parser.add_argument("--backwards", action="store_true", help="Also all that its steps came from.")
        parser.add_argument("--forwards", action="store_true", help="Also all that came from its steps.")
        parser.add_argument("--catch-up", action="store_true", help="Record every finished step that has no record.")

    def act(self, **options: Any) -> None:
        if options["catch_up"]:
            self._catch_up(as_json=options["as_json"])
        elif options["run"] is None:
            raise CommandError("give a run, or --catch-up")
        if options["run"] is not None:
            self._tell(_records(options), "json" if options["as_json"] else options["format"])

    def _catch_up(self, *, as_json: bool) -> None:
        count = provenance.catch_up()
        if as_json:
            self.document({"recorded": count})
            return
        self.say(f"recorded {words.counted(count, 'step')}")

    def _tell(self, records: list[Provenance], how: str) -> None:
        if how == "prov":
            self.document(provenance_formats.as_prov(records))
        elif how == "openlineage":
            self.document(provenance_formats.as_openlineage(records))
        elif how == "json":
            self.document({
                "steps": [provenance_formats.plain(record) for record in records],
                "edges": [
                    {"step": edge.step_id, "parent": edge.parent_id, "relation": edge.relation}
                    for edge in provenance_formats.edges_of(records)
                ],
            })  # fmt: skip
        else:
            self._say_records(records)

    def _say_records(self, records: list[Provenance]) -> None:
        parents: dict[Any, list[str]] = {}
        for edge in provenance_formats.edges_of(records):
            parents.setdefault(edge.step_id, []).append(f"{edge.relation} {edge.parent_id}")
        for record in records:
            self.say(f"{record.name} {record.step_id} {record.state}")
            self.say(f"  {record.skill} {record.version or '(no version)'}, {_performed(record)}")
            self.say(f"  from {_short(record.input_hash)} made {_short(record.output_hash)}")
            self.say(f"  spent {words.money(record.cost)}, {words.counted(record.tokens, 'token')}{_models(record)}")
            for parent in parents.get(record.step_id, []):
                self.say(f"  after {parent}")
        if not records:
            self.stderr.write("none of its steps has finished")


def _records(options: dict[str, Any]) -> list[Provenance]:
    run = find(options["run"])
    provenance.catch_up(run)
    found = list(provenance.of_run(run))
    own = list(run.steps.values_list("id", flat=True))
    before = list(provenance.ancestors(*own)) if options["backwards"] else []
    after = list(provenance.descendants(*own)) if options["forwards"] else []
    return list({record.step_id: record for record in (*before, *found, *after)}.values())


def _performed(record: Provenance) -> str:
    if not record.attempt_count:
        return "never performed"
    host = f" on {record.worker}" if record.worker else ""
    return f"{words.counted(record.attempt_count, 'attempt')}{host}"


def _models(record: Provenance) -> str:
    names = [one["model"] for one in record.models_used]
    return f" on {words.listed(names)}" if names else ""


def _short(digest: bytes | memoryview | None) -> str:
    found = provenance_formats.hex_of(digest)
    return f"sha256:{found[:16]}" if found else "nothing"
