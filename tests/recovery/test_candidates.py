"""Candidates: opened once per run and kind, claimed under a fence, evaluated together and decided once."""

import sys
import threading
import types
import uuid
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

import recovery
from execution import agents, ledger, runs
from execution.models import CapabilityLockout, Event, Run, Step
from recovery import advice, autonomy, candidates, decisions, evaluator, playbook
from recovery.exceptions import Late, NotFound
from recovery.models import (
    FailureMatch,
    Mode,
    PatternState,
    RecoveryCandidate,
    SuggestionAction,
    SuggestionProvenance,
)
from tests.conftest import wait_until
from tests.hands import MARKS, side_by_side
from tests.recovery import failed

pytestmark = MARKS

BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def told(kind):
    """Return the candidates of which the log tells this."""
    return [uuid.UUID(data["candidate"]) for data in Event.objects.filter(kind=kind).values_list("data", flat=True)]


def evaluated(*found, source="claim"):
    """Evaluate candidates, and read them again."""
    evaluator.evaluate_ids([one.id for one in found], source=source, by="tests")
    fresh = list(RecoveryCandidate.objects.filter(pk__in=[one.id for one in found]).order_by("id"))
    return fresh[0] if len(fresh) == 1 else fresh


class TestOpening:
    """One open candidate for each run and kind."""

    def test_failure_opens_one_and_further_ones_join(self):
        """The same kind on the same run joins; another kind opens its own."""
        first = failed.made_up_failures(1)[0]
        again = [_like(first), _like(first)]
        other = _like(first, fingerprint="e" * 40)
        with transaction.atomic():
            assert candidates.open_for([first, *again, other]) == 2
        found = RecoveryCandidate.objects.get(failure=first)
        assert (found.joined_count, found.origin_run_id, found.failed_at) == (2, first.run_id, first.failed_at)
        assert RecoveryCandidate.objects.get(failure=other).joined_count == 0
        assert len(told("candidate.opened")) == 2

    def test_failures_that_open_nothing(self):
        """One that did not halt its run, and one whose pattern is ignored."""
        ignored = failed.known_pattern(mode=Mode.IGNORE)
        with transaction.atomic():
            first, second = failed.made_up_failures(1, pattern=ignored)[0], failed.made_up_failures(1, kind="b" * 40)[0]
            second.is_final = False
            assert candidates.open_for([first, second]) == 0

    def test_taken_in_twice_opens_once(self):
        """The same failures again change nothing."""
        failures = failed.made_up_failures(3)
        assert [candidates.open_for(failures) for _ in range(2)] == [3, 0]
        assert set(RecoveryCandidate.objects.values_list("joined_count", flat=True)) == {0}

    def test_races(self):
        """Eight readers take in failures of the same ten runs: ten candidates, and every further failure has joined."""
        failures = failed.made_up_failures(10)
        batches = [[_like(one) for one in failures] for _ in range(8)]
        side_by_side(*(lambda batch=batch: candidates.open_for(batch) for batch in batches))
        found = RecoveryCandidate.objects.all()
        assert (found.count(), sum(one.joined_count for one in found)) == (10, 70)

    def test_one_that_has_ended_stands_in_no_ones_way(self):
        """After a rejection the next failure opens another."""
        first = failed.made_up_failures(1)[0]
        candidates.open_for([first])
        RecoveryCandidate.objects.update(state="rejected")
        assert candidates.open_for([_like(first)]) == 1

    def test_one_that_ends_while_others_join(self):
        """Who would join one that is being rejected waits for that, and opens another then."""
        first = failed.made_up_failures(1)[0]
        candidates.open_for([first])
        second, other = _like(first), _like(first, fingerprint="e" * 40)
        with transaction.atomic():
            RecoveryCandidate.objects.select_for_update().get(failure=first)
            opening = threading.Thread(target=_in_a_thread, args=[lambda: candidates.open_for([second, other])])
            opening.start()
            wait_until(lambda: ledger.ask(BLOCKED), message="it waits for the one that is open")
            RecoveryCandidate.objects.filter(failure=first).update(state="rejected")
        opening.join(30)
        assert sorted(RecoveryCandidate.objects.values_list("failure_id", "state", "joined_count")) == sorted(
            [(first.id, "rejected", 0), (second.id, "open", 0), (other.id, "open", 0)]
        )
        assert len(told("candidate.opened")) == 3

    def test_first_run_of_what_was_forked_by_hand(self, hands):
        """A candidate of a run that carries on another is counted to the first one."""
        run = failed.failed_run(hands)
        forked = runs.fork(run.id)
        hands.perform(forked)
        assert failed.candidate_for(runs.get(forked.id)).origin_run_id == run.id

    def test_statements_do_not_grow_with_failures(self, django_assert_num_queries):
        """Two hundred failures are opened with the statements of one."""
        for count in (1, 200):
            failures = failed.made_up_failures(count)
            with django_assert_num_queries(6), transaction.atomic():
                candidates.open_for(failures)


