"""`manage.py records VERB`: look at assessments and verdicts, and at what each of them rests on."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from execution import records, words
from execution.management.commands._command import table
from execution.management.commands._verbs import VerbsCommand
from execution.models import Assessment, Verdict
from execution.records import AnyRecord, Relative

_TITLES = ["ID", "AGE", "RECORD", "SUBJECT", "PRODUCER", "SAYS"]


class Command(VerbsCommand):
    help = "Look at assessments and verdicts, and at what each of them rests on."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show the newest records.")
        listed.add_argument("--kind", help="One kind, such as quality_breach.")
        listed.add_argument("--subject", help="One subject, such as service:payments.")
        listed.add_argument("--limit", type=int, default=20, help="How many; 20 unless given.")
        show = self.add_verb(verbs, "show", "Show one record, with its parents and its outcome.")
        show.add_argument("--cloudevent", action="store_true", help="Print it as a CloudEvents 1.0 event.")
        lineage = self.add_verb(verbs, "lineage", "Show all that a record rests on, and all that rests on it.")
        for parser in (show, lineage):
            parser.add_argument("record", metavar="ID", help="The record's id.")

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        asked = {name: options[name] for name in ("kind", "subject") if options[name]}
        newest = [
            record
            for model in (Assessment, Verdict)
            for record in model.objects.filter(**asked).defer("data").order_by("-id")[: options["limit"]]
        ]
        newest = sorted(newest, key=lambda record: record.id, reverse=True)[: options["limit"]]
        if options["as_json"]:
            self.document({"records": [_row(record) for record in newest]})
        elif newest:
            self.say(table([_line(record) for record in newest], _TITLES))
        else:
            self.say("there is no such record")

    def _show(self, options: dict[str, Any]) -> None:
        record = records.get(options["record"])
        if options["cloudevent"]:
            self.document(records.as_cloudevent(record))
            return
        outcome = records.outcome(record) if isinstance(record, Verdict) else None
        if options["as_json"]:
            self.document({**records.as_cloudevent(record)["data"], "outcome_verdict": outcome.id if outcome else None})
            return
        for name, value in records.as_cloudevent(record)["data"].items():
            if value not in (None, "", [], {}):
                self.say(f"{name:15} {value}")
        if outcome is not None:
            self.say(f"{'became':15} {outcome.outcome:g}, says {outcome.id} ({outcome.producer})")

    def _lineage(self, options: dict[str, Any]) -> None:
        found = records.lineage(options["record"])
        if options["as_json"]:
            self.document(
                {
                    "record": _row(found.record),
                    "ancestors": [_relative(one) for one in found.ancestors],
                    "descendants": [_relative(one) for one in found.descendants],
                }
            )
            return
        self._say_relatives("rests on", found.ancestors)
        self.say(" ".join(_line(found.record)[2:4]))
        self._say_relatives("is what these rest on", found.descendants)

    def _say_relatives(self, text: str, found: tuple[Relative, ...]) -> None:
        self.say(f"{text}: {words.counted(len(found), 'record') if found else 'nothing'}")
        for one in found:
            self.say(f"  {one.distance:>3}  {'  '.join(_line(one.record))}")


def _relative(one: Relative) -> dict[str, Any]:
    return {"distance": one.distance, **_row(one.record)}


def _row(record: AnyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "record": "verdict" if isinstance(record, Verdict) else "assessment",
        "kind": record.kind,
        "subject": record.subject,
        "producer": record.producer,
        "action": record.action if isinstance(record, Verdict) else None,
        "confidence": record.confidence if isinstance(record, Verdict) else None,
        "parents": record.parents,
        "created_at": record.created_at,
    }


def _line(record: AnyRecord) -> list[str]:
    age = words.length(timezone.now() - record.created_at)
    says = ""
    if isinstance(record, Verdict):
        sure = f" ({record.confidence:g})" if record.confidence is not None else ""
        says = words.one_line(f"{record.action}{sure} {record.reasoning}", 60)
    return [str(record.id), age, record.kind, record.subject, record.producer, says]
