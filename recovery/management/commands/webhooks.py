"""`manage.py webhooks VERB`: send events to other programs, and see how that goes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from execution import words
from execution.management.commands._command import moment, operator, table
from execution.management.commands._verbs import VerbsCommand
from recovery import addresses, webhooks
from recovery.models import Delivery, EndpointState, WebhookEndpoint

_TITLES = ["WEBHOOK", "STATE", "KINDS", "DELIVERED", "FAILED", "DEAD", "LAST DELIVERED", "URL"]
_LAST = 10


class Command(VerbsCommand):
    help = "Send events to other programs, signed, and see how that goes."

    def add_verbs(self, verbs: Any) -> None:
        add = self.add_verb(verbs, "add", "Send events to an address; prints its secret, this once.", asks_why=True)
        add.add_argument("name", metavar="NAME", help="What it is called from now on.")
        add.add_argument("url", metavar="URL", help="Where messages are posted to.")
        self.add_verb(verbs, "list", "Show every webhook and how it does.")
        show = self.add_verb(verbs, "show", "Show one webhook with its last messages and tries.")
        show.add_argument("--limit", type=int, default=_LAST, help=f"How many tries; {_LAST} unless given.")
        test = self.add_verb(verbs, "test", "Send one test message now; status 1 when it is not taken.")
        test.add_argument("--by", default=operator(), help="Who; the user of the system unless given.")
        replay = self.add_verb(verbs, "replay", "Send one message again, or what is dead or was missed.", asks_why=True)
        replay.add_argument("name", metavar="NAME|MESSAGE", help="A webhook, with --since; or a message's id.")
        replay.add_argument("--since", help="From when on: a moment, or a length of time such as 2h before now.")
        replay.add_argument("--until", help="Until when; now unless given.")
        change = self.add_verb(verbs, "change", "Change an address, kinds or order.", asks_why=True)
        change.add_argument("--url", help="The new address; what waits goes there too.")
        change.add_argument("--unordered", dest="is_ordered", action="store_false", default=None, help="Ask no order.")
        for parser in (add, change):
            parser.add_argument(
                "--kinds", nargs="+", metavar="KIND", help="Such as run.failed and incident.*; else all."
            )
            parser.add_argument(
                "--ordered", dest="is_ordered", action="store_true", default=None, help="Events of one run in order."
            )
        rotate = self.add_verb(verbs, "rotate", "Make a new secret, printed this once.", asks_why=True)
        rotate.add_argument("--keep", default="24h", help="How long the old one stays valid; 24h unless given.")
        others = [
            self.add_verb(verbs, "enable", "Send again.", asks_why=True),
            self.add_verb(verbs, "disable", "Send nothing more; what waits stays.", asks_why=True),
            self.add_verb(verbs, "remove", "Remove a webhook with its messages.", asks_why=True),
        ]
        for parser in (show, test, change, rotate, *others):
            parser.add_argument("name", metavar="NAME", help="The webhook: its name, or the beginning of its id.")

    def _add(self, options: dict[str, Any]) -> None:
        added = webhooks.add(
            options["name"],
            options["url"],
            kinds=options["kinds"] or (),
            is_ordered=bool(options["is_ordered"]),
            **_who(options),
        )
        self._tell_secret(options, added.endpoint, added.secret, f"{added.endpoint} is added")

    def _rotate(self, options: dict[str, Any]) -> None:
        found = webhooks.get(options["name"])
        secret = webhooks.rotate(found, keep=options["keep"], **_who(options))
        self._tell_secret(options, found, secret, f"{found} has a new secret; the old one ends in {options['keep']}")

    def _tell_secret(self, options: dict[str, Any], found: WebhookEndpoint, secret: str, text: str) -> None:
        if options["as_json"]:
            self.document({"webhook": found.name, "id": found.id, "secret": secret})
            return
        self.say(text)
        self.say(f"secret  {secret}")
        self.say("It is not shown again: give it to the receiver now.")

    def _list(self, options: dict[str, Any]) -> None:
        found = list(WebhookEndpoint.objects.order_by("name"))
        if options["as_json"]:
            self.document({"webhooks": [_row(one) for one in found]})
        elif found:
            self.say(table([_line(one) for one in found], _TITLES))
        else:
            self.say("there is no webhook; `manage.py webhooks add NAME URL` adds one")

    def _show(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        found = webhooks.get(options["name"])
        tries = webhooks.last_tries(found, options["limit"])
        if options["as_json"]:
            self.document(_row(found) | {"tries": [_try(one) for one in tries]})
            return
        for name, value in _row(found).items():
            if value not in (None, "", [], 0):
                self.say(f"{name:15} {value if not isinstance(value, list) else ', '.join(value)}")
        self.say(f"{'health':15} {webhooks.health(found)}")
        if tries:
            self.say(table([_try_line(one) for one in tries], ["MESSAGE", "KIND", "AGE", "STATE", "TOOK", "ANSWER"]))

    def _test(self, options: dict[str, Any]) -> None:
        answer = webhooks.send_test(options["name"], by=options["by"])
        if options["as_json"]:
            self.document(answer)
        elif answer.is_success:
            self.say(f"taken: {answer.status} after {words.length(answer.duration_ms / 1000)}")
        if answer.is_success:
            return
        if options["as_json"]:
            raise SystemExit(1)
        raise CommandError(
            f"not taken: {answer.error}" + (f"; it said {answer.response:.200}" if answer.response else "")
        )

    def _replay(self, options: dict[str, Any]) -> None:
        if not options["since"]:
            if options["until"]:
                raise CommandError("--until goes with --since")
            self._replay_one(options)
            return
        since = moment(options["since"], "--since", back=True)
        until = moment(options["until"], "--until", back=True) if options["until"] else None
        again, missed = webhooks.replay_since(options["name"], since, until, **_who(options))
        if options["as_json"]:
            self.document({"webhook": options["name"], "again": again, "missed": missed})
        else:
            self.say(f"{words.counted(again, 'dead message')} and {words.counted(missed, 'missed event')} are due now")

    def _replay_one(self, options: dict[str, Any]) -> None:
        if WebhookEndpoint.objects.filter(name=options["name"]).exists():
            raise CommandError(f"say from when on {options['name']!r} is replayed: --since 2h, or give a message's id")
        sent = webhooks.replay(options["name"], **_who(options))
        if options["as_json"]:
            self.document({"message": sent.id, "webhook": sent.endpoint.name, "state": sent.state})
        else:
            self.say(f"the {sent.kind} message {sent.id} to {sent.endpoint.name} is due now")

    def _change(self, options: dict[str, Any]) -> None:
        given: dict[str, Any] = {name: options[name] for name in ("url", "kinds", "is_ordered")}
        if all(value is None for value in given.values()):
            raise CommandError("nothing to change: give --url, --kinds, --ordered or --unordered")
        self._tell(options, webhooks.change(options["name"], **given, **_who(options)), "is changed")

    def _enable(self, options: dict[str, Any]) -> None:
        webhooks.enable(options["name"], **_who(options))
        self._tell(options, webhooks.get(options["name"]), "is enabled")

    def _disable(self, options: dict[str, Any]) -> None:
        webhooks.disable(options["name"], **_who(options))
        self._tell(options, webhooks.get(options["name"]), "is disabled")

    def _remove(self, options: dict[str, Any]) -> None:
        waiting = webhooks.remove(options["name"], **_who(options))
        if options["as_json"]:
            self.document({"webhook": options["name"], "undelivered": waiting})
        else:
            self.say(
                f"{options['name']} is removed, with {words.counted(waiting, 'message')} that had not been delivered"
            )

    def _tell(self, options: dict[str, Any], found: WebhookEndpoint, text: str) -> None:
        self.document(_row(found)) if options["as_json"] else self.say(f"{found} {text}")


def _who(options: dict[str, Any]) -> dict[str, Any]:
    return {"by": options["by"], "reason": options["reason"]}


def _row(found: WebhookEndpoint) -> dict[str, Any]:
    return {
        "webhook": found.name,
        "id": found.id,
        "url": addresses.shown_url(found.url),
        "kinds": found.kinds,
        "is_ordered": found.is_ordered,
        "state": found.state,
        "disabled_reason": found.disabled_reason,
        "failing_since": found.failing_since,
        "held_until": found.held_until,
        "last_error": found.last_error,
        "published": found.published_count,
        "delivered": found.delivered_count,
        "failed_tries": found.failed_count,
        "dead": found.dead_count,
        "delivered_at": found.delivered_at,
        "secrets": webhooks.secret_count(found),
    }


def _line(found: WebhookEndpoint) -> list[str]:
    state = "failing" if found.state == EndpointState.ACTIVE and found.failing_since else found.state
    ago = f"{words.length(timezone.now() - found.delivered_at)} ago" if found.delivered_at else "never"
    numbers = [str(found.delivered_count), str(found.failed_count), str(found.dead_count)]
    return [found.name, state, ", ".join(found.kinds) or "all", *numbers, ago, addresses.shown_url(found.url)]


def _try(one: Delivery) -> dict[str, Any]:
    return {
        "message": one.message_id,
        "event": one.message.event_id,
        "kind": one.message.kind,
        "state": one.message.state,
        "tries": one.message.try_count,
        "due_at": one.message.due_at if one.message.state == "pending" else None,
        "status": one.status,
        "error": one.error,
        "response": one.response,
        "duration_ms": one.duration_ms,
        "at": one.created_at,
    }


def _try_line(one: Delivery) -> list[str]:
    age = words.length(timezone.now() - one.created_at)
    told = one.error or f"{one.status}"
    took = words.length(one.duration_ms / 1000)
    return [str(one.message_id), one.message.kind, age, one.message.state, took, words.one_line(told, 80)]
