"""`manage.py actions VERB`: look at what may be suggested, with its evidence, and switch it on and off."""

from __future__ import annotations

from typing import Any

from execution.management.commands._command import table
from execution.management.commands._verbs import VerbsCommand
from recovery import actions, playbook
from recovery.models import ActionRecord, SuggestionAction
from recovery.weighing import is_taken_back, lower_bound

_TITLES = ["ACTION", "DOES", "VERSION", "WEIGHT", "LEVEL", "RISK", "WHO DECIDES", "FOR"]


class Command(VerbsCommand):
    help = "Look at what may be suggested about failures, and switch it on and off."

    def add_verbs(self, verbs: Any) -> None:
        self.add_verb(verbs, "list", "Show every action.")
        for name, text, asks_why in (
            ("show", "Show one action, and how it has done on each kind of failure.", False),
            ("enable", "Let it be suggested.", True),
            ("disable", "Let it be suggested no more.", True),
        ):
            parser = self.add_verb(verbs, name, text, asks_why=asks_why)
            parser.add_argument("action", metavar="ACTION", help="Its name, as `list` shows it.")

    def _list(self, options: dict[str, Any]) -> None:
        found = list(SuggestionAction.objects.order_by("name"))
        if options["as_json"]:
            self.document({"actions": [_row(action) for action in found]})
            return
        self.say(table([_line(action) for action in found], _TITLES))

    def _show(self, options: dict[str, Any]) -> None:
        action = playbook.get(options["action"])
        records = list(ActionRecord.objects.filter(action=action.name).order_by("-tried_count", "fingerprint")[:100])
        about = _row(action) | {"takes": _takes(action)}
        if options["as_json"]:
            self.document({**about, "records": [_record(one, action) for one in records]})
            return
        for name, value in (about | {"takes": _said(about["takes"])}).items():
            if value not in (None, "", [], {}):
                self.say(f"{name:16} {value}")
        for one in records:
            told = _record(one, action)
            notes = [
                *(["taken back to review"] if told["is_taken_back"] else []),
                *([] if told["counts"] else ["of old"]),
            ]
            said = f" ({', '.join(notes)})" if notes else ""
            self.say(
                f"  {one.fingerprint}  {one.recovered_count} of {one.tried_count}, {told['bound']:.2f} for sure{said}"
            )

    def _enable(self, options: dict[str, Any]) -> None:
        self._tell(options, playbook.enable(options["action"], by=options["by"], reason=options["reason"]))

    def _disable(self, options: dict[str, Any]) -> None:
        self._tell(options, playbook.disable(options["action"], by=options["by"], reason=options["reason"]))

    def _tell(self, options: dict[str, Any], action: SuggestionAction) -> None:
        if options["as_json"]:
            self.document(_row(action))
            return
        state = "may be suggested" if action.is_enabled else "is suggested no more"
        self.say(f"{action.name} {state}, version {action.version}")


def _row(action: SuggestionAction) -> dict[str, Any]:
    names = (
        "verb", "parameters", "version", "proven_since", "description", "error_kinds", "categories", "skills", "weight",
        "risk", "level", "is_automated", "needs_approval", "cooldown_seconds", "is_enabled", "changed_at", "changed_by",
    )  # fmt: skip
    return {"action": action.name, **{name: getattr(action, name) for name in names}}


def _takes(action: SuggestionAction) -> dict[str, dict[str, Any]]:
    """Return what its verb may be told by `candidates change --set`, and what it must be told."""
    verb = actions.KNOWN.get(action.verb)
    if verb is None:
        return {}
    return {
        name: {"must_be_told": name in verb.wanted, "default": None if name in verb.wanted else one.default}
        for name, one in verb.parameters.items()
    }


def _said(takes: dict[str, dict[str, Any]]) -> str:
    said = (
        f"{name} (must be told)" if one["must_be_told"] else f"{name}={one['default']}" for name, one in takes.items()
    )
    return ", ".join(said)


def _record(one: ActionRecord, action: SuggestionAction) -> dict[str, Any]:
    return {
        "kind": one.fingerprint,
        "tried": one.tried_count,
        "recovered": one.recovered_count,
        "bound": round(lower_bound(one.recovered_count, one.tried_count), 4),
        "counts": one.proven_since == action.proven_since,
        "is_taken_back": is_taken_back(one),
    }


def _line(action: SuggestionAction) -> list[str]:
    who = "a person does it" if not action.is_automated else "a person" if action.needs_approval else "the evidence"
    rules = [*action.error_kinds, *action.categories, *action.skills]
    return [
        action.name,
        action.verb,
        str(action.version),
        f"{action.weight:g}",
        str(action.level),
        action.risk,
        who if action.is_enabled else "nobody: it is off",
        ", ".join(rules) or "any",
    ]
