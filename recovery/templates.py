"""Templates as rows: what was mined is shared, so that every process calls a message the same.

A process keeps what it has read, and reads what has changed since before it mines. Mining itself is done by one process
at a time, under a lock that its transaction holds: two at once cannot make two templates of one. What a transaction
learnt that was rolled back is noticed by its revision, which is never given twice, and forgotten.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from execution import ledger
from recovery import mining
from recovery.mining import Miner, Template
from recovery.models import FailureTemplate

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('recovery.templates', 7001))"
_REVISION = "SELECT nextval(pg_get_serial_sequence('recovery_failuretemplate', 'id')) AS revision"


@dataclass(slots=True)
class _Known:
    """What this process has read of the rows."""

    miner: Miner = field(default_factory=Miner)
    by_id: dict[int, Template] = field(default_factory=dict)
    revision: int = 0


_known = _Known()
_mutex = threading.Lock()


def of(messages: Sequence[str]) -> list[Template | None]:
    """Return the template of each message, in the caller's transaction; None for one that says nothing."""
    with _mutex:
        _refresh()
        shapes = [_known.miner.shape_of(message) for message in messages]
        if any(shape and _known.miner.find(shape) is None for shape in set(shapes)):
            _learn(shapes)
        found = [_known.miner.find(shape) if shape else None for shape in shapes]
    _count(found)
    return found


def root_of(template_id: int | None) -> Template | None:
    """Return what a template has been merged into, or itself, as far as was read; None where there is none."""
    found = _known.by_id.get(template_id or 0)
    return found.root() if found else None


def refresh() -> None:
    """Read what other processes have learnt."""
    with _mutex:
        _refresh()


def forget() -> None:
    """Forget what this process has read."""
    with _mutex:
        _known.miner, _known.by_id, _known.revision = Miner(), {}, 0


def _learn(shapes: Sequence[str]) -> None:
    """Learn what no template fits, alone: what another process has learnt meanwhile is read first."""
    ledger.ask_in_transaction(_LOCK)
    _refresh()
    changed = _known.miner.learn(shapes)
    if not changed:
        return
    revision = int(ledger.ask_in_transaction(_REVISION)[0].revision)
    _add([one for one in changed if one.id is None], revision)
    merged = {one.id: one for one in changed if one.id is not None}
    rows = [
        FailureTemplate(id=key, text=one.text, into_id=one.into.id if one.into else None, revision=revision)
        for key, one in merged.items()
    ]
    FailureTemplate.objects.bulk_update(rows, ["text", "into", "revision"], batch_size=1000)
    _known.revision = revision


def _add(fresh: Sequence[Template], revision: int) -> None:
    """Write new templates, those first that others were merged into."""
    for wave in ([one for one in fresh if one.into is None], [one for one in fresh if one.into is not None]):
        rows = FailureTemplate.objects.bulk_create(
            (
                FailureTemplate(
                    version=mining.VERSION,
                    text=one.text,
                    digest=one.digest,
                    into_id=one.root().id if one.into else None,
                    revision=revision,
                )
                for one in wave
            ),
            batch_size=1000,
        )
        for one, row in zip(wave, rows, strict=True):
            one.id = row.pk
            _known.by_id[row.pk] = one


def _refresh() -> None:
    """Read what has changed since; everything, where what was read last is no longer there."""
    rows = FailureTemplate.objects.filter(version=mining.VERSION)
    newest = rows.order_by("-revision").values_list("revision", flat=True).first() or 0
    if newest == _known.revision:
        return
    if _known.revision and not rows.filter(revision=_known.revision).exists():
        _known.miner, _known.by_id, _known.revision = Miner(), {}, 0
    changed = list(rows.filter(revision__gt=_known.revision).order_by("id"))
    if _known.by_id and any(row.pk in _known.by_id for row in changed):
        _known.miner, _known.by_id = Miner(), {}
        changed = list(rows.order_by("id"))
    _take_in(changed)
    _known.revision = newest


def _take_in(rows: Sequence[FailureTemplate]) -> None:
    for row in rows:
        _known.by_id[row.pk] = Template(text=row.text, digest=row.digest, id=row.pk)
    for row in rows:
        if row.into_id is not None:
            _known.by_id[row.pk].into = _known.by_id.get(row.into_id)
    for row in rows:
        _known.miner.add(_known.by_id[row.pk])


def _count(found: Sequence[Template | None]) -> None:
    """Count the messages of each template."""
    counts = Counter(one.id for one in found if one is not None)
    if counts:
        ledger.ask_in_transaction(
            "UPDATE recovery_failuretemplate t SET count = t.count + n.count "
            "FROM unnest(%s::bigint[], %s::bigint[]) AS n(id, count) WHERE t.id = n.id RETURNING t.id",
            [list(counts), list(counts.values())],
        )
