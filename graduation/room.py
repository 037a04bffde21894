"""What the graduation app brings to the room."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from execution.room.finding import Kind, search
from execution.room.parts import Entry, Grant, Group, Page, Panel, listed
from graduation import inbox, stopping
from graduation.models import Envelope, EnvelopeState, ObjectiveState, Offer, OfferState, Standing

WAITING = inbox.WAITING

PEOPLE = [
    Grant(group="viewer", permissions=["graduation.view_*"]),
    Grant(
        group="operator",
        permissions=["graduation.operate_envelope", "graduation.resolve_case", "graduation.decide_recommendation"],
    ),
    Grant(
        group="governor",
        permissions=[
            "graduation.govern_objective", "graduation.govern_gate", "graduation.release_killswitch",
            "graduation.add_sampling", "graduation.change_sampling",
        ],
    ),
]  # fmt: skip

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


BANNERS = [stopping.banner]

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
