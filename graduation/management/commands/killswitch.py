"""`manage.py killswitch VERB`: revert every envelope at once and keep new ones out, or let them in again."""

from __future__ import annotations

from typing import Any

from execution import words
from execution.management.commands._verbs import VerbsCommand
from graduation import envelopes


class Command(VerbsCommand):
    help = "Revert every envelope at once and keep new ones out, or let them in again. It needs no worker."

    def add_verbs(self, verbs: Any) -> None:
        self.add_verb(verbs, "show", "Say whether it is engaged, since when and why.")
        self.add_verb(verbs, "engage", "Revert every envelope and keep new ones out.", asks_why=True)
        self.add_verb(verbs, "release", "Let envelopes apply again.", asks_why=True)

    def _show(self, options: dict[str, Any]) -> None:
        self._tell(options)

    def _engage(self, options: dict[str, Any]) -> None:
        count = envelopes.engage(by=options["by"], reason=options["reason"])
        self._tell(options, reverted=count)

    def _release(self, options: dict[str, Any]) -> None:
        envelopes.release(by=options["by"], reason=options["reason"])
        self._tell(options)

    def _tell(self, options: dict[str, Any], **more: int) -> None:
        switch = envelopes.switch()
        if options["as_json"]:
            names = ("is_engaged", "engaged_at", "engaged_by", "reason", "released_at", "released_by")
            self.document({name: getattr(switch, name) for name in names} | more)
            return
        if "reverted" in more:
            self.say(f"{words.counted(more['reverted'], 'envelope')} reverted.")
        since = f" since {switch.engaged_at:%Y-%m-%d %H:%M:%S} by {switch.engaged_by}: {switch.reason}"
        self.say(f"The kill switch is engaged{since}" if switch.is_engaged else "The kill switch is not engaged.")
