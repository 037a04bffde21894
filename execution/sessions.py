"""Sessions: groups of runs that share state and a time to live.

A session is open, expired or closed; that is stored, and the diagram stands in docs/sessions.md. Whether an open one is
active or idle follows from its runs. Its state is changed only from the version that was seen, so that two writers do
not lose each other's changes. Used are a session that is touched or changed, and one whose runs start, go on or end;
unused for its time to live it expires: its state is kept, a warning is written, and its waiting runs are paused until
it is opened again. Locks: session, then runs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from execution import events, ledger, openings, values
from execution.cycles import Cycle
from execution.durations import Duration, seconds
from execution.exceptions import NotPossible, OptionInvalid, RunEnded, SessionChanged, SessionEnded, SessionUnknown
from execution.models import Run, RunState, Session, SessionCheckpoint, SessionStatus, Step, StepState

log = structlog.get_logger(__name__)

WITH_SESSION = "session"
"""Why a run is paused whose session has expired."""
LONGEST_NAME = 200
_SHORTEST_TTL = 1.0
_STATUSES = ("open", "active", "idle", "expired", "closed")

_GOING_ON = Q(state__in=[RunState.PENDING, RunState.RUNNING]) & Exists(
    Step.objects.filter(run_id=OuterRef("pk"), state__in=[StepState.READY, StepState.RUNNING])
)
_MAY_BE_PAUSED = (RunState.PENDING, RunState.RUNNING, RunState.PARKED)

Changes = Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]]
"""Fields to set; or a function that takes the state and returns the next, called again when another was faster."""
Which = Session | uuid.UUID | str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a session's runs share, and the version at which it was seen."""

    data: dict[str, Any]
    version: int


class Held:
    """What a skill holds of its run's session: `ctx.session`."""

    def __init__(
        self, session_id: uuid.UUID, see: Callable[[], dict[str, Any]], change: Callable[[str, Changes], None]
    ) -> None:
        self.id, self._see, self._change = session_id, see, change

    @property
    def state(self) -> dict[str, Any]:
        """The state as it is now; what must not change on replay is taken by `ctx.once`."""
        return self._see()

    def update(self, token: str, changes: Changes) -> None:
        """Change the state, once, also when the step is resumed."""
        self._change(token, changes)


def open(  # noqa: A001 - the word everybody uses
    name: str = "", *, state: Mapping[str, Any] | None = None, ttl: Duration = "24h", tags: Iterable[str] = ()
) -> Session:
    """Open a session; a name that an open one has leads to that, with `created` false."""
    length = _ttl(ttl)
    packed = pack(state or {})
    openings.keep_blobs([packed])
    try:
        with transaction.atomic():
            made = Session.objects.create(
                name=_name(name), tags=openings.tags_of(tags), state=packed.data, ttl=length, expires_at=Now() + length
            )
            _note("session.opened", made)
    except IntegrityError:
        return _open_already(name)
    made.refresh_from_db()
    return made


def _open_already(name: str) -> Session:
    """Return the open session that has a name."""
    found = get(name)
    found.created = False
    if found.status != SessionStatus.OPEN:
        raise SessionEnded(found.id, found.status, "be opened under its name: reopen it, or close it")
    return found


def get(session: Which) -> Session:
    """Return a session by its id, or a living one by its name."""
    if isinstance(session, Session):
        return session
    wanted = _as_id(session)
    found = Session.objects.filter(pk=wanted) if wanted else Session.objects.living().filter(name=session)
    if (one := found.first()) is not None:
        return one
    names = Session.objects.living().exclude(name="").order_by("-id").values_list("name", flat=True)[:1000]
    raise SessionUnknown(str(session), next(iter(get_close_matches(str(session), names, n=1)), None))


def find(*, status: str | None = None, tags: Iterable[str] = (), name: str = "") -> QuerySet[Session]:
    """Return the sessions of a status (also `active` and `idle`), with all of these tags, whose name begins so."""
    found = Session.objects.order_by("-id")
    if (given := openings.tags_of(tags)) != []:
        found = found.filter(tags__contains=given)
    if name:
        found = found.filter(name__startswith=name)
    if status is None:
        return found
    if status not in _STATUSES:
        raise openings.unknown_word("a session's status", status, _STATUSES)
    if status not in ("active", "idle"):
        return found.filter(status=status)
    going_on = Run.objects.filter(session__isnull=False).filter(_GOING_ON).values("session_id")
    living = found.filter(status=SessionStatus.OPEN)
    return living.filter(pk__in=going_on) if status == "active" else living.exclude(pk__in=going_on)


