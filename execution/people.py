"""People: who may decide what no program decides, and whose account is an agent's own.

An account counts as it is now, not as it was when its session began. It must be active and have the permission; one
whose name is an agent's, or that is in the group `agents`, is no person's.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from execution.exceptions import NotAllowed
from execution.models import Agent

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    Person = AbstractBaseUser | AnonymousUser

AGENTS_GROUP = "agents"


def named(username: str) -> Person:
    """Return the account of this name."""
    from django.contrib.auth import get_user_model

    known = get_user_model()._default_manager  # noqa: SLF001 - Django's documented name
    field = get_user_model().USERNAME_FIELD
    found = known.filter(**{field: username}).first()
    if found is None:
        near = get_close_matches(username, known.values_list(field, flat=True), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`manage.py createsuperuser` makes one"
        raise NotAllowed(f"there is no account named {username!r}, and only a person may do this; {hint}")
    return found


def deciding(person: Person, permission: str) -> str:
    """Return the name of a person who may do this; refuse everybody else, and every agent."""
    now = _now(person)
    if now is None or not now.is_active:
        raise NotAllowed(f"{person.get_username() or 'nobody'} has no active account: only a person may do this")
    name = str(now.get_username())
    if _is_agent(now, name):
        raise NotAllowed(f"{name!r} is an agent's own account: only a person may do this")
    if not now.has_perm(permission):
        raise NotAllowed(f"{name!r} may not do this: the permission {permission!r} is wanted")
    return name


def refuse_agents(name: str) -> None:
    """Refuse whoever goes by an agent's name: a step that asks, asks somebody else."""
    if Agent.objects.filter(name__iexact=name).exists():
        raise NotAllowed(f"{name!r} is an agent's own account: only a person may do this")


def _now(person: Person) -> Any:
    """Return the account as the database has it; one that was never stored is nobody's."""
    from django.contrib.auth import get_user_model

    if not person.is_authenticated or person.pk is None:
        return None
    return get_user_model()._default_manager.filter(pk=person.pk).first()  # noqa: SLF001 - Django's documented name


def _is_agent(account: Any, name: str) -> bool:
    groups = getattr(account, "groups", None)
    if groups is not None and groups.filter(name=AGENTS_GROUP).exists():
        return True
    return Agent.objects.filter(name__iexact=name).exists()
