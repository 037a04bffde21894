"""Breakers: failures in a row hold a skill's steps back, one probe decides, and a person may decide before."""

from datetime import timedelta

import pytest
from django.utils import timezone

from execution import breakers, ledger, runs, skills, why
from execution.exceptions import NotPossible, SkillUnknown
from execution.ledger import Claim
from execution.models import Breaker, Event, Step
from execution.skills import skill
from tests.hands import MARKS, finish, open_run, side_by_side

pytestmark = MARKS


@skill("breakers.fail", retries=0, breaker_threshold=2, breaker_cooldown="5s")
def fail(ctx) -> None:
    """Fail."""
    raise ValueError("no")


@skill("breakers.plan_b")
def plan_b(ctx, left: int = 0, right: int = 0) -> str:
    """Do something else."""
    return "plan b"


@skill("breakers.with_fallback", retries=0, fallback="breakers.plan_b")
def with_fallback(ctx, left: int = 0) -> str:
    """Do what its fallback does while the breaker is open."""
    return "plan a"


def fail_times(hands, count, **changes):
    """Let steps of one skill fail one after the other."""
    for _ in range(count):
        run = open_run()
        if changes:
            Step.objects.filter(pk=run.id).update(**changes)
        finish(hands.take(run), "failed", error={}, breaker="failed")


def pass_cooldown(name="tests.add"):
    """Let a breaker's cool-down be over, as if the time had passed."""
    Breaker.objects.filter(pk=name).update(probe_at=timezone.now() - timedelta(seconds=1))


def wake():
    """Do what upkeep does every second."""
    return ledger.ask("SELECT * FROM execution_wake_v1()")[0]


def cooldown_of(breaker):
    """Return how long an open breaker waits for its probe."""
    return round((breaker.probe_at - breaker.opened_at).total_seconds())


class TestOpening:
    def test_five_failures_in_a_row_open_it(self, hands):
        """The fifth failure opens the breaker: the next step waits for it."""
        fail_times(hands, 4)
        assert Breaker.objects.get().state == "closed"
        fail_times(hands, 1)
        breaker = Breaker.objects.get()
        assert (breaker.state, breaker.failure_count, cooldown_of(breaker)) == ("open", 5, 30)
        run = open_run()
        assert hands.claim(run).reason == "breaker"
        assert Step.objects.get(pk=run.id).waiting == "breaker"
        assert Event.objects.filter(kind="breaker.opened").count() == 1

    def test_success_between_failures_begins_anew(self, hands):
        """Failures count only in a row."""
        fail_times(hands, 4)
        finish(hands.take(open_run()), "completed", breaker="ok")
        fail_times(hands, 4)
        assert Breaker.objects.get().state == "closed"

    def test_failures_side_by_side_are_all_counted(self, hands):
        """Four failures at the same moment are four, the fifth opens it."""
        claims = [hands.take(open_run()) for _ in range(5)]
        side_by_side(*[lambda claim=claim: finish(claim, "failed", error={}, breaker="failed") for claim in claims])
        assert (Breaker.objects.get().state, Breaker.objects.get().failure_count) == ("open", 5)

    def test_named_breaker_is_shared(self, hands):
        """Skills that name the same breaker open it together."""
        fail_times(hands, 5, breaker="mail")
        run = open_run()
        Step.objects.filter(pk=run.id).update(breaker="mail")
        assert hands.claim(run).reason == "breaker"
        assert isinstance(hands.claim(open_run()), Claim)

    def test_step_without_a_breaker_counts_nothing(self, hands):
        """A skill that wants no breaker has none."""
        fail_times(hands, 9, breaker="")
        assert not Breaker.objects.exists()

    def test_skill_sets_its_threshold_and_cooldown(self, hands):
        """What the skill declares counts, also where the first failure makes the breaker."""
        for _ in range(2):
            hands.perform(open_run("breakers.fail", {}))
        breaker = Breaker.objects.get()
        assert (breaker.state, cooldown_of(breaker)) == ("open", 5)

    def test_settings_set_them_for_all_skills(self, hands, settings):
        """What the project's settings say counts for skills that declare nothing."""
        settings.CELERIAC = settings.CELERIAC | {"breaker_threshold": 3, "breaker_cooldown_seconds": 7}
        fail_times(hands, 3)
        breaker = Breaker.objects.get()
        assert (breaker.state, cooldown_of(breaker)) == ("open", 7)

    def test_fallback_is_performed_while_it_is_open(self, hands):
        """A step with a fallback does not wait: its fallback is performed instead."""
        run = open_run("breakers.with_fallback", {})
        fail_times(hands, 5, breaker="breakers.with_fallback")
        hands.perform(run)
        assert runs.result(run) == "plan b"


