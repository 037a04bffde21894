"""`manage.py sessions`: list, show, open, close and reopen sessions."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from execution import sessions, words
from execution.exceptions import SessionUnknown
from execution.management.commands._command import SHORTEST_PREFIX, Encoder, beginning, json_value, table
from execution.management.commands._verbs import VerbsCommand
from execution.models import Run, Session


class Command(VerbsCommand):
    help = "List, show, open, close and reopen sessions: groups of runs that share state and a time to live."

    def add_verbs(self, verbs: Any) -> None:
        listing = self.add_verb(verbs, "list", "List sessions, the newest first.")
        listing.add_argument("--status", help="open, active, idle, expired or closed.")
        listing.add_argument("--tag", action="append", default=[], dest="tags", help="All of the tags given.")
        listing.add_argument("--name", default="", help="The beginning of the name.")
        listing.add_argument("--limit", type=int, default=50, help="At most so many; 50 unless given.")
        opening = self.add_verb(verbs, "open", "Open a session, or find the open one of this name; prints its id.")
        opening.add_argument("name", nargs="?", default="")
        opening.add_argument("--state", default="{}", help="What its runs share at first, as a JSON object.")
        opening.add_argument("--ttl", default="24h", help="How long it stays open unused: 90s, 6h, 30d.")
        opening.add_argument("--tag", action="append", default=[], dest="tags", help="A tag; may be given again.")
        self._add_one(verbs, "show", "Show a session, its state and its latest runs.")
        close = self._add_one(verbs, "close", "Close a session.", asks_why=True)
        close.add_argument("--cancel", action="store_true", help="Cancel the runs that have not ended.")
        self._add_one(verbs, "reopen", "Open an expired or closed session again.", asks_why=True)

    def _add_one(self, verbs: Any, name: str, text: str, *, asks_why: bool = False) -> CommandParser:
        parser = self.add_verb(verbs, name, text, asks_why=asks_why)
        parser.add_argument("session", help="Its id or the beginning of it, or the name of one that is not closed.")
        return parser

    def _list(self, options: dict[str, Any]) -> None:
        limit = options["limit"]
        if limit < 1:
            raise CommandError(f"--limit is {limit}; it is at least 1")
        found = sessions.find(status=options["status"], tags=options["tags"], name=options["name"])
        rows = [_facts(session) for session in found[:limit]]
        if options["as_json"]:
            self.document({"sessions": rows})
        elif not rows:
            self.stderr.write("no session fits")
        else:
            now = timezone.now()
            lines = [
                [str(row["id"]), row["status"], words.when(row["expires_at"], now), str(row["runs"]), row["name"]]
                for row in rows
            ]
            self.say(table(lines, ["session", "status", "looked at", "runs", "name"]))

    def _show(self, options: dict[str, Any]) -> None:
        session = _find(options["session"])
        runs = list(Run.objects.filter(session_id=session.id).order_by("-id")[:50])
        facts = {
            **_facts(session),
            "state": sessions.state(session).data,
            "last_runs": [{"run": run.id, "workflow": run.workflow, "state": run.state} for run in runs],
        }
        if options["as_json"]:
            self.document(facts)
            return
        self.say(f"session {session.id} {session.name}".rstrip() + f" is {facts['status']}; version {session.version}")
        self.say(
            f"lives {words.length(session.ttl)} unused; last looked at {words.when(session.touched_at, timezone.now())}"
        )
        self.say(json.dumps(facts["state"], cls=Encoder, indent=2, ensure_ascii=False))
        for run in runs:
            self.say(f"{run.id} {run.state} {run.workflow}")

    def _open(self, options: dict[str, Any]) -> None:
        session = sessions.open(
            options["name"],
            state=json_value(options["state"], "--state"),
            ttl=options["ttl"],
            tags=options["tags"],
        )
        if options["as_json"]:
            self.document({**_facts(session), "created": session.created})
            return
        self.say(str(session.id))
        if not session.created:
            self.stderr.write(f"it was open already, since {words.moment(session.opened_at)}")

    def _close(self, options: dict[str, Any]) -> None:
        found = _find(options["session"])
        closed = sessions.close(found, cancel=options["cancel"], by=options["by"], reason=options["reason"])
        self._told(closed, options)

    def _reopen(self, options: dict[str, Any]) -> None:
        self._told(sessions.reopen(_find(options["session"]), by=options["by"], reason=options["reason"]), options)

    def _told(self, session: Session, options: dict[str, Any]) -> None:
        facts = _facts(session)
        if options["as_json"]:
            self.document(facts)
            return
        self.say(f"session {session.id} is {facts['status']}")


def _find(text: str) -> Session:
    """Return the session of this id or name, or the only one whose id begins so."""
    try:
        return sessions.get(text)
    except SessionUnknown:
        found = beginning(text, (Session.objects.all(), "id")) if len(text) >= SHORTEST_PREFIX else None
        if found is None:
            raise
        return sessions.get(found)


def _facts(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "name": session.name,
        "status": sessions.status_of(session),
        "tags": session.tags,
        "version": session.version,
        "ttl_seconds": session.ttl.total_seconds(),
        "opened_at": session.opened_at,
        "touched_at": session.touched_at,
        "expires_at": session.expires_at,
        "ended_at": session.ended_at,
        "runs": Run.objects.filter(session_id=session.id).count(),
    }
