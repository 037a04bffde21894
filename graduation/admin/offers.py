"""Offers of a rise: accepted or declined by whoever is logged in, with a reason."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from execution import agents, people
from execution.admin import shown
from execution.admin.lists import among
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import action
from execution.models import Level
from graduation import conf, ladder
from graduation.models import Offer, OfferState


def _accept(offer: Offer, *, by: str, reason: str) -> Offer:
    return ladder.accept(offer, person=people.named(by), reason=reason)


def _decline(offer: Offer, *, by: str, reason: str) -> Offer:
    return ladder.decline(offer, person=people.named(by), reason=reason)


def _what_accepting_does(chosen: list[Offer]) -> str:
    """Say what agreeing does now: a rise, or the first of two words."""
    if len(chosen) != 1:
        return "Each agent rises at once, or waits for a second person where that is wanted."
    offer = chosen[0]
    wants_two = offer.level_after - offer.level_before > 1
    if wants_two and offer.state == OfferState.OPEN:
        return f"It is more than one level: {offer.agent.name} rises when a second person agrees too."
    first = f" {offer.first_by} has agreed already." if offer.first_by else ""
    return f"{offer.agent.name} may do more alone, at once.{first}"


def _found(offer: Offer) -> list[tuple[str, str]]:
    """Return what the offer rests on, each number with its meaning."""
    found = offer.evidence
    if not found:
        return []
    bar = 1 / conf.current().evidence_alpha
    return [
        ("audited decisions", f"{found['outcomes']:,}, of which {found['errors']:g} were wrong"),
        ("may be wrong", f"{found['target']:.0%}"),
        ("evidence for it", f"{found['in_favour']['e']:,g}: {bar:g} is wanted"),
        ("evidence against it", f"{found['against']['e']:,g}: at {bar:g} it would fall"),
        ("gathered since", found["since"][:19].replace("T", " ")),
        ("decides with", ", ".join(f"{what}: {which}" for what, which in found["making"].items()) or "nothing named"),
    ]


@admin.register(Offer)
class OfferAdmin(ToldAdmin):
    list_display = ["agent", "rise", "shown_state", "shown_evidence", "who", "age", "reason"]
    list_filter = [among("state", "state", OfferState.choices)]
    list_select_related = ["agent"]
    by_id = ["pk", "agent_id"]
    by_name = ["agent__name"]
    search_help_text = "An offer's id, or an agent's name."
    change_form_template = "admin/graduation/offer.html"
    main = ["accept"]
    stored = ["agent", "rise", "state", "shown_evidence", "evidence", "who", "reason", "verdict_id", "age"]
    readonly_fields = ["rise", "shown_evidence", "who", "age"]
    actions = [
        action("accept", _accept, done="agreed to", permission="decide", noun="offer", tells=_what_accepting_does),
        action(
            "decline", _decline, done="declined", permission="decide", noun="offer",
            tells="The agent stays where it is; what speaks for a rise must be shown anew.",
        ),
    ]  # fmt: skip

    def possible(self, row: Offer) -> list[str]:
        return ["accept", "decline"] if row.state in (OfferState.OPEN, OfferState.SECONDED) else []

    def parts(self, request: HttpRequest, row: Offer) -> dict[str, Any]:
        return {
            "shown_state": self.shown_state(row),
            "rise": self.rise(row),
            "agent": shown.link("agent", row.agent_id, row.agent.name),
            "does": _what_accepting_does([row]),
            "found": _found(row),
            "who": self.who(row),
            "verdict": shown.link("verdict", row.verdict_id, "the latest decision about it") if row.verdict_id else "",
        }

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(agents.RAISE)

    @admin.display(description="rise")
    def rise(self, offer: Offer) -> str:
        return f"{Level(offer.level_before).label} → {Level(offer.level_after).label}".replace("_", " ")

    @admin.display(description="state")
    def shown_state(self, offer: Offer) -> str:
        return shown.state("waiting" if offer.state == OfferState.OPEN else offer.state)

    @admin.display(description="evidence")
    def shown_evidence(self, offer: Offer) -> str:
        found = offer.evidence
        if not found:
            return shown.EMPTY
        return f"{found['errors']:g} errors of {found['outcomes']}, e-value {found['in_favour']['e']:g}"

    @admin.display(description="by")
    def who(self, offer: Offer) -> str:
        return (
            " and ".join(name for name in (offer.first_by, offer.second_by) if name) or f"offered by {offer.offered_by}"
        )

    @admin.display(description="age")
    def age(self, offer: Offer) -> str:
        return shown.age(offer.offered_at)
