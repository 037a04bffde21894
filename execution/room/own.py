"""What the execution app brings to the room."""

from __future__ import annotations

from execution.room import banners, flower, searching
from execution.room.panels import PANELS
from execution.room.parts import Entry, Group, Page, listed
from execution.room.searches import SEARCHES

__all__ = ["NAVIGATION", "PAGES", "PANELS", "SEARCHES"]

PAGES = [
    Page(path="go/<path:wanted>", name="go", view=searching.go),
    Page(path="banners/", name="banners", view=banners.show),
    Page(path="flower/", name="flower", view=flower.opened),
]

NAVIGATION = [
    Group(title="", place=0, entries=[Entry(title="Home", icon="home", page="admin:index", permission="")]),
    Group(
        title="Work",
        place=10,
        entries=[
            listed("Runs", "play_circle", "execution.run"),
            listed("Steps", "account_tree", "execution.step"),
            listed("Jobs", "stacks", "execution.job"),
            listed("Sessions", "forum", "execution.session"),
            listed("Workflows", "schema", "execution.workflow"),
            listed("Effects", "bolt", "execution.effect"),
            listed("Timers", "timer", "execution.timer"),
        ],
    ),
    Group(
        title="Trust",
        place=30,
        entries=[
            listed("Agents", "smart_toy", "execution.agent"),
            listed("Lockouts", "lock", "execution.capabilitylockout"),
        ],
    ),
    Group(
        title="Machinery",
        place=40,
        entries=[
            listed("Workers", "memory", "execution.worker"),
            listed("Services", "hub", "execution.service"),
            listed("Breakers", "electrical_services", "execution.breaker"),
            listed("Cycles", "cycle", "execution.cyclestate"),
            listed("Tunables", "tune", "execution.tunable"),
            Entry(title="Flower", icon="local_florist", page="admin:flower", permission=flower.PERMISSION),
        ],
    ),
    Group(
        title="Ledger",
        place=60,
        is_folded=True,
        entries=[
            listed("Events", "receipt_long", "execution.event"),
            listed("Attempts", "replay", "execution.attempt"),
            listed("Signals", "notifications", "execution.signal"),
            listed("Assessments", "analytics", "execution.assessment"),
            listed("Verdicts", "gavel", "execution.verdict"),
            listed("Memories", "psychology", "execution.memory"),
            listed("Provenance", "fingerprint", "execution.provenance"),
        ],
    ),
]
