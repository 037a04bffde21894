"""Signatures of Celery's canvas as the ledger keeps them: text, with fixed ids, the same whenever they are sent.

A signature is kept as one JSON text inside the canvas of its step, because the order of its keyword arguments and
every character of its values must come back as they were. What is linked gets its ids when it is stored, so that
sending it twice opens it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from celery import maybe_signature
from celery.utils import uuid as new_id
from celery.utils.functional import maybe_list
from kombu.utils import json

if TYPE_CHECKING:
    from celery import Celery

    from execution.skills import SkillTask


def packed(value: Any) -> str:
    """Return a signature, or a list of them, as text."""
    return str(json.dumps(value))


def unpacked(text: str | None) -> Any:
    """Return what a text holds, as plain dictionaries."""
    return json.loads(text) if text else None


def fixed(links: Any, app: Celery) -> list[Any]:
    """Return copies of links that have ids: a second sending of the same link has the same ids."""
    found = []
    for link in maybe_list(links) or []:
        signature: Any = maybe_signature(link, app=app, clone=True)
        if signature.subtask_type:
            signature.freeze()
        else:
            signature.options.setdefault("task_id", new_id())
        found.append(signature)
    return found


def skill_of(signature: Mapping[str, Any], app: Celery) -> SkillTask | None:
    """Return the skill of a plain signature whose task is durable; None for plain tasks, groups, chains and chords."""
    if signature.get("subtask_type"):
        return None
    return skill_named(signature["task"], app)


def skill_named(name: str | None, app: Celery) -> SkillTask | None:
    """Return the durable task of this name, where this process knows one."""
    from execution.skills import SkillTask

    task = app.tasks.get(name) if name else None
    return task if isinstance(task, SkillTask) and task.is_durable else None


def leaves(signature: Any) -> Iterator[Mapping[str, Any]]:
    """Go through the plain signatures inside one."""
    if isinstance(signature, (list, tuple)):
        for part in signature:
            yield from leaves(part)
    elif isinstance(signature, Mapping):
        kwargs = signature.get("kwargs") or {}
        kind = signature.get("subtask_type")
        if kind == "chord":
            yield from leaves(_members(kwargs.get("header")))
            yield from leaves(kwargs.get("body"))
        elif kind in ("chain", "group"):
            yield from leaves(_members(kwargs.get("tasks")))
        else:
            yield signature


def _members(tasks: Any) -> Any:
    """Return a header's or a group's members; what comes from a generator is left alone, because walking uses it up."""
    if isinstance(tasks, (Mapping, list, tuple)):
        return tasks
    return ()
