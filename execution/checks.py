"""System checks: what makes the promises impossible is refused before anything starts; workers run these as well.

Each has an id and a hint. `manage.py doctor` shows them beside what only a look at the servers can tell.
"""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

TAG = "celeriac"
_PICKLE = frozenset({"pickle", "application/x-python-serialize"})
_JSON = frozenset({"json", "application/json"})
_AT_LEAST = {
    "lease_seconds": 1,
    "heartbeat_seconds": 0.1,
    "tick_seconds": 0.05,
    "window": 1,
    "inline_count": 1,
    "inline_seconds": 0,
    "compress_from_bytes": 0,
    "blob_from_bytes": 1,
    "max_value_bytes": 1024,
    "database_patience_seconds": 0,
    "lock_timeout_seconds": 0.1,
    "cancel_grace_seconds": 0,
    "retries": 0,
    "retry_base_seconds": 0,
    "retry_cap_seconds": 0,
    "breaker_threshold": 1,
    "breaker_cooldown_seconds": 1,
    "checkpoint_days": 0,
    "timer_days": 0,
    "event_days": 0,
    "assessment_days": 0,
    "verdict_days": 0,
    "key_hours": 0,
}


@checks.register(TAG)
def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """E001: CELERIAC cannot be read. E003: a healthy step would lose its lease. E004: a number too low."""
    from django.conf import settings

    from execution import conf

    given = getattr(settings, "CELERIAC", {})
    try:
        known = conf.read(dict(given))
    except (ImproperlyConfigured, TypeError, ValueError) as error:
        hint = "CELERIAC is a dictionary; execution/conf.py lists its settings with their defaults."
        return [checks.Error(str(error), hint=hint, id="celeriac.E001")]
    return [*_check_lease(known), *_check_numbers(known), *_check_locks(known)]


def _check_lease(known: Any) -> list[checks.CheckMessage]:
    shortest = known.heartbeat_seconds * 2
    if known.lease_seconds >= shortest:
        return []
    return [
        checks.Error(
            f"CELERIAC['lease_seconds'] is {known.lease_seconds}, shorter than two heartbeats of "
            f"{known.heartbeat_seconds:g} s: a healthy step would lose its lease.",
            hint=f"Set lease_seconds to {shortest:g} or more, "
            f"or heartbeat_seconds to {known.lease_seconds / 3:.1f} or less.",
            id="celeriac.E003",
        )
    ]


def _check_numbers(known: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"CELERIAC[{name!r}] is {getattr(known, name)}, below {least:g}.",
            hint=f"Give {least:g} or more, or leave it out for the default.",
            id="celeriac.E004",
        )
        for name, least in _AT_LEAST.items()
        if getattr(known, name) < least
    ]


def _check_locks(known: Any) -> list[checks.CheckMessage]:
    if known.session_locks:
        return []
    return [
        checks.Warning(
            f"CELERIAC['session_locks'] is False: a dead worker is noticed when its lease runs out, "
            f"after {known.lease_seconds} s, and not within seconds.",
            hint="It is meant for a connection pooler in transaction mode. With a direct connection or a session pool, "
            "set it to True; else silence celeriac.W001.",
            id="celeriac.W001",
        )
    ]


@checks.register(TAG)
def check_database(**_: Any) -> list[checks.CheckMessage]:
    """E002: the ledger is kept in PostgreSQL and nowhere else."""
    from django.db import connections

    engine = connections["default"].vendor
    if engine == "postgresql":
        return []
    return [
        checks.Error(
            f"The default database is {engine}: the ledger needs PostgreSQL 15 or newer.",
            hint="Set DATABASES['default']['ENGINE'] to 'django.db.backends.postgresql'.",
            id="celeriac.E002",
        )
    ]


@checks.register(TAG)
def check_room(**_: Any) -> list[checks.CheckMessage]:
    """E007: where there is an admin, it is the operator's room."""
    from django.apps import apps
    from django.contrib import admin

    if not apps.is_installed("django.contrib.admin"):
        return []
    from execution.room.site import RoomSite

    if apps.is_installed("unfold") and isinstance(admin.site, RoomSite):
        return []
    return [
        checks.Error(
            "The admin is not the operator's room: its pages would miss their templates.",
            hint="INSTALLED_APPS takes 'unfold.apps.BasicAppConfig' and 'execution.room.apps.RoomConfig' in place of "
            "'django.contrib.admin', and set UNFOLD = execution.room.UNFOLD.",
            id="celeriac.E007",
        )
    ]


@checks.register(TAG)
def check_serializers(**_: Any) -> list[checks.CheckMessage]:
    """E005: pickle would run what a message says. E006: the doorbell sends JSON. W002: late acknowledgement."""
    from celery import current_app

    options = current_app.conf
    accepted = {str(name) for name in options.accept_content or ()}
    found: list[checks.CheckMessage] = []
    if accepted & _PICKLE or _PICKLE & {str(options.task_serializer), str(options.result_serializer)}:
        found.append(
            checks.Error(
                "Celery accepts or writes pickle: whoever reaches the broker could run any code in the workers.",
                hint="Set CELERY_ACCEPT_CONTENT = ['json'], CELERY_TASK_SERIALIZER = 'json' and "
                "CELERY_RESULT_SERIALIZER = 'json'.",
                id="celeriac.E005",
            )
        )
    if not accepted & _JSON:
        found.append(
            checks.Error(
                "Celery does not accept JSON, which is what the doorbell sends: no worker would take a step.",
                hint="Put 'json' into CELERY_ACCEPT_CONTENT.",
                id="celeriac.E006",
            )
        )
    if options.task_acks_late:
        found.append(
            checks.Warning(
                "CELERY_TASK_ACKS_LATE is on: plain tasks longer than the broker's timeout are started a second time "
                "while the first still runs. Skills acknowledge early whatever it says.",
                hint="Set it to False; what must survive a crash becomes a skill, whose lease recovers it.",
                id="celeriac.W002",
            )
        )
    return found