def _in_a_thread(action):
    """Do something with connections of its own."""
    try:
        action()
    finally:
        connections.close_all()


def _like(failure, **more):
    """Insert another failure of the same kind on the same run."""
    names = [field.attname for field in FailureMatch._meta.concrete_fields]
    about = {name: getattr(failure, name) for name in names if name not in {"id", "attempt_id", "created_at"}}
    return FailureMatch.objects.create(**about | {"attempt_id": uuid.uuid4()} | more)


class TestClaiming:
    """Two never share a row, and what a dead one held comes back."""

    def test_urgent_first_then_the_oldest(self):
        """The order of claims."""
        found = failed.opened(3)
        candidates.hurry(found[2], by="ann")
        assert [claim.id for claim in candidates.claim(by="a", limit=2)] in (
            [found[2].id, found[0].id],
            [found[0].id, found[2].id],
        )
        assert [claim.id for claim in candidates.claim(by="b")] == [found[1].id]
        assert candidates.claim(by="c") == []

    def test_lease_ends(self):
        """A claim that was not followed by an evaluation is over with its lease; the epoch has risen."""
        found = failed.opened()[0]
        first = candidates.claim(by="a")[0]
        RecoveryCandidate.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        second = candidates.claim(by="b")[0]
        assert (first.epoch, second.epoch, second.claim_count) == (1, 2, 2)
        with pytest.raises(Late):
            evaluator.evaluate([first], source="claim", by="a")
        assert failed.states(found) == ["open"]
        assert not SuggestionProvenance.objects.exists()
        assert evaluator.evaluate([second], source="claim", by="b") == 1
        assert RecoveryCandidate.objects.get().claimed_by == "b"

    def test_twenty_claimers_share_nothing(self):
        """Side by side each row goes to one."""
        failed.opened(120)
        claims = side_by_side(*(lambda n=n: candidates.claim(by=str(n), limit=10) for n in range(12)))
        taken = [claim.id for batch in claims for claim in batch]
        assert len(taken) == len(set(taken))
        assert len(taken) + len(candidates.claim(by="rest", limit=200)) == 120

    def test_found_by_the_beginning_of_its_id(self):
        """A whole id, or enough of it; otherwise an error that says what to do."""
        found = failed.opened()[0]
        assert candidates.get(str(found.id)[:23]) == found
        for wrong in ("123", "nonsense!", str(uuid.uuid4())):
            with pytest.raises(NotFound, match="candidates list"):
                candidates.get(wrong)


