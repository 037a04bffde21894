"""`manage.py verdicts VERB`: look at verdicts, their lineage and their cases, and say what became of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from execution import records, words
from execution.exceptions import RecordUnknown
from execution.management.commands._command import table
from execution.management.commands._verbs import VerbsCommand
from execution.models import Verdict
from graduation.learn import outcomes
from graduation.models import Case, CaseState

_TITLES = ["VERDICT", "AGE", "KIND", "SUBJECT", "SAYS", "CASE", "OUTCOME", "PRODUCER"]
_CASE_TITLES = ["VERDICT", "KIND", "SUBJECT", "CASE", "LOOKS", "NEXT LOOK", "OUTCOME", "BY"]


class Command(VerbsCommand):
    help = "Look at verdicts, their lineage and their cases, and say what became of them."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show the newest verdicts.")
        listed.add_argument("--kind", help="One kind, such as quality_breach.")
        listed.add_argument("--subject", help="One subject, such as agent:scout.")
        shown = self.add_verb(verbs, "show", "Show one verdict with its case, its lineage and its outcome.")
        overridden = self.add_verb(verbs, "override", "Say as a person what became of a verdict.", asks_why=True)
        known = self.add_verb(verbs, "truth", "Say what became of a verdict, where it is known for certain.")
        known.add_argument("--source", required=True, help="Where it is known from.")
        known.add_argument("--reason", default="", help="What is known.")
        cases = self.add_verb(verbs, "cases", "Show the cases: which verdicts are looked at next.")
        cases.add_argument("--due", action="store_true", help="Only those that are due now.")
        cases.add_argument("--state", choices=CaseState.values, help="Only those in this state.")
        for parser in (listed, cases):
            parser.add_argument("--limit", type=int, default=20, help="How many; 20 unless given.")
        shown.add_argument("verdict", metavar="ID", help="The verdict's id.")
        for parser in (overridden, known):
            parser.add_argument("verdicts", metavar="ID", nargs="+", help="The verdict's id, or several.")
            parser.add_argument(
                "outcome", metavar="OUTCOME", type=float, help="1: it held; 0: it did not; 0.5: partly."
            )
            parser.add_argument(
                "--critical", action="store_true", help="It broke something: the agent that decided falls to observer."
            )

    def _list(self, options: dict[str, Any]) -> None:
        asked = {name: options[name] for name in ("kind", "subject") if options[name]}
        rows = Verdict.objects.filter(**asked, outcome_of=None).defer("data").order_by("-id")[: _limit(options)]
        cases = {case.pk: case for case in Case.objects.filter(pk__in=[row.id for row in rows])}
        if options["as_json"]:
            self.document({"verdicts": [_row(row, cases.get(row.id)) for row in rows]})
        elif not rows:
            self.say("there is no such verdict")
        else:
            self.say(table([_line(row, cases.get(row.id)) for row in rows], _TITLES))

    def _show(self, options: dict[str, Any]) -> None:
        found = records.lineage(options["verdict"])
        verdict = found.record
        if not isinstance(verdict, Verdict):
            raise RecordUnknown(f"{verdict.id} is an assessment; `manage.py records show` shows it")
        case = Case.objects.filter(pk=verdict.id).first()
        relatives = [("rests on", found.ancestors), ("is what these rest on", found.descendants)]
        if options["as_json"]:
            told = {name: [_relative(one) for one in rows] for name, rows in relatives}
            self.document(_row(verdict, case) | {"case": _case(case) if case else None, "lineage": told})
            return
        self.say(table([_line(verdict, case)], _TITLES))
        if verdict.reasoning:
            self.say(f"  {words.one_line(verdict.reasoning)}")
        self.say(f"  {_case_told(case)}")
        for name, rows in relatives:
            self.say(f"{name}: {words.counted(len(rows), 'record') if rows else 'nothing'}")
            for one in rows:
                self.say(f"  {one.distance:>3}  {one.record.id}  {one.record.kind}  {one.record.producer}")

    def _override(self, options: dict[str, Any]) -> None:
        self._give(options, outcomes.override, by=options["by"])

    def _truth(self, options: dict[str, Any]) -> None:
        self._give(options, outcomes.truth, source=options["source"])

    def _give(self, options: dict[str, Any], say: Callable[..., Verdict], **who: str) -> None:
        """Say it of all, or of none."""
        told = {"reason": options["reason"], "is_critical": options["critical"], **who}
        with transaction.atomic():
            given = [say(one, options["outcome"], **told) for one in options["verdicts"]]
        self._tell(options, given)

    def _cases(self, options: dict[str, Any]) -> None:
        rows = Case.objects.order_by("look_at", "-judged_at")
        rows = rows.filter(state=options["state"]) if options["state"] else rows
        rows = rows.filter(look_at__lte=Now()) if options["due"] else rows
        found = list(rows[: _limit(options)])
        if options["as_json"]:
            self.document({"cases": [_case(one) for one in found]})
        elif not found:
            self.say("there is no such case")
        else:
            self.say(table([_case_line(one) for one in found], _CASE_TITLES))

    def _tell(self, options: dict[str, Any], given: list[Verdict]) -> None:
        cases = {one.pk: one for one in Case.objects.filter(pk__in=[one.outcome_of for one in given])}
        rows = [(cases[one.outcome_of], one) for one in given if one.outcome_of]
        if not options["as_json"]:
            for case, _ in rows:
                self.say(f"{case.pk}: {_case_told(case)}")
            return
        found = [_case(case) | {"said": one.id} for case, one in rows]
        self.document(found[0] if len(found) == 1 else {"cases": found})


def _limit(options: dict[str, Any]) -> int:
    if options["limit"] < 1:
        raise CommandError(f"--limit is {options['limit']}; give 1 or more")
    return int(options["limit"])


def _row(row: Verdict, case: Case | None) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "subject": row.subject,
        "action": row.action,
        "confidence": row.confidence,
        "reasoning": row.reasoning,
        "producer": row.producer,
        "created_at": row.created_at,
        "state": case.state if case else None,
        "how": case.how if case else "",
        "outcome": case.outcome if case else None,
    }


def _line(row: Verdict, case: Case | None) -> list[str]:
    age = words.length(timezone.now() - row.created_at)
    sure = f" ({row.confidence:g})" if row.confidence is not None else ""
    state = str(case.state) if case else "not read yet"
    return [str(row.id), age, row.kind, row.subject, f"{row.action}{sure}", state, _became(case), row.producer]


def _relative(one: records.Relative) -> dict[str, Any]:
    return {"id": one.record.id, "kind": one.record.kind, "producer": one.record.producer, "distance": one.distance}


def _case(case: Case) -> dict[str, Any]:
    return {
        "verdict": case.pk,
        "kind": case.kind,
        "subject": case.subject,
        "state": case.state,
        "look_at": case.look_at,
        "look_count": case.look_count,
        "how": case.how,
        "outcome": case.outcome,
        "outcome_verdict": case.outcome_id,
        "reopened_count": case.reopened_count,
        "history": case.history,
        "judged_at": case.judged_at,
        "ended_at": case.ended_at,
    }


def _case_line(case: Case) -> list[str]:
    look = words.moment(case.look_at) if case.look_at else ""
    count = str(case.look_count)
    return [str(case.pk), case.kind, case.subject, str(case.state), count, look, _became(case), case.how]


def _became(case: Case | None) -> str:
    return f"{case.outcome:g}" if case is not None and case.outcome is not None else ""


def _case_told(case: Case | None) -> str:
    """Say where a case stands, in one line."""
    if case is None:
        return "its event is not read yet; beat's next pass opens its case"
    if case.state == CaseState.RESOLVED:
        again = f"; it was {words.counted(case.reopened_count, 'time')} otherwise before" if case.reopened_count else ""
        return f"resolved by {case.how}: {_became(case)}{again}"
    if case.state == CaseState.EXPIRED:
        return f"expired after {words.counted(case.look_count, 'look')}; evidence that comes still resolves it"
    after = words.counted(case.look_count, "look")
    return f"open after {after}" + (f"; the next is {words.moment(case.look_at)}" if case.look_at else "")
