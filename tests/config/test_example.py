"""The living example: made by running it, and removable."""

import json

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import models

from config.example import newspaper
from execution import runs
from execution.models import Effect, Run, Step
from recovery.models import FailureMatch
from tests.execution import seen

SKILLS = "config.example.skills"
KEPT = {"Agent", "Event", "Verdict", "Assessment", "RecordParent", "Envelope", "EnvelopeDecision", "Lineage"}
"""What the ledger refuses to forget: an agent's level, and history, which leaves by retention."""


def states(name):
    """Return the states of the example's runs of a name, and what they wait for."""
    return sorted(Run.objects.filter(workflow=name).values_list("state", "waiting"))


def test_example_shows_each_thing_that_a_person_may_meet(workers, eventually):
    """A worker brings the newspaper to where it waits for a person: an approval, a budget, an effect, a level."""
    newspaper.load()
    workers(skills=SKILLS, concurrency=2)
    eventually(lambda: Step.objects.filter(run__workflow="example-edition", name="approve", state="waiting").count() == 2, timeout=60)  # fmt: skip
    eventually(lambda: states("example.translate") == [("parked", "budget")], timeout=30)
    eventually(lambda: states("example.rewrite_archive") == [("parked", "autonomy")], timeout=30)
    eventually(lambda: Effect.objects.filter(step__run__workflow="example.pay_supplier").exists(), timeout=30)
    eventually(lambda: Run.objects.get(workflow="example.pay_supplier").state == "parked", timeout=30)
    eventually(lambda: {state for state, _ in states("example.ask_supplier")} == {"failed"}, timeout=60)
    eventually(lambda: {state for state, _ in states("example.review")} == {"completed"}, timeout=60)


@pytest.mark.django_db(transaction=True)
def test_example_is_loaded_once_and_removed_whole(capsys):
    """Loading twice starts nothing twice; removing leaves nothing but history, and can be followed by loading again."""
    first = newspaper.load()
    assert newspaper.load() == first > 15
    run = Run.objects.filter(workflow="example.ask_supplier").first()
    FailureMatch.objects.create(
        attempt_id=run.id, step_id=run.id, run_id=run.id, agent_id=run.agent_id, skill=run.workflow, ending="failed",
        error_kind="transient", fingerprint="f" * 40, fingerprint_version=1, failed_at=run.created_at,
    )  # fmt: skip
    runs.start(seen.wait)
    call_command("example", "remove", "--json")
    assert json.loads(capsys.readouterr().out) == {"removed": first}
    assert list(Run.objects.values_list("workflow", flat=True)) == ["seen.wait"]
    assert _mentions() == []
    assert newspaper.load() == first


def _mentions():
    """Return the tables of the three apps that still hold a text that begins as the example's names do."""
    found = []
    for model in apps.get_models():
        if model._meta.app_label not in ("execution", "recovery", "graduation") or model.__name__ in KEPT:
            continue
        for field in model._meta.concrete_fields:
            if isinstance(field, models.CharField | models.TextField):
                rows = model._default_manager.filter(**{f"{field.attname}__startswith": "example"})
                found += [(model.__name__, field.name)] if rows.exists() else []
    return found


@pytest.mark.django_db
def test_example_is_offered_to_an_empty_ledger_alone(admin_client):
    """The home page offers it, then offers to remove it; a reader without the right is refused."""
    assert "Load the example" in admin_client.get("/admin/").text
    assert admin_client.post("/admin/example/", {"verb": "load"}).status_code == 302
    assert "Remove it" in admin_client.get("/admin/").text
    assert admin_client.get("/admin/example/").status_code == 405


@pytest.mark.django_db
def test_example_is_not_loaded_by_a_viewer(client, django_user_model):
    """Who may not operate runs sees no offer, and a request of theirs changes nothing."""
    client.force_login(django_user_model.objects.create_user("viewer", is_staff=True))
    assert "Load the example" not in client.get("/admin/").text
    assert client.post("/admin/example/", {"verb": "load"}).status_code == 403
    assert not newspaper.is_loaded()
