"""Objectives: what is to be reached, declared in OpenSLO files; who declared it and what changed is in the log.

Importing the same files twice changes nothing. Where what is counted has changed, counting begins anew: counts of two
different things are never added up. An objective that nobody can count is kept and not enabled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models.functions import Now

from execution import events, services
from execution.exceptions import OptionInvalid
from execution.models import Service
from execution.workflows.expressions import nearest
from graduation.exceptions import ObjectivesInvalid, ObjectiveUnknown
from graduation.models import Bucket, DriftState, Objective, ObjectiveState, Origin

if TYPE_CHECKING:
    from execution.workflows.reading import Finding
    from graduation.openslo import Declared, Read

_COUNTED = {"origin", "indicator"}
"""What is counted: where it changes, counting begins anew."""
_QUIET = {"document", "name"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an import did to one objective: nothing where no field changed."""

    objective: str
    is_new: bool
    fields: tuple[str, ...]
    is_counted_anew: bool

    def __str__(self) -> str:
        if self.is_new:
            return f"{self.objective} is new"
        anew = "; counting begins anew" if self.is_counted_anew else ""
        changed = f"{self.objective} has changed: {', '.join(self.fields)}{anew}"
        return changed if self.fields else f"{self.objective} is the same"


def read(paths: Iterable[str | Path]) -> Read:
    """Return what OpenSLO files declare, or raise ObjectivesInvalid with all that is wrong, each at its place."""
    from graduation import openslo

    found = openslo.read(paths)
    if found.errors:
        raise ObjectivesInvalid(found.errors)
    return found


def import_(paths: Iterable[str | Path], *, by: str = "") -> tuple[list[Change], list[Finding]]:
    """Declare the objectives of files; returns what that changed, and what is odd."""
    found = read(paths)
    return declare_all(found.objectives.values(), found.services, by=by), found.notes


@transaction.atomic
def declare_all(declared: Iterable[Declared], known: dict[str, str] | None = None, *, by: str = "") -> list[Change]:
    """Declare objectives, and the services that were described with them and are not declared yet."""
    _declare_services(known or {}, by)
    wanted = {one.name: one for one in declared}
    rows = {one.name: one for one in Objective.objects.select_for_update().filter(pk__in=wanted)}
    return [_declare(one, rows.get(name), by) for name, one in sorted(wanted.items())]


def enable(name: str, *, by: str, reason: str = "") -> Objective:
    """Count an objective, and let it decide; of the time in which it was not nothing is known."""
    if get(name).origin == Origin.OTHER:
        kind = get(name).indicator.get("type")
        raise OptionInvalid(f"{name} cannot be enabled: its metrics come from {kind!r}, which nothing here can ask")
    return _switch(name, is_on=True, by=by, reason=reason)


def disable(name: str, *, by: str, reason: str = "") -> Objective:
    """Count an objective no longer; it decides nothing."""
    return _switch(name, is_on=False, by=by, reason=reason)


@transaction.atomic
def remove(name: str, *, by: str, reason: str = "") -> None:
    """Remove an objective with its counts; its assessments and verdicts stay."""
    get(name).delete()
    _note("objective.removed", name, by, reason=reason)


def get(name: str) -> Objective:
    """Return an objective, or say which name is nearest."""
    found = Objective.objects.select_related("state").filter(pk=name).first()
    if found is None:
        raise ObjectiveUnknown(name, nearest(name, Objective.objects.values_list("name", flat=True)))
    return found


def listed(service: str = "") -> list[Objective]:
    """Return every objective with its state, or those of a service."""
    rows = Objective.objects.select_related("state").order_by("service", "name")
    return list(rows.filter(service=service) if service else rows)


def _declare(one: Declared, row: Objective | None, by: str) -> Change:
    new = {field.name: getattr(one, field.name) for field in fields(one)}
    changed = [name for name in new if row is not None and getattr(row, name) != new[name]]
    told = tuple(name for name in changed if name not in _QUIET)
    anew = bool(_COUNTED & set(changed))
    change = Change(objective=one.name, is_new=row is None, fields=told, is_counted_anew=anew)
    if row is None:
        Objective.objects.create(**new, is_enabled=one.origin != Origin.OTHER, changed_by=by)
        ObjectiveState.objects.create(objective_id=one.name)
    elif changed:
        is_switched = (row.origin == Origin.OTHER) != (one.origin == Origin.OTHER)
        is_enabled = {"is_enabled": one.origin != Origin.OTHER} if is_switched else {}
        Objective.objects.filter(pk=one.name).update(**new, **is_enabled, changed_at=Now(), changed_by=by)
        if anew:
            _begin_anew(one.name)
    if row is None or told:
        _note("objective.declared", one.name, by, is_new=row is None, fields=list(told), is_counted_anew=anew)
    return change


def _begin_anew(name: str) -> None:
    Bucket.objects.filter(objective_id=name).delete()
    DriftState.objects.filter(objective_id=name).delete()
    ObjectiveState.objects.filter(objective_id=name).delete()
    ObjectiveState.objects.create(objective_id=name)


def _declare_services(known: dict[str, str], by: str) -> None:
    """Declare the services that are not declared yet; what is known of the others is better than an OpenSLO file."""
    missing = known.keys() - set(Service.objects.filter(pk__in=known).values_list("name", flat=True))
    made = {one: services.Declaration.model_validate({"description": known[one]}) for one in missing}
    services.declare_all(made, by=by)


@transaction.atomic
def _switch(name: str, *, is_on: bool, by: str, reason: str) -> Objective:
    get(name)
    changed = Objective.objects.filter(pk=name, is_enabled=not is_on)
    if changed.update(is_enabled=is_on, changed_at=Now(), changed_by=by):
        _note("objective.enabled" if is_on else "objective.disabled", name, by, reason=reason)
    return get(name)


def _note(kind: str, name: str, by: str, **more: Any) -> None:
    events.note(kind, {"objective": name, "by": by, **more})
