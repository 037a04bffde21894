"""The doctor: which servers are used, their versions and settings, what is wrong and how to mend it.

It starts nothing and changes nothing. Whatever is down, it says so in a sentence and looks at the rest. An installed
app adds looks of its own by a module `doctor` with LOOKS.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from django.apps import apps

from execution.doctor import broker, database, settings, work
from execution.doctor.findings import ERROR, OK, WARNING, Finding, Look, made

__all__ = ["ERROR", "OK", "WARNING", "Finding", "examine"]


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which it would be mended: settings, servers, schema, Celery, work."""
    yield from made(settings.LOOKS)
    answers = False
    for finding in made(database.REACHING):
        answers = answers or (finding.id == "database.reachable" and finding.level == OK)
        yield finding
    if answers:
        yield from made(database.LOOKS)
    yield from made(broker.LOOKS)
    if answers:
        yield from made(work.LOOKS)
        yield from made(_looks_of_apps())


def _looks_of_apps() -> Iterator[Look]:
    for app in apps.get_app_configs():
        if app.name != "execution" and find_spec(f"{app.name}.doctor") is not None:
            yield from getattr(import_module(f"{app.name}.doctor"), "LOOKS", ())
