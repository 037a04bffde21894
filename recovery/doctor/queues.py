"""The doctor's look at recovery: the stream's length, what is pending for long, dead letters, handlers."""

from __future__ import annotations

from collections.abc import Iterator

from execution import words
from execution.doctor.database import rows
from execution.doctor.findings import Finding, error, ok, warning
from recovery import conf, redis_server, stream

FULL_SHARE = 0.5
STUCK_SECONDS = 300
COUNTED_MOST = 10_000
OFTEN = 1000


def _is_migrated() -> bool:
    return bool(rows("SELECT 1 FROM pg_class WHERE oid = to_regclass('recovery_deadletter')"))


def stream_of_candidates() -> Iterator[Finding]:
    """Look how long the stream is, and whether anything in it is stuck."""
    server = redis_server.client()
    if server is None:
        return
    try:
        found, stuck = stream.figures(server), _stuck(server)
    except redis_server.away():
        return  # whether Redis answers is another look's business
    most = conf.current().stream_most
    text = f"the stream holds {found.length:,} of {most:,} entries: {found.lag:,} to deliver, {found.pending:,} pending"
    mend = "Look whether a worker consumes the queue 'celeriac' and beat runs; the database claim goes on without it."
    if found.length >= most:
        yield error("recovery.stream", f"{text}; it is full, and takes no more", mend)
    elif found.length > most * FULL_SHARE:
        yield warning("recovery.stream", text, mend)
    else:
        yield ok("recovery.stream", text)
    if stuck:
        since = words.length(STUCK_SECONDS)
        yield warning("recovery.stream_pending", f"an entry has been pending for more than {since}: {stuck}", mend)


def _stuck(server: redis_server.Server) -> str:
    """Return an entry that was delivered long ago and that nobody has taken over, if there is one."""
    import redis

    if not server.exists(stream.key()):
        return ""
    try:
        held = server.xpending_range(stream.key(), stream.GROUP, "-", "+", 1, idle=STUCK_SECONDS * 1000)
    except redis.ResponseError:
        return ""
    return f"{held[0]['message_id']} of {held[0]['consumer']}" if held else ""


def letters() -> Iterator[Finding]:
    """Count the dead letters that nobody has looked after."""
    if not _is_migrated():
        return
    found = rows(
        "SELECT queue, count(*) FROM (SELECT queue FROM recovery_deadletter WHERE replayed_at IS NULL LIMIT %s) x "
        "GROUP BY queue ORDER BY count(*) DESC, queue",
        [COUNTED_MOST],
    )
    if not found:
        yield ok("recovery.dead_letters", "there is no dead letter")
        return
    total = sum(count for _, count in found)
    listed = words.listed([f"{count:,} of {queue}" for queue, count in found])
    text = f"{words.counted(total, 'dead letter')}: {listed}"
    yield warning("recovery.dead_letters", text, "manage.py dead-letters list; then replay or dismiss them.")


def handlers() -> Iterator[Finding]:
    """Look for handlers that are switched off, events that wait for nobody's handler, and questions."""
    if not _is_migrated():
        return
    off = [name for (name,) in rows("SELECT handler FROM recovery_handlerswitch WHERE NOT is_enabled ORDER BY handler")]
    if off:
        mend = f"manage.py handlers enable {off[0]}"
        yield warning("recovery.handlers_off", f"handlers are switched off: {words.listed(off)}", mend)
    asked = int(rows("SELECT count(*) FROM recovery_handling WHERE state = 'waiting'")[0][0])
    if asked:
        is_one = asked == 1
        text = f"{words.counted(asked, 'question')} of handlers {'waits' if is_one else 'wait'} for a person"
        yield ok("recovery.questions", f"{text} (manage.py handlers questions)")
    late = rows(
        "SELECT handler, count(*) FROM (SELECT handler FROM recovery_handling WHERE state = 'pending' "
        "AND due_at < clock_timestamp() - interval '5 minutes' LIMIT %s) x GROUP BY handler ORDER BY handler",
        [OFTEN],
    )
    late = [(name, count) for name, count in late if name not in off]
    if late:
        listed = words.listed([f"{count:,} of {name}" for name, count in late])
        mend = "Look whether a worker consumes 'celeriac', and whether the project's code still has these handlers."
        yield warning("recovery.handlers_late", f"events have waited for more than 5 minutes: {listed}", mend)


LOOKS = (stream_of_candidates, letters, handlers)
