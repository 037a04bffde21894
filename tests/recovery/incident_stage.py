"""A stage for incidents: things go wrong, the cycles pass, and the steps of incidents are performed in this process."""

import json
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from execution import agents, ids, ledger, openings, records, runs
from execution.models import Event, Run, Step
from execution.workflows import catalog
from recovery import actions, correlation, incidents
from recovery.actions import Done
from recovery.models import Incident, Occurrence, SuggestionAction, Window
from recovery.workflows import incident as _steps  # noqa: F401 - registers the steps
from tests import hands as hand

RETRY = "retry-all"


@pytest.fixture
def clean_slate(transactional_db, settings):
    """Begin with an empty log and no action, remember nothing of tables that are empty again, and watch for a moment only."""
    settings.CELERIAC = settings.CELERIAC | {"incident_watch_seconds": 0.01}
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE execution_event")
    SuggestionAction.objects.all().delete()
    catalog.forget()
    yield
    agents.forget()
    openings.forget()
    ledger.close()


def event(kind, data=None, *, ago=0.0, run=None, step=None, agent=None):
    """Write an event as if it had happened so many seconds ago."""
    key = ids.new()
    ledger.ask(
        "INSERT INTO execution_event (id, xid, at, kind, run_id, step_id, agent_id, data) VALUES "
        "(%s, pg_current_xact_id()::text::bigint, %s, %s, %s, %s, %s, %s::jsonb)",
        [key, timezone.now() - timedelta(seconds=ago), kind, run, step, agent, json.dumps(data or {})],
    )
    return Event.objects.get(pk=key)


def failed(skill="tests.add", *, ago=0.0, workflow=None, kind="transient", message="away", version=""):
    """Write a run of one step that has failed, with its events."""
    run = runs.start("tests.add", {"left": 1})
    error = {"kind": kind, "type": "ServiceAway", "message": message}
    Step.objects.filter(pk=run.id).update(state="failed", waiting="", skill=skill, version=version, error=error)
    Run.objects.filter(pk=run.id).update(
        state="failed", workflow=workflow or skill, ended_at=timezone.now(), error=error
    )
    Event.objects.filter(run_id=run.id).update(at=later(-ago))
    event("step.failed", {"error": error}, ago=ago, run=run.id, step=run.id, agent=run.agent_id)
    event("run.failed", {"workflow": workflow or skill, "error": error}, ago=ago, run=run.id, agent=run.agent_id)
    return run


def breach(subject="agent:scout", **more):
    """Write a verdict that an objective is not kept."""
    return records.judge(
        "quality_breach", subject=subject, action="flag", producer="tests", **({"data": {"severity": "high"}} | more)
    )


def later(seconds):
    """Return the moment so many seconds from now."""
    return timezone.now() + timedelta(seconds=seconds)


def correlate(seconds=200.0):
    """Let the cycle of correlation pass, as if it were so many seconds from now."""
    return correlation.correlate(now=later(seconds))


def watch(seconds=0.0):
    """Let the cycle of incidents pass, as if it were so many seconds from now."""
    return incidents.watch(now=later(seconds))


def opened(*, failures=6, ago=300, **options):
    """Let a skill fail for many runs, and return the incident about it with the failed runs."""
    broken = [failed(ago=ago - number, **options) for number in range(failures)]
    correlate()
    watch()
    return Incident.objects.get(), broken


def template(name=RETRY, verb="retry", **more):
    """Write a template of an action."""
    return SuggestionAction.objects.create(
        name=name, verb=verb, **({"risk": "low", "needs_approval": False, "is_automated": True} | more)
    )


def retry(target, *, by, reason, **_):
    """Retry a failed run: as the verb of the same name does."""
    runs.retry(target.run_id, by=by, reason=reason)
    return Done(text=f"run {target.run_id} goes on")


def with_retry(monkeypatch):
    """Let there be a verb that retries, whether or not the real one is known."""
    monkeypatch.setitem(actions.KNOWN, "retry", actions.Verb(name="retry", perform=retry))
    monkeypatch.setattr(actions, "perform", _perform)


def _perform(name, target, parameters, *, by, reason=""):
    return actions.KNOWN[name].perform(target, **parameters, by=by, reason=reason)


def play(hands, run_id, *, most=30):
    """Perform a run's steps, and those of runs that it lets go on, until none is ready; timers are due at once."""
    for _ in range(most):
        for step in Step.objects.filter(run_id=run_id, state="waiting").exclude(waiting="signal"):
            hand.make_due(step)
        ledger.ask("SELECT * FROM execution_wake_v1()")
        going_on = Run.objects.filter(state__in=["pending", "running"]).values("id")
        ready = list(Step.objects.filter(run_id__in=going_on, state="ready").order_by("position"))
        waiting = Step.objects.filter(run_id=run_id, state="waiting").exclude(waiting="signal").exists()
        if not (ready or waiting) or Run.objects.get(pk=run_id).is_ended:
            return
        for step in ready:
            hands.perform(step)
    raise AssertionError(list(Step.objects.filter(run_id=run_id).values_list("name", "state", "waiting", "error")))


def states(run_id):
    """Return a run's steps with their states."""
    return dict(Step.objects.filter(run_id=run_id).values_list("name", "state"))


def timeline(incident):
    """Return the kinds of an incident's entries, in order."""
    return list(incident.entries.values_list("kind", flat=True))


def told(kind):
    """Return the data of the events of a kind."""
    return list(Event.objects.filter(kind=kind).order_by("id").values_list("data", flat=True))


def counted():
    """Return how many occurrences are kept, or folded into windows."""
    pending = Occurrence.objects.filter(is_folded=False).count()
    return pending + sum(sum(window.counts.values()) for window in Window.objects.all())


def some_id():
    """Return an id of nothing."""
    return uuid.uuid4()
