"""governed-change: a rename in a Python tree that is locked, copied, verified, reviewed, and put back when it fails.

Every step may be performed twice: what it did is recognised by digests, and what somebody else did in between is
refused.
"""

from __future__ import annotations

import difflib
import tempfile
from pathlib import Path
from typing import Any

from execution import skill, words
from execution.context import Context
from execution.workflows.nodes import commands, folders, parsers, renames, stores, trees

_MOST_LISTED = 50


@skill("library.change.scope")
def scope(
    ctx: Context,
    root: str,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    store: str = stores.DEFAULT,
    owner: str = "",
) -> dict[str, Any]:
    """Lock a tree and note the digests of the files that may change."""
    place, holder = folders.existing(root), owner or str(ctx.run_id)
    trees.lock(place, holder)
    files = trees.scope(place, include or ["**/*.py"], exclude or [])
    return {
        "root": str(place),
        "owner": holder,
        "scope": stores.keep_json(store, files),
        "file_count": len(files),
    }


@skill("library.change.baseline")
def baseline(root: str, scope: str, store: str = stores.DEFAULT) -> dict[str, Any]:
    """Copy the files of a scope into the store; refuse when one has changed since it was locked."""
    files = stores.kept_json(store, scope)
    return {"baseline": scope, "file_count": len(files), "size": trees.copy(Path(root), files, store)}


@skill("library.change.rename")
def rename(root: str, scope: str, name: str, new_name: str, store: str = stores.DEFAULT) -> dict[str, Any]:
    """Rename a function, a class or a module's attribute in the files of a scope.

    The edits are computed on the baseline before the first file is written; a second attempt computes the same ones
    and writes what is still missing.
    """
    place, files = Path(root), stores.kept_json(store, scope)
    edits = _computed(files, name, new_name, store)
    trees.apply(place, edits, store)
    places = renames.left(place, name, [path for path in files if path.endswith(".py")])
    return {
        "edits": stores.keep_json(store, edits),
        "changed_count": len(edits),
        "changed": [edit["path"] for edit in edits[:_MOST_LISTED]],
        "left_count": len(places),
        "left": places[:_MOST_LISTED],
    }


def _computed(files: trees.Files, name: str, new_name: str, store: str) -> list[dict[str, Any]]:
    """Return the edits of a rename of the scope as it was, computed in a copy of it."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder)
        for path, digest in files.items():
            folders.write(copied, path, stores.kept(store, digest), over=None)
        found = renames.edits(copied, name, new_name, list(files))
    return [
        {"path": path, "before": files[path], "after": stores.keep(store, content)}
        for path, content in sorted(found.items())
    ]


@skill("library.change.verify")
def verify(
    ctx: Context,
    root: str,
    scope: str,
    edits: str,
    command: list[str] | None = None,
    timeout_seconds: float = 600,
    store: str = stores.DEFAULT,
) -> dict[str, Any]:
    """Compile what was changed, see that nothing else was, and run a command that must end well."""
    place, changed = Path(root), {edit["path"]: edit["after"] for edit in stores.kept_json(store, edits)}
    trees.check(place, stores.kept_json(store, scope) | changed)
    problems = [
        {"path": path, "line": problem.line, "message": problem.message}
        for path in changed
        for problem in parsers.problems("python", stores.kept(store, changed[path]).decode())
    ]
    ending = None
    if command and not problems:
        ending = commands.run(command, cwd=place, timeout_seconds=timeout_seconds, should_stop=lambda: ctx.cancelled)
    return {
        "ok": not problems and (ending is None or ending.ok),
        "compiled_count": len(changed),
        "problems": problems[:_MOST_LISTED],
        "command": _said(command or [], ending),
    }


def _said(command: list[str], ending: commands.Ending | None) -> dict[str, Any] | None:
    if ending is None:
        return None
    return {
        "command": command,
        "returncode": ending.returncode,
        "timed_out": ending.timed_out,
        "seconds": ending.seconds,
        "output": ending.tail(),
    }


@skill("library.change.put_back")
def put_back(root: str, edits: str, store: str = stores.DEFAULT) -> dict[str, Any]:
    """Put every edited file back as it was; refuse, before anything is written, what somebody has changed since."""
    found = stores.kept_json(store, edits)
    done = trees.apply(Path(root), found, store, backwards=True)
    return {"put_back_count": len(done), "file_count": len(found)}


@skill("library.change.release")
def release(root: str, owner: str) -> dict[str, Any]:
    """Release the lock of a tree."""
    return {"released": trees.release(folders.existing(root), owner)}


@skill("library.change.report")
def report(
    root: str,
    owner: str,
    edits: str,
    verified: dict[str, Any],
    put_back: dict[str, Any] | None = None,
    left_count: int = 0,
    store: str = stores.DEFAULT,
) -> dict[str, Any]:
    """Say what was changed, keep the difference as a patch in the store, and release the tree."""
    changed = stores.kept_json(store, edits)
    patch = "".join(_difference(edit, store) for edit in changed)
    trees.release(Path(root), owner)
    kept = put_back is None
    lines = [
        f"{words.counted(len(changed), 'file')} {'changed' if kept else 'changed and put back'} in {root}",
        f"verified: {'yes' if verified['ok'] else 'no'}",
        f"still spelt the old way: {words.counted(left_count, 'place')}",
    ]
    if verified.get("command") and not verified["ok"]:
        lines.append(verified["command"]["output"])
    return {
        "ok": kept and bool(verified["ok"]),
        "is_changed": kept,
        "patch": stores.keep(store, patch.encode()),
        "added_count": sum(line.startswith("+") and not line.startswith("+++") for line in patch.splitlines()),
        "text": "\n".join(lines),
    }


def _difference(edit: dict[str, Any], store: str) -> str:
    before, after = (stores.kept(store, edit[side]).decode(errors="replace") for side in ("before", "after"))
    return "".join(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            fromfile=f"a/{edit['path']}",
            tofile=f"b/{edit['path']}",
        )
    )
