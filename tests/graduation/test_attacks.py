"""Attacks on what graduation promises: cycles that are killed, doubled or raise, and ways up that are none."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from execution import records
from execution.models import Agent, CycleState, Level, Verdict
from graduation import evaluator, ladder, objectives
from graduation.learn import outcomes, retrospectives
from graduation.models import Evidence, Offer
from graduation.observe import collect
from tests.conftest import REPOSITORY
from tests.graduation.decided import decided, decisions
from tests.hands import MARKS, side_by_side
from tests.workers import test_environment as environment

pytestmark = MARKS

DATA = Path(__file__).parent.parent / "data" / "openslo"
HANGING = """
import pathlib, time, django
django.setup()
from graduation import ladder, trials
real = trials.begin_anew if {at!r} == "begin_anew" else trials.tell

def hang(*given, **named):
    found = real(*given, **named)
    pathlib.Path({mark!r}).touch()
    time.sleep(600)
    return found

setattr(trials, {at!r}, hang)
ladder.take_all()
"""


@pytest.fixture
def scout(transactional_db, settings):
    """Return an agent, all of whose decisions are audited."""
    settings.CELERIAC = settings.CELERIAC | {"audit_share": 1.0}
    return Agent.objects.create(name="scout", level=Level.AUTONOMOUS)


def level():
    """Return where the agent stands."""
    return Agent.objects.values_list("level", flat=True).get(name="scout")


class TestCycles:
    @pytest.mark.parametrize("at", ["tell", "begin_anew"])
    def test_killed_in_mid_pass(self, scout, eventually, tmp_path, at):
        """Killed after it has read, or when the agent has just fallen: nothing is half done, and the next pass does it."""
        decided(60, bad=20)
        mark = tmp_path / "there"
        child = subprocess.Popen(
            [sys.executable, "-c", HANGING.format(mark=str(mark), at=at)],
            cwd=REPOSITORY,
            env=os.environ | environment() | {"CELERIAC_AUDIT_SHARE": "1.0"},
        )
        try:
            eventually(mark.exists, timeout=150, message="the child is in mid pass")
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert (level(), Verdict.objects.filter(kind="quality_breach").count()) == (Level.AUTONOMOUS, 0)
        ladder.take_all()
        ladder.take_all()
        assert level() < Level.AUTONOMOUS
        assert Verdict.objects.filter(kind="quality_breach").count() == 1
        assert Verdict.objects.filter(kind="autonomy_change").count() == 1

    def test_doubled(self, scout):
        """However many beats there are, one tick is one pass; and passes side by side tell nothing twice."""
        decided(120)
        answers = side_by_side(*[ladder.WATCH.run] * 4)
        assert len([one for one in answers if one is not None]) == 1
        side_by_side(*[ladder.take_all] * 4)
        assert (Evidence.objects.get().outcome_count, Offer.objects.count(), level()) == (120, 1, Level.AUTONOMOUS)

    def test_one_that_raises_stops_nothing(self, scout, monkeypatch):
        """A cycle that raises is counted and shown, changes nothing, and the others pass."""
        decided(60, bad=20)
        monkeypatch.setattr(ladder, "take", lambda _: 1 / 0)
        cycles = (ladder.WATCH, evaluator.WATCH, outcomes.WATCH, retrospectives.WATCH, collect.COLLECT, collect.MEASURE)
        for cycle in cycles:
            cycle.run()
        failed = CycleState.objects.get(error_count__gt=0)
        assert (failed.name, "ZeroDivisionError" in failed.last_error) == (ladder.WATCH.name, True)
        assert CycleState.objects.filter(name__in=[one.name for one in cycles], last_error="").count() == 5
        assert level() == Level.AUTONOMOUS
        monkeypatch.undo()
        CycleState.objects.update(ticked_at=None)
        ladder.WATCH.run()
        assert level() < Level.AUTONOMOUS, "what was not taken is taken by the next pass"


class TestWaysUp:
    def test_import_of_objectives(self, scout):
        """Objectives that are imported about an agent, well kept, raise nothing and offer nothing."""
        agent = Agent.objects.filter(name="scout")
        ladder.demote("scout", Level.OBSERVER, by="ann", reason="a test")
        for _ in range(2):
            objectives.import_([DATA / "ledger.yaml"], by="scout")
            collect.collect({})
            collect.measure({})
        ladder.take_all()
        assert (agent.get().level, Offer.objects.count()) == (Level.OBSERVER, 0)

    def test_word_of_somebody_who_is_nobody(self, scout):
        """A breach that is forged to be a rise, or of a negative severity, raises nothing."""
        ladder.demote("scout", Level.ADVISOR, by="ann", reason="a test")
        for severity in (-4, "rise", None, {"low": -1}):
            records.judge(
                "quality_breach", subject="agent:scout", action="approve", producer="x", data={"severity": severity}
            )
        records.judge("autonomy_change", subject="agent:scout", action="approve", producer="ladder", data={"after": 4})
        ladder.take_all()
        assert level() <= Level.ADVISOR

    def test_outcomes_that_the_agent_has_antedated(self, scout):
        """Decisions that are written as if they were older, before the trial began, count for nothing."""
        ladder.demote("scout", Level.ADVISOR, by="ann", reason="a test")
        made = decided(200)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE execution_verdict DISABLE TRIGGER USER")
            cursor.execute(
                "UPDATE execution_verdict SET created_at = created_at - interval '1 day' WHERE id = ANY(%s)",
                [[one.id for one in made]],
            )
            cursor.execute("ALTER TABLE execution_verdict ENABLE TRIGGER USER")
        ladder.take_all()
        assert (Offer.objects.count(), level()) == (0, Level.ADVISOR)

    def test_decisions_of_others_speak_for_nobody(self, scout):
        """What another agent does well offers nothing to this one."""
        Agent.objects.create(name="second", level=Level.ADVISOR)
        decided(120, agent="second")
        decisions(120)
        ladder.take_all()
        assert [one.agent.name for one in Offer.objects.select_related("agent")] == ["second"]
