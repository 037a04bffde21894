"""Records: what was measured (assessments) and what was judged (verdicts), and what each of them rests on.

A record is written once. The database itself refuses to change or remove it, writes its edges in the lineage and its
event in the same transaction, and wants every parent to be there and older: so the lineage of a record is whole when it
is written, has no circle, and never changes. What became of a verdict is said by a later verdict. Retention removes
records that are old enough, but none on which a younger one rests, and none that is held for an open case.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import psycopg
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, transaction

from execution import amounts, conf, ledger
from execution.exceptions import NotJson, OptionInvalid, RecordUnknown
from execution.models import Action, Agent, Assessment, AssessmentKind, RecordHold, Run, Step, Verdict

AnyRecord = Assessment | Verdict
Named = Assessment | Verdict | uuid.UUID | str
"""A record, or its id."""
_Made = TypeVar("_Made", Assessment, Verdict)

_SUBJECT = re.compile(r"[a-z][a-z_]*:\S.*")
_KIND = re.compile(r"[a-z][a-z0-9_]*")
_BATCH = 1000
_LAST = uuid.UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A record in the lineage of another, and how far it is from it."""

    record: AnyRecord
    distance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """All that a record rests on, and all that rests on it, the nearest first."""

    record: AnyRecord
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]


def assess(
    kind: str,
    *,
    subject: str,
    producer: str,
    data: dict[str, Any] | None = None,
    window: tuple[datetime, datetime] | None = None,
    parents: Iterable[Named] = (),
) -> Assessment:
    """Record a measured fact about a subject, over a window of time."""
    if kind not in AssessmentKind.values:
        near = get_close_matches(kind, AssessmentKind.values, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(AssessmentKind.values)}"
        raise OptionInvalid(f"there is no assessment of kind {kind!r}{hint}")
    start, end = window or (None, None)
    if start is not None and end is not None and start > end:
        raise OptionInvalid(f"the window of {kind} begins at {start} and ends before that, at {end}")
    return _written(
        Assessment(kind=kind, window_start_at=start, window_end_at=end, **_common(kind, subject, producer, data)),
        parents,
    )