class TestProbe:
    def test_one_probe_is_let_through(self, hands):
        """After the cool-down one of the waiting steps is woken and claimed; the others go on waiting."""
        fail_times(hands, 5)
        found = [open_run() for _ in range(4)]
        for run in found:
            hands.claim(run)
        wake()
        assert not Step.objects.filter(state="ready").exists()
        pass_cooldown()
        assert wake().woken == 1
        probe = Step.objects.get(state="ready")
        hands.take(probe)
        assert Breaker.objects.get().state == "probing"
        assert wake().woken == 0
        assert hands.claim(open_run()).reason == "breaker"

    def test_claims_side_by_side_after_the_cooldown_one_is_the_probe(self, hands):
        """Eight claims at the moment the cool-down is over: one passes."""
        fail_times(hands, 5)
        found = [open_run() for _ in range(8)]
        pass_cooldown()
        answers = side_by_side(*[lambda run=run: hands.claim(run) for run in found])
        assert sum(isinstance(one, Claim) for one in answers) == 1

    def test_success_closes_it_and_wakes_everybody(self, hands):
        """When the probe succeeds all that waited goes on, and failures count from nothing."""
        fail_times(hands, 5)
        found = [open_run() for _ in range(4)]
        for run in found[1:]:
            hands.claim(run)
        pass_cooldown()
        finish(hands.take(found[0]), "completed", breaker="ok")
        assert Step.objects.filter(state="ready").count() == 3
        breaker = Breaker.objects.get()
        assert (breaker.state, breaker.failure_count, breaker.opened_count) == ("closed", 0, 0)

    def test_cooldown_doubles_up_to_ten_minutes(self, hands):
        """Each probe that fails doubles the cool-down, to at most ten minutes."""
        fail_times(hands, 5)
        seen = []
        for _ in range(7):
            seen.append(cooldown_of(Breaker.objects.get()))
            pass_cooldown()
            finish(hands.take(open_run()), "failed", error={}, breaker="failed")
        assert seen == [30, 60, 120, 240, 480, 600, 600]

    def test_lost_probe_is_followed_by_another(self, hands):
        """A probe whose worker is lost does not keep the breaker half open for ever."""
        fail_times(hands, 5)
        pass_cooldown()
        hands.lose(hands.take(open_run()))
        run = open_run()
        assert hands.claim(run).reason == "breaker"
        pass_cooldown()
        assert wake().woken == 1
        assert isinstance(hands.claim(run), Claim)

    def test_failure_of_a_step_from_before_does_not_prolong_it(self, hands):
        """A step that was performed already when the breaker opened is no probe."""
        early = hands.take(open_run())
        fail_times(hands, 5)
        before = Breaker.objects.get().probe_at
        finish(early, "failed", error={}, breaker="failed")
        assert Breaker.objects.get().probe_at == before


class TestByHand:
    def test_reset_closes_it_and_wakes_everybody(self, hands):
        """A person may close a breaker before its cool-down is over."""
        fail_times(hands, 5)
        hands.claim(open_run())
        breakers.reset("tests.add", by="ana", reason="the service is back")
        assert Breaker.objects.get().state == "closed"
        assert Step.objects.filter(state="ready").count() == 1

    def test_trip_opens_it_for_so_long(self, hands):
        """A person may open a breaker that has not failed."""
        breakers.trip("tests.add", seconds=600, by="ana")
        assert hands.claim(open_run()).reason == "breaker"
        assert cooldown_of(Breaker.objects.get()) == 600

    def test_reset_of_what_is_not_there_says_so(self, hands):
        """A breaker that never failed cannot be reset."""
        with pytest.raises(NotPossible, match="no breaker named 'nothing'"):
            breakers.reset("nothing")

    def test_reset_against_claims_leaves_nobody_asleep(self, hands):
        """A step that is refused at the moment the breaker closes is woken at the latest by upkeep."""
        for _ in range(10):
            breakers.trip("tests.add")
            found = [open_run() for _ in range(4)]
            side_by_side(lambda: breakers.reset("tests.add"), *[lambda run=run: hands.claim(run) for run in found])
            ledger.ask("SELECT execution_fold_v1()")
            assert not Step.objects.filter(state="waiting").exists()


class TestPausedSkill:
    """A skill that a person has paused."""

    def test_nothing_but_a_person_lets_it_go_on(self, hands):
        """No cool-down ends it, no success of what was under way closes it, and upkeep wakes nobody; `resume` does."""
        under_way, held = hands.take(open_run()), open_run()
        skills.pause("tests.add", by="ann", reason="it harms")
        assert hands.claim(held).reason == "breaker"
        finish(under_way, breaker="ok")
        wake()
        assert (Breaker.objects.get().state, Step.objects.get(pk=held.id).waiting) == ("open", "breaker")
        assert "until a person closes it" in str(why.explain(held))
        skills.resume("tests.add", by="ann")
        assert isinstance(hands.claim(held), Claim)
        told = Event.objects.filter(kind__startswith="breaker.").order_by("id").values_list("data__by", flat=True)
        assert list(told) == ["ann", "ann"]

    def test_failures_of_what_was_under_way_do_not_shorten_it(self, hands):
        """What fails meanwhile gives it no cool-down."""
        claims = [hands.take(open_run()) for _ in range(6)]
        skills.pause("tests.add")
        for claim in claims:
            finish(claim, "failed", error={}, breaker="failed")
        assert Breaker.objects.get().probe_at == breakers.FOR_EVER

    def test_what_cannot_be_paused(self):
        """A name that nobody knows is told with the nearest."""
        with pytest.raises(SkillUnknown, match="did you mean 'tests.add'"):
            skills.pause("tests.ad")
