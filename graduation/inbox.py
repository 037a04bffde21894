"""What of graduation waits for a person: offers of a rise, and recommendations."""

from __future__ import annotations

from django.db.models import Case, CharField, F, When
from django.urls import reverse

from execution import agents, people
from execution.admin import shown
from execution.models import Level
from execution.room.inbox.parts import Decision, Evidence, Rows, Source, Told, text, waiting
from graduation import ladder
from graduation.learn import recommendations
from graduation.models import Offer, OfferState, Recommendation, RecommendationState

DECIDE = "graduation.decide_recommendation"


def _level(level: int) -> str:
    return str(Level(level).label).replace("_", " ")


# Offers


def _offers() -> Rows:
    rows = Offer.objects.filter(state__in=[OfferState.OPEN, OfferState.SECONDED]).select_related("agent")
    levels = [When(level_after=level, then=text(f"to {_level(level)}")) for level in Level.values]
    return waiting(
        rows,
        since=F("offered_at"),
        pattern=Case(*levels, default=text("to another level"), output_field=CharField()),
        agent=F("agent_id"),
    )


def _of_offer(offer: Offer) -> Told:
    seconded = f"{offer.first_by} has agreed; a second person is wanted" if offer.first_by else ""
    return Told(
        asks=f"{offer.agent.name} may rise from {_level(offer.level_before)} to {_level(offer.level_after)}. Agree?",
        about=seconded or f"offered by {offer.offered_by or 'the ladder'}",
        url=reverse("admin:graduation_offer_change", args=[offer.pk]),
    )


def _evidence_of_offer(offer: Offer) -> Evidence:
    found = offer.evidence
    counted = (
        f"{found['errors']:g} errors of {found['outcomes']} audited outcomes" if found else "a person's wish alone"
    )
    favour = f"{found['in_favour']['e']:g}" if found else shown.EMPTY
    return Evidence(
        facts={
            "Agent": shown.link("agent", offer.agent_id, offer.agent.name),
            "Evidence": counted,
            "E-value in favour": favour,
            "Offered": shown.age(offer.offered_at),
            "All of it": shown.data(found or None),
        }
    )


def _accept(offer: Offer, *, by: str, reason: str) -> str:
    done = ladder.accept(offer, person=people.named(by), reason=reason)
    if done.state == OfferState.SECONDED:
        return "agreed: a second person is wanted before the agent rises"
    return f"{done.agent.name} is {_level(done.level_after)} now"


def _decline(offer: Offer, *, by: str, reason: str) -> str:
    ladder.decline(offer, person=people.named(by), reason=reason)
    return "declined: what speaks for a rise must be shown anew"


def _became_of_offer(key: str) -> str:
    offer = Offer.objects.filter(pk=key).first()
    if offer is None:
        return "there is no such offer any more"
    who = offer.second_by or offer.first_by
    return f"{who} was faster: the offer is {offer.state}" if who else f"the offer is {offer.state}"


# Recommendations


def _recommendations() -> Rows:
    rows = Recommendation.objects.filter(state=RecommendationState.OPEN)
    return waiting(rows, since=F("created_at"), pattern=F("kind"))


def _of_recommendation(row: Recommendation) -> Told:
    return Told(asks=row.text, url=reverse("admin:graduation_recommendation_change", args=[row.pk]))


def _evidence_of_recommendation(row: Recommendation) -> Evidence:
    return Evidence(
        facts={
            "Accepting does": shown.data(row.change),
            "Evidence": shown.data(row.evidence),
            "Retrospective": shown.link("assessment", row.retrospective_id),
            "Recommended": shown.age(row.created_at),
        }
    )


def _follow(row: Recommendation, *, by: str, reason: str) -> str:
    return recommendations.accept(row, by=by, reason=reason)


def _leave(row: Recommendation, *, by: str, reason: str) -> str:
    recommendations.decline(row, by=by, reason=reason)
    return "declined: nothing is changed"


def _reopen(key: str, *, by: str, reason: str) -> str:
    recommendations.reopen(key, by=by, reason=reason)
    return "it waits for a decision again"


def _became_of_recommendation(key: str) -> str:
    row = Recommendation.objects.filter(pk=key).first()
    return f"{row.decided_by} was faster: it is {row.state}" if row else "there is no such recommendation any more"


WAITING = [
    Source(
        kind="promotion",
        noun="promotion",
        title="Promotions",
        promise="an agent has earned a higher level",
        permission="graduation.view_offer",
        rows=_offers,
        tell=_of_offer,
        evidence=_evidence_of_offer,
        became=_became_of_offer,
        decisions=[
            Decision(
                name="accept", key="a", permission=agents.RAISE, act=_accept, is_main=True,
                effect="The agent rises; for more than one level a second person must agree too.",
                final="an agent is demoted by hand instead",
            ),
            Decision(
                name="decline", key="r", permission=agents.RAISE, act=_decline,
                effect="The agent stays, and what speaks for it is counted anew.",
                final="what speaks for a rise must be shown anew",
            ),
        ],
    ),
    Source(
        kind="recommendation",
        noun="recommendation",
        title="Recommendations",
        promise="a look back on an incident recommends a change",
        permission="graduation.view_recommendation",
        rows=_recommendations,
        tell=_of_recommendation,
        evidence=_evidence_of_recommendation,
        became=_became_of_recommendation,
        decisions=[
            Decision(
                name="accept", key="a", permission=DECIDE, act=_follow, is_main=True,
                effect="What it says is done, in your name.", final="it is done; change it back by hand",
            ),
            Decision(
                name="decline", key="r", permission=DECIDE, act=_leave, undo=_reopen, effect="Nothing is changed.",
            ),
        ],
    ),
]  # fmt: skip
