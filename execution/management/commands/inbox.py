"""`manage.py inbox VERB`: everything that waits for a person, decided one by one or by pattern."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.html import strip_tags

from execution import words
from execution.admin.lists import as_uuid
from execution.management.commands._command import beginning, table
from execution.management.commands._verbs import VerbsCommand
from execution.room.inbox import deciding, reading
from execution.room.inbox.deciding import Result, Word
from execution.room.inbox.parts import Matter, Source, rows_of, source_of, sources
from execution.room.inbox.reading import ORDERS, Wish

_TITLES = ["MATTER", "WAITS", "COST", "AGENT", "PATTERN", "ASKS"]


class Command(VerbsCommand):
    help = "Show everything that waits for a person, and decide it."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show what waits, the oldest first.")
        _add_filters(listed)
        listed.add_argument("--order", choices=ORDERS, default=ORDERS[0], help="The oldest first unless given.")
        listed.add_argument("--limit", type=int, default=reading.PAGE, help=f"At most so many; {reading.PAGE} if none.")
        listed.add_argument("--after", default="", help="Go on behind this place, as a document's `after` names it.")
        self.add_verb(verbs, "patterns", "Show how much waits of which kind and pattern.")
        show = self.add_verb(verbs, "show", "Show one with its evidence and what may be decided.")
        show.add_argument("id", metavar="ID", help="As `list` names it, or the beginning of its id.")
        decide = self.add_verb(verbs, "decide", "Decide some, or all of a pattern, each on its own.", asks_why=True)
        decide.add_argument("ids", metavar="ID", nargs="*", help="As `list` names them; or none, with --kind.")
        _add_filters(decide)
        _add_decision(decide)
        decide.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="What the decision asks for; again for more.",
        )
        undo = self.add_verb(verbs, "undo", "Take a decision back, where that can be done.", asks_why=True)
        undo.add_argument("ids", metavar="ID", nargs="+", help="The whole names, as KIND:ID.")
        _add_decision(undo)

    # Looking

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        wish = _wish(options, order=options["order"], after=options["after"])
        page = reading.listing(sources(), wish, limit=options["limit"])
        if options["as_json"]:
            self.document({"matters": [_row(one) for one in page.matters], "after": page.after})
        elif page.matters:
            self.say(table([_line(one) for one in page.matters], _TITLES))
            self.say("there is more: raise --limit" if page.after else "")
        else:
            self.say("nothing of this waits for a person")

    def _patterns(self, options: dict[str, Any]) -> None:
        found = reading.groups(sources())
        if options["as_json"]:
            self.document({"patterns": found})
        elif found:
            self.say(table([[f"{one.count:,}", one.kind, one.pattern] for one in found], ["COUNT", "KIND", "PATTERN"]))
        else:
            self.say("nothing waits for a person")

    def _show(self, options: dict[str, Any]) -> None:
        kind, key = _named(options["id"])
        matter = deciding.find(kind, key)
        if matter is None:
            raise CommandError(f"{options['id']} waits no more: {_source(kind).became(key)}")
        evidence = matter.source.evidence(matter.row)
        facts = {name: strip_tags(str(value)).strip() for name, value in evidence.facts.items()}
        if options["as_json"]:
            self.document({**_row(matter), "evidence": facts, "alternatives": list(evidence.alternatives)})
            return
        self.say(f"{matter.name}: {matter.told.asks}")
        for name, value in ({"Waits": words.length(timezone.now() - matter.since)} | facts).items():
            self.say(f"  {name}: {value}")
        for line in evidence.alternatives:
            self.say("  " + "  ".join(f"{name} {value}" for name, value in line.items()))
        for decision in matter.decisions():
            taken_back = "it can be taken back" if decision.undo else f"it cannot be taken back: {decision.final}"
            self.say(f"  --decision {decision.name}: {decision.effect} ({taken_back})")

    # Deciding

    def _decide(self, options: dict[str, Any]) -> None:
        if bool(options["ids"]) == bool(options["kind"]):
            raise CommandError("say what is decided: some IDs, or --kind with --pattern")
        if options["kind"] and not options["pattern"]:
            raise CommandError("say of which pattern: --pattern; `manage.py inbox patterns` shows them")
        named = [_named(one) for one in options["ids"]]
        results: list[Result] = []
        for kind in dict.fromkeys([kind for kind, _ in named] or [options["kind"]]):
            word = _word(kind, options)
            keys = [key for one, key in named if one == kind]
            results += deciding.decide(kind, keys, word) if keys else _all(_source(kind), _wish(options), word)
        self._tell(options, results)

    def _undo(self, options: dict[str, Any]) -> None:
        if not options["reason"].strip():
            raise CommandError("say why: --reason")
        who = {"by": options["by"], "reason": options["reason"]}
        pairs = [_whole(one) for one in options["ids"]]
        self._tell(options, [deciding.undo(kind, key, options["decision"], **who) for kind, key in pairs])

    def _tell(self, options: dict[str, Any], results: list[Result]) -> None:
        done = sum(result.is_done for result in results)
        if options["as_json"]:
            self.document({"results": results, "done": done})
        else:
            for result in results:
                self.say(f"{result.name}  {'done' if result.is_done else 'not done'}  {result.text}")
            self.say(f"{done} of {words.counted(len(results), 'matter')} done")
        if results and not done:
            raise CommandError(f"nothing was done: {results[0].text}")


def _add_filters(parser: CommandParser) -> None:
    parser.add_argument("--kind", default="", help="Of one kind; `manage.py inbox patterns` shows them.")
    parser.add_argument("--pattern", default="", help="Of one pattern, by its whole name.")
    parser.add_argument("--agent", default="", help="For one agent, by its name.")


def _add_decision(parser: CommandParser) -> None:
    parser.add_argument("--decision", required=True, help="As `manage.py inbox show ID` names them.")


def _wish(options: dict[str, Any], **more: Any) -> Wish:
    if options["kind"]:
        _source(options["kind"])
    return Wish(kind=options["kind"], pattern=options["pattern"], agent=options["agent"], **more)


def _source(kind: str) -> Source:
    found = source_of(kind)
    if found is None:
        raise CommandError(f"there is no kind {kind!r}; there are {', '.join(one.kind for one in sources())}")
    return found


def _whole(text: str) -> tuple[str, str]:
    kind, is_pair, key = text.partition(":")
    if not is_pair:
        raise CommandError(f"{text!r} is no whole name: write KIND:ID")
    return _source(kind).kind, key


def _named(text: str) -> tuple[str, str]:
    """Return the kind and id of a matter; of one that waits, the kind may be left out, and most of the id too."""
    kind, _, key = text.rpartition(":")
    if kind and as_uuid(key):
        return _source(kind).kind, key
    for source in [_source(kind)] if kind else sources():
        found = _begun(source, key)
        if found:
            return source.kind, found
    raise CommandError(f"nothing waits under {text!r}; `manage.py inbox list` shows what does")


def _begun(source: Source, key: str) -> str:
    """Return the only waiting id that is this one, or begins so."""
    if as_uuid(key):
        return key if rows_of(source).filter(pk=key).exists() else ""
    return str(beginning(key, (rows_of(source), "pk")) or "")


def _word(kind: str, options: dict[str, Any]) -> Word:
    """Return what is said, checked as the form of the page checks it."""
    given: dict[str, Any] = {"reason": options["reason"]}
    for pair in options["set"]:
        name, is_pair, value = pair.partition("=")
        if not is_pair:
            raise CommandError(f"--set is {pair!r}; write --set NAME=VALUE")
        given[name] = value
    said = deciding.checked(deciding.decision_of(kind, options["decision"])[1], given)
    reason = said.pop("reason")
    return Word(decision=options["decision"], by=options["by"], reason=reason, given=said)


def _all(source: Source, wish: Wish, word: Word) -> Iterable[Result]:
    """Decide all of a pattern, so many at once, until none is left that could be."""
    results, left = deciding.decide_all(source.kind, wish, word)
    while left and any(result.is_done for result in results[-deciding.AT_ONCE :]):
        more, left = deciding.decide_all(source.kind, wish, word)
        results += more
    return results


def _row(one: Matter) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": one.kind,
        "id": one.key,
        "asks": one.told.asks,
        "about": one.told.about,
        "since": one.since,
        "cost": one.cost,
        "agent": one.agent,
        "pattern": one.pattern,
        "run": one.told.run_id,
        "decisions": [decision.name for decision in one.decisions()],
    }


def _line(one: Matter) -> list[str]:
    return [
        one.name,
        words.length(timezone.now() - one.since),
        words.money(one.cost) if one.cost else "-",
        one.agent or "-",
        words.one_line(one.pattern, 40) or "-",
        words.one_line(one.told.asks, 120),
    ]
