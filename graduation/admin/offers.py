"""Offers of a rise: accepted or declined by whoever is logged in, with a reason."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from execution import agents, people
from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.reasons import action
from execution.models import Level
from graduation import ladder
from graduation.models import Offer, OfferState


def _accept(offer: Offer, *, by: str, reason: str) -> Offer:
    return ladder.accept(offer, person=people.named(by), reason=reason)


def _decline(offer: Offer, *, by: str, reason: str) -> Offer:
    return ladder.decline(offer, person=people.named(by), reason=reason)


@admin.register(Offer)
class OfferAdmin(PlainAdmin):
    list_display = ["agent", "rise", "state", "shown_evidence", "who", "age", "reason"]
    list_filter = [among("state", "state", OfferState.choices)]
    list_select_related = ["agent"]
    by_id = ["pk", "agent_id"]
    by_name = ["agent__name"]
    search_help_text = "An offer's id, or an agent's name."
    fields = ["agent", "rise", "state", "shown_evidence", "evidence", "who", "reason", "verdict_id", "age"]
    readonly_fields = ["rise", "shown_evidence", "who", "age"]
    actions = [
        action("accept", _accept, done="agreed to", permission="decide", noun="offer", is_grave=True),
        action("decline", _decline, done="declined", permission="decide", noun="offer"),
    ]

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(agents.RAISE)

    @admin.display(description="rise")
    def rise(self, offer: Offer) -> str:
        return f"{Level(offer.level_before).label} → {Level(offer.level_after).label}".replace("_", " ")

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
