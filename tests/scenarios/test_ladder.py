"""The whole story of an agent's trust, with real workers, real beat and nothing configured: earned, lost, given back."""

import os
import subprocess
import sys

import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from execution import runs
from execution.models import Agent, CycleState, Level, Run, Step, Verdict
from graduation.models import GraduationHistory, Offer
from tests import ladder_skills
from tests.conftest import REPOSITORY
from tests.execution.test_commands import document, refused, typed
from tests.people import person
from tests.workers import test_environment as environment

CYCLES = {
    "graduation.ladder",
    "graduation.outcomes",
    "graduation.evaluator",
    "graduation.collect",
    "graduation.measure",
}


@pytest.fixture
def beat(transactional_db, tmp_path):
    """Start a real beat, for which the minutes between graduation's cycles are seconds."""
    second = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.SECONDS)[0]
    PeriodicTask.objects.filter(task__startswith="graduation.", crontab=None).update(interval=second)
    with (tmp_path / "beat.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "config", "beat", "--pidfile=", "--max-interval=1"],
            cwd=REPOSITORY, env=os.environ | environment(), stdout=log, stderr=log,
        )  # fmt: skip
        yield process
        process.terminate()
        process.wait(20)


@pytest.fixture
def in_time(eventually):
    """Wait for what a cycle does, without waiting for its minute."""

    def wait(condition, message):
        def passed():
            CycleState.objects.filter(name__startswith="graduation.").update(ticked_at=None)
            return condition()

        return eventually(passed, timeout=60, every=0.5, message=message)

    return wait


def test_trust_is_earned_lost_and_given_back(workers, beat, in_time, eventually):
    """An agent does well, is offered a rise, breaks something, falls, asks, is let go on once, and is restored."""
    typed("agents", "add", "editor", "--level", "limited_autonomous")
    editor = Agent.objects.get(name="editor")
    person("ann")
    person("bob")
    workers(skills="tests.ladder_skills", queues="default,celeriac", concurrency=2)

    def level():
        return Agent.objects.values_list("level", flat=True).get(pk=editor.pk)

    def asks(run):
        found = Step.objects.filter(pk=run.id, state="parked", waiting="autonomy")
        eventually(found.exists, timeout=30, message="the step parks at its claim and asks")

    # It does well, wherever anybody has looked; silence offers nothing, and it publishes nothing without asking.
    ladder_skills.review.start(agent="editor", count=1200).wait(timeout=60)
    early = ladder_skills.publish.start(agent="editor", title="the first")
    asks(early)
    drawn = [row["id"] for row in document("agents", "audit", "editor", "--limit", "1000")["to_audit"]]
    assert 80 < len(drawn) < 170, "one in ten is drawn"
    in_time(lambda: GraduationHistory.objects.filter(subject="agent:editor").count() > 1, "its status is evaluated")
    assert not Offer.objects.exists(), "nobody has looked"
    typed("verdicts", "override", *drawn, 1, "--by", "ann", "--reason", "I have read it")
    offer = in_time(Offer.objects.first, "a rise is offered")
    assert (level(), offer.state) == (Level.LIMITED_AUTONOMOUS, "open"), "offered, and not applied"

    # A person accepts; no agent could.
    person("editor")
    assert "an agent's own account" in refused("agents", "accept", offer.pk, "--by", "editor", "--reason", "I am good")
    typed("agents", "accept", offer.pk, "--by", "ann", "--reason", "it does well")
    assert level() == Level.AUTONOMOUS
    typed("resume", early.id)
    assert runs.get(early.id).wait(timeout=30) == "the first is published"
    assert ladder_skills.publish.start(agent="editor", title="alone").wait(timeout=30) == "alone is published"

    # It breaks something, and falls with the word that says so.
    ladder_skills.review.start(agent="editor", count=1).wait(timeout=30)
    broken = Verdict.objects.filter(agent_id=editor.id, kind="review").latest("id")
    typed("verdicts", "override", broken.id, 0, "--critical", "--by", "bob", "--reason", "it deleted the archive")
    assert level() == Level.OBSERVER

    # Its next step parks and asks; a person lets this one through, and no agent could.
    late = ladder_skills.publish.start(agent="editor", title="the next")
    asks(late)
    assert "needs the autonomy level autonomous (3)" in typed("why", late.id)
    assert "an agent's own account" in refused("approve", late.id, "--by", "editor", "--reason", "please")
    typed("approve", late.id, "--by", "bob", "--reason", "I have read it")
    assert runs.get(late.id).wait(timeout=30) == "the next is published"
    assert level() == Level.OBSERVER, "one approval is no rise"

    # Two persons restore it.
    by_ann = document("agents", "promote", "editor", "autonomous", "--by", "ann", "--reason", "it was mended")
    assert (by_ann["state"], level()) == ("seconded", Level.OBSERVER)
    typed("agents", "accept", by_ann["id"], "--by", "bob", "--reason", "I agree")
    assert ladder_skills.publish.start(agent="editor", title="again").wait(timeout=30) == "again is published"
    changes = Verdict.objects.filter(kind="autonomy_change").order_by("id")
    assert [(one.data["before"], one.data["after"]) for one in changes] == [(2, 3), (3, 0), (0, 3)]
    assert all(one.parents for one in changes), "each rests on a decision or a breach"
    assert set(Run.objects.values_list("state", flat=True)) == {"completed"}
    assert document("agents", "show", "editor")["level"] == "autonomous"
    passed = CycleState.objects.filter(name__in=CYCLES)
    assert {one.name: one.last_error for one in passed} == dict.fromkeys(CYCLES, ""), (
        "beat has passed, without an error"
    )
