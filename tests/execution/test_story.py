"""A run's story tells what happened, in order, with nothing left out unsaid."""

import pytest
from django.db.models import F

from execution import runs, story
from execution.models import Checkpoint, Run
from tests import command_skills
from tests.conftest import wait_until

SKILLS = "tests.command_skills"


def told(run, **options):
    """Tell a run's story afresh."""
    return story.of(Run.objects.select_related("agent").get(pk=run.id), **options)


def kinds(found):
    """Return the kinds of a story's lines."""
    return [line.kind for line in found.lines]


def ended(run):
    """Wait for the end of a run."""
    wait_until(lambda: Run.objects.ended().filter(pk=run.id).exists())


def test_completed_run(workers):
    """Attempts, checkpoints, spends and the ending are told in order, with statistics and result."""
    workers(skills=SKILLS)
    run = command_skills.report.start(topic="celery", key="k", tags=["weekly"])
    ended(run)
    found = told(run)
    assert kinds(found)[:2] == ["run.opened", "attempt.started"]
    assert kinds(found).count("checkpoint") == 3
    assert kinds(found)[-2:] == ["attempt.completed", "run.completed"]
    assert "'celery'" in found.lines[0].text
    assert "under the key 'k'" in found.lines[0].text
    assert "from the start" in found.lines[1].text
    assert any(line.text == "spent 0.25 and 100 tokens on 'pages'" for line in found.lines)
    assert found.result == {"topic": "celery", "pages": 2}
    assert found.statistics.count == 4
    assert found.statistics.total_bytes == sum(Checkpoint.objects.values_list("size", flat=True))
    assert found.statistics.mean_bytes == found.statistics.total_bytes / 4


def test_crash_and_take_over(grown_server, workers, tmp_path):
    """A killed worker's step is told as given back, taken over by whom after how long, and from which checkpoint."""
    gate = tmp_path / "gate"
    first = workers("first", skills=SKILLS, concurrency=1)
    run = command_skills.slow.start(gate=str(gate), steps=3)
    wait_until(lambda: Checkpoint.objects.filter(token="step-2").exists())
    workers("second", skills=SKILLS, concurrency=1)
    first.kill()
    wait_until(lambda: run.steps.filter(state="running", epoch__gt=1).exists(), timeout=20)
    gate.touch()
    ended(run)
    found = told(run)
    back = next(line for line in found.lines if line.kind == "attempt.given_back")
    assert back.text.startswith("given back: worker died (first@")
    again = [line for line in found.lines if line.kind == "attempt.started"][1]
    assert "taken over by second@" in again.text
    assert again.facts["taken_over_after_ms"] >= 0
    assert again.facts["from"] in ("step-2", "alive")
    assert "from checkpoint '" in again.text
    assert "attempt 1, after" in back.text
    assert "attempt 2, from" in again.text, "attempts are counted, whatever the epoch is"


def test_waits_and_signals(workers):
    """A suspension is told with its reason, and a signal with its sender and the attempt that took it."""
    workers(skills=SKILLS)
    run = command_skills.ask.start(timeout="1h")
    wait_until(lambda: run.steps.filter(waiting="signal").exists())
    runs.signal(run, "approval", "yes", sender="ada")
    ended(run)
    texts = [line.text for line in told(run).lines]
    assert any(text.startswith("waits (signal)") and "until" in text for text in texts)
    assert "signal 'approval' from ada" in texts
    assert any("attempt 2 by" in text and "from checkpoint" in text for text in texts)


def test_effect_that_a_person_decided(workers):
    """An unknown effect is told from its intent to the decision."""
    from execution import effects
    from execution.models import Effect

    workers(skills=SKILLS)
    run = command_skills.publish.start()
    wait_until(lambda: Run.objects.filter(pk=run.id, state="parked").exists())
    effects.decide(Effect.objects.get(), "done", receipt={"id": 7}, by="ada")
    ended(run)
    found = told(run)
    assert "effect 'post' intended" in [line.text for line in found.lines]
    assert "effect 'post' done, decided by ada" in [line.text for line in found.lines]
    assert found.result == {"id": 7}


@pytest.mark.django_db
def test_what_an_operator_did():
    """Pausing, resuming and cancelling are told with who and why."""
    run = command_skills.ask.start()
    runs.pause(run, by="ada", reason="a look")
    runs.resume(run, by="ada")
    runs.cancel(run, by="bob", reason="no more")
    texts = [line.text for line in told(run).lines]
    assert "run paused by ada: a look" in texts
    assert "run resumed by ada" in texts
    assert "cancellation asked for by bob: no more" in texts
    assert texts[-1] == "cancelled"


@pytest.mark.django_db
def test_long_story_is_bounded(django_assert_max_num_queries):
    """Only the newest lines are told, with the number of those left out, in a fixed number of queries."""
    run = command_skills.ask.start()
    Checkpoint.objects.bulk_create(
        Checkpoint(step_id=run.id, token=f"t{n}", kind="once", position=n, epoch=1, size=10) for n in range(30)
    )
    Checkpoint.objects.update(saved_at=F("saved_at"))
    with django_assert_max_num_queries(16):
        found = told(run, most=10)
    assert kinds(found).count("checkpoint") == 10
    assert found.left_out == {"checkpoints": 20}
    assert found.statistics.as_data() == {"count": 30, "total_bytes": 300, "mean_bytes": 10.0}


@pytest.mark.django_db
def test_ending_outlives_the_log():
    """A run whose events have left still tells how it ended."""
    from execution.models import Event

    run = command_skills.ask.start()
    runs.cancel(run, by="ada")
    Event.objects.all().delete()
    assert kinds(told(run)) == ["run.opened", "run.cancelled"]
