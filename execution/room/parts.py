"""What an app brings to the room: entries of the navigation, panels of the home page, what can be searched.

An installed app names them in a module `room` as NAVIGATION, PANELS, SEARCHES, PAGES, BANNERS, WAITING (see
`execution.room.inbox`) and PEOPLE (see `execution.room.groups`); each is optional.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.http import HttpRequest, HttpResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the navigation: a page, and the permission without which it is not shown."""

    title: str
    icon: str
    page: str
    permission: str
    count: Callable[[HttpRequest], int] | None = None


def listed(title: str, icon: str, model: str) -> Entry:
    """Return the line of the list of a model such as `execution.run`, shown to who may view it."""
    app, name = model.split(".")
    return Entry(title=title, icon=icon, page=f"admin:{app}_{name}_changelist", permission=f"{app}.view_{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some lines of the navigation under one heading; groups of one title are joined, the lowest place goes first."""

    title: str
    place: int
    entries: Sequence[Entry]
    is_folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One part of the home page: what it reads, and the template that shows it; None is shown as nothing."""

    name: str
    place: int
    template: str
    permission: str
    read: Callable[[HttpRequest], dict[str, Any] | None]
    refresh_seconds: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One thing that a search has found."""

    title: str
    description: str
    url: str
    icon: str
    kind: str = "page"
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How one kind of thing is searched by id, name or tag: each by an index, and bounded."""

    permission: str
    find: Callable[[str], Sequence[Found]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """What stands above every page: BANNERS holds functions that take the request and return one, or None."""

    title: str
    text: str
    url: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a group of people may do: permissions as `execution.operate_run`; `execution.view_*` means all alike."""

    group: str
    permissions: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page that belongs to no model: its path below the admin's, its name there, and its view."""

    path: str
    name: str
    view: Callable[..., HttpResponse]


@cache
def gathered(name: str) -> tuple[Any, ...]:
    """Return what the installed apps name so, in the order in which they are installed."""
    found: list[Any] = []
    for app in apps.get_app_configs():
        module = "execution.room.own" if app.name == "execution" else f"{app.name}.room"
        if find_spec(module) is not None:
            found += getattr(import_module(module), name, ())
    return tuple(found)
