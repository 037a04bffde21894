"""Collect: each ending counted once in its own minute, whatever is killed; where objectives stand, told once."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.utils import timezone

from execution import records, runs
from execution.models import Agent, Assessment, Attempt, Event, Level, Run, Verdict
from graduation import ladder, objectives
from graduation.models import Bucket, Objective, ObjectiveState
from graduation.observe import attempts, buckets, calendars, collect, judgments, standing
from graduation.observe.buckets import Minute
from tests.execution.test_commands import typed
from tests.hands import MARKS, open_run, side_by_side
from tests.skills import add, total
from tests.workers import test_environment as environment

pytestmark = MARKS

DATA = Path(__file__).parent.parent.parent / "data" / "openslo"
NOW = timezone.now().replace(second=0, microsecond=0)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def declared(transactional_db):
    """Declare the objectives of the ledger."""
    objectives.import_([DATA / "ledger.yaml"], by="ann")
    return {one.pk: one for one in Objective.objects.all()}


def counts(name="charges-succeed"):
    """Return good and total of every bucket of an objective, together."""
    found = Bucket.objects.filter(objective_id=name).values_list("good", "total")
    return tuple(sum(one) for one in zip(*found, strict=True)) if found else None


def fill(name, *, bad, total, ago=MINUTE):
    """Write one minute's counts, so long ago."""
    now = buckets.minute_of(timezone.now())
    Bucket.objects.filter(objective_id=name, minute__range=(now - ago - 2 * MINUTE, now - ago)).delete()
    buckets.put([Minute(objective=name, at=now - ago, good=total - bad, total=total)])


def kinds(kind, subject="skill:tests.add"):
    """Return the assessments of a kind, in order."""
    return list(Assessment.objects.filter(kind=kind, subject=subject).order_by("id"))


def settled(name="charges-succeed"):
    """Find where an objective stands, and return its state."""
    standing.settle(Objective.objects.get(pk=name))
    return ObjectiveState.objects.get(pk=name)


class TestCounting:
    def test_attempts_by_ending(self, declared, hands):
        """A completed attempt is good, a failed one is not; other skills are not counted; nothing twice."""
        for _ in range(3):
            hands.perform(add.start(left=1, right=2))
        hands.perform(total.start(numbers=[1]))
        failing = add.start(left=1, right=2)
        hands.take(failing)
        Run.objects.filter(pk=failing.pk).update(created_at=NOW)
        runs.cancel(failing.pk, by="ann")
        collect.collect({})
        assert counts() == (3, 3)
        assert counts("charges-are-quick") == (3, 3)
        assert Bucket.objects.filter(objective_id="charges-are-quick").first().value < 2
        collect.collect({})
        assert counts() == (3, 3)

    def test_failures_are_not_good(self, declared, hands):
        """What failed counts, and is not good."""
        run = add.start(left=1, right=2)
        hands.perform(run)
        Attempt.objects.filter(run_id=run.pk).update(ending="failed")
        collect.collect({})
        assert counts() == (0, 1)

    def test_event_of_an_earlier_minute(self, declared, hands):
        """An event that comes late falls into the minute in which it happened."""
        run = add.start(left=1, right=2)
        hands.perform(run)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE execution_event SET at = %s WHERE kind = 'step.completed'", [NOW - 90 * MINUTE])
        collect.collect({})
        assert Bucket.objects.get(objective_id="charges-succeed").minute == NOW - 90 * MINUTE

    def test_gap(self, declared, hands):
        """An event whose transaction commits after later ones were read is counted all the same."""
        run = add.start(left=1, right=2)
        hands.perform(run)
        Event.objects.filter(run_id=run.pk).delete()

        def late():
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "SELECT execution_log_v1('step.completed', %s, %s, NULL, 1, jsonb_build_object('attempt', 1))",
                    [run.pk, run.pk],
                )
                is_written.set()
                assert is_read.wait(30)

        def early():
            assert is_written.wait(30)
            hands.perform(add.start(left=1, right=2))
            attempts.collect()
            is_read.set()

        is_written, is_read = threading.Event(), threading.Event()
        side_by_side(late, early)
        before = counts()
        left = attempts.collect()
        assert (before, left, counts()) == ((1, 1), 1, (2, 2))

    def test_side_by_side(self, declared, hands):
        """Two passes at once count each attempt once."""
        for _ in range(10):
            hands.perform(add.start(left=1, right=2))
        side_by_side(attempts.collect, attempts.collect)
        attempts.collect()
        assert counts() == (10, 10)

    def test_killed_between_anything(self, declared, hands, tmp_path):
        """A pass that is killed before or after its commit loses nothing and counts nothing twice."""
        for _ in range(6):
            hands.perform(add.start(left=1, right=2))
        for place in ("buckets.add", "_note_known", "events.consume"):
            mark = tmp_path / place
            program = (
                "import django, pathlib, time; django.setup()\n"
                "from graduation.observe import attempts, buckets\n"
                f"real = attempts.{place}\n"
                f"def slow(*given, **named):\n    real(*given, **named); pathlib.Path({str(mark)!r}).touch(); time.sleep(60)\n"
                f"attempts.{place} = slow\n"
                "attempts.BATCH = 7\n"
                "attempts.collect()\n"
            )
            process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | environment())
            deadline = time.monotonic() + 30
            while not mark.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert mark.exists()
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        attempts.collect()
        assert counts() == (6, 6)

    def test_disabled_is_not_counted(self, declared, hands):
        """An objective that is disabled learns nothing; the others do."""
        objectives.disable("charges-succeed", by="ann")
        hands.perform(add.start(left=1, right=2))
        collect.collect({})
        assert (counts(), counts("charges-are-quick")) == (None, (1, 1))


