"""Chords, counted in the ledger: a durable part counts in the transaction that ends it, and the body is sent once.

A chord is counted here when any part of it is durable; its body carries a mark, by which the plain tasks of its header
know where to report. A chord of plain tasks alone is left to the project's own result backend. The results keep the
shape and the order of the header.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import structlog
from celery import Celery, maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult
from celery.utils.functional import _regen
from django.db import Error as DatabaseError
from psycopg.types.json import Jsonb

from execution import errands, ledger, signatures, values
from execution.exceptions import LedgerAway

log = structlog.get_logger(__name__)

MARK = "celeriac"
_LAST = 2147483647


def is_counted(body: Any) -> bool:
    """Tell whether the chord of this body is counted in the ledger."""
    return isinstance(body, Mapping) and bool(body.get(MARK))


def begin(app: Celery, group_id: str, results: Any, *, body: Any) -> bool:
    """Count a chord in the ledger, in the caller's transaction, if any part of it is durable.

    The results of a header that is a generator are not looked at, because that would make all of its tasks at once.
    """
    is_lazy = isinstance(results, _regen)
    if not is_lazy and not _has_durable_part(app, results, body):
        return False
    body[MARK] = 1
    is_nested = not is_lazy and any(isinstance(part, GroupResult) for part in results)
    shape = [part.as_tuple() for part in results] if is_nested else None
    ledger.ask_in_transaction(
        "INSERT INTO execution_chord (group_id, body) VALUES (%s, %s) ON CONFLICT (group_id) DO UPDATE SET body = "
        "excluded.body WHERE execution_chord.body IS NULL",
        [group_id, Jsonb({"signature": signatures.packed(body), "header": shape})],
    )
    return True


def _has_durable_part(app: Celery, results: Any, body: Any) -> bool:
    if any(getattr(result, "is_durable", False) for result in _leaf_results(results)):
        return True
    return any(signatures.skill_of(leaf, app) is not None for leaf in signatures.leaves(body))


def _leaf_results(results: Any) -> Iterator[Any]:
    for result in results:
        if isinstance(result, GroupResult):
            yield from _leaf_results(result.results)
        else:
            yield result


def set_size(group_id: str, size: int) -> bool:
    """Say how many parts a chord has; false where it is not counted here."""
    rows = ledger.ask_in_transaction(
        "UPDATE execution_chord SET size = %s WHERE group_id = %s AND fired_at IS NULL RETURNING group_id",
        [size, group_id],
    )
    if rows:
        _fire(group_id)
    return bool(rows)


def add_part(group_id: str) -> bool:
    """Make a chord wait for one part more; false where it is not counted here."""
    return bool(
        ledger.ask_in_transaction(
            "UPDATE execution_chord SET body = body || "
            "jsonb_build_object('added', coalesce((body ->> 'added')::int, 0) + 1) "
            "WHERE group_id = %s AND body IS NOT NULL RETURNING group_id",
            [group_id],
        )
    )


def _fire(group_id: str) -> None:
    """Fire a chord whose parts ended before its size was known; upkeep runs the errand."""
    ledger.ask_in_transaction("SELECT execution_fire_chord_v1(%s)", [group_id])


def report(request: Any, *, is_success: bool, result: Any) -> None:
    """Count the ending of a part that is not durable, and send the body if it was the last."""
    packed = values.pack(result, place=f"the result of {request.id}")
    ledger.keep_blobs([packed])
    index = request.group_index if request.group_index is not None else _LAST
    errand = ledger.ask(
        "SELECT execution_chord_part_v1(%s, %s, %s, %s, %b) AS id",
        [request.group, request.id, index, is_success, packed.data],
    )[0].id
    if errand is not None:
        errands.run([errand])


def send_body(app: Celery, group_id: str) -> None:
    """Send a chord's body with its header's results, or fail it with what a part of the header failed with."""
    from execution import canvas

    chord = ledger.ask("SELECT body FROM execution_chord WHERE group_id = %s", [group_id])
    parts = ledger.ask(
        "SELECT id, task_id, is_success, result FROM execution_chordpart WHERE group_id = %s ORDER BY index, id",
        [group_id],
    )
    if not chord or not parts:
        return
    kept = chord[0].body
    body: Any = maybe_signature(signatures.unpacked(kept["signature"]), app=app)
    last = max(parts, key=lambda part: part.id)
    family = {"root_id": body.options.get("root_id")}
    with canvas.within(app, last.task_id, family):
        _send(app, body, kept.get("header"), parts)


def _send(app: Celery, body: Any, header: Any, parts: list[Any]) -> None:
    try:
        _raise_failed(app, parts)
        body.apply_async((_in_shape(header, parts),))
    except (DatabaseError, psycopg.Error, LedgerAway):
        raise
    except ChordError as error:
        _fail(app, body, error)
    except Exception as error:  # noqa: BLE001 - a body that cannot be sent has failed, as with Celery's backends
        failure = ChordError(f"Callback error: {error!r}")
        failure.__cause__ = error
        _fail(app, body, failure)


def _raise_failed(app: Celery, parts: list[Any]) -> None:
    from execution import results

    for part in parts:
        if not part.is_success:
            error = results.exception_of(app.backend, ledger.unpack(part.result))
            raise ChordError(f"Dependency {part.task_id} raised {error!r}") from error


def _in_shape(header: Any, parts: list[Any]) -> list[Any]:
    """Return the header's results, nested as its groups are."""
    found = [ledger.unpack(part.result) for part in parts]
    if header is None:
        return found
    by_id = {part.task_id: value for part, value in zip(parts, found, strict=True)}
    try:
        return [_nested(node, by_id) for node in header]
    except KeyError:
        return found


def _nested(node: Any, by_id: dict[str, Any]) -> Any:
    (task_id, _), members = node
    return by_id[task_id] if members is None else [_nested(member, by_id) for member in members]


def _fail(app: Celery, body: Any, error: ChordError) -> None:
    from execution import results

    log.warning("chord.failed", body=body.get("task"), error=str(error))
    with results.naming(body):
        app.backend.chord_error_from_stack(body, error)
