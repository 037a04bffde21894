"""The whole story of an agent's trust, with real workers and nothing configured: earned, lost, and given back."""

import json

from execution import runs
from execution.models import Agent, CycleState, Level, Run, Step, Verdict
from graduation import audits, ladder, tasks
from graduation.models import Offer
from tests import ladder_skills
from tests.execution.test_commands import document, refused, typed
from tests.graduation.decided import outcomes
from tests.people import person


def test_trust_is_earned_lost_and_given_back(workers, eventually):
    """An agent does well, is offered a rise, breaks something, falls, asks, is let go on once, and is restored."""
    editor = Agent.objects.create(name="editor", level=Level.LIMITED_AUTONOMOUS)
    person("ann")
    person("bob")
    workers(skills="tests.ladder_skills", concurrency=1)

    def level():
        return Agent.objects.values_list("level", flat=True).get(pk=editor.pk)

    def look():
        CycleState.objects.filter(pk=ladder.WATCH.name).update(ticked_at=None)
        tasks.watch_ladder.apply_async(queue="default")

    def asks(run):
        found = Step.objects.filter(pk=run.id, state="parked", waiting="autonomy")
        eventually(found.exists, message="the step parks at its claim and asks")

    # It does well, where anybody has looked, and publishes nothing without asking.
    ladder_skills.review.start(agent="editor", count=1600).wait(timeout=60)
    early = ladder_skills.publish.start(agent="editor", title="the first")
    asks(early)
    audited = [one for one in Verdict.objects.filter(agent_id=editor.id).order_by("id") if audits.is_drawn(one.id)]
    outcomes(audited)
    look()
    offer = eventually(Offer.objects.first, message="a rise is offered")
    assert level() == Level.LIMITED_AUTONOMOUS, "offered, and not applied"

    # A person accepts; no agent could.
    person("editor")
    assert "an agent's own account" in refused("agents", "accept", offer.pk, "--by", "editor", "--reason", "I am good")
    typed("agents", "accept", offer.pk, "--by", "ann", "--reason", "it does well")
    assert level() == Level.AUTONOMOUS
    assert ladder_skills.publish.start(agent="editor", title="alone").wait(timeout=30) == "alone is published"

    # It breaks something, and falls.
    ladder_skills.review.start(agent="editor", count=1).wait(timeout=30)
    broken = Verdict.objects.filter(agent_id=editor.id, kind="review").latest("id")
    outcomes([broken], bad=1, data={"severity": "critical"}, reasoning="it deleted the archive")
    look()
    eventually(lambda: level() == Level.OBSERVER, message="it falls")

    # Its next step parks and asks; a person lets this one through.
    late = ladder_skills.publish.start(agent="editor", title="the next")
    asks(late)
    assert "needs the autonomy level autonomous (3)" in typed("why", late.id)
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
    assert set(Run.objects.exclude(pk=early.id).values_list("state", flat=True)) == {"completed"}
    assert json.loads(typed("agents", "show", "editor", "--json"))["level"] == "autonomous"
