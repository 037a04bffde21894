"""What the graduation app brings to the room."""

from __future__ import annotations

from execution.room.parts import Grant, Group, listed
from graduation import inbox

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
            listed("Kill switch", "emergency_home", "graduation.killswitch"),
            listed("Recommendations", "lightbulb", "graduation.recommendation"),
        ],
    ),
]
