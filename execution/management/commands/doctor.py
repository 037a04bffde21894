"""`manage.py doctor`: what is wrong, and how to mend it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import CommandParser

from execution import doctor, words
from execution.management.commands._command import LedgerCommand

_MARKS = {doctor.OK: "ok     ", doctor.WARNING: "warning", doctor.ERROR: "error  "}


class Command(LedgerCommand):
    help = (
        "Say which servers are used, their versions and settings, what is wrong and how to mend it. "
        "Status 1 when there is an error. It starts nothing and changes nothing."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--problems", action="store_true", help="Only warnings and errors.")

    def act(self, **options: Any) -> None:
        found = []
        for finding in doctor.examine():
            if finding.level == doctor.OK and options["problems"]:
                continue
            found.append(finding)
            if not options["as_json"]:
                self._print(finding)
        counts = Counter(finding.level for finding in found)
        if options["as_json"]:
            self.document({"findings": found, "errors": counts[doctor.ERROR], "warnings": counts[doctor.WARNING]})
        else:
            errors, warnings = counts[doctor.ERROR], counts[doctor.WARNING]
            self.say(f"{words.counted(errors, 'error')}, {words.counted(warnings, 'warning')}")
        if counts[doctor.ERROR]:
            raise SystemExit(1)

    def _print(self, finding: doctor.Finding) -> None:
        styles = {doctor.OK: self.style.SUCCESS, doctor.WARNING: self.style.WARNING, doctor.ERROR: self.style.ERROR}
        self.say(f"{styles[finding.level](_MARKS[finding.level])}  {finding.text}")
        if finding.mend:
            self.say(f"           mend: {finding.mend}  [{finding.id}]")
        self.stdout.flush()
