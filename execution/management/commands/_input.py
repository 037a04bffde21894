"""A skill's input as it is typed: `--input name=value ...`, and `--input-json` for the rest."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from execution.management.commands._command import json_or_text, json_value


def add_input(parser: CommandParser) -> None:
    """Add the two options."""
    parser.add_argument(
        "-i",
        "--input",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="The skill's parameters or the workflow's inputs; a value is JSON where its type wants that, else text.",
    )
    parser.add_argument("--input-json", default="", metavar="JSON", help="The same as one JSON object.")


def given_input(task: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return what was typed as the input of a skill or a workflow, each value as its parameter's type would have it."""
    whole = json_value(options["input_json"], "--input-json") if options["input_json"] else {}
    if not isinstance(whole, dict):
        raise CommandError(f'--input-json must be an object such as {{"name": "value"}}, not {whole!r:.60}')
    return whole | {name: _fitting(task, name, value) for name, value in map(_pair, options["input"])}


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise CommandError(f"--input takes name=value, not {text!r}")
    return name.strip(), value


def _fitting(task: Any, name: str, value: str) -> Any:
    """Return the JSON of a value unless only its text fits the parameter: `--input topic=2024` for a `topic: str`."""
    parsed = json_or_text(value)
    if isinstance(parsed, str) or task.accepts(name, parsed) or not task.accepts(name, value):
        return parsed
    return value
