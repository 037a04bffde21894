"""The doctor's look at the work: workers and locks, upkeep, queues that nobody consumes, leases, errands, beat."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.conf import settings

from execution import schedule, words
from execution.doctor.database import rows
from execution.doctor.findings import Finding, error, ok, warning

EVALUATORS = "celeriac"
SILENT = "10 seconds"
_ALIVE = f"gone_at IS NULL AND seen_at > clock_timestamp() - interval '{SILENT}'"


def _is_migrated() -> bool:
    return bool(rows("SELECT 1 FROM pg_class WHERE oid = to_regclass('execution_worker')"))


def workers() -> Iterator[Finding]:
    """Look which workers live, and whether they hold their locks."""
    if not _is_migrated():
        return
    found = rows(
        "SELECT hostname, slot_count, free_count, holds_lock, missing_count FROM execution_worker "  # noqa: S608 - a constant
        f"WHERE {_ALIVE} ORDER BY hostname"
    )
    if not found:
        yield warning("workers.alive", "no worker lives: nothing is performed", "celery -A <project> worker")
        return
    slots, free = sum(row[1] for row in found), sum(row[2] for row in found)
    yield ok(
        "workers.alive",
        f"{words.counted(len(found), 'worker')} with {words.counted(slots, 'slot')}, {free} free: "
        + words.listed([row[0] for row in found]),
    )
    unlocked = [row[0] for row in found if not row[3]]
    if unlocked and _wants_locks():
        yield warning(
            "workers.locks",
            f"these workers hold no session lock: {words.listed(unlocked)}; their death is noticed after a lease",
            "They were started with CELERIAC['session_locks'] = False; restart them with the settings of today.",
        )
    lost = [row[0] for row in found if row[3] and row[4] > 0]
    if lost:
        yield warning(
            "workers.lost_locks",
            f"the locks of these workers are missing just now: {words.listed(lost)}",
            "They lock again within two ticks after a restart of the database; else look at their logs.",
        )


def _wants_locks() -> bool:
    from execution import conf

    return conf.current().session_locks


def keepers() -> Iterator[Finding]:
    """Look whether upkeep ticks: only keepers do it, and every worker has one."""
    if not _is_migrated():
        return
    found = rows(
        "SELECT extract(epoch FROM clock_timestamp() - c.ticked_at)::float8, "  # noqa: S608 - a constant
        f"(SELECT count(*) FROM execution_worker WHERE {_ALIVE}) "
        "FROM (SELECT 1) x LEFT JOIN execution_cyclestate c ON c.name = 'execution.upkeep'"
    )
    age, alive = found[0]
    if age is not None and age <= 10:
        yield ok("upkeep.ticks", f"upkeep ticked {words.length(age)} ago")
        return
    text = f"upkeep has not ticked for {words.length(age)}" if age is not None else "upkeep has never ticked"
    consequence = "timers do not fire and crashed steps are not given back"
    if alive:
        mend = "Workers live but their keepers do not: look for `keeper` in the workers' logs."
        yield error("upkeep.ticks", f"{text}: {consequence}", mend)
    else:
        yield warning("upkeep.ticks", f"{text}: {consequence} until a worker lives", "celery -A <project> worker")


def queues() -> Iterator[Finding]:
    """Look for queues with ready steps that nobody consumes, and for the evaluators' queue."""
    if not _is_migrated():
        return
    consumed = {
        name
        for (name,) in rows(f"SELECT DISTINCT unnest(queues) FROM execution_worker WHERE {_ALIVE}")  # noqa: S608 - a constant
    }
    found = rows(
        "SELECT queue, count(*), extract(epoch FROM clock_timestamp() - min(changed_at))::float8 "
        "FROM (SELECT queue, changed_at FROM execution_step WHERE state = 'ready' LIMIT 100000) x "
        "GROUP BY queue ORDER BY queue"
    )
    for queue, count, age in found:
        ready = f"{words.counted(count, 'step')} of the queue {queue!r} {'is' if count == 1 else 'are'} ready"
        if queue in consumed:
            yield ok(f"queues.{queue}", f"{ready}, for {words.length(age)} at most")
        else:
            text = f"{ready}, for {words.length(age)} at most, and no worker consumes it"
            yield error(f"queues.{queue}", text, f"celery -A <project> worker -Q {queue}")
    if EVALUATORS not in consumed:
        yield warning(
            "queues.evaluators",
            f"no worker consumes the queue {EVALUATORS!r}: what beat starts (the daily clean-up, for one) is not done",
            f"celery -A <project> worker -Q {EVALUATORS} -c 1 -n {EVALUATORS}@%h",
        )
    else:
        yield ok("queues.evaluators", f"the queue {EVALUATORS!r} is consumed")


def leases() -> Iterator[Finding]:
    """Look for steps whose lease has run out and that nobody gave back."""
    if not _is_migrated():
        return
    count, age = rows(
        "SELECT count(*), extract(epoch FROM clock_timestamp() - min(lease_until))::float8 FROM execution_step "
        "WHERE state = 'running' AND lease_until < clock_timestamp() - interval '5 seconds'"
    )[0]
    if count:
        text = f"the lease of {words.counted(count, 'running step')} ran out up to {words.length(age)} ago"
        yield warning(
            "steps.leases", text, "Any live worker gives them back: within a lease, where the sweep was interrupted."
        )
    else:
        yield ok("steps.leases", "every running step has an owner")


