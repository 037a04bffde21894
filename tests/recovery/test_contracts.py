"""Contracts: what a service promises is compared with what was measured; no calls are no violation, no success is one."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from execution import ids, runs, services
from execution.models import Assessment, Attempt, Effect
from execution.services import Declaration
from recovery import contracts
from recovery.contracts import Call
from tests import topology_skills as _skills  # noqa: F401 - registers them
from tests.hands import MARKS

START = datetime(2030, 1, 1, tzinfo=UTC)


def calls(good=0, bad=0, milliseconds=10.0):
    """Return so many calls, one a second."""
    flags = [True] * good + [False] * bad
    return [
        Call(at=START + timedelta(seconds=number), is_good=flag, milliseconds=milliseconds)
        for number, flag in enumerate(flags)
    ]


class TestComparing:
    """Which promises are broken."""

    @pytest.mark.parametrize(
        ("good", "bad", "is_broken"),
        [
            (0, 0, False),
            (0, 1, True),
            (0, 50, True),
            (1000, 0, False),
            (995, 5, False),
            (900, 100, True),
            (49, 1, False),
        ],
    )
    def test_success_rate(self, good, bad, is_broken):
        """No calls break nothing, no success does, and a bad call among a few proves nothing against 99 %."""
        found = contracts.divergences({"success_rate": 0.99}, calls(good, bad))
        assert [one["promise"] for one in found] == ["success_rate"] * is_broken

    def test_latency(self):
        """A quantile is broken where too many calls take longer; what failed does not count as quick."""
        contract = {"latency_ms": {"p50": 80, "p95": 400, "p99": None}}
        slow = calls(40, milliseconds=100) + calls(20, milliseconds=10)
        found = contracts.divergences(contract, slow + calls(0, 100, milliseconds=1))
        assert [(one["promise"], one["declared"], one["observed"]) for one in found] == [("latency_ms.p50", 80, 100)]

    def test_availability_is_by_the_minute(self):
        """Minutes in which nothing answered count, not calls."""
        answered = [Call(at=START + timedelta(minutes=number), is_good=True, milliseconds=1) for number in range(30)]
        silent = [
            Call(at=START + timedelta(minutes=30 + number), is_good=False, milliseconds=1) for number in range(30)
        ]
        found = contracts.divergences({"availability": 0.9}, answered + silent)
        assert (found[0]["good"], found[0]["count"]) == (30, 60)
        assert contracts.divergences({"availability": 0.9}, answered + calls(0, 1000)[:30]) == []

    @given(st.integers(1, 10_000), st.data())
    def test_bound_holds_what_was_seen(self, count, data):
        """The upper bound is a share, never below what was seen, and closer the more was seen."""
        good = data.draw(st.integers(0, count))
        bound = contracts.upper_bound(good, count)
        assert good / count - 1e-9 <= bound <= 1
        assert contracts.upper_bound(good * 10, count * 10) <= bound + 1e-9


@pytest.mark.usefixtures("transactional_db")
class TestMeasuring:
    """Where calls come from."""

    pytestmark = MARKS

    def effect(self, skill, token, *, state="done", milliseconds=10.0, minutes=5):
        """Write an effect that began so many minutes ago."""
        run = runs.start("tests.add", {"left": 1})
        run.steps.update(skill=skill)
        began = timezone.now() - timedelta(minutes=minutes)
        Effect.objects.create(
            step_id=run.id, token=token, key=str(ids.new()), state=state, policy="ask", epoch=1, intended_at=began,
            ended_at=began + timedelta(milliseconds=milliseconds),
        )  # fmt: skip

    def attempt(self, skill, ending, *, milliseconds=10.0):
        """Write an attempt of a skill."""
        run = runs.start("tests.add", {"left": 1})
        run.steps.update(skill=skill)
        began = timezone.now() - timedelta(minutes=5)
        Attempt.objects.create(
            step_id=run.id, run_id=run.id, epoch=1, worker_id=ids.new(), started_at=began, ending=ending,
            ended_at=began + timedelta(milliseconds=milliseconds),
        )  # fmt: skip

    def test_effects_name_the_service(self):
        """An effect counts for the service that its token names; others are not touched."""
        services.declare_all({name: Declaration(contract={"success_rate": 0.99}) for name in ("mail", "mail-archive")})
        self.effect("map.notify", "effect:mail", state="failed")
        self.effect("map.notify", "effect:mail-archive:copy")
        assert contracts.compare() == 1
        made = Assessment.objects.get(kind="contract_divergence")
        assert (made.subject, made.data["is_off"], made.data["severity"]) == ("service:mail", True, "low")
        assert made.data["broken"][0]["observed"] == 0

    def test_attempts_where_there_are_no_effects(self):
        """Of a skill that calls one service and makes no effects, the attempts count; lost ones say nothing."""
        services.declare("payments", Declaration(tier="critical", contract={"success_rate": 0.9}))
        for ending in ("failed", "failed", "lost", "suspended"):
            self.attempt("map.charge", ending)
        contracts.compare()
        data = Assessment.objects.get(kind="contract_divergence").data
        assert (data["call_count"], data["severity"]) == (2, "high")

    def test_no_data_is_no_violation(self):
        """A service that nobody called in the last hour is not judged, whatever happened before."""
        services.declare("payments", Declaration(contract={"success_rate": 0.99, "availability": 0.999}))
        self.effect("map.charge", "charge", state="failed", minutes=70)
        assert contracts.compare() == 0

    def test_told_each_hour_until_it_is_kept_again(self):
        """While it lasts it is measured anew each hour; when it is over that is said, once."""
        services.declare("payments", Declaration(contract={"success_rate": 0.9}))
        self.effect("map.charge", "charge", state="failed")
        now = timezone.now()
        assert [contracts.compare(), contracts.compare()] == [1, 1]
        for _ in range(50):
            self.effect("map.charge", "charge", minutes=-60)
        assert [contracts.compare(now=now + timedelta(minutes=65)) for _ in range(2)] == [1, 0]
        said = (
            Assessment.objects.filter(kind="contract_divergence").order_by("id").values_list("data__is_off", flat=True)
        )
        assert list(said) == [True, True, False]
