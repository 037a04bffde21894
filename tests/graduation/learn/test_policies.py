"""Policies: a recommended retry policy is tried alone only where that is earned, and only until a person decides."""

import pytest
from django.db import transaction

from execution import agents, tunables
from execution.models import Agent, Verdict
from graduation import envelopes, lockouts
from graduation.learn import policies, recommendations
from graduation.models import Envelope, Recommendation
from tests.graduation.decided import recoveries
from tests.graduation.learn.test_retrospectives import recommended
from tests.hands import MARKS, side_by_side
from tests.people import person
from tests.recovery.incident_stage import clean_slate  # noqa: F401 - a fixture

pytestmark = [*MARKS, pytest.mark.usefixtures("clean_slate")]

CHANGE = {"tunable": "retries.base", "subject": "tests.flaky", "from": 1, "to": 2, "timebox": "7d"}


@pytest.fixture
def row(clean_slate):  # noqa: F811 - the fixture
    """Return an open recommendation to wait longer, about a skill that failed for one agent; it is earned by all."""
    person("ann")
    Agent.objects.create(name="scout")
    recoveries(0, 3, days=0)
    lockouts.install()
    agents.lift(policies.CAPABILITY, by="graduation")
    tunables.forget()
    return recommended("change_retry_policy", CHANGE, text="Wait longer")


def base():
    """Return what holds now."""
    tunables.forget()
    return tunables.value("retries.base", "tests.flaky")


class TestTrial:
    def test_only_where_it_is_earned(self, row):
        """With the capability locked, for all or for an agent that failed, nothing is tried."""
        for agent in (None, "scout"):
            lock = agents.lock_out(policies.CAPABILITY, agent=agent, by="graduation")
            assert (policies.try_all(), base()) == (0, 1)
            lock.delete()
        agents.lock_out(policies.CAPABILITY, agent="default", by="graduation")
        assert (policies.try_all(), base()) == (1, 2), "the default agent never failed at it"

    def test_what_nobody_ever_lifted_is_not_earned(self, row):
        """A capability of which no lockout was ever lifted is locked."""
        agents.CapabilityLockout.objects.all().delete()
        assert (policies.try_all(), Envelope.objects.count()) == (0, 0)

    def test_once_within_its_bounds_and_open(self, row):
        """It is an envelope with a verdict that rests on the retrospective; a person still decides; never twice."""
        assert [policies.try_all() for _ in range(3)] == [1, 0, 0]
        [envelope] = Envelope.objects.all()
        verdict = Verdict.objects.get(pk=envelope.verdict_id)
        assert (envelope.state, envelope.least, envelope.most, envelope.seconds) == ("active", 1, 2, 7 * 86400)
        assert (verdict.kind, verdict.parents) == ("policy_trial", [row.retrospective_id])
        assert Recommendation.objects.get().state == "open"
        envelopes.revert(envelope, by="ann")
        assert (policies.try_all(), base()) == (0, 1)

    def test_side_by_side(self, row):
        """Passes side by side try it once."""
        side_by_side(*[policies.try_all] * 3)
        assert Envelope.objects.count() == 1

    def test_ends_when_locked_again(self, row):
        """When the capability is lost, what is tried is put back."""
        policies.try_all()
        agents.lock_out(policies.CAPABILITY, agent="scout", by="graduation")
        assert (policies.try_all(), base(), Envelope.objects.get().ended_by) == (1, 1, policies.PRODUCER)

    def test_kill_switch(self, row):
        """While the switch is engaged nothing is tried; afterwards it is."""
        envelopes.engage(by="ann", reason="stop")
        assert (policies.try_all(), base()) == (0, 1)
        envelopes.release(by="ann")
        assert (policies.try_all(), base()) == (1, 2)

    def test_dies_in_between(self, row, monkeypatch):
        """A pass that dies before its commit has tried nothing, and the next one does."""

        def die(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(envelopes, "apply", die)
            with pytest.raises(KeyboardInterrupt), transaction.atomic():
                policies.try_all()
        assert not Verdict.objects.filter(kind="policy_trial").exists()
        assert policies.try_all() == 1

    def test_others_are_never_tried(self, row):
        """What is recommended of anything else waits for a person, whatever is unlocked."""
        Recommendation.objects.update(kind="tighten_objective")
        assert (policies.try_all(), Envelope.objects.count()) == (0, 0)


class TestDecision:
    def test_declined_is_put_back(self, row):
        """Who declines puts back what was tried."""
        policies.try_all()
        recommendations.decline(row, by="ann", reason="too slow")
        assert (base(), Envelope.objects.get().state, policies.try_all()) == (1, "reverted", 0)

    def test_accepted_goes_on_in_the_name_of_the_person(self, row):
        """Who accepts puts an envelope of the full time in the place of the trial."""
        policies.try_all()
        recommendations.accept(row, by="ann", reason="it helps")
        assert list(Envelope.objects.order_by("id").values_list("by", "state")) == [
            (policies.PRODUCER, "reverted"), ("ann", "active"),
        ]  # fmt: skip
        assert base() == 2
