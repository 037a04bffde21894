"""What the graduation app brings to the room."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from execution.room.finding import Kind, search
from execution.room.parts import Banner, Entry, Group, Page, Panel, listed
from graduation import stopping
from graduation.models import Envelope, EnvelopeState, KillSwitch, ObjectiveState, Offer, OfferState, Standing

NAVIGATION = [
    Group(
        title="Trust",
        place=31,
        entries=[
            listed("Standing", "military_tech", "graduation.graduationstatus"),
            listed("Offers", "trending_up", "graduation.offer"),
            listed("Objectives", "target", "graduation.objective"),
            listed("Gate", "traffic", "graduation.gatecall"),
            listed("Envelopes", "mail_lock", "graduation.envelope"),
            Entry(title="Kill switch", icon="emergency_home", page="admin:kill_switch", permission=stopping.VIEW),
            listed("Recommendations", "lightbulb", "graduation.recommendation"),
            listed("Retrospectives", "history_edu", "graduation.retrospective"),
        ],
    ),
]

PAGES = [Page(path="kill-switch/", name="kill_switch", view=stopping.page)]

KINDS = (
    Kind(
        model="graduation.objective",
        noun="objective",
        icon="target",
        ids=(),
        names=["name__icontains", "subject__icontains"],
        tell=lambda objective: objective.subject,
        unread=["document"],
    ),
    Kind(
        model="graduation.envelope",
        noun="envelope",
        icon="mail_lock",
        words=["tunable__icontains"],
        tell=lambda envelope: envelope.state,
    ),
    Kind(
        model="graduation.offer", noun="offer", icon="trending_up", title=lambda offer: f"to level {offer.level_after}"
    ),
    Kind(
        model="graduation.graduationstatus",
        noun="standing",
        icon="military_tech",
        ids=(),
        names=["subject__icontains"],
        tell=lambda standing: standing.status,
    ),
)
SEARCHES = [search(kind) for kind in KINDS]


def kill_switch(request: HttpRequest) -> Banner | None:
    """Return what every page says while the kill switch is engaged."""
    switch = KillSwitch.objects.filter(is_engaged=True).first()
    if switch is None:
        return None
    may_look = request.user.has_perm(stopping.VIEW)
    return Banner(
        title="The kill switch is engaged.",
        text=f"Every envelope was reverted and none is let in. By {switch.engaged_by or 'somebody'}: {switch.reason}",
        url=reverse("admin:kill_switch") if may_look else "",
        link="Look at it",
    )


BANNERS = [kill_switch]

SHOWN_MOST = 6
_TROUBLED = (Standing.EXHAUSTED, Standing.CRITICAL, Standing.WARNING, Standing.ERROR)


def trust(request: HttpRequest) -> dict[str, Any] | None:  # noqa: ARG001 - a panel takes it
    """Return the objectives in trouble, the envelopes in force and the offers that are open; None without any."""
    objectives = ObjectiveState.objects.filter(standing__in=_TROUBLED, objective__is_enabled=True)
    found = {
        "objectives": list(objectives.order_by("-consumed", "pk")[:SHOWN_MOST]),
        "envelopes": list(Envelope.objects.filter(state=EnvelopeState.ACTIVE).order_by("until")[:SHOWN_MOST]),
        "offers": list(
            Offer.objects.filter(state__in=[OfferState.OPEN, OfferState.SECONDED])
            .select_related("agent")
            .order_by("-pk")[:SHOWN_MOST]
        ),
    }
    return found if any(found.values()) else None


PANELS = [
    Panel(
        name="trust",
        place=65,
        template="admin/room/panels/trust.html",
        permission="graduation.view_objective",
        read=trust,
    )
]
