"""`manage.py topup RUN --cost 5`: raise a run's budget, and let it go on if it was parked for that."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from execution import budgets, words
from execution.management.commands._verb import VerbCommand


class Command(VerbCommand):
    help = "Raise a run's budget; a run that is parked for its budget goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--cost", default="0", help="Money to add, as in 5.00.")
        parser.add_argument("--tokens", type=int, default=0, help="Tokens to add.")

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        if options["cost"] == "0" and not options["tokens"]:
            raise CommandError("say how much: --cost 5.00, --tokens 10000, or both")
        if options["tokens"] < 0:
            raise CommandError(f"--tokens is {options['tokens']}; a budget is raised by a number above nothing")
        found = budgets.top_up(
            run, cost=options["cost"], tokens=options["tokens"], by=options["by"], reason=options["reason"]
        )
        tokens = f", {found.budget_tokens:,} tokens" if found.budget_tokens is not None else ""
        text = f"run {found.id} is {found.state}; its budget is {words.money(found.budget_cost)}{tokens} now"
        return found, text, {"budget_cost": found.budget_cost, "budget_tokens": found.budget_tokens}
