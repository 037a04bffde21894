"""`manage.py candidates VERB`: look at proposed recoveries, decide them, and see what became of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from execution import words
from execution.management.commands._command import json_or_text, json_value, table
from execution.management.commands._verbs import VerbsCommand
from recovery import candidates, decisions, patterns
from recovery.models import ENDED, ActionRecord, CandidateState, RecoveryCandidate
from recovery.weighing import is_taken_back

_TITLES = ["CANDIDATE", "AGE", "STATE", "SKILL", "ERROR", "ACTION", "SURE", "PATTERN", "NEEDS"]
_BULK: dict[str, Callable[..., RecoveryCandidate]] = {
    "approve": decisions.approve_and_apply,
    "reject": decisions.reject,
}


class Command(VerbsCommand):
    help = "Look at proposed recoveries, and decide them."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show candidates that have not ended, the newest first.")
        listed.add_argument("--state", choices=CandidateState.values, help="Those in one state, ended ones too.")
        listed.add_argument("--pattern", help="Those of one pattern, by its name or number.")
        listed.add_argument("--limit", type=int, default=50, help="At most so many; 50 unless given.")
        self._add_one(verbs, "show", "Show one with its evidence, its alternatives and its audit.")
        for name, text in (
            ("approve", "Approve what is suggested, and do it."),
            ("reject", "Reject it; its run stays as it is."),
            ("apply", "Do what was approved before."),
            ("hurry", "Have it evaluated before all others."),
        ):
            self._add_one(verbs, name, text, asks_why=True)
        change = self._add_one(verbs, "change", "Approve another action or other parameters, and do it.", asks_why=True)
        change.add_argument("--action", help="Another action; `manage.py actions list` shows them.")
        change.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", help="One parameter; may be given again."
        )
        change.add_argument("--parameters", help="All parameters at once, as a JSON object.")
        bulk = self.add_verb(verbs, "bulk", "Decide all that wait under a pattern, each on its own.", asks_why=True)
        bulk.add_argument("decision", choices=list(_BULK))
        bulk.add_argument("--pattern", required=True, help="The pattern's name or number.")
        bulk.add_argument("--action", help="Approve this action for each, instead of what is suggested for it.")
        bulk.add_argument("--limit", type=int, help="The oldest so many; all unless given.")
        clear = self.add_verb(
            verbs, "clear", "Let an action that was taken back be applied alone again.", asks_why=True
        )
        clear.add_argument("action", metavar="ACTION", help="Its name.")
        clear.add_argument("kind", metavar="KIND", help="The kind of failure, as `show` names it, or its beginning.")

    def _add_one(self, verbs: Any, name: str, text: str, *, asks_why: bool = False) -> CommandParser:
        parser = self.add_verb(verbs, name, text, asks_why=asks_why)
        parser.add_argument("candidate", metavar="ID", help="Its id, or its first 8 characters or more.")
        return parser

    # Looking

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        rows = RecoveryCandidate.objects.select_related("pattern", "failure").order_by("-is_urgent", "-id")
        rows = rows.filter(state=options["state"]) if options["state"] else rows.exclude(state__in=ENDED)
        if options["pattern"]:
            rows = rows.filter(pattern=patterns.get(options["pattern"]))
        found = list(rows[: options["limit"]])
        if options["as_json"]:
            self.document({"candidates": [_row(one) for one in found]})
        elif found:
            self.say(table([_line(one) for one in found], _TITLES))
        else:
            self.say("there is no such candidate")

    def _show(self, options: dict[str, Any]) -> None:
        found = candidates.get(options["candidate"])
        lines = list(found.provenance.all())
        if options["as_json"]:
            self.document({**_row(found), **_more(found), "provenance": [_audit(line) for line in lines]})
            return
        for name, value in (_row(found) | _facts(found)).items():
            if value not in (None, "", [], {}):
                self.say(f"{name:12} {value}")
        self._say_choices(found)
        self.say("")
        for line in lines:
            text = f"{line.stage} by {line.actor}" + (f": {words.one_line(line.reason, 200)}" if line.reason else "")
            self.say(f"{line.created_at:%Y-%m-%d %H:%M:%S}  {text}")

    def _say_choices(self, found: RecoveryCandidate) -> None:
        """Say what is suggested and what else fits, side by side."""
        if not found.action:
            return
        self.say("")
        titles = ["", "ACTION", "DOES", "SURE", "FOR SURE", "RECOVERED", "WITH"]
        self.say(table([_choice(one, mark) for mark, one in _choices(found)], titles))

    # Deciding

    def _approve(self, options: dict[str, Any]) -> None:
        found = candidates.get(options["candidate"])
        self._tell(options, found, decisions.approve_and_apply(found, **_why(options)))

    def _reject(self, options: dict[str, Any]) -> None:
        found = candidates.get(options["candidate"])
        self._tell(options, found, decisions.reject(found, **_why(options)))

    def _apply(self, options: dict[str, Any]) -> None:
        found = candidates.get(options["candidate"])
        self._tell(options, found, decisions.apply(found, by=options["by"]))

    def _hurry(self, options: dict[str, Any]) -> None:
        found = candidates.get(options["candidate"])
        self._tell(options, found, candidates.hurry(found, **_why(options)))

    def _change(self, options: dict[str, Any]) -> None:
        found = candidates.get(options["candidate"])
        parameters = _given(options)
        if not options["action"] and not parameters:
            raise CommandError("nothing is changed: give --action, --set or --parameters; or approve it as it is")
        changed = decisions.change_and_apply(
            found, action=options["action"], parameters=parameters, **_why(options)
        )  # fmt: skip
        self._tell(options, found, changed)

    def _bulk(self, options: dict[str, Any]) -> None:
        if options["action"] and options["decision"] != "approve":
            raise CommandError("--action goes with approve: what is rejected is not done")
        verb = _BULK[options["decision"]]
        if options["action"]:
            verb = partial(decisions.change_and_apply, action=options["action"])
        results = decisions.bulk(verb, options["pattern"], limit=options["limit"], **_why(options))
        if options["as_json"]:
            self.document({"results": results})
            return
        for result in results:
            self.say(f"{result.id}  {'done' if result.is_done else 'not done'}  {result.text}")
        done = sum(result.is_done for result in results)
        self.say(f"{done} of {words.counted(len(results), 'candidate')} done")

    def _clear(self, options: dict[str, Any]) -> None:
        count = decisions.clear(options["action"], options["kind"], **_why(options))
        if options["as_json"]:
            self.document({"action": options["action"], "kind": options["kind"], "cleared": count})
            return
        self.say(f"{options['action']} may be applied alone again for {options['kind']}")

    def _tell(self, options: dict[str, Any], before: RecoveryCandidate, after: RecoveryCandidate) -> None:
        if options["as_json"]:
            self.document({**_row(after), "before": before.state, "recovery_run": after.recovery_run_id})
            return
        self.say(f"candidate {after.id}: {decisions.said(after)}")


def _why(options: dict[str, Any]) -> dict[str, Any]:
    return {"by": options["by"], "reason": options["reason"]}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that were typed."""
    given = json_value(options["parameters"], "--parameters") if options["parameters"] else {}
    if not isinstance(given, dict):
        raise CommandError("--parameters is a JSON object: '{\"seconds\": 60}'")
    for pair in options["set"]:
        name, is_pair, value = pair.partition("=")
        if not is_pair:
            raise CommandError(f"--set is {pair!r}; write --set NAME=VALUE")
        given[name] = json_or_text(value)
    return given


