"""harvest-deploy: code blocks out of Markdown documents, checked by language, deployed as files.

Between the steps go addresses and digests; the texts lie in the store. A block that does not parse is never
deployed, a path that leaves the target or a file of somebody else is refused and named in the report.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from execution import skill, words
from execution.workflows.nodes import deployments, folders, headers, languages, markdown, parsers, stores
from execution.workflows.nodes.exceptions import PathRefused

Block = dict[str, Any]
_MOST_LISTED = 100


@skill("library.harvest.extract")
def extract(
    documents: list[str], root: str = ".", store: str = stores.DEFAULT, only: list[str] | None = None
) -> dict[str, Any]:
    """Keep the code blocks of Markdown documents in the store, and return where each stands."""
    home = folders.existing(root)
    blocks: list[Block] = []
    left_out: Counter[str] = Counter()
    unreadable: list[dict[str, str]] = []
    found = markdown.find(home, documents)
    for document in found:
        try:
            fences = markdown.fences(markdown.read(home, document))
        except (markdown.DocumentUnreadable, PathRefused) as error:
            unreadable.append({"document": document, "reason": str(error)})
        else:
            blocks += _blocks(document, fences, store, set(only or []), left_out)
    return {
        "blocks": blocks,
        "block_count": len(blocks),
        "document_count": len(found),
        "unreadable": unreadable,
        "left_out": dict(left_out.most_common()),
    }


def _blocks(
    document: str, fences: list[markdown.Fence], store: str, only: set[str], left_out: Counter[str]
) -> list[Block]:
    blocks: list[Block] = []
    for fence in fences:
        language = languages.named(fence.language)
        if language is None or (only and language.name not in only):
            left_out[fence.language or "no language"] += 1
            continue
        content = fence.text.encode()
        derived = PurePosixPath(document).with_suffix("") / f"{len(blocks) + 1:02}{language.suffix}"
        blocks.append({
            "id": f"{document}:{fence.line}",
            "document": document,
            "line": fence.line,
            "language": language.name,
            "path": fence.path or derived.as_posix(),
            "digest": stores.keep(store, content),
            "size": len(content),
            "is_closed": fence.is_closed,
        })  # fmt: skip
    return blocks


@skill("library.harvest.validate")
def validate(blocks: list[Block], store: str = stores.DEFAULT, dialect: str = parsers.DIALECT) -> dict[str, Any]:
    """Check each block by a parser of its language; each error has its document, line and message."""
    valid: list[Block] = []
    errors: list[dict[str, Any]] = []
    for block in blocks:
        found = _errors(block, store, dialect)
        errors += found
        if not found:
            valid.append(block)
    return {
        "blocks": valid,
        "valid_count": len(valid),
        "invalid_count": len(blocks) - len(valid),
        "errors": errors[:_MOST_LISTED],
        "error_count": len(errors),
        "by_language": dict(Counter(block["language"] for block in blocks)),
        "ok": len(valid) == len(blocks),
    }


def _errors(block: Block, store: str, dialect: str) -> list[dict[str, Any]]:
    text = stores.kept(store, block["digest"]).decode()
    found = parsers.problems(block["language"], text, dialect=dialect)
    if not block.get("is_closed", True):
        found = [parsers.Problem(0, "the fence is never closed"), *found]
    return [
        {
            "document": block["document"],
            "line": block["line"] + problem.line,
            "language": block["language"],
            "message": problem.message,
        }
        for problem in found
    ]


@skill("library.harvest.inject")
def inject(blocks: list[Block], store: str = stores.DEFAULT, context: dict[str, Any] | None = None) -> dict[str, Any]:
    """Put a header with source and context on top of each block, in the comments of its language."""
    done: list[Block] = []
    for block in blocks:
        text = stores.kept(store, block["digest"]).decode()
        source = f"{block['document']}, line {block['line']}"
        whole = headers.injected(block["language"], text, source=source, context=context or {})
        done.append(block | {"content": stores.keep(store, whole.encode())})
    injected = sum(block["content"] != block["digest"] for block in done)
    return {"blocks": done, "injected_count": injected, "untouched_count": len(done) - injected}


@skill("library.harvest.checkpoint")
def checkpoint(blocks: list[Block], target: str, store: str = stores.DEFAULT) -> dict[str, Any]:
    """Keep a manifest of what a deployment would do, and a copy of every file that it would replace."""
    place = Path(target).expanduser().absolute()
    files = deployments.plan(place, blocks, deployments.record_of(place))
    for file in files:
        if file["action"] == deployments.REPLACE:
            stores.keep(store, folders.read(place, file["path"]) or b"")
    manifest = stores.keep_json(store, {"target": str(place), "files": files})
    return {"manifest": manifest, "target": str(place), **_counted(files)}


@skill("library.harvest.deploy")
def deploy(manifest: str, store: str = stores.DEFAULT, dry_run: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - an input
    """Write the files of a manifest, each by rename and once; a dry run only says what would be written."""
    planned = stores.kept_json(store, manifest)
    target = Path(planned["target"])
    if dry_run:
        return {"target": str(target), "dry_run": True, **_counted(planned["files"])}
    with deployments.held(target):
        files = _deployed(target, planned["files"], store)
    return {"target": str(target), "dry_run": False, **_counted(files)}


def _deployed(target: Path, planned: list[Block], store: str) -> list[Block]:
    """Record what will be there and what was, write the files, then record what is there."""
    known = deployments.record_of(target)
    files = [deployments.decided(target, file, known.get(file["path"])) for file in planned]
    intended = {file["path"]: deployments.entry(file) for file in files if deployments.is_ours(file, known)}
    deployments.write_record(target, known | intended)
    done = [deployments.put(target, file, store) for file in files]
    settled = {file["path"] for file in done if file["action"] != deployments.REFUSE} & intended.keys()
    deployments.write_record(target, known | {path: intended[path] | {"previous": None} for path in settled})
    return done


def _counted(files: list[Block]) -> dict[str, Any]:
    counts = Counter(file["action"] for file in files)
    refused = [
        {name: file[name] for name in ("path", "document", "line", "reason")}
        for file in files
        if file["action"] == deployments.REFUSE
    ]
    return {
        "written_count": counts[deployments.WRITE],
        "replaced_count": counts[deployments.REPLACE],
        "kept_count": counts[deployments.KEEP],
        "refused_count": counts[deployments.REFUSE],
        "refused": refused[:_MOST_LISTED],
    }


@skill("library.harvest.report")
def report(
    document_count: int,
    block_count: int,
    errors: list[dict[str, Any]],
    unreadable: list[dict[str, str]],
    deployed: dict[str, Any] | None,
) -> dict[str, Any]:
    """Say in one text what was harvested, what is broken and what was deployed."""
    lines = [f"{words.counted(block_count, 'block')} in {words.counted(document_count, 'document')}"]
    lines += [f"unreadable: {one['document']} {one['reason']}" for one in unreadable]
    lines += [f"broken: {one['document']}:{one['line']}: {one['language']}: {one['message']}" for one in errors]
    if deployed is None:
        lines.append("nothing was deployed")
    else:
        lines.append(_said(deployed))
        lines += [f"refused: {one['path']} {one['reason']}" for one in deployed["refused"]]
    ok = not errors and not unreadable and deployed is not None and not deployed["refused_count"]
    return {"ok": ok, "text": "\n".join(lines)}


def _said(deployed: dict[str, Any]) -> str:
    verb = "would write" if deployed["dry_run"] else "wrote"
    return (
        f"{verb} {deployed['written_count']:,}, replaced {deployed['replaced_count']:,}, "
        f"kept {deployed['kept_count']:,}, refused {deployed['refused_count']:,} in {deployed['target']}"
    )