class TestEvaluating:
    """What is suggested, and whether a person must decide."""

    def test_first_time_a_person_decides(self):
        """Nothing is proven and nothing unlocked: the suggestion waits, and says why."""
        failed.known_pattern()
        found = evaluated(failed.opened(pattern=failed.FailurePattern.objects.get())[0])
        assert (found.state, found.action, found.verb, found.source) == ("waiting", "retry", "retry", "claim")
        assert found.parameters == {"seconds": 30}
        assert "0 of 0 recovered" in found.needs
        assert {one["action"] for one in found.alternatives} >= {"manual", "escalate"}
        line = SuggestionProvenance.objects.get(candidate=found)
        assert (line.stage, line.action, line.action_version, line.confidence_before) == ("evaluated", "retry", 1, 0.7)
        assert told("candidate.evaluated") == [found.id]

    def test_everything_right_is_applied_alone(self):
        """Proven, known, allowed and unlocked: it is applied with nobody asked, and the audit says so."""
        found = evaluated(_all_right())
        assert (found.state, found.decision, found.decided_by) == ("applied", "automatic", "fit, then evidence")
        assert list(found.provenance.values_list("stage", flat=True)) == ["evaluated", "decided", "applied"]
        assert Run.objects.get(pk=found.run_id).state == "running"
        assert Step.objects.get(pk=found.step_id).waiting == "retry"
        assert told("candidate.applied") == [found.id]

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda: failed.ActionRecord.objects.update(recovered_count=17), "not proven enough"),
            (lambda: SuggestionAction.objects.filter(pk="retry").update(needs_approval=True), "asks for an approval"),
            (lambda: SuggestionAction.objects.filter(pk="retry").update(is_automated=False), "for a person to do"),
            (lambda: SuggestionAction.objects.filter(pk="retry").update(level=4), "this needs fully_autonomous"),
            (lambda: failed.FailurePattern.objects.update(mode=Mode.ASK), "answered by a person"),
            (lambda: failed.FailurePattern.objects.update(state=PatternState.PROPOSED), "no confirmed pattern"),
            (lambda: failed.ActionRecord.objects.update(ineffective_at=timezone.now()), "taken back to review"),
            (lambda: agents.lock_out("auto_apply_recovery"), "not unlocked"),
            (lambda: agents.lock_out("auto_apply_recovery", agent="scout"), "not unlocked"),
            (lambda: RecoveryCandidate.objects.update(failed_at=timezone.now() - timedelta(hours=25)), "failed first"),
        ],
    )
    def test_each_thing_alone_asks_for_a_person(self, spoil, words):
        """All is right but for one."""
        found = _all_right()
        spoil()
        found = evaluated(found)
        assert (found.state, words in found.needs) == ("waiting", True), found.needs
        assert Run.objects.get(pk=found.run_id).state == "failed"

    @pytest.mark.parametrize(
        ("verb", "parameters", "capability", "state"),
        [
            ("fall_back", {"skill": "candidates.other"}, "auto_route", "applied"),
            ("reconfigure", {"tunable": "retries.base", "value": 2}, "auto_apply_policy", "settled"),
        ],
    )
    def test_some_actions_want_another_capability(self, verb, parameters, capability, state):
        """Another skill, or another policy, is chosen by evidence alone only where that is unlocked too."""
        found = _all_right()
        SuggestionAction.objects.filter(pk="retry").update(verb=verb, parameters=parameters, proven_since=1)
        failed.ActionRecord.objects.update(proven_since=SuggestionAction.objects.get(pk="retry").proven_since)
        waiting = evaluated(found)
        assert (waiting.state, f"{capability} is not unlocked" in waiting.needs) == ("waiting", True), waiting.needs
        agents.lock_out(capability)
        agents.lift(capability)
        RecoveryCandidate.objects.filter(pk=found.pk).update(state="open", lease_until=None)
        alone = evaluated(found)
        assert (alone.state, alone.decision, alone.verb) == (state, "automatic", verb), alone.needs

    def test_limits_of_a_run(self, settings):
        """So many recoveries of a run, and so much money, without a person: then one is asked."""
        found = _all_right()
        for limit, words in (("auto_per_run", "recovered 1 time"), ("auto_cost_per_run", "have cost")):
            settings.CELERIAC = settings.CELERIAC | {limit: 1}
            earlier = failed.opened(kind="c" * 40)[0]
            RecoveryCandidate.objects.filter(pk=earlier.pk).update(
                origin_run_id=found.run_id, decision="automatic", applied_at=timezone.now(), cost=2, state="recovered"
            )
            RecoveryCandidate.objects.filter(pk=found.pk).update(state="open", lease_until=None)
            again = evaluated(found)
            assert (again.state, words in again.needs) == ("waiting", True), again.needs
            settings.CELERIAC = settings.CELERIAC | {limit: 100}

    def test_run_that_went_on_needs_nothing(self, hands):
        """A run retried by hand before the evaluation: overtaken, with nothing suggested."""
        run = failed.failed_run(hands)
        found = failed.candidate_for(run)
        runs.retry(run)
        found = evaluated(found)
        assert (found.state, found.action, found.ended_at is None) == ("overtaken", "", False)

    def test_failure_that_joins_meanwhile_is_not_overtaken(self, hands, monkeypatch):
        """The run had gone on when it was looked at, and has failed again before that was written: it stays open."""
        run = failed.failed_run(hands)
        found = failed.candidate_for(run)
        runs.retry(run)
        write = evaluator._write

        def slow(*args, **options):
            hands.perform(run)
            assert failed.candidate_for(run).id == found.id
            return write(*args, **options)

        monkeypatch.setattr(evaluator, "_write", slow)
        with pytest.raises(Late):
            evaluated(found)
        assert failed.states(found) == ["open"]

    def test_budget_is_topped_up(self, hands):
        """A run that is parked for its budget is answered by a budget."""
        run = failed.failed_run(hands, failed.skills.dear, budget="0.50")
        assert run.state == "parked"
        found = evaluated(failed.candidate_for(run))
        assert (found.action, found.evidence["standing"]) == ("top-up", "budget")
        decisions.approve_and_apply(found, by="ann")
        run.refresh_from_db()
        assert str(run.budget_cost) == "0.750000"

    def test_broken_one_takes_no_neighbour_along(self, monkeypatch):
        """One that cannot be evaluated keeps its error and comes again; after five claims a person has it."""
        found = failed.opened(5)
        weigh = evaluator.weighing.weigh
        bad = found[2]

        def broken(case, *rest):
            if case.skill == "broken":
                raise ValueError("no such luck")
            return weigh(case, *rest)

        RecoveryCandidate.objects.filter(pk=bad.pk).update(skill="broken")
        monkeypatch.setattr(evaluator.weighing, "weigh", broken)
        assert evaluator.evaluate_next(source="claim", by="a") == 4
        bad.refresh_from_db()
        assert (bad.state, bad.last_error) == ("open", "ValueError: no such luck")
        assert bad.lease_until > timezone.now() + timedelta(seconds=20)
        monkeypatch.setattr(evaluator.weighing, "weigh", weigh)
        RecoveryCandidate.objects.filter(pk=bad.pk).update(lease_until=None, claim_count=5)
        assert "ValueError: no such luck" in evaluated(bad).needs

    def test_batch_asks_a_fixed_number_of_statements(self, django_assert_max_num_queries):
        """Fifty candidates are evaluated with the statements of one."""
        found = failed.opened(50)
        with django_assert_max_num_queries(30):
            evaluator.evaluate_ids([one.id for one in found], source="claim", by="tests")
        assert set(failed.states(*found)) == {"waiting"}

    def test_ids_that_need_nothing_more_are_told(self):
        """What was evaluated by anybody, but not what somebody holds, nor what is not there."""
        held, free, done = failed.opened(3)
        evaluated(done)
        candidates.claim(by="other", only=[held.id])
        wanted = [held.id, free.id, done.id, uuid.uuid4()]
        assert evaluator.evaluate_ids(wanted, source="stream", by="tests") == {free.id, done.id}