def _row(one: RecoveryCandidate) -> dict[str, Any]:
    return {
        "candidate": one.id,
        "state": one.state,
        "run": one.run_id,
        "skill": one.skill,
        "error": one.failure.error_type or one.error_kind,
        "kind": one.fingerprint,
        "pattern": one.pattern.name if one.pattern else None,
        "action": one.action,
        "confidence": one.confidence,
        "bound": one.bound,
        "needs": one.needs,
        "outcome": one.outcome,
        "created_at": one.created_at,
    }


def _more(one: RecoveryCandidate) -> dict[str, Any]:
    return {
        "error_kind": one.error_kind,
        "message": one.failure.message,
        "joined": one.joined_count,
        "source": one.source,
        "is_urgent": one.is_urgent,
        "action_version": one.action_version,
        "verb": one.verb,
        "parameters": one.parameters,
        "evidence": one.evidence,
        "alternatives": one.alternatives,
        "decision": one.decision,
        "decided_by": one.decided_by,
        "decided_at": one.decided_at,
        "reason": one.reason,
        "applied_at": one.applied_at,
        "recovery_run": one.recovery_run_id,
        "ended_at": one.ended_at,
        "cost": one.cost,
        "taken_back": [record.action for record in _records(one) if is_taken_back(record)],
    }


def _records(one: RecoveryCandidate) -> list[ActionRecord]:
    return list(ActionRecord.objects.filter(fingerprint=one.fingerprint, fingerprint_version=one.fingerprint_version))


def _facts(one: RecoveryCandidate) -> dict[str, Any]:
    """Return what the table of choices does not show."""
    shown = {"evidence", "alternatives", "parameters", "verb", "action_version", "cost"}
    facts = {name: value for name, value in _more(one).items() if name not in shown and value is not False}
    return facts | {"joined": one.joined_count or "", "cost": words.money(one.cost) if one.cost else ""}


def _choices(one: RecoveryCandidate) -> list[tuple[str, dict[str, Any]]]:
    chosen = {
        "action": one.action,
        "verb": one.verb,
        "version": one.action_version,
        "parameters": one.parameters,
        "confidence": one.confidence,
        "bound": one.bound,
        "tried": one.evidence.get("tried", 0),
        "recovered": one.evidence.get("recovered", 0),
    }
    return [(">", chosen), *(("", other) for other in one.alternatives)]


def _choice(found: dict[str, Any], mark: str) -> list[str]:
    numbers = [_share(found["confidence"]), _share(found["bound"]), f"{found['recovered']} of {found['tried']}"]
    told = ", ".join(f"{name}={value}" for name, value in found["parameters"].items())
    notes = "; ".join(found.get("notes", []))
    return [mark, f"{found['action']} v{found['version']}", found["verb"], *numbers, f"{told} {notes}".strip()]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _audit(line: Any) -> dict[str, Any]:
    names = (
        "stage", "actor", "rule", "rule_version", "action", "action_version", "inputs", "confidence_before",
        "confidence_after", "duration_ms", "reason", "created_at",
    )  # fmt: skip
    return {name: getattr(line, name) for name in names}


def _line(one: RecoveryCandidate) -> list[str]:
    return [
        str(one.id),
        words.length(timezone.now() - one.created_at),
        f"{one.state}!" if one.is_urgent else one.state,
        one.skill,
        one.failure.error_type or one.error_kind,
        one.action or "-",
        _share(one.confidence),
        one.pattern.name if one.pattern else "-",
        words.one_line(one.needs or one.outcome, 60),
    ]