class TestStanding:
    def test_no_data_and_zero_differ(self, declared):
        """Nothing seen is no data; all good is healthy with the whole budget left."""
        assert (settled().standing, settled().consumed) == ("no_data", None)
        fill("charges-succeed", bad=0, total=5)
        assert (settled().standing, settled().consumed) == ("healthy", 0)

    @pytest.mark.parametrize(
        ("bad", "found"), [(0, "healthy"), (5, "warning"), (8, "critical"), (10, "exhausted"), (40, "exhausted")]
    )
    def test_by_budget(self, declared, bad, found):
        """Half of the budget is a warning, four fifths are critical, all of it is exhausted."""
        fill("charges-succeed", bad=bad, total=1000, ago=timedelta(days=10))
        assert settled().standing == found

    def test_old_minutes_leave_the_period(self, declared):
        """What is older than the period no longer counts."""
        fill("charges-succeed", bad=50, total=100, ago=timedelta(days=31))
        assert settled().standing == "no_data"

    def test_status_is_told_on_change(self, declared):
        """The same standing is recorded once, and again after a day."""
        for _ in range(3):
            settled()
        assert len(kinds("slo_status")) == 1
        fill("charges-succeed", bad=0, total=5)
        settled()
        assert [one.data["standing"] for one in kinds("slo_status")] == ["no_data", "healthy"]

    def test_alarm_is_told_once(self, declared):
        """A pair that alarms leaves one burn rate while it does, with the status as its parent."""
        fill("charges-succeed", bad=0, total=100_000, ago=timedelta(days=5))
        fill("charges-succeed", bad=40, total=100)
        state = settled()
        assert "1h/5m" in state.burning
        settled()
        told = kinds("burn_rate")
        assert len(told) == len(state.burning)
        assert told[0].parents == [state.assessment_id]
        Bucket.objects.filter(minute__gt=NOW - timedelta(days=1)).delete()
        assert settled().burning == []

    def test_breach_is_told_once(self, declared):
        """The change to a breach is one verdict with its severity; it may come again after the objective was well."""
        fill("charges-succeed", bad=30, total=1000)
        for _ in range(3):
            state = settled()
        [breach] = Verdict.objects.filter(kind="quality_breach")
        assert (breach.subject, breach.data["severity"], breach.parents) == (
            "skill:tests.add", "high", [state.assessment_id],
        )  # fmt: skip
        fill("charges-succeed", bad=9, total=1000)
        assert settled().is_breached
        fill("charges-succeed", bad=1, total=1000)
        assert not settled().is_breached
        fill("charges-succeed", bad=60, total=1000)
        settled()
        severities = Verdict.objects.order_by("id").values_list("data__severity", flat=True)
        assert list(severities) == ["high", "critical"]

    def test_one_error_is_no_breach(self, declared):
        """One bad event of one uses more than the budget, and is too little to tell a breach."""
        fill("charges-succeed", bad=1, total=1)
        assert (settled().standing, settled().is_breached) == ("exhausted", False)

    def test_breach_survives_a_kill(self, declared, monkeypatch):
        """Where the pass dies before its commit, neither the verdict nor the state is written; the next writes both."""
        fill("charges-succeed", bad=30, total=1000)

        def die(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(ObjectiveState, "save", die)
            with pytest.raises(KeyboardInterrupt):
                settled()
        assert not Verdict.objects.exists()
        assert not Event.objects.filter(kind="verdict.given").exists()
        settled()
        assert Verdict.objects.count() == 1

    def test_portfolio(self, declared):
        """The worst standing of each service is recorded where it has changed, resting on the objectives' status."""
        fill("charges-succeed", bad=40, total=1000)
        fill("charges-are-quick", bad=0, total=1000)
        state = {}
        collect.collect(state)
        collect.collect(state)
        [found] = kinds("portfolio_status", collect.PORTFOLIO)
        assert found.data["services"] == {"payments": "exhausted"}
        assert found.data["standings"] == {"exhausted": 1, "healthy": 1, "no_data": 1}
        assert len(found.parents) == 2

    def test_list_and_show(self, declared):
        """The command tells where an objective stands, how fast it burns, and that its data is old."""
        fill("charges-succeed", bad=40, total=1000)
        settled()
        ObjectiveState.objects.update(data_at=timezone.now() - timedelta(minutes=20))
        assert "exhausted" in typed("objectives", "list")
        assert "20 min ago, stale" in typed("objectives", "list")
        assert "1h/5m    burns 4.00 long, 4.00 short" in typed("objectives", "show", "charges-succeed")


class TestPeriods:
    @pytest.mark.parametrize(
        ("start", "count", "unit", "now", "begun"),
        [
            ("2026-01-01 00:00:00", 1, "M", "2026-03-15T12:00", "2026-03-01T00:00+00:00"),
            ("2026-01-31 00:00:00", 1, "M", "2026-03-30T12:00", "2026-02-28T00:00+00:00"),
            ("2026-01-05 12:00:00", 1, "w", "2026-01-19T11:59", "2026-01-12T12:00+00:00"),
            ("2026-01-01 00:00:00", 1, "Q", "2026-06-30T23:59", "2026-04-01T00:00+00:00"),
            ("2027-01-01 00:00:00", 1, "Y", "2026-06-30T23:59", "2026-01-01T00:00+00:00"),
        ],
    )
    def test_calendar(self, start, count, unit, now, begun):
        """A period begins anew on the same day and at the same time; where a month has no such day, on its last."""
        one = Objective(period_days=31, calendar={"start": start, "zone": "UTC", "count": count, "unit": unit})
        moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
        assert calendars.start_of(one, moment) == datetime.fromisoformat(begun)

    def test_calendar_by_the_clock_on_the_wall(self):
        """In a zone with summer time, midnight stays midnight."""
        calendar = {"start": "2026-01-01 00:00:00", "zone": "Europe/Vienna", "count": 1, "unit": "d"}
        moment = datetime(2026, 7, 1, 21, 0, tzinfo=UTC)
        assert calendars.start_of(Objective(calendar=calendar), moment).isoformat() == "2026-07-01T00:00:00+02:00"

    def test_slices(self, declared):
        """Where slices count, a slice is good or not as a whole, and one that is not over does not count yet."""
        Objective.objects.filter(pk="charges-succeed").update(slices={"minutes": 5, "target": 0.9})
        base = datetime.fromtimestamp(NOW.timestamp() // 300 * 300, tz=UTC)
        for place in range(15):
            at = base - (place + 1) * MINUTE
            good = 50 if place < 5 else 99
            buckets.put([Minute(objective="charges-succeed", at=at, good=good, total=100)])
        buckets.put([Minute(objective="charges-succeed", at=base, good=0, total=100)])
        found = standing.by_counts(Objective.objects.get(pk="charges-succeed"), base + 2 * MINUTE)
        assert (found.good, found.total) == (2, 3)
        Objective.objects.filter(pk="charges-succeed").update(slices={"minutes": 5})
        found = standing.by_counts(Objective.objects.get(pk="charges-succeed"), base + 2 * MINUTE)
        assert (found.good, found.total) == (500_000 + 2 * 990_000, 3_000_000)

    def test_old_buckets_are_forgotten(self, declared):
        """Minutes leave that are older than is kept, but none that an objective's period still needs."""
        fill("charges-succeed", bad=0, total=1, ago=timedelta(days=40))
        fill("charges-are-quick", bad=0, total=1, ago=timedelta(days=40))
        fill("charges-succeed", bad=0, total=1)
        Objective.objects.filter(pk="charges-are-quick").update(period_days=90)
        assert collect.forget({}) == 1
        assert Bucket.objects.count() == 2


class TestJudgments:
    def decide(self, count, outcome=1.0, *, how="ground_truth", confidence=0.8, action="approve"):
        """Let the agent decide, and say what became of it."""
        agent = Agent.objects.get_or_create(name="scout")[0]
        for _ in range(count):
            made = records.judge(
                "triage",
                subject="service:payments",
                action=action,
                producer="scout",
                agent=agent,
                confidence=confidence,
            )
            if outcome is not None:
                records.judge(
                    "outcome", subject="service:payments", action="flag", producer="person", outcome_of=made,
                    outcome=outcome, data={"how": how},
                )  # fmt: skip

    def state(self):
        """Measure, and return the state."""
        judgments.collect({})
        return ObjectiveState.objects.get(pk="scout-is-right")

    def test_no_decision_is_no_data(self, declared):
        """An agent that has decided nothing is neither good nor bad."""
        assert self.state().standing == "no_data"

    def test_few_are_marginal(self, declared):
        """A few good decisions do not make an objective healthy: the interval holds the target."""
        self.decide(5)
        self.decide(1, None)
        state = self.state()
        assert (state.standing, state.good, state.total) == ("warning", 5, 5)
        assert kinds("judgment_slo", "agent:scout")[0].data["state"] == "marginal"

    def test_breach_names_the_agent(self, declared):
        """An agent that people overrule breaches its objective: one verdict on the agent, with its severity."""
        self.decide(20)
        self.decide(15, 0.0, how="override")
        self.decide(5, action="escalate")
        assert self.state().standing == "exhausted"
        assert self.state().is_breached
        [breach] = Verdict.objects.filter(kind="quality_breach")
        assert (breach.subject, breach.agent_id is not None, breach.data["severity"]) == (
            "agent:scout",
            True,
            "critical",
        )
        assert self.state().total == 35

    def test_agent_falls_in_the_transaction_of_its_breach(self, declared, hands, monkeypatch):
        """When a breach is recorded its agent has fallen, and its next claim is refused; no breach, no fall; and once."""
        scout = Agent.objects.create(name="scout", level=Level.FULLY_AUTONOMOUS)
        run = open_run("tests.add", agent="scout")
        run.steps.update(level=Level.LIMITED_AUTONOMOUS)
        self.decide(20)
        self.decide(15, 0.0, how="override")

        def die(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(ObjectiveState, "save", die)
            with pytest.raises(KeyboardInterrupt):
                self.state()
        scout.refresh_from_db()
        assert (scout.level, Verdict.objects.filter(kind="quality_breach").count()) == (Level.FULLY_AUTONOMOUS, 0)
        self.state()
        scout.refresh_from_db()
        [breach] = Verdict.objects.filter(kind="quality_breach")
        [change] = Verdict.objects.filter(kind="autonomy_change")
        assert (scout.level, change.parents) == (Level.OBSERVER, [breach.id])
        assert hands.claim(run).reason == "autonomy"
        self.state()
        ladder.take_all()
        assert Verdict.objects.filter(kind="autonomy_change").count() == 1

    def test_own_word_is_no_evidence(self, declared):
        """What an agent says of its own decisions makes it neither good nor bad."""
        scout = Agent.objects.create(name="scout")
        self.decide(40, None)
        for one in Verdict.objects.filter(agent_id=scout.pk):
            records.judge(
                "outcome", subject=one.subject, action="approve", producer="x", agent=scout, outcome_of=one, outcome=1
            )
        assert (self.state().standing, self.state().total) == ("no_data", 0)

    def test_burns_when_its_outcomes_become_known(self, declared):
        """Bad outcomes within the windows are an alarm, told once and shown; a quiet hour's one is none."""
        self.decide(200)
        self.decide(1, 0.0, how="override")
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE execution_verdict DISABLE TRIGGER USER")
            cursor.execute("UPDATE execution_verdict SET created_at = created_at - interval '2 days'")
            cursor.execute("ALTER TABLE execution_verdict ENABLE TRIGGER USER")
        assert self.state().burning == []
        self.decide(4)
        self.decide(16, 0.0, how="override")
        assert {"1h/5m", "6h/30m"} <= set(self.state().burning)
        self.state()
        burns = kinds("burn_rate", "agent:scout")
        assert sorted(one.data["windows"] for one in burns) == self.state().burning
        assert burns[0].data["short_rate"] == pytest.approx(16)
        assert "1h/5m    burns 16.00 long, 16.00 short; above 14.4 is a page  ALARM" in typed(
            "objectives", "show", "scout-is-right"
        )

    @pytest.mark.parametrize(("judgments", "good"), [("outcomes", 30), ("stability", 435), ("audited_accuracy", 0)])
    def test_shares_of_good(self, declared, judgments, good):
        """What held, what agrees with itself and what was right when audited are measured too, and each kind apart."""
        Objective.objects.filter(pk="scout-is-right").update(indicator={"judgments": judgments, "of": "agent:scout"})
        self.decide(30)
        self.state()
        [told] = kinds("judgment_slo", "agent:scout")
        share = told.data["total"] - told.data["hits"]
        assert (share, told.data["segments"]["triage"]["total"]) == (good, told.data["total"])

    def test_calibration(self, declared):
        """Calibration is judged by its error, once enough outcomes are known."""
        Objective.objects.update(indicator={"judgments": "calibration", "of": "agent:scout"}, target=0.9)
        self.decide(10, 1.0, confidence=0.95)
        assert self.state().standing == "warning"
        self.decide(15, 0.0, confidence=0.95)
        assert self.state().standing == "exhausted"

    def test_without_the_extra(self, declared, monkeypatch):
        """Without the extra it is an error of the objective that says what is missing, and none of the cycle."""
        monkeypatch.setattr(judgments, "find_spec", lambda name: None)
        assert self.state().standing == "error"
        assert "celeriac[graduation]" in self.state().error
