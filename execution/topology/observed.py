"""What was seen: calls folded from the log by a cursor, each counted once, whatever crashes in between.

A step counts at its first attempt, for the agent that performs it, the workflow that it belongs to and the skill that
called it. An effect counts as a call of a service: of the one that its skill declares by `calls`, or, where it
declares several, of the one with whose name the effect's token begins.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from execution import events, ledger, skills
from execution.models import Event, Step

READER = "execution.topology"
_BATCH = 2000
_BATCHES = 50

_COUNT = """
    INSERT INTO execution_observedcall AS o (caller, callee, call_count, first_seen_at, last_seen_at)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[]) ORDER BY 1, 2
    ON CONFLICT (caller, callee) DO UPDATE SET call_count = o.call_count + excluded.call_count,
        first_seen_at = least(o.first_seen_at, excluded.first_seen_at),
        last_seen_at = greatest(o.last_seen_at, excluded.last_seen_at)"""

Call = tuple[str, str]


def fold() -> int:
    """Count the calls that the log tells of since the last time, at most so many; returns how many events were read."""
    total = 0
    for _ in range(_BATCHES):
        count = events.consume(READER, _count, limit=_BATCH)
        total += count
        if count < _BATCH:
            break
    return total


def _count(batch: list[Event]) -> None:
    """Add the calls of some events to what was seen, in the transaction that moves the cursor."""
    steps = {one.step_id: one for one in batch if one.kind == "step.started" and one.epoch == 1}
    calls = [(call, steps[step].at) for step, call in _of_steps([step for step in steps if step])]
    calls += _of_effects([one for one in batch if one.kind == "effect.intended"])
    if not calls:
        return
    counts, first, last = Counter(call for call, _ in calls), dict[Call, datetime](), dict[Call, datetime]()
    for call, at in calls:
        first[call], last[call] = min(first.get(call, at), at), max(last.get(call, at), at)
    ledger.ask_in_transaction(
        _COUNT,
        [
            [caller for caller, _ in counts],
            [callee for _, callee in counts],
            list(counts.values()),
            [first[call] for call in counts],
            [last[call] for call in counts],
        ],
    )


def _of_steps(ids: list[uuid.UUID]) -> Iterator[tuple[uuid.UUID, Call]]:
    """Yield who performs each step, which workflow it belongs to, and the skill that called it."""
    rows = Step.objects.filter(pk__in=ids).values_list(
        "id", "skill", "agent__name", "run__workflow", "run__parent_step_id"
    )
    parents = {row[4] for row in rows if row[4] is not None}
    callers = dict(Step.objects.filter(pk__in=parents).values_list("id", "skill"))
    for step, skill, agent, workflow, parent in rows:
        yield step, (f"agent:{agent}", f"skill:{skill}")
        if workflow != skill:
            yield step, (f"workflow:{workflow}", f"skill:{skill}")
        if parent in callers:
            yield step, (f"skill:{callers[parent]}", f"skill:{skill}")


def _of_effects(intended: list[Event]) -> list[tuple[Call, datetime]]:
    """Return which service each effect called, where its skill declares that."""
    steps = [one.step_id for one in intended if one.step_id]
    names: dict[uuid.UUID | None, str] = dict(Step.objects.filter(pk__in=steps).values_list("id", "skill"))
    known = skills.all_skills() if names else {}
    found = []
    for one in intended:
        skill = names.get(one.step_id, "")
        service = service_of(known[skill].options.calls, one.data["token"]) if skill in known else None
        if service is not None:
            found.append(((f"skill:{skill}", f"service:{service}"), one.at))
    return found


def service_of(calls: Iterable[str], token: str) -> str | None:
    """Return the service that an effect of a skill with these calls is about, by its token."""
    declared = list(calls)
    if len(declared) == 1:
        return declared[0]
    own = token.rpartition("/")[2].removeprefix("effect:")
    fitting = [one for one in declared if own == one or own.startswith((f"{one}:", f"{one}."))]
    return max(fitting, key=len, default=None)