def people() -> Iterator[Finding]:
    """Count the runs that wait for a person."""
    if not _is_migrated():
        return
    found = rows("SELECT waiting, count(*) FROM execution_run WHERE state = 'parked' GROUP BY waiting ORDER BY waiting")
    if found:
        total = sum(count for _, count in found)
        shown = ", ".join(f"{count} for {waiting or 'an unknown reason'}" for waiting, count in found)
        wait = "run waits" if total == 1 else "runs wait"
        yield ok("runs.parked", f"{total:,} {wait} for a person: {shown} (manage.py runs --state parked)")


def errands() -> Iterator[Finding]:
    """Look for errands that are overdue."""
    if not _is_migrated():
        return
    count, failure = rows(
        "SELECT count(*), max(error) FROM execution_errand WHERE created_at < clock_timestamp() - interval '5 minutes'"
    )[0]
    if count:
        reason = words.one_line(failure or "no error was kept")
        yield warning(
            "errands.overdue",
            f"{words.counted(count, 'errand')} owed for more than 5 minutes: {reason}",
            "They are tried again by themselves; mend what the error names.",
        )


def beat() -> Iterator[Finding]:
    """Look whether beat has a schedule, and whether it runs."""
    if not apps.is_installed("django_celery_beat"):
        if not getattr(settings, "CELERY_BEAT_SCHEDULE", None):
            yield warning(
                "beat.schedule",
                "django_celery_beat is not installed, and there is no CELERY_BEAT_SCHEDULE: nothing is cleaned up",
                "Add 'django_celery_beat' to INSTALLED_APPS and migrate, or schedule execution.clean_up yourself.",
            )
        return
    if not rows("SELECT 1 FROM pg_class WHERE oid = to_regclass('django_celery_beat_periodictask')"):
        return
    wanted = {entry.task: entry.name for entry in schedule.of_apps()}
    found = dict(
        rows(
            "SELECT task, bool_or(enabled) FROM django_celery_beat_periodictask WHERE task = ANY (%s) GROUP BY task",
            [list(wanted)],
        )
    )
    missing = [name for task, name in wanted.items() if task not in found]
    disabled = [wanted[task] for task, is_on in found.items() if not is_on]
    if missing:
        yield warning(
            "beat.schedule", f"beat's schedule lacks {words.listed(missing)}", "manage.py migrate installs it"
        )
    if disabled:
        yield warning("beat.disabled", f"disabled in the schedule: {words.listed(disabled)}", "Enable it in the admin.")
    silent = rows(
        "SELECT p.name, p.last_run_at FROM django_celery_beat_periodictask p WHERE p.task = ANY (%s) AND p.enabled "
        "AND coalesce(p.last_run_at, p.date_changed) < clock_timestamp() - interval '2 days' ORDER BY p.name",
        [list(wanted)],
    )
    if silent:
        since = max((moment for _, moment in silent if moment), default=None)
        last = f"has not run since {words.moment(since)}" if since else "has never run"
        yield warning(
            "beat.silent",
            f"{words.listed([name for name, _ in silent])} {last}: beat seems to be down",
            "Run one: celery -A config beat (make up has one).",
        )
    yield from _never_ran()
    if not missing and not disabled and not silent:
        yield ok("beat.schedule", f"beat's schedule has all {words.counted(len(wanted), 'task')}")


def _never_ran() -> Iterator[Finding]:
    """Warn at once of a beat that has never run where something waits for it."""
    ticked = "SELECT 1 FROM execution_cyclestate WHERE name = ANY (%s) AND ticked_at IS NOT NULL LIMIT 1"
    if rows(ticked, [list(_CYCLES_OF_BEAT)]):
        return
    sessions, rules, runs = rows(
        "SELECT (SELECT count(*) FROM execution_session WHERE status = 'open'), "
        "(SELECT count(*) FROM execution_memoryrule WHERE is_enabled), "
        "(SELECT count(*) FROM (SELECT 1 FROM execution_run WHERE ended_at IS NOT NULL LIMIT 1000) x)"
    )[0]
    found = [
        *([f"{words.counted(sessions, 'open session')} (nothing expires)"] if sessions else []),
        *([f"{words.counted(rules, 'memory rule')} (nothing is remembered)"] if rules else []),
        *(["runs that have ended (their provenance is not recorded)"] if runs else []),
    ]
    if found:
        yield warning(
            "beat.never",
            f"beat has never run, and these need it: {', '.join(found)}",
            f"celery -A <project> beat, and a worker of the queue {EVALUATORS!r} that does what it starts",
        )


_CYCLES_OF_BEAT = (
    "execution.clean_up",
    "execution.sessions",
    "execution.memory",
    "execution.provenance",
    "execution.refresh_topology",
)

LOOKS = (workers, keepers, queues, leases, people, errands, beat)