def _all_right():
    """Open a candidate of which nothing speaks against applying it alone."""
    failed.unlock()
    agent = failed.trusted()
    failed.proven()
    found = failed.opened(pattern=failed.known_pattern())[0]
    Run.objects.update(agent=agent)
    Step.objects.update(agent=agent, attempt_id=found.failure.attempt_id)
    RecoveryCandidate.objects.update(agent_id=agent.id)
    return found


class TestAdvice:
    """A model may change the order, and never takes an approval away."""

    def _advise(self, monkeypatch, **answer):
        told = evaluator.Suggestion(**{"confidence": 0.9, "reason": "so", "needs_approval": False} | answer)
        advised = advice.Advice(answer=told, model="test:model", cost=0, prompt_version="1")
        monkeypatch.setattr(advice, "ask", lambda *args, **options: advised)

    def test_order_changes_and_is_audited(self, monkeypatch):
        """Its choice goes first, and the audit keeps what it said."""
        self._advise(monkeypatch, action="manual")
        found = evaluated(failed.opened()[0])
        assert (found.action, found.alternatives[0]["action"]) == ("manual", "retry")
        assert found.provenance.get(rule="advice").actor == "test:model"

    def test_it_cannot_lower_an_approval(self, monkeypatch):
        """Where the rules' own first choice needs a person, a model's harmless one does too."""
        found = _all_right()
        SuggestionAction.objects.filter(pk="pause-the-skill").update(weight=1.0, categories=[])
        self._advise(monkeypatch, action="retry")
        found = evaluated(found)
        assert (found.state, found.action) == ("waiting", "retry")
        assert "pause-the-skill asks for an approval" in found.needs

    def test_it_can_ask_for_a_person(self, monkeypatch):
        """What would have been applied alone waits."""
        self._advise(monkeypatch, action="retry", needs_approval=True)
        assert "asks for a person" in evaluated(_all_right()).needs

    def test_slow_model_costs_no_lease(self, monkeypatch, settings):
        """A model that answers slowly is asked for a part of the lease; the rest is decided by the rules, in time."""
        settings.CELERIAC = settings.CELERIAC | {"candidate_lease_seconds": 3}
        asked, never = [], threading.Event()
        monkeypatch.setattr(advice, "ask", lambda *args, **options: asked.append(args) or never.wait(0.4) or None)
        found = failed.opened(12)
        assert evaluator.evaluate_next(source="claim", by="slow") == 12
        assert failed.states(*found) == ["waiting"] * 12
        assert 1 <= len(asked) <= 4

    def test_nonsense_changes_nothing(self, monkeypatch):
        """An action that nobody knows is ignored."""
        self._advise(monkeypatch, action="reboot the moon")
        assert evaluated(_all_right()).state == "applied"