def status_of(session: Which) -> str:
    """Say what a session is: active, idle, expired or closed; `open` while nothing has happened in it."""
    found = get(session)
    found.refresh_from_db()
    if found.status != SessionStatus.OPEN:
        return str(found.status)
    if Run.objects.filter(_GOING_ON, session_id=found.id).exists():
        return "active"
    return "idle" if found.version or Run.objects.filter(session_id=found.id).exists() else "open"


# The state


def state(session: Which) -> State:
    """Return the state of a session, as it is now."""
    return look(get(session).id)


def look(session_id: uuid.UUID, *, asking: Callable[..., list[Any]] = ledger.ask_in_transaction) -> State:
    """Return the state of a session by its id, by the connection given."""
    row = asking("SELECT state, version FROM execution_session WHERE id = %s", [session_id])[0]
    return State(data=ledger.unpack(row.state) or {}, version=row.version)


def update(session: Which, changes: Changes, *, version: int | None = None) -> State:
    """Change the state; with a version, only if it is still that one: else SessionChanged."""
    found = get(session)
    while True:
        seen = look(found.id)
        if version is not None and seen.version != version:
            raise SessionChanged(found.id, version, seen.version)
        changed = after(seen, changes)
        packed = pack(changed.data)
        openings.keep_blobs([packed])
        if _write(found, seen.version, packed):
            return changed


@transaction.atomic
def _write(session: Session, seen: int, packed: values.Packed) -> bool:
    """Write a state from the version that was seen; false when another writer was faster."""
    rows = Session.objects.filter(pk=session.id, status=SessionStatus.OPEN, version=seen)
    if not rows.update(state=packed.data, version=seen + 1, touched_at=Now(), expires_at=Now() + F("ttl")):
        check_open(session.id, "be changed")
        return False
    _note("session.updated", session, version=seen + 1)
    return True


def after(seen: State, changes: Changes) -> State:
    """Return the state that changes make of the one that was seen."""
    data = dict(changes(dict(seen.data))) if callable(changes) else {**seen.data, **changes}
    return State(data=data, version=seen.version + 1)


def touch(session: Which) -> None:
    """Say that a session is used: its time to live begins anew."""
    found = get(session)
    open_one = Session.objects.filter(pk=found.id, status=SessionStatus.OPEN)
    if not open_one.update(touched_at=Now(), expires_at=Now() + F("ttl")):
        check_open(found.id, "be touched")


# Its life


def enter(session: Which) -> uuid.UUID:
    """Hold a session open for a new run until the caller's transaction ends; raises SessionEnded."""
    found = get(session)
    ledger.ask_in_transaction("SELECT 1 FROM execution_session WHERE id = %s FOR KEY SHARE", [found.id])
    check_open(found.id, "take a run")
    return found.id


def check_open(session_id: uuid.UUID, wish: str) -> None:
    """Raise SessionEnded where a session is not open now."""
    status = Session.objects.values_list("status", flat=True).get(pk=session_id)
    if status != SessionStatus.OPEN:
        raise SessionEnded(session_id, status, f"{wish}: reopen it first (manage.py sessions reopen {session_id})")


@transaction.atomic
def close(session: Which, *, cancel: bool = False, by: str = "", reason: str = "") -> Session:
    """Close a session; one with runs that have not ended is refused, unless they are to be cancelled."""
    from execution import runs

    held = _hold(session)
    if held.status == SessionStatus.CLOSED:
        return held
    left = list(Run.objects.unended().filter(session_id=held.id).order_by("id").values_list("id", flat=True))
    if left and not cancel:
        raise NotPossible(
            f"session {held.id} has {len(left)} runs that have not ended, such as {left[0]}: cancel them with it "
            "(cancel=True, --cancel), or wait for their end"
        )
    _end(held, SessionStatus.CLOSED, by=by, reason=reason, run_count=len(left))
    for run_id in left:
        try:
            runs.cancel(run_id, by=by, reason=reason or "its session was closed")
        except RunEnded:
            continue
    return held


@transaction.atomic
def reopen(session: Which, *, by: str = "", reason: str = "") -> Session:
    """Open a session again, as its state was left, and let the runs go on that were paused with it."""
    from execution import runs

    held = _hold(session)
    if held.status == SessionStatus.OPEN:
        return held
    try:
        with transaction.atomic():
            Session.objects.filter(pk=held.id).update(
                status=SessionStatus.OPEN, touched_at=Now(), expires_at=Now() + F("ttl"), ended_at=None
            )
    except IntegrityError:
        raise NotPossible(f"another session is named {held.name!r} now: close that one first") from None
    _note("session.reopened", held, by=by, reason=reason)
    waiting = Run.objects.filter(session_id=held.id, state=RunState.PAUSED, waiting=WITH_SESSION).order_by("id")
    for run in waiting:
        runs.resume(run, by=by, reason=reason or "its session was reopened")
    held.refresh_from_db()
    return held


