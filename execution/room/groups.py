"""Groups of people: viewer, operator and governor, made by `migrate`; each may do what the one before may, and more.

Each app names what is granted in its module `room`, as PEOPLE. A permission is granted once, when it is first there:
what a team takes away stays away, and a group that a team removed is not made again. A group of the team's own that has
one of these names is left as it is, since nobody in it was chosen for this.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import structlog
from django.apps import AppConfig
from django.db import connection, transaction

from execution.models import CycleState
from execution.room.parts import Grant, gathered

log = structlog.get_logger(__name__)

LADDER = ("viewer", "operator", "governor")
_STATE = "execution.people"
_OTHERS = "others"


def install_after_migrate(*, sender: AppConfig, using: str, **_: Any) -> None:
    """Grant what an app has brought; its permissions are made first, whichever app was asked to make them."""
    from django.apps import apps

    named = {permission.split(".")[0] for grant in gathered("PEOPLE") for permission in grant.permissions}
    if using != "default" or sender.label not in named or not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth.management import create_permissions

    create_permissions(sender, verbosity=0, using=using)
    if {"auth_group", "execution_cyclestate"} <= set(connection.introspection.table_names()):
        install()


@transaction.atomic
def install() -> int:
    """Grant each group what it was never granted and is there by now; returns how many permissions were granted."""
    row, _ = CycleState.objects.select_for_update().get_or_create(name=_STATE)
    granted: dict[str, list[str]] = dict(row.state or {})
    count = sum(_grant(name, granted) for name in LADDER)
    CycleState.objects.filter(pk=row.pk).update(state=granted)
    return count


def _grant(name: str, granted: dict[str, list[str]]) -> int:
    group = _group(name, granted)
    if group is None:
        return 0
    new = {label: key for label, key in _wanted(name).items() if label not in granted[name]}
    group.permissions.add(*new.values())
    granted[name] = sorted({*granted[name], *new})
    if new:
        log.info("people.granted", group=name, count=len(new))
    return len(new)


def _group(name: str, granted: dict[str, list[str]]) -> Any:
    """Return the group, made where it never was; None where a team has removed it, or has one of its own."""
    from django.contrib.auth.models import Group

    if name in granted:
        return Group.objects.filter(name=name).first()
    if name in granted.get(_OTHERS, []):
        return None
    group, is_new = Group.objects.get_or_create(name=name)
    if not is_new:
        granted[_OTHERS] = [*granted.get(_OTHERS, []), name]
        log.warning("people.group_left_alone", group=name, why="a group of this name was there before")
        return None
    granted[name] = []
    return group


def _wanted(name: str) -> dict[str, int]:
    """Return the permissions of a group that are there, by their names: its own, and those of the groups below it."""
    from django.contrib.auth.models import Permission

    below = LADDER[: LADDER.index(name) + 1]
    patterns = [one for grant in _grants(below) for one in grant.permissions]
    labels = {pattern.split(".")[0] for pattern in patterns}
    rows = Permission.objects.filter(content_type__app_label__in=labels)
    there = {
        f"{label}.{code}": key for key, label, code in rows.values_list("pk", "content_type__app_label", "codename")
    }
    return {one: key for one, key in there.items() if any(fnmatchcase(one, pattern) for pattern in patterns)}


def _grants(names: Iterable[str]) -> list[Grant]:
    return [grant for grant in gathered("PEOPLE") if grant.group in names]
