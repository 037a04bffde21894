"""`manage.py effect RUN TOKEN done|again|failed`: decide about an effect whose outcome nobody knows."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from execution import effects
from execution.management.commands._command import json_or_text
from execution.management.commands._verb import VerbCommand
from execution.models import Effect
from execution.why import shown_token


class Command(VerbCommand):
    help = "Say of an effect whose outcome is unknown that it was done, shall be done again, or has failed."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("token", help="The effect's token, as `manage.py why RUN` shows it.")
        parser.add_argument("decision", choices=effects.DECISIONS)
        parser.add_argument(
            "--receipt", default="null", help="With `done`: what the call would have returned, as JSON or text."
        )

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        effect = _find(run, options["token"])
        decided = effects.decide(
            effect,
            options["decision"],
            receipt=json_or_text(options["receipt"]),
            by=options["by"],
            reason=options["reason"],
        )
        run.refresh_from_db()
        token = shown_token(decided.token)
        text = f"the effect {token!r} of run {run.id} is decided: {options['decision']}; the run is {run.state}"
        return run, text, {"effect": token, "decision": options["decision"]}


def _find(run: Any, token: str) -> Effect:
    found = list(Effect.objects.filter(step__run_id=run.id).order_by("intended_at"))
    fitting = [effect for effect in found if token in (effect.token, shown_token(effect.token))]
    if not fitting:
        names = ", ".join(repr(shown_token(effect.token)) for effect in found) or "none"
        raise CommandError(f"run {run.id} has no effect {token!r}; its effects: {names}")
    if len(fitting) > 1:
        names = ", ".join(repr(effect.token) for effect in fitting)
        raise CommandError(f"{token!r} names several effects of run {run.id}; write one in full: {names}")
    return fitting[0]
