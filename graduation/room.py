"""What the graduation app brings to the room."""

from __future__ import annotations

from execution.room.parts import Entry, Group, Page, listed
from graduation import inbox, stopping

WAITING = inbox.WAITING

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
NOTICES = [stopping.notice]
