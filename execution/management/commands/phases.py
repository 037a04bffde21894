"""`manage.py phases RUN`: what became of each phase of a run; `--cancel NAME` ends one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution import phases, words
from execution.management.commands._command import LedgerCommand, add_why, find, table


class Command(LedgerCommand):
    help = "Show what became of each phase of a run, or end one phase: the run goes on with the next."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", help="The run's id, or its first 8 characters or more.")
        parser.add_argument("--cancel", metavar="NAME", help="The phase to end before its time.")
        add_why(parser)

    def act(self, **options: Any) -> None:
        run = find(options["run"])
        if options["cancel"]:
            phases.cancel(run, options["cancel"], by=options["by"], reason=options["reason"])
        found = phases.stats(run)
        if options["as_json"]:
            self.document([row._asdict() for row in found])
            return
        if not found:
            self.say(f"run {run.id} has no phases")
            return
        titles = ["PHASE", "STATE", "STEPS", "ENDED", "SPENT", "OF", "WHY"]
        self.say(table([_line(row) for row in found], titles))


def _line(row: Any) -> list[str]:
    ended = row.completed_count + row.failed_count + row.skipped_count + row.cancelled_count
    limit = words.money(row.budget_cost) if row.budget_cost is not None else "-"
    spent = words.money(row.spent_cost)
    return [row.name, row.state, f"{row.step_count:,}", f"{ended:,}", spent, limit, row.closed_reason]
