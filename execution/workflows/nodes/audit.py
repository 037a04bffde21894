"""component-audit: lint, types, tests and duplication of a folder, as one report with counts.

Each tool is this interpreter's own and is called as a program with a time-out. A tool that is not installed is said
to be missing; it is neither a failure nor a success.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from execution import skill, words
from execution.context import Context
from execution.workflows.nodes import commands, duplication, folders
from execution.workflows.nodes.exceptions import FolderMissing

_MOST_LISTED = 50
_TEST_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|deselected|xfailed|xpassed|warnings?)\b")
_NO_TESTS = 5


@skill("library.audit.lint")
def lint(ctx: Context, root: str, path: str = ".", timeout_seconds: float = 300) -> dict[str, Any]:
    """Count what ruff finds in a folder, by rule."""
    arguments = ["check", "--output-format", "json", "--no-cache", "--exit-zero", _inside(root, path)]
    ending = _called(ctx, "ruff", arguments, root, timeout_seconds)
    if isinstance(ending, dict):
        return ending
    if not ending.ok:
        return _broken("ruff", ending)
    found = json.loads(ending.output or "[]")
    problems = [
        _problem(root, one["filename"], one["location"]["row"], one["code"] or "syntax", one["message"])
        for one in found
    ]
    return _counted("ruff", ending, problems)


@skill("library.audit.types")
def types(ctx: Context, root: str, path: str = ".", timeout_seconds: float = 900) -> dict[str, Any]:
    """Count what mypy finds in a folder, by code, under the configuration of its root."""
    with tempfile.TemporaryDirectory() as cache:
        arguments = ["--output", "json", "--no-error-summary", "--cache-dir", cache, _inside(root, path)]
        ending = _called(ctx, "mypy", arguments, root, timeout_seconds)
    if isinstance(ending, dict):
        return ending
    found = [json.loads(line) for line in ending.output.splitlines() if line.startswith("{")]
    if not found and not ending.ok:
        return _broken("mypy", ending)
    problems = [
        _problem(root, one["file"], one["line"], one["code"] or "error", one["message"])
        for one in found
        if one["severity"] == "error"
    ]
    return _counted("mypy", ending, problems)


@skill("library.audit.tests")
def suite(ctx: Context, root: str, arguments: list[str] | None = None, timeout_seconds: float = 1800) -> dict[str, Any]:
    """Run pytest in a folder and count how its tests ended."""
    asked = ["-q", "--color=no", "-p", "no:cacheprovider", *(arguments or [])]
    ending = _called(ctx, "pytest", asked, root, timeout_seconds)
    if isinstance(ending, dict):
        return ending
    lines = ending.output.strip().splitlines()
    counts = {word.rstrip("s"): int(count) for count, word in _TEST_COUNT.findall(lines[-1] if lines else "")}
    if ending.returncode not in (0, 1, _NO_TESTS) or (ending.returncode == 1 and not counts):
        return _broken("pytest", ending)
    return {
        "tool": "pytest",
        "state": {0: "clean", 1: "problems"}.get(ending.returncode, "nothing"),
        "count": counts.get("failed", 0) + counts.get("error", 0),
        "counts": counts,
        "seconds": ending.seconds,
        "failed": [line for line in lines if line.startswith(("FAILED ", "ERROR "))][:_MOST_LISTED],
    }


@skill("library.audit.duplicates")
def duplicates(root: str, path: str = ".", least_lines: int = duplication.LEAST_LINES) -> dict[str, Any]:
    """Count the lines of a folder that stand in more than one place."""
    home, inside = folders.existing(root), PurePosixPath(_inside(root, path))
    files = [file for file in folders.walk(home).files if PurePosixPath(file).is_relative_to(inside)]
    blocks, repeated, total = duplication.find(home, files, least_lines=least_lines)
    return {
        "tool": "duplication",
        "state": "problems" if blocks else "clean",
        "count": len(blocks),
        "repeated_line_count": repeated,
        "line_count": total,
        "share": round(repeated / total, 4) if total else 0.0,
        "blocks": [
            {"lines": one.lines, "first": "{}:{}".format(*one.first), "second": "{}:{}".format(*one.second)}
            for one in blocks[:_MOST_LISTED]
        ],
    }


@skill("library.audit.report")
def report(parts: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    """Put what the tools said into one report; it is clean when each tool that is there found nothing."""
    given = {name: part for name, part in parts.items() if part is not None}
    states = {name: part["state"] for name, part in given.items()}
    return {
        "ok": all(state in ("clean", "missing", "nothing") for state in states.values()),
        "states": states,
        "counts": {name: part.get("count", 0) for name, part in given.items()},
        "missing": [name for name, state in states.items() if state == "missing"],
        "text": "\n".join(f"{name}: {_line(part)}" for name, part in given.items()),
    }


def _line(part: dict[str, Any]) -> str:
    match part["state"]:
        case "missing":
            return f"{part['tool']} is not installed"
        case "timed out":
            return f"{part['tool']} was ended after {words.length(part['seconds'])}"
        case "broken":
            return f"{part['tool']} did not work: {words.one_line(part['said'][-300:])}"
        case "nothing":
            return f"{part['tool']} found nothing to do"
    share = f", {part['share']:.1%} of {part['line_count']:,} lines" if "share" in part else ""
    passed = f", {part['counts'].get('passed', 0):,} passed" if part["tool"] == "pytest" else ""
    return words.counted(part["count"], "problem") + share + passed


def _called(
    ctx: Context, tool: str, arguments: list[str], root: str, timeout_seconds: float
) -> commands.Ending | dict[str, Any]:
    """Return how a tool ended, or the part of the report that says why it did not."""
    command = commands.python_tool(tool)
    if command is None:
        return {"tool": tool, "state": "missing"}
    ending = commands.run(
        [*command, *arguments],
        cwd=folders.existing(root),
        timeout_seconds=timeout_seconds,
        should_stop=lambda: ctx.cancelled,
    )
    if ending.timed_out:
        return {"tool": tool, "state": "timed out", "seconds": ending.seconds}
    return ending


def _broken(tool: str, ending: commands.Ending) -> dict[str, Any]:
    return {"tool": tool, "state": "broken", "returncode": ending.returncode, "said": ending.tail()}


def _counted(tool: str, ending: commands.Ending, problems: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "tool": tool,
        "state": "problems" if problems else "clean",
        "count": len(problems),
        "by_code": dict(Counter(one["code"] for one in problems).most_common()),
        "seconds": ending.seconds,
        "problems": problems[:_MOST_LISTED],
    }


def _problem(root: str, path: str, line: int, code: str, message: str) -> dict[str, Any]:
    place, home = Path(path), Path(root).resolve()
    shown = place.relative_to(home).as_posix() if place.is_relative_to(home) else path
    return {"path": shown, "line": line, "code": code, "message": words.one_line(message)}


def _inside(root: str, path: str) -> str:
    """Return a path below the root as a tool is to be given it, never as an option."""
    home = folders.existing(root)
    place = (home / path).resolve()
    if not place.is_relative_to(home) or not place.exists():
        raise FolderMissing(path)
    return place.relative_to(home).as_posix() if place != home else "."
