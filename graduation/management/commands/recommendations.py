"""`manage.py recommendations VERB`: look at what should change after something went wrong; accept or decline it."""

from __future__ import annotations

from typing import Any

from execution import words
from execution.management.commands._command import table
from execution.management.commands._verbs import VerbsCommand
from graduation.learn import policies, recommendations
from graduation.models import Recommendation, RecommendationState

_TITLES = ["RECOMMENDATION", "KIND", "STATE", "BY", "SAYS"]


class Command(VerbsCommand):
    help = "Look at what should change after something went wrong, and accept or decline it."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show the newest recommendations.")
        listed.add_argument("--state", choices=RecommendationState.values, help="Only those in this state.")
        listed.add_argument("--limit", type=int, default=20, help="How many, at most.")
        shown = self.add_verb(verbs, "show", "Show one with its evidence.")
        accepted = self.add_verb(verbs, "accept", "Accept it, and do what it says.", asks_why=True)
        declined = self.add_verb(verbs, "decline", "Decline it; nothing is changed.", asks_why=True)
        for parser in (shown, accepted, declined):
            parser.add_argument("recommendation", metavar="ID", help="The recommendation's id.")

    def _list(self, options: dict[str, Any]) -> None:
        rows = Recommendation.objects.order_by("-id")
        rows = rows.filter(state=options["state"]) if options["state"] else rows
        found = list(rows[: max(options["limit"], 0)])
        if options["as_json"]:
            self.document({"recommendations": [_row(one) for one in found]})
        elif not found:
            self.say("there is no recommendation")
        else:
            self.say(table([_line(one) for one in found], _TITLES))

    def _show(self, options: dict[str, Any]) -> None:
        row = recommendations.get(options["recommendation"])
        if options["as_json"]:
            self.document(_row(row))
            return
        self.say(table([_line(row)], _TITLES))
        for name, value in {"change": row.change, "evidence": row.evidence}.items():
            self.say(f"  {name}: {', '.join(f'{key} {one}' for key, one in value.items())}")
        self.say(f"  retrospective: `manage.py records show {row.retrospective_id}`")
        trial = policies.on_trial(row)
        if trial is not None and trial.until is not None:
            self.say(f"  tried until {words.moment(trial.until)}, or until a person decides: envelope {trial.pk}")
        if row.decided_at:
            self.say(f"  {row.state} {words.moment(row.decided_at)} by {row.decided_by}: {row.reason}")

    def _accept(self, options: dict[str, Any]) -> None:
        done = recommendations.accept(options["recommendation"], by=options["by"], reason=options["reason"])
        self._tell(options, f"accepted: {done}")

    def _decline(self, options: dict[str, Any]) -> None:
        recommendations.decline(options["recommendation"], by=options["by"], reason=options["reason"])
        self._tell(options, "declined")

    def _tell(self, options: dict[str, Any], text: str) -> None:
        row = recommendations.get(options["recommendation"])
        if options["as_json"]:
            self.document(_row(row) | {"told": text})
        else:
            self.say(f"{row.pk}: {text}")


def _row(row: Recommendation) -> dict[str, Any]:
    return {
        "id": row.pk,
        "kind": row.kind,
        "text": row.text,
        "state": row.state,
        "change": row.change,
        "evidence": row.evidence,
        "retrospective": row.retrospective_id,
        "decided_by": row.decided_by,
        "reason": row.reason,
        "decided_at": row.decided_at,
        "created_at": row.created_at,
    }


def _line(row: Recommendation) -> list[str]:
    return [str(row.pk), row.kind, str(row.state), row.decided_by, row.text]
