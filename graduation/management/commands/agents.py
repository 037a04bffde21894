"""`manage.py agents VERB`: where agents stand on the ladder, why, and what persons decide about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from execution import agents, people, words
from execution.management.commands._command import operator, table
from execution.management.commands._verbs import VerbsCommand
from execution.models import Agent, CapabilityLockout, Level, Verdict
from graduation import conf, evaluator, ladder, lockouts, trials
from graduation.models import GraduationHistory, GraduationStatus, Offer, OfferState

_TITLES = ["AGENT", "LEVEL", "STATUS", "ERRORS", "TARGET", "OFFER", "LOCKED"]
_OFFER_TITLES = ["OFFER", "AGENT", "FROM", "TO", "STATE", "BY", "AGE"]
_AUDIT_TITLES = ["DECISION", "KIND", "SUBJECT", "AT"]
_UNDECIDED = (OfferState.OPEN, OfferState.SECONDED)
_LEVELS = {level.label: level for level in Level}
_NAMES = ", ".join(_LEVELS)


class Command(VerbsCommand):
    help = "Show where agents stand on the ladder and why, and decide about it."

    def add_verbs(self, verbs: Any) -> None:
        self.add_verb(verbs, "list", "Show every agent with its level, status, evidence and lockouts.")
        added = self.add_verb(verbs, "add", "Make an agent.")
        added.add_argument("--level", choices=_LEVELS, default="fully_autonomous", metavar="LEVEL", help="Of " + _NAMES)
        added.add_argument("--by", default=operator(), help="Who; the user of the system unless given.")
        audited = self.add_verb(verbs, "audit", "Show which of an agent's decisions wait for somebody to look at them.")
        audited.add_argument("--limit", type=int, default=100, help="How many; 100 unless given.")
        shown = self.add_verb(verbs, "show", "Show one agent with its evidence, offers, lockouts and what to audit.")
        self.add_verb(verbs, "offers", "Show the offers that wait for a person.").add_argument(
            "--all", action="store_true", help="Those that were decided too."
        )
        offer = self.add_verb(verbs, "offer", "Show one offer with its evidence.")
        promoted = self.add_verb(verbs, "promote", "Raise an agent, as a person.", asks_why=True)
        demoted = self.add_verb(verbs, "demote", "Lower an agent.", asks_why=True)
        accepted = self.add_verb(verbs, "accept", "Accept an offer, as a person.", asks_why=True)
        declined = self.add_verb(verbs, "decline", "Decline an offer, as a person.", asks_why=True)
        locked = self.add_verb(verbs, "lock", "Lock a capability.", asks_why=True)
        unlocked = self.add_verb(verbs, "unlock", "Lift what persons have locked.", asks_why=True)
        reviewed = self.add_verb(
            verbs, "review", "Show the timeline, and note that a person has looked.", asks_why=True
        )
        evaluated = self.add_verb(verbs, "evaluate", "Evaluate now where an agent, or the system, stands.")
        for parser in (added, audited, shown, promoted, demoted):
            parser.add_argument("agent", metavar="AGENT", help="The agent's name.")
        for parser in (promoted, demoted):
            parser.add_argument("level", choices=_LEVELS, metavar="LEVEL", help=_NAMES)
        for parser in (offer, accepted, declined):
            parser.add_argument("offer", metavar="ID", help="The offer's id.")
        for parser in (locked, unlocked):
            parser.add_argument("capability", metavar="CAPABILITY")
            _add_agent(parser, "Whose; without a name, everybody's.")
        for parser in (reviewed, evaluated):
            _add_agent(parser, "Which agent; without a name, the whole system.")

    # Looking

    def _list(self, options: dict[str, Any]) -> None:
        rows = [_row(agent) for agent in _agents()]
        if options["as_json"]:
            self.document({"agents": rows, "system": _status_row(GraduationStatus.objects.filter(pk="system").first())})
        elif rows:
            self.say(table([_line(row) for row in rows], _TITLES))
        else:
            self.say("there is no agent yet; `manage.py agents add NAME` makes one")

    def _show(self, options: dict[str, Any]) -> None:
        agent = _agents().get(pk=agents.id_of(options["agent"]))
        facts = _facts(agent)
        if options["as_json"]:
            self.document(facts)
            return
        self.say(table([_line(facts)], _TITLES))
        self._say_evidence(facts["evidence"])
        for gate in facts["graduation"]["gates"]:
            self.say(f"  {'holds' if gate['holds'] else 'open':5}  {gate['name']:10}  {gate['text']}")
        for title, key in (
            ("offers", "offers"),
            ("locked", "lockouts"),
            ("to audit", "to_audit"),
            ("changes", "changes"),
        ):
            self._say_rows(title, facts[key])

    def _audit(self, options: dict[str, Any]) -> None:
        trial = trials.hold(agents.id_of(options["agent"]))
        found = [_audit_row(one) for one in trials.to_audit(trial, max(options["limit"], 0))]
        if options["as_json"]:
            self.document({"to_audit": found})
        elif found:
            self.say(table([[_said(value) for value in row.values()] for row in found], _AUDIT_TITLES))
            self.say("what became of them: manage.py verdicts override ID [ID ...] 1 --reason WHY --by USERNAME")
        else:
            self.say(f"no decision of {options['agent']} waits for an audit")

    def _say_evidence(self, found: dict[str, Any] | None) -> None:
        if found is None:
            self.say("no outcome of its decisions is known yet")
            return
        outcomes = words.counted(found["outcomes"], "audited outcome")
        since = _said(datetime.fromisoformat(found["since"]))
        self.say(f"{found['errors']:g} errors of {outcomes} since {since}, where {found['target']:.0%} may be")
        bar = 1 / conf.current().evidence_alpha
        self.say(f"  e-value against it: {found['against']['e']:g} (it falls at {bar:g})")
        self.say(f"  e-value in favour: {found['in_favour']['e']:g} (a rise is offered at {bar:g})")

    def _say_rows(self, title: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            self.say(f"{title}:")
        for row in rows:
            self.say("  " + "  ".join(_said(value) for value in row.values() if value not in (None, "")))

    def _offers(self, options: dict[str, Any]) -> None:
        rows = Offer.objects.select_related("agent").order_by("-id")
        found = [_offer_row(one) for one in (rows if options["all"] else rows.filter(state__in=_UNDECIDED))[:100]]
        if options["as_json"]:
            self.document({"offers": found})
        elif found:
            self.say(table([_offer_line(row) for row in found], _OFFER_TITLES))
        else:
            self.say("no offer waits for a person")

    def _offer(self, options: dict[str, Any]) -> None:
        row = ladder.get(options["offer"])
        if options["as_json"]:
            self.document(_offer_row(row) | {"evidence": row.evidence, "reason": row.reason})
            return
        self.say(table([_offer_line(_offer_row(row))], _OFFER_TITLES))
        if row.evidence:
            self._say_evidence(row.evidence)

    # Deciding

    def _add(self, options: dict[str, Any]) -> None:
        made = agents.add(options["agent"], level=_LEVELS[options["level"]], by=options["by"])
        if options["as_json"]:
            self.document({"agent": made.name, "id": made.id, "level": options["level"]})
        else:
            self.say(f"{made.name} is {options['level']}")

    def _promote(self, options: dict[str, Any]) -> None:
        row = ladder.promote(
            options["agent"], _LEVELS[options["level"]], person=_person(options), reason=_reason(options)
        )  # fmt: skip
        self._tell(options, row)

    def _accept(self, options: dict[str, Any]) -> None:
        self._tell(options, ladder.accept(options["offer"], person=_person(options), reason=_reason(options)))

    def _decline(self, options: dict[str, Any]) -> None:
        self._tell(options, ladder.decline(options["offer"], person=_person(options), reason=_reason(options)))

    def _tell(self, options: dict[str, Any], offer: Offer) -> None:
        row = _offer_row(ladder.get(offer.pk))
        if options["as_json"]:
            self.document(row)
        elif offer.state == OfferState.ACCEPTED:
            self.say(f"{row['agent']} is {row['to']}; it was {row['from']}")
        elif offer.state == OfferState.SECONDED:
            self.say(f"{row['agent']} waits for a second person: manage.py agents accept {offer.pk} --by USERNAME")
        else:
            self.say(f"offer {offer.pk} is {offer.state}")

    def _demote(self, options: dict[str, Any]) -> None:
        level = _LEVELS[options["level"]]
        verdict = ladder.demote(options["agent"], level, by=options["by"], reason=_reason(options))
        if options["as_json"]:
            self.document({"agent": options["agent"], "level": level.label, "verdict": verdict.id})
        else:
            self.say(f"{options['agent']} is {level.label}; it was {Level(verdict.data['before']).label}")

    def _lock(self, options: dict[str, Any]) -> None:
        lockout = agents.lock_out(
            options["capability"], agent=options["agent"], reason=_reason(options), by=options["by"]
        )  # fmt: skip
        if options["as_json"]:
            self.document(_lockout_row(lockout))
        else:
            self.say(f"{options['capability']} is locked for {options['agent'] or 'every agent'}")

    def _unlock(self, options: dict[str, Any]) -> None:
        name, agent = options["capability"], _agent(options)
        lifted = lockouts.lift_by_hand(name, agent, by=options["by"])
        left = [_lockout_row(one) for one in lockouts.in_force(agent).filter(capability=name)]
        if options["as_json"]:
            self.document({"lifted": lifted, "locked": left})
            return
        self.say(f"{words.counted(lifted, 'lockout')} of {name} lifted")
        for one in left:
            self.say(f"it is locked still, until it is earned: {one['reason']}")

    def _review(self, options: dict[str, Any]) -> None:
        status = evaluator.review(_agent(options), person=_person(options))
        rows = GraduationHistory.objects.filter(subject=status.subject).order_by("-id")[:20]
        timeline = [_history_row(one) for one in rows]
        if options["as_json"]:
            self.document(_status_row(status) | {"timeline": timeline})
            return
        self.say(f"{status.subject} is {status.status}; {status.reviewed_by} has looked")
        self._say_rows("timeline", timeline)

    def _evaluate(self, options: dict[str, Any]) -> None:
        found = evaluator.evaluate(_agent(options))
        if options["as_json"]:
            self.document(found)
            return
        self.say(
            f"{found.subject} is {found.after}" + ("" if found.after == found.before else f"; it was {found.before}")
        )
        for gate in found.gates:
            self.say(f"  {'holds' if gate.holds else 'open':5}  {gate.name:10}  {gate.text}")


def _said(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else words.one_line(value, 100)


def _add_agent(parser: CommandParser, text: str) -> None:
    parser.add_argument("--agent", metavar="AGENT", help=text)


def _person(options: dict[str, Any]) -> people.Person:
    return people.named(options["by"])


def _reason(options: dict[str, Any]) -> str:
    if not options["reason"].strip():
        raise CommandError('say why: --reason "..."')
    return str(options["reason"])


def _agent(options: dict[str, Any]) -> Agent | None:
    return Agent.objects.get(pk=agents.id_of(options["agent"])) if options["agent"] else None


def _agents() -> Any:
    return (
        Agent.objects.select_related("evidence", "graduation").prefetch_related("offers", "lockouts").order_by("name")
    )


def _row(agent: Any) -> dict[str, Any]:
    evidence, status = getattr(agent, "evidence", None), getattr(agent, "graduation", None)
    offers = [offer for offer in agent.offers.all() if offer.state in _UNDECIDED]
    return {
        "agent": agent.name,
        "level": Level(agent.level).label,
        "status": status.status if status else None,
        "outcomes": evidence.outcome_count if evidence else 0,
        "errors": evidence.error_count if evidence else 0,
        "target": evidence.target if evidence else None,
        "offer": Level(offers[0].level_after).label if offers else None,
        "locked": sorted({one.capability for one in agent.lockouts.all() if one.lifted_at is None}),
    }


def _line(row: dict[str, Any]) -> list[str]:
    errors = f"{row['errors']:g} of {row['outcomes']}" if row["outcomes"] else ""
    target = f"{row['target']:.0%}" if row["target"] else ""
    locked = words.listed(row["locked"])
    return [row["agent"], row["level"], row["status"] or "", errors, target, row["offer"] or "", locked]


def _facts(agent: Any) -> dict[str, Any]:
    trial = trials.hold(agent.pk)
    offers = Offer.objects.filter(agent=agent).select_related("agent").order_by("-id")[:5]
    waiting = trials.to_audit(trial)
    changes = Verdict.objects.filter(kind=agents.LEVEL_CHANGED, subject=f"agent:{agent.name}").order_by("-id")[:5]
    return _row(agent) | {
        "evidence": trials.snapshot(trial) if hasattr(agent, "evidence") else None,
        "graduation": _status_row(getattr(agent, "graduation", None)),
        "offers": [_offer_row(one) for one in offers],
        "lockouts": [_lockout_row(one) for one in lockouts.in_force(agent)],
        "to_audit": [_audit_row(one) for one in waiting],
        "changes": [_change_row(one) for one in changes],
    }


def _change_row(one: Verdict) -> dict[str, Any]:
    before, after = (Level(one.data[name]).label for name in ("before", "after"))
    return {
        "at": one.created_at, "from": before, "to": after, "by": one.data["by"], "reason": one.reasoning, "id": one.id,
    }  # fmt: skip


def _audit_row(one: Verdict) -> dict[str, Any]:
    return {"id": one.id, "kind": one.kind, "subject": one.subject, "at": one.created_at}


def _status_row(status: GraduationStatus | None) -> dict[str, Any]:
    if status is None:
        return {"status": None, "gates": []}
    names = ("subject", "status", "former_status", "gates", "reviewed_at", "reviewed_by", "evaluated_at", "changed_at")
    return {name: getattr(status, name) for name in names} | {"gates": status.gates or []}


def _history_row(row: GraduationHistory) -> dict[str, Any]:
    gates = "; ".join(gate["text"] for gate in row.gates)
    return {"at": row.at, "before": row.before, "after": row.after, "gates": gates}


def _lockout_row(lockout: CapabilityLockout) -> dict[str, Any]:
    return {"capability": lockout.capability, "by": lockout.by, "reason": lockout.reason, "since": lockout.created_at}


def _offer_row(offer: Offer) -> dict[str, Any]:
    return {
        "id": offer.pk,
        "agent": offer.agent.name,
        "from": Level(offer.level_before).label,
        "to": Level(offer.level_after).label,
        "state": offer.state,
        "by": " and ".join(name for name in (offer.first_by, offer.second_by) if name) or offer.offered_by,
        "at": offer.offered_at,
    }


def _offer_line(row: dict[str, Any]) -> list[str]:
    age = words.length(timezone.now() - row["at"])
    return [str(row["id"]), row["agent"], row["from"], row["to"], row["state"], row["by"], age]
