"""`manage.py topology VERB`: what depends on what, and what stands to fail with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from execution import topology, words
from execution.management.commands._command import Encoder, table
from execution.management.commands._verbs import VerbsCommand
from execution.topology import observed, pictures
from execution.topology.graph import KINDS

_FORMATS = {"mermaid": pictures.mermaid, "svg": pictures.svg, "dot": pictures.dot, "json": None}
_TITLES = ["NODE", "TIER", "BLAST", "NEEDS", "SOURCES"]


class Command(VerbsCommand):
    help = "Show what depends on what: services, skills, agents and workflows."

    def add_verbs(self, verbs: Any) -> None:
        show = self.add_verb(verbs, "show", "Show every node with its blast radius and what it needs.")
        show.add_argument("--kind", choices=KINDS, help="Only agents, workflows, skills or services.")
        blast = self.add_verb(verbs, "blast", "Show what stands to fail with a node.")
        blast.add_argument("name", metavar="NAME", help="The node, as in service:payments, or payments.")
        path = self.add_verb(verbs, "path", "Show how one node depends on another.")
        path.add_argument("start", metavar="A", help="The node that depends.")
        path.add_argument("end", metavar="B", help="The node that it depends on.")
        export = self.add_verb(verbs, "export", "Print or write the whole graph.")
        export.add_argument("--format", choices=list(_FORMATS), default="mermaid", help="mermaid unless given.")
        export.add_argument("--output", help="The file to write; standard output unless given.")
        self.add_verb(verbs, "refresh", "Fold what was seen since, and take a snapshot where the shape has changed.")

    def _show(self, options: dict[str, Any]) -> None:
        found = topology.build()
        nodes = [name for name in sorted(found.graph) if options["kind"] in (None, name.partition(":")[0])]
        if options["as_json"]:
            radii = {name: found.radius(name) for name in nodes}
            self.document({**found.document(), "blast_radius": radii})
            return
        self.say(table([_line(found, name) for name in nodes], _TITLES))

    def _blast(self, options: dict[str, Any]) -> None:
        found = topology.build().blast(options["name"])
        if options["as_json"]:
            self.document(asdict(found))
            return
        self.say(f"{found.node}: {found.radius}")
        self.say(f"what depends on it: {words.listed(list(found.dependants), 50) or 'nothing'}")
        if found.critical:
            self.say(f"critical among them: {words.listed(list(found.critical), 50)}")

    def _path(self, options: dict[str, Any]) -> None:
        found = topology.build().path(options["start"], options["end"])
        self.document({"path": found}) if options["as_json"] else self.say(" → ".join(found))

    def _export(self, options: dict[str, Any]) -> None:
        found = topology.build()
        draw = _FORMATS["json" if options["as_json"] else options["format"]]
        text = draw(found) if draw else json.dumps(found.document(), cls=Encoder, indent=2, ensure_ascii=False) + "\n"
        if not options["output"]:
            self.stdout.write(text, ending="")
            return
        try:
            Path(options["output"]).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}") from None
        self.say(f"{options['output']} is written: {words.counted(len(found.graph), 'node')}")

    def _refresh(self, options: dict[str, Any]) -> None:
        count = observed.fold()
        snapshot = topology.take()
        if options["as_json"]:
            self.document({"event_count": count, "snapshot": snapshot.id, "digest": snapshot.data["digest"]})
            return
        self.say(
            f"{words.counted(count, 'event')} read; the shape is {snapshot.data['digest'][:12]}, as of {snapshot.id}"
        )


def _line(found: topology.Topology, name: str) -> list[str]:
    facts = found.graph.nodes[name]
    edges = [*found.graph.in_edges(name, data="sources"), *found.graph.out_edges(name, data="sources")]
    sources = sorted({source for _, _, each in edges for source in each})
    return [
        name,
        facts["tier"] or ("" if facts["kind"] != "service" or facts["is_known"] else "undeclared"),
        found.radius(name),
        words.listed(sorted(found.graph.successors(name)), 3),
        ", ".join(sources),
    ]
