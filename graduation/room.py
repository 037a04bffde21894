"""What the graduation app brings to the room."""

from __future__ import annotations

from execution.room.parts import Group, listed
from graduation import inbox

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
            listed("Kill switch", "emergency_home", "graduation.killswitch"),
            listed("Recommendations", "lightbulb", "graduation.recommendation"),
        ],
    ),
]
