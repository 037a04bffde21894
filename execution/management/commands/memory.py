"""`manage.py memory`: what an agent remembers, and the rules by which runs change it."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count, Q

from execution import ledger, memory, memory_rules, words
from execution.management.commands._command import Encoder, json_or_text, table
from execution.management.commands._verbs import VerbsCommand
from execution.models import Memory, MemoryRule, MemoryUpdate, Operation, UpdateOutcome


class Command(VerbsCommand):
    help = "List, recall, remember and forget what an agent remembers; list, set and drop the rules that change it."

    def add_verbs(self, verbs: Any) -> None:
        listing = self._add_agents(verbs, "list", "List an agent's memories, the latest changed first.")
        recalling = self._add_agents(verbs, "recall", "Recall what an agent remembers of some words, best first.")
        recalling.add_argument("query", nargs="*", help="The words; none recalls the most recent.")
        for one in (listing, recalling):
            one.add_argument("--limit", type=int, default=20, help="At most so many; 20 unless given.")
        self._add_remember(verbs)
        forget = self._add_agents(verbs, "forget", "Forget a memory by its key, a kind, or both.")
        forget.add_argument("--key", help="The memory's key.")
        rules = self.add_verb(verbs, "rules", "List the rules, and what became of them.")
        rules.add_argument("--failed", action="store_true", help="The latest failures, with their reasons.")
        self._add_rule(verbs)
        drop = self.add_verb(verbs, "drop", "Drop a rule, and the rows of what became of it.")
        drop.add_argument("name")

    def _add_remember(self, verbs: Any) -> None:
        parser = self._add_agents(verbs, "remember", "Remember a value.", kind="note")
        parser.add_argument("value", help="JSON, or text.")
        parser.add_argument("--key", help="The memory's key; made of the value unless given.")
        parser.add_argument("--ttl", help="How long: 90s, 6h, 30d; for ever unless given.")
        parser.add_argument("--pinned", action="store_true", default=None, help="It neither expires nor is evicted.")

    def _add_rule(self, verbs: Any) -> None:
        parser = self.add_verb(verbs, "rule", "Make or change a rule.")
        parser.add_argument("name")
        parser.add_argument("--key", required=True, help="The memory's key; may hold ${...}.")
        parser.add_argument("--operation", default="set", help=f"{', '.join(Operation.values)}; set unless given.")
        parser.add_argument(
            "--path", default="", help="A part of the result, as notes[0].title; the whole unless given."
        )
        parser.add_argument("--on", default="completed", help="completed, failed, cancelled, or '' for any.")
        parser.add_argument("--if", default="", dest="condition", help="An expression that must be true.")
        parser.add_argument("--agent", help="Only for this agent.")
        parser.add_argument("--workflow", default="", help="Only for this skill or workflow.")
        parser.add_argument("--kind", default="note", help="The memory's kind; note unless given.")
        parser.add_argument("--ttl", help="How long the memory lives; with expire, when it ends.")
        parser.add_argument("--off", action="store_true", help="Keep the rule, but do not apply it.")

    def _add_agents(self, verbs: Any, name: str, text: str, *, kind: str | None = None) -> CommandParser:
        parser = self.add_verb(verbs, name, text)
        parser.add_argument("agent", help="The agent's name.")
        parser.add_argument("--kind", default=kind, help="The memory's kind.")
        return parser

    def _list(self, options: dict[str, Any]) -> None:
        found = memory.of_agent(options["agent"], kind=options["kind"])[: memory.checked_limit(options["limit"])]
        rows = [_facts(one, ledger.unpack(one.value)) for one in found]
        self._print(rows, options)

    def _recall(self, options: dict[str, Any]) -> None:
        found = memory.recall(
            options["agent"], " ".join(options["query"]), kinds=options["kind"], limit=options["limit"]
        )
        self._print([{**_facts(one, one.value), "score": one.score} for one in found], options)

    def _print(self, rows: list[dict[str, Any]], options: dict[str, Any]) -> None:
        if options["as_json"]:
            self.document({"memories": rows})
        elif not rows:
            self.stderr.write("nothing is remembered")
        else:
            lines = [[row["kind"], row["key"], _said(row["value"])] for row in rows]
            self.say(table(lines, ["kind", "key", "value"]))

    def _remember(self, options: dict[str, Any]) -> None:
        value, agent = json_or_text(options["value"]), options["agent"]
        chosen = {name: options[name] for name in ("key", "kind", "ttl", "pinned")}
        kept = Memory.objects.get(pk=memory.remember(agent, value, **chosen))
        if options["as_json"]:
            self.document(_facts(kept, value))
            return
        self.say(f"{agent} remembers {kept.kind} {kept.key}")

    def _forget(self, options: dict[str, Any]) -> None:
        count = memory.forget(options["agent"], options["key"], kind=options["kind"])
        if options["as_json"]:
            self.document({"forgotten": count})
            return
        self.say(f"forgot {words.counted(count, 'memory', 'memories')}")

    def _rules(self, options: dict[str, Any]) -> None:
        if options["failed"]:
            self._failures(options)
            return
        counts = {f"{name}_count": Count("updates", filter=Q(updates__outcome=name)) for name in UpdateOutcome.values}
        rows = [_rule_facts(rule) for rule in MemoryRule.objects.select_related("agent").annotate(**counts)]
        if options["as_json"]:
            self.document({"rules": rows})
        elif not rows:
            self.stderr.write("there is no rule")
        else:
            lines = [
                [row["name"], row["on"], row["operation"], row["key"], *(str(row[one]) for one in UpdateOutcome.values)]
                for row in rows
            ]
            self.say(table(lines, ["rule", "on", "operation", "key", *UpdateOutcome.values]))

    def _failures(self, options: dict[str, Any]) -> None:
        failed = MemoryUpdate.objects.filter(outcome=UpdateOutcome.FAILED).select_related("rule").order_by("-id")[:50]
        rows = [{"rule": one.rule.name, "run": one.run_id, "at": one.at, "error": one.error} for one in failed]
        if options["as_json"]:
            self.document({"failures": rows})
        elif not rows:
            self.stderr.write("no rule has failed")
        else:
            self.say(
                table([[str(row[one]) for one in ("rule", "run", "error")] for row in rows], ["rule", "run", "error"])
            )

    def _rule(self, options: dict[str, Any]) -> None:
        chosen = ("key", "operation", "path", "on", "condition", "agent", "workflow", "kind", "ttl")
        rule = memory_rules.set_rule(
            options["name"], is_enabled=not options["off"], **{name: options[name] for name in chosen}
        )
        if options["as_json"]:
            self.document(_rule_facts(rule))
            return
        self.say(f"the rule {rule.name!r} is set; it holds for runs that end from now on")

    def _drop(self, options: dict[str, Any]) -> None:
        dropped, _ = MemoryRule.objects.filter(name=options["name"]).delete()
        if not dropped:
            raise CommandError(f"there is no rule {options['name']!r}; `manage.py memory rules` lists them")
        if options["as_json"]:
            self.document({"dropped": options["name"]})
            return
        self.say(f"the rule {options['name']!r} is dropped")


def _facts(found: Any, value: Any) -> dict[str, Any]:
    return {"kind": found.kind, "key": found.key, "value": value, "updated_at": found.updated_at}


def _rule_facts(rule: MemoryRule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "is_enabled": rule.is_enabled,
        "on": rule.ending or "any",
        "condition": rule.condition,
        "agent": rule.agent.name if rule.agent else None,
        "workflow": rule.workflow,
        "operation": str(rule.operation),
        "path": rule.path,
        "kind": rule.kind,
        "key": rule.key,
        "ttl_seconds": rule.ttl.total_seconds() if rule.ttl else None,
        **{name: getattr(rule, f"{name}_count", 0) for name in UpdateOutcome.values},
    }


def _said(value: Any) -> str:
    return words.one_line(value if isinstance(value, str) else json.dumps(value, cls=Encoder, ensure_ascii=False))