class TestUnlocking:
    """What must be earned is locked until it is lifted, for every agent."""

    def test_locked_from_the_start_and_once(self):
        """`migrate` locks it once; a lift is not undone by the next migration."""
        lock = CapabilityLockout.objects.get(capability=autonomy.CAPABILITY)
        assert (lock.agent, "earned" in lock.reason) == (None, True)
        scout = failed.trusted()
        assert not agents.is_unlocked(autonomy.CAPABILITY, agent=scout)
        failed.unlock()
        assert not autonomy.lock_until_earned()
        assert agents.is_unlocked(autonomy.CAPABILITY, agent="scout")

    def test_fails_closed(self):
        """What nobody ever locked and lifted is not unlocked; nor is what is locked for the agent."""
        scout = failed.trusted()
        assert not agents.is_unlocked("never.heard.of", agent=scout)
        agents.lock_out("odd", agent=scout, until=timezone.now() - timedelta(days=1))
        assert not agents.is_unlocked("odd", agent=scout), "a lockout that is over was never lifted"
        agents.lift("odd", agent=scout)
        assert agents.is_unlocked("odd", agent=scout)
        agents.lock_out("odd")
        assert not agents.is_unlocked("odd", agent=scout)

    def test_lockout_waits_for_a_decision(self):
        """While an answer is being used a lockout waits; it is in force when the decision has been written."""
        failed.trusted()
        failed.unlock()
        with transaction.atomic():
            assert agents.is_unlocked(autonomy.CAPABILITY, agent="scout")
            locking = threading.Thread(target=_lock_out, daemon=True)
            locking.start()
            locking.join(0.5)
            assert locking.is_alive()
        locking.join(10)
        assert not agents.is_unlocked(autonomy.CAPABILITY, agent="scout")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda: agents.lock_out(autonomy.CAPABILITY, reason="incident"), "not unlocked"),
            (lambda: agents.set_level("scout", 1), "is advisor"),
            (lambda: playbook.disable("retry", by="ann"), "changed or disabled"),
            (lambda: failed.FailurePattern.objects.update(mode=Mode.ASK), "answered by a person"),
            (lambda: failed.ActionRecord.objects.update(ineffective_at=timezone.now()), "taken back to review"),
        ],
    )
    def test_change_between_decision_and_application(self, monkeypatch, change, words):
        """Approved by rule, then something changed: it is not applied, and a person has it."""
        found = _all_right()
        monkeypatch.setattr(decisions, "apply_these", lambda wanted: 0)
        assert evaluated(found).state == "approved"
        monkeypatch.undo()
        change()
        assert decisions.apply_due() == 1
        found.refresh_from_db()
        assert (found.state, found.decision, found.applied_at) == ("waiting", "", None)
        assert words in found.needs
        assert Run.objects.get(pk=found.run_id).state == "failed"


def _lock_out():
    try:
        agents.lock_out(autonomy.CAPABILITY, agent="scout")
    finally:
        connections.close_all()


def test_claim_worker_does_what_nobody_else_has():
    """One pass evaluates what is open and applies what was approved before."""
    failed.opened(60)
    approved = _all_right()
    RecoveryCandidate.objects.filter(pk=approved.pk).update(
        state="approved", action="retry", action_version=1, verb="retry", decision="approved", decided_by="ann"
    )
    RecoveryCandidate.objects.exclude(pk=approved.pk).filter(state="approved").update(state="open")
    assert candidates.WORKER.run() == 61
    assert failed.states(approved) == ["applied"]
    assert candidates.WORKER.run() is None, "the next tick is in ten seconds"


def test_nudges_go_to_the_stream_after_the_commit(monkeypatch):
    """What was opened is told once it is there for others to see; a stream that fails loses nothing."""
    nudged = []
    told_stream = types.SimpleNamespace(add=nudged.append)
    monkeypatch.setitem(sys.modules, "recovery.stream", told_stream)
    monkeypatch.setattr(recovery, "stream", told_stream, raising=False)
    with transaction.atomic():
        candidates.open_for(failed.made_up_failures(2))
        assert nudged == []
    assert [len(one) for one in nudged] == [2]
    monkeypatch.setattr(told_stream, "add", lambda _: 1 / 0)
    with transaction.atomic():
        assert candidates.open_for(failed.made_up_failures(1, kind="1" * 40)) == 1
    assert RecoveryCandidate.objects.count() == 3


def test_playbook_is_installed_and_kept():
    """`migrate` adds what is missing and leaves what an operator has changed."""
    assert SuggestionAction.objects.count() == len(playbook.shipped())
    playbook.change("retry", by="ann", weight=0.1)
    SuggestionAction.objects.filter(pk="skip").delete()
    assert playbook.install() == 1
    assert playbook.get("retry").weight == 0.1
