"""`manage.py skills`: what this process knows how to perform."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Any

from django.core.management.base import CommandParser

from execution import skills
from execution.management.commands._command import LedgerCommand

_SHIPPED = ("execution.", "recovery.", "graduation.")
"""What the modules of the skills that come with Celeriac begin with."""


class Command(LedgerCommand):
    help = "List the skills that this process knows, with their parameters and the options that are not the default."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", nargs="?", help="One skill, in full.")
        parser.add_argument(
            "--all", action="store_true", dest="with_shipped", help="Those that come with Celeriac too."
        )

    def act(self, **options: Any) -> None:
        name = options["name"]
        found = {name: skills.named(name)} if name else skills.all_skills()
        every = [_row(name, task) for name, task in sorted(found.items())]
        rows = [row for row in every if name or options["with_shipped"] or not row["module"].startswith(_SHIPPED)]
        if options["as_json"]:
            self.document({"skills": rows})
            return
        if not rows:
            self.stderr.write("no skill is known; define one with @skill in a tasks module of an installed app")
        for row in rows:
            self._print(row, in_full=bool(options["name"]))
        if len(every) > len(rows):
            self.stderr.write(f"{len(every) - len(rows)} that come with Celeriac are listed with --all")

    def _print(self, row: dict[str, Any], *, in_full: bool) -> None:
        self.say(f"{row['name']}{row['signature']}")
        if row["description"]:
            self.say("  " + (row["description"] if in_full else row["description"].partition("\n")[0]))
        if row["options"]:
            self.say("  " + ", ".join(f"{name}={value!r}" for name, value in row["options"].items()))
        if in_full:
            self.say(f"  version {row['version'] or 'not declared'}, queue {row['queue']}, defined in {row['module']}")


def _row(name: str, task: Any) -> dict[str, Any]:
    function = inspect.unwrap(task.function or task.run)
    signature = task.takes_input if task.takes_input is not None else inspect.signature(task.run)
    return {
        "name": name,
        "signature": _said(signature),
        "description": (inspect.getdoc(function) or "").strip(),
        "options": _options(task.options),
        "version": task.version,
        "queue": task.options.queue or task.app.conf.task_default_queue,
        "module": function.__module__,
    }


def _said(signature: inspect.Signature) -> str:
    """Say a signature with its types as they were written."""
    bare = [
        parameter.replace(annotation=_Bare(parameter.annotation))
        if isinstance(parameter.annotation, str)
        else parameter
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


class _Bare:
    """An annotation that is text, to be shown without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _options(given: Any) -> dict[str, Any]:
    """Return the options that say something: those that are not the default."""
    found = {}
    for option in fields(given):
        default = option.default_factory() if option.default_factory is not MISSING else option.default
        value = getattr(given, option.name)
        if value != default:
            found[option.name] = dict(value) if isinstance(value, dict) else value
    return found
