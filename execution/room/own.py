"""What the execution app brings to the room."""

from __future__ import annotations

from django.apps import apps

from execution.room import banners, flower, searching, wholes
from execution.room.inbox import page as inbox
from execution.room.inbox import work
from execution.room.panels import PANELS
from execution.room.parts import Entry, Grant, Group, Page, listed
from execution.room.searches import SEARCHES

__all__ = ["NAVIGATION", "PAGES", "PANELS", "PEOPLE", "SEARCHES", "WAITING"]

WAITING = work.WAITING

PEOPLE = [
    Grant(group="viewer", permissions=["execution.view_*", "django_celery_beat.view_*"]),
    Grant(
        group="operator",
        permissions=[
            "execution.operate_run", "execution.change_breaker", "execution.add_concurrencykey",
            "execution.change_concurrencykey", "execution.add_capabilitylockout", "execution.change_capabilitylockout",
            "execution.add_service", "execution.change_service",
        ],
    ),
    Grant(
        group="governor",
        permissions=[
            "execution.raise_agent", "execution.add_agent", "execution.change_agent", "execution.add_tunable",
            "execution.change_tunable", "django_celery_beat.*",
        ],
    ),
]  # fmt: skip

PAGES = [
    Page(path="go/<path:wanted>", name="go", view=searching.go),
    Page(path="banners/", name="banners", view=banners.show),
    Page(path="flower/", name="flower", view=flower.opened),
    Page(path="inbox/", name="inbox", view=inbox.show),
    Page(path="inbox/evidence/", name="inbox_evidence", view=inbox.evidence),
    Page(path="inbox/ask/", name="inbox_ask", view=inbox.ask),
    Page(path="inbox/undo/", name="inbox_undo", view=inbox.undo),
    Page(path="inbox/put-away/", name="inbox_put_away", view=inbox.put_away),
    Page(path="execution/value/<slug:name>/<uuid:key>/", name="execution_whole_value", view=wholes.show),
]

# django-celery-beat may be missing: a project can schedule the cycles by itself.
_SCHEDULES = (
    [listed("Schedules", "schedule", "django_celery_beat.periodictask")]
    if apps.is_installed("django_celery_beat")
    else []
)
NAVIGATION = [
    Group(
        title="",
        place=0,
        entries=[
            Entry(title="Home", icon="home", page="admin:index", permission=""),
            Entry(title="Inbox", icon="inbox", page="admin:inbox", permission=work.VIEW, count=inbox.badge),
        ],
    ),
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
            *_SCHEDULES,
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