def _hold(session: Which) -> Session:
    """Lock a session, so that no run enters it meanwhile."""
    return Session.objects.select_for_update().get(pk=get(session).id)


def _end(held: Session, status: SessionStatus, **told: Any) -> None:
    """Write an ending, and keep the state as it is."""
    Session.objects.filter(pk=held.id).update(status=status, ended_at=Now())
    SessionCheckpoint.objects.create(session_id=held.id, status=status, version=held.version, state=held.state)
    _note(f"session.{status.value}", held, version=held.version, **told)
    held.refresh_from_db()


# Time-out


def expire_due(limit: int = 100) -> int:
    """End the sessions whose time to live has passed unused; returns how many."""
    due = Session.objects.due().order_by("expires_at").values_list("id", flat=True)[:limit]
    return sum(_expire(session_id) for session_id in list(due))


@transaction.atomic
def _expire(session_id: uuid.UUID) -> bool:
    """End one session, unless it was used since it was last looked at."""
    held = Session.objects.due().select_for_update(skip_locked=True).filter(pk=session_id).first()
    if held is None:
        return False
    used = ledger.ask_in_transaction(_LAST_USE, {"session": session_id})[0]
    if used.at + held.ttl > used.now:
        Session.objects.filter(pk=session_id).update(touched_at=used.at, expires_at=used.at + held.ttl)
        return False
    waiting = Run.objects.unended().filter(session_id=session_id).count()
    _end(held, SessionStatus.EXPIRED, run_count=waiting)
    log.warning("session.expired", session=str(session_id), name=held.name, version=held.version, runs=waiting)
    return True


def pause_waiting(limit: int = 500) -> int:
    """Pause the runs that wait in expired sessions, each in a transaction of its own; returns how many."""
    left = Run.objects.filter(state__in=_MAY_BE_PAUSED, session__status=SessionStatus.EXPIRED).order_by("id")
    return sum(_pause(*pair) for pair in list(left.values_list("id", "session_id")[:limit]))


@transaction.atomic
def _pause(run_id: uuid.UUID, session_id: uuid.UUID) -> bool:
    from execution import runs

    sql = "SELECT 1 FROM execution_session WHERE id = %s AND status = 'expired' FOR KEY SHARE"
    if not ledger.ask_in_transaction(sql, [session_id]):
        return False
    held = runs.hold(run_id)
    if held.state not in _MAY_BE_PAUSED:
        return False
    runs.pause(held, reason=f"its session {session_id} has expired", waiting=WITH_SESSION)
    return True


_LAST_USE = """
    SELECT clock_timestamp() AS now, greatest(s.touched_at,
        (SELECT max(r.ended_at) FROM execution_run r WHERE r.session_id = s.id AND r.ended_at IS NOT NULL),
        (SELECT CASE WHEN bool_or(r.state IN ('pending', 'running') AND x.state IN ('ready', 'running'))
                THEN clock_timestamp() ELSE max(x.changed_at) END
         FROM execution_run r JOIN execution_step x ON x.run_id = r.id
         WHERE r.session_id = s.id AND r.ended_at IS NULL)) AS at
    FROM execution_session s WHERE s.id = %(session)s"""


def _watch(_: dict[str, Any]) -> int:
    return expire_due() + pause_waiting()


WATCH = Cycle(name="execution.sessions", period=timedelta(seconds=10), step=_watch, is_atomic=False)


# What the rest needs


def pack(state: Mapping[str, Any]) -> values.Packed:
    """Pack a state; refused with the path of the value that is not JSON."""
    if not isinstance(state, Mapping):
        raise OptionInvalid(f"the state of a session is an object, not {state!r:.80}")
    return values.pack(dict(state), place="the state of the session")


def _note(kind: str, session: Session, **data: Any) -> None:
    told = {"session": str(session.id), "name": session.name, **data}
    events.note(kind, told)


def _name(name: Any) -> str:
    if not isinstance(name, str) or len(name) > LONGEST_NAME or "\0" in name or _as_id(name):
        raise OptionInvalid(
            f"a session's name is text of at most {LONGEST_NAME} characters and no id, not {name!r:.80}"
        )
    return name


def _ttl(ttl: Duration) -> timedelta:
    length = seconds(ttl, name="ttl")
    if not _SHORTEST_TTL <= length <= timedelta(days=36500).total_seconds():
        raise OptionInvalid(f"ttl is {ttl!r}; a session lives for a second or more")
    return timedelta(seconds=length)


def _as_id(session: Any) -> uuid.UUID | None:
    if isinstance(session, uuid.UUID):
        return session
    try:
        return uuid.UUID(str(session))
    except ValueError:
        return None