def judge(
    kind: str,
    *,
    subject: str,
    action: str,
    producer: str,
    confidence: float | None = None,
    reasoning: str = "",
    model: str = "",
    prompt_version: str = "",
    cost: Decimal | str | float = 0,
    data: dict[str, Any] | None = None,
    parents: Iterable[Named] = (),
    run: Run | uuid.UUID | None = None,
    step: Step | uuid.UUID | None = None,
    agent: Agent | uuid.UUID | None = None,
    outcome_of: Named | None = None,
    outcome: float | None = None,
) -> Verdict:
    """Record a judgment; with `outcome_of`, one on what became of an earlier verdict, which becomes a parent."""
    if not _KIND.fullmatch(kind):
        raise OptionInvalid(f"a verdict's kind is one word such as 'quality_breach', not {kind!r}")
    if action not in Action.values:
        near = get_close_matches(action, Action.values, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise OptionInvalid(f"a verdict's action is {action!r}, not one of {', '.join(Action.values)}{hint}")
    if (outcome_of is None) != (outcome is None):
        raise OptionInvalid("outcome_of and outcome go together: which verdict, and what became of it from 0 to 1")
    judged = _id(outcome_of) if outcome_of is not None else None
    if judged is not None and not Verdict.objects.filter(pk=judged).exists():
        raise RecordUnknown(f"there is no verdict {judged}, whose outcome this one would say")
    return _written(
        Verdict(
            kind=kind,
            action=action,
            confidence=_share("confidence", confidence),
            reasoning=reasoning.replace("\0", "").encode(errors="replace").decode(),
            model=model,
            prompt_version=prompt_version,
            cost=amounts.money(cost, kind),
            run_id=_key(run),
            step_id=_key(step),
            agent_id=_key(agent),
            outcome_of=judged,
            outcome=_share("outcome", outcome),
            **_common(kind, subject, producer, data),
        ),
        [*parents, *([judged] if judged else [])],
    )


def get(record: Named) -> AnyRecord:
    """Return a record by its id."""
    found = _by_id([_id(record)])
    if not found:
        raise RecordUnknown(f"there is no record {record}; `manage.py records list` shows the newest")
    return next(iter(found.values()))


def outcome(verdict: Named) -> Verdict | None:
    """Return the latest verdict on what became of this one."""
    return Verdict.objects.filter(outcome_of=_id(verdict)).order_by("-id").first()


def ancestors(record: Named) -> tuple[Relative, ...]:
    """Return all that a record rests on, the nearest first."""
    return _relatives(record, "ancestors")


def descendants(record: Named) -> tuple[Relative, ...]:
    """Return all that rests on a record, the nearest first."""
    return _relatives(record, "descendants")


def lineage(record: Named) -> Lineage:
    """Return a record with everything it rests on and everything that rests on it."""
    found = get(record)
    return Lineage(record=found, ancestors=ancestors(found), descendants=descendants(found))


@transaction.atomic
def hold(record: Named, name: str) -> None:
    """Keep a record, and with it all that it rests on, until the case of this name releases it."""
    key = _id(record)
    held: list[type[AnyRecord]] = [Assessment, Verdict]
    if not any(model.objects.select_for_update(no_key=True).filter(pk=key).exists() for model in held):
        raise RecordUnknown(f"there is no record {key} to hold for {name!r}; perhaps retention has removed it")
    RecordHold.objects.get_or_create(record_id=key, name=name)


def release(name: str, record: Named | None = None) -> int:
    """Let go of what a case has held, or of one record of it; returns how many."""
    holds = RecordHold.objects.filter(name=name, **({"record_id": _id(record)} if record is not None else {}))
    return holds.delete()[0]


def forget() -> int:
    """Remove the records that are old enough, in batches; returns how many."""
    settings, removed, before, looked = conf.current(), 0, _LAST, _BATCH
    while looked == _BATCH:
        row = ledger.ask(
            "SELECT * FROM execution_forget_v1(%s, %s, %s, %s)",
            [settings.verdict_days, settings.assessment_days, before, _BATCH],
        )[0]
        removed, before, looked = removed + row.removed, row.last, row.looked
    return removed


def as_cloudevent(record: AnyRecord) -> dict[str, Any]:
    """Return a record as a CloudEvents 1.0 event, in its JSON format."""
    noun = "verdict" if isinstance(record, Verdict) else "assessment"
    data = {field.attname: getattr(record, field.attname) for field in record._meta.concrete_fields}  # noqa: SLF001 - Django's name
    return {
        "specversion": "1.0",
        "id": str(record.id),
        "source": f"/celeriac/{quote(record.producer)}",
        "type": f"celeriac.{noun}.{record.kind}",
        "subject": record.subject,
        "time": record.created_at.isoformat(),
        "datacontenttype": "application/json",
        "data": json.loads(json.dumps(data, cls=DjangoJSONEncoder)),
    }


def _common(kind: str, subject: str, producer: str, data: dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields that every record has, checked."""
    if not _SUBJECT.fullmatch(subject):
        raise OptionInvalid(f"the subject of {kind} is {subject!r}; write it as service:payments or agent:scout")
    if not producer:
        raise OptionInvalid(f"{kind} of {subject} has no producer: say what measures or judges")
    return {"subject": subject, "producer": producer, "data": _json(data or {}, f"the data of {kind} of {subject}")}


def _json(data: dict[str, Any], place: str) -> Any:
    """Return data as it will be read back, or say why the database cannot hold it."""
    try:
        text = json.dumps(data, cls=DjangoJSONEncoder, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(place, str(error)) from error
    if "\\u0000" in text.replace("\\\\", ""):
        raise NotJson(place, "a text holds the character NUL, which PostgreSQL does not keep")
    return json.loads(text)


def _written(record: _Made, parents: Iterable[Named]) -> _Made:
    """Write a record under an id that is newer than its parents'."""
    record.parents = list(dict.fromkeys(_id(parent) for parent in parents))
    record.id = ledger.ask_in_transaction("SELECT execution_newer_v1(%s) AS id", [record.parents])[0].id
    try:
        with transaction.atomic():
            record.save(force_insert=True)
    except IntegrityError as error:
        if isinstance(error.__cause__, psycopg.errors.ForeignKeyViolation):
            raise RecordUnknown(str(error).partition("\n")[0]) from error
        raise
    record.refresh_from_db()
    return record


def _relatives(record: Named, side: Literal["ancestors", "descendants"]) -> tuple[Relative, ...]:
    rows = ledger.ask_in_transaction("SELECT * FROM execution_relatives_v1(%s, %s)", [[_id(record)], side])
    found = _by_id([row.record_id for row in rows])
    return tuple(Relative(record=found[row.record_id], distance=row.distance) for row in rows if row.record_id in found)


def _by_id(wanted: Sequence[uuid.UUID]) -> dict[uuid.UUID, AnyRecord]:
    """Return records by id; one array is asked for, because a parameter for each of ten thousand takes seconds."""
    rows: list[AnyRecord] = [
        *Assessment.objects.raw("SELECT * FROM execution_assessment WHERE id = ANY(%s)", [list(wanted)]),
        *Verdict.objects.raw("SELECT * FROM execution_verdict WHERE id = ANY(%s)", [list(wanted)]),
    ]
    return {row.id: row for row in rows}


def _id(record: Named) -> uuid.UUID:
    if isinstance(record, Assessment | Verdict):
        return record.id
    try:
        return record if isinstance(record, uuid.UUID) else uuid.UUID(record)
    except ValueError:
        raise RecordUnknown(f"{record!r} is no record's id") from None


def _key(row: Run | Step | Agent | uuid.UUID | None) -> uuid.UUID | None:
    return row if row is None or isinstance(row, uuid.UUID) else row.id


def _share(name: str, given: float | None) -> float | None:
    if given is not None and not 0 <= given <= 1:
        raise OptionInvalid(f"{name} is {given!r}; it is a share from 0 to 1")
    return given
