"""An incident from its first failure to the word that it is over, with real workers, and everything restarted in between."""

from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from config import substrate
from config.settings import celeriac_options
from execution import agents, ledger, openings, services
from execution.models import Attempt, Run, Step, Verdict
from execution.services import Declaration
from execution.workflows import catalog
from recovery import actions, correlation, incidents
from recovery.models import Incident, SuggestionAction, Window
from tests import incident_skills as shop

SKILLS = "tests.incident_skills,tests.incident_verbs"
QUICK = {
    "CELERIAC_CORRELATION_GAP_SECONDS": "10",
    "CELERIAC_CORRELATION_LATE_SECONDS": "1",
    "CELERIAC_INCIDENT_WATCH_SECONDS": "2",
}


@pytest.fixture(autouse=True)
def _forget():
    catalog.forget()


@pytest.fixture
def out_of_order(tmp_path, transactional_db):
    """Return the shop's folder; its till is away, and retrying needs an approval."""
    from tests import incident_verbs

    assert "retry" in actions.KNOWN, incident_verbs
    with connections["default"].cursor() as cursor:
        cursor.execute("TRUNCATE execution_event")  # Django does not know the log as its own
    services.declare("till", Declaration(tier="critical", owner="team money"))
    SuggestionAction.objects.all().delete()
    SuggestionAction.objects.create(name="retry", verb="retry", needs_approval=True, risk="low")
    (tmp_path / "away").touch()
    return tmp_path


def fail_for_many(folder, eventually, count=6):
    """Let a service fail for many runs."""
    broken = [shop.charge.start(folder=str(folder), amount=number) for number in range(count)]
    rows = Run.objects.filter(pk__in=[run.id for run in broken], state="failed")
    eventually(lambda: rows.count() == count, message="every run has failed")
    return [run.id for run in broken]


def waits(incident):
    """Tell whether an incident's run waits for its approval."""
    return Step.objects.filter(run_id=incident.run_id, name="approve", state="waiting").exists()


def test_approval_after_the_death_of_every_worker(workers, eventually, out_of_order, monkeypatch):
    """A service fails for many runs; its incident waits for a person, outlives every worker, and is resolved by an approval."""
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    crew = workers(skills=SKILLS, queues="default,celeriac", concurrency=2)
    broken = fail_for_many(out_of_order, eventually)
    correlation.correlate(now=timezone.now() + timedelta(seconds=200))
    incidents.watch()
    incident = Incident.objects.get()
    eventually(lambda: waits(incident), message="it waits for an approval")
    crew.kill()
    (out_of_order / "away").unlink()
    incidents.approve(incident, by="ann", reason="the till is back")
    workers(skills=SKILLS, queues="default,celeriac", concurrency=2)
    eventually(lambda: Run.objects.get(pk=incident.run_id).is_ended, timeout=30, message="its run ends")
    incidents.watch()
    incident.refresh_from_db()
    assert incident.state == "resolved", list(incident.entries.values_list("text", flat=True))
    eventually(lambda: set(Run.objects.filter(pk__in=broken).values_list("state", flat=True)) == {"completed"})
    assert sorted((out_of_order / "taken").read_text().split()) == [str(number) for number in range(6)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_incident_over_a_restart_of_everything(workers, eventually, out_of_order, monkeypatch, settings):
    """The cycles open it; workers and servers are restarted; a person approves; what failed completes, and it is over."""
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    settings.CELERIAC = settings.CELERIAC | celeriac_options()
    crew = [workers(skills=SKILLS, queues=queue, concurrency=2) for queue in ("default", "celeriac")]
    broken = fail_for_many(out_of_order, eventually)

    def incident_waits():
        tick()
        found = Incident.objects.filter(snapshot_id__isnull=False).first()
        return found if found is not None and waits(found) else None

    incident = eventually(incident_waits, timeout=90, every=1, message="the cycles open an incident, and its run asks")
    plan = incidents.waits_for(incident)["plan"]
    assert (plan["action"], len(plan["targets"])) == ("retry", 6), plan
    snapshot = Window.objects.get(pk=incident.window_id)
    assert snapshot.details["affected"][0]["node"] == "service:till"
    assert incident.severity in ("high", "critical")

    for worker in crew:
        worker.kill()
    restart_servers()
    (out_of_order / "away").unlink()
    incident.refresh_from_db()
    assert (incident.state, waits(incident)) == ("open", True)

    for queue in ("default", "celeriac"):
        workers(skills=SKILLS, queues=queue, concurrency=2)
    incidents.approve(incident, by="ann", reason="the till is back")

    def is_over():
        tick()
        return Incident.objects.get(pk=incident.pk).state != "open"

    eventually(is_over, timeout=90, every=1, message="the cycles notice the end")
    incident.refresh_from_db()
    assert incident.state == "resolved", list(incident.entries.values_list("text", flat=True))
    eventually(
        lambda: set(Run.objects.filter(pk__in=broken).values_list("state", flat=True)) == {"completed"}, timeout=60
    )
    assert sorted((out_of_order / "taken").read_text().split()) == [str(number) for number in range(6)]
    assert Attempt.objects.filter(run_id__in=broken).count() == 12
    kinds = [kind for kind in incident.entries.values_list("kind", flat=True) if kind != "told"]
    assert kinds == ["opened", "snapshot", "triaged", "investigated", "approved", "remediated", "verified", "resolved"]
    assert Verdict.objects.filter(producer="recovery.incidents").count() == 6
    assert (Incident.objects.count(), Run.objects.filter(workflow="incident").count()) == (1, 1)


def tick():
    """Let the cycles pass."""
    correlation.correlate()
    incidents.watch()


def restart_servers():
    """Stop PostgreSQL and Redis, and start them again."""
    connections.close_all()
    ledger.close()
    substrate.stop()
    substrate.ensure()
    agents.forget()
    openings.forget()
