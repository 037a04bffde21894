"""Outcomes: found in order, expired without a signal, reopened by late evidence, and no verdict is ever forgotten."""

import itertools
import os
import random
import signal
import subprocess
import sys
import uuid
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from execution import agents, ids, ledger, records, runs
from execution.exceptions import NotAllowed, OptionInvalid, RecordUnknown
from execution.models import Agent, Assessment, Event, Level, RecordHold, Run, Step, Verdict
from graduation import ladder
from graduation.learn import findings, outcomes
from graduation.models import Case, Evaluator, Score
from recovery.models import RecoveryCandidate
from tests.conftest import REPOSITORY
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS, side_by_side
from tests.people import person
from tests.workers import test_environment

pytestmark = [*MARKS, pytest.mark.usefixtures("empty_log")]


@pytest.fixture
def empty_log(transactional_db):
    """Begin with an empty log, and a person who may say what became of something."""
    person("ann")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE execution_event")
    yield
    ledger.close()


def judged(action="approve", *, confidence=0.8, subject="change:42", producer="reviewer", **more):
    """Give a verdict."""
    return records.judge("review", subject=subject, action=action, producer=producer, confidence=confidence, **more)


def case_of(verdict):
    """Return a verdict's case as it is."""
    return Case.objects.get(pk=verdict.pk)


def due(*verdicts):
    """Let these be due now."""
    Case.objects.filter(pk__in=[one.pk for one in verdicts]).update(look_at=timezone.now() - timedelta(seconds=1))


def aged(verdict, **age):
    """Let a verdict be so old."""
    Case.objects.filter(pk=verdict.pk).update(judged_at=timezone.now() - timedelta(**age))


def passed(*verdicts):
    """Let the cycle pass while these are due, and return how they stand."""
    outcomes.read()
    due(*[one for one in verdicts if case_of(one).state == "open"])
    outcomes.look()
    found = [(case_of(one).state, case_of(one).how, case_of(one).outcome) for one in verdicts]
    return found[0] if len(found) == 1 else found


def signals(verdict=None):
    """Return the calibration signals, or those of one verdict."""
    rows = Assessment.objects.filter(kind="calibration_signal").order_by("id")
    return [row.data["signal"] for row in rows if verdict is None or row.data["verdict"] == str(verdict.id)]


def ended(state="completed"):
    """Return a run that has ended, without its event."""
    run = runs.start("tests.add", {"left": 1})
    Step.objects.filter(pk=run.id).update(state=state, waiting="")
    Run.objects.filter(pk=run.id).update(state=state, ended_at=timezone.now())
    return run


def told(kind, run):
    """Write the event of a run's end."""
    Run.objects.filter(pk=run.pk).update(state=kind.partition(".")[2], ended_at=timezone.now())
    ledger.ask("SELECT execution_log_v1(%s, %s, NULL, NULL, NULL, '{}')", [kind, run.pk])


def unlooked():
    """Return the verdicts that nobody will ever look at."""
    return ledger.ask(
        "SELECT v.id FROM execution_verdict v LEFT JOIN graduation_case c ON c.verdict_id = v.id WHERE v.outcome_of IS NULL "
        "AND (c.verdict_id IS NULL OR c.state = 'open' AND c.look_at IS NULL OR c.state = 'resolved' AND c.outcome IS NULL)"
    )


class TestOpening:
    def test_each_verdict_once(self):
        """A verdict has one case, however often the log is read; a verdict on an outcome has none."""
        verdict = judged()
        records.judge("outcome", subject="a:b", action="approve", producer="ann", outcome_of=verdict, outcome=1)
        side_by_side(*[outcomes.read] * 3)
        outcomes.read()
        assert list(Case.objects.values_list("pk", flat=True)) == [verdict.pk]

    def test_open_case_keeps_its_verdict(self):
        """Retention keeps what an open case is about, and lets go when the case ends."""
        verdict = judged()
        outcomes.read()
        assert list(RecordHold.objects.values_list("record_id", "name")) == [(verdict.pk, f"case:{verdict.pk}")]
        outcomes.override(verdict, 1, by="ann", reason="I looked")
        assert not RecordHold.objects.exists()

    def test_verdict_whose_event_was_lost_is_adopted(self):
        """A verdict whose event went before it was read gets its case by the clean-up."""
        verdict = judged()
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE execution_event")
            cursor.execute("ALTER TABLE execution_verdict DISABLE TRIGGER USER")
            cursor.execute("UPDATE execution_verdict SET created_at = created_at - interval '2 hours'")
            cursor.execute("ALTER TABLE execution_verdict ENABLE TRIGGER USER")
        assert outcomes.read() == 0
        assert (outcomes.adopt(), outcomes.adopt()) == (1, 0)
        assert case_of(verdict).state == "open"

    def test_database_wants_a_next_look(self):
        """An open case without a next look cannot be written, whoever tries."""
        verdict = judged()
        outcomes.read()
        with pytest.raises(IntegrityError, match="an_open_case_is_looked_at_again"), transaction.atomic():
            Case.objects.filter(pk=verdict.pk).update(look_at=None)


class TestLooking:
    def test_pauses_grow_until_it_expires(self):
        """Each look in vain doubles the pause; the last is at seven days, and then it expires without a signal."""
        verdict = judged()
        outcomes.read()
        pauses = []
        for _ in range(12):
            due(verdict)
            outcomes.look()
            pauses.append(round((case_of(verdict).look_at - timezone.now()).total_seconds() / 60))
        assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360]
        aged(verdict, days=6, hours=23)
        due(verdict)
        outcomes.look()
        assert 59 <= (case_of(verdict).look_at - timezone.now()).total_seconds() / 60 <= 60
        aged(verdict, days=7, seconds=1)
        assert passed(verdict) == ("expired", "", None)
        assert (signals(), records.outcome(verdict)) == ([], None)
        assert outcomes.look() == 0

    def test_not_before_it_is_due(self):
        """What is not due is not looked at."""
        judged()
        outcomes.read()
        Case.objects.update(look_at=timezone.now() + timedelta(minutes=1))
        assert outcomes.look() == 0

    def test_one_that_cannot_be_looked_at_stops_no_other(self, monkeypatch):
        """An error in one look is told; that case is looked at again later, and the others now."""
        bad, good = judged(), judged(run=ended())
        outcomes.read()
        find = findings.find

        def broken(verdict):
            if verdict.pk == bad.pk:
                raise RuntimeError("the row is odd")
            return find(verdict)

        monkeypatch.setattr(findings, "find", broken)
        due(bad, good)
        outcomes.look()
        assert (case_of(bad).state, case_of(bad).look_at > timezone.now()) == ("open", True)
        assert case_of(good).state == "resolved"

    def test_side_by_side_resolve_once(self):
        """Two passes at once write one outcome and one signal for each verdict."""
        run = ended()
        verdicts = [judged(run=run) for _ in range(12)]
        outcomes.read()
        due(*verdicts)
        side_by_side(*[outcomes.look] * 3)
        assert Verdict.objects.filter(kind="outcome").count() == 12
        assert len(signals()) == 12


class TestOrder:
    """What tells an outcome, the strongest first."""

    @pytest.mark.parametrize(
        ("action", "state", "standing"),
        [
            ("approve", "completed", ("resolved", "downstream", 1)),
            ("approve", "failed", ("resolved", "downstream", 0)),
            ("approve", "cancelled", ("open", "", None)),
            ("reject", "failed", ("open", "", None)),
            ("flag", "completed", ("open", "", None)),
            ("escalate", "completed", ("open", "", None)),
        ],
    )
    def test_downstream(self, action, state, standing):
        """How its run ended speaks for what was approved, and says nothing of what was not done."""
        assert passed(judged(action, run=ended(state))) == standing

    def test_subject_goes_before_the_run_it_was_given_in(self):
        """A verdict about another run, or about a step, is told by that one."""
        bad, good = ended("failed"), ended()
        about_run, about_step = judged(subject=f"run:{bad.id}", run=good), judged(subject=f"step:{bad.id}", run=good)
        assert passed(about_run, about_step) == [("resolved", "downstream", 0)] * 2

    def test_candidate(self):
        """A recovery that was approved held, until the failure came back."""
        candidate = a_candidate("recovered")
        verdict = judged(subject=f"candidate:{candidate.pk}")
        assert passed(verdict) == ("resolved", "downstream", 1)
        RecoveryCandidate.objects.update(state="ineffective", outcome="it came back")
        ledger.ask(
            "SELECT execution_log_v1('candidate.taken_back', NULL, NULL, NULL, NULL, jsonb_build_object('candidate', %s::text))",
            [str(candidate.pk)],
        )
        assert passed(verdict) == ("resolved", "downstream", 0)
        assert (case_of(verdict).reopened_count, signals(verdict)) == (1, [pytest.approx(0.2), pytest.approx(0.8)])

    @pytest.mark.parametrize(("mine", "theirs", "outcome"), [("approve", "approve", 1), ("approve", "reject", 0), ("reject", "flag", 1), ("reject", "approve", 0)])  # fmt: skip
    def test_lineage(self, mine, theirs, outcome):
        """A later verdict on the same subject that rests on it agrees or does not, and goes before the run's end."""
        verdict = judged(mine, run=ended("completed" if outcome == 0 else "failed"))
        judged(theirs, producer="second", parents=[verdict])
        assert passed(verdict) == ("resolved", "lineage", outcome)

    @pytest.mark.parametrize("child", [{"producer": "reviewer"}, {"subject": "change:43"}, {"action": "escalate"}])
    def test_lineage_wants_another_word_on_the_same(self, child):
        """Neither one's own word, nor one on something else, nor an abstention tells anything."""
        verdict = judged()
        judged(**{"action": "approve", "producer": "second", "parents": [verdict]} | child)
        assert passed(verdict) == ("open", "", None)

    def test_nobody_speaks_for_itself(self):
        """An agent's own word on its own verdict is not heard."""
        agent = Agent.objects.create(name="scout")
        verdict = judged(agent=agent)
        judged(producer="another", agent=agent, parents=[verdict])
        records.judge(
            "outcome", subject="a:b", action="approve", producer="x", agent=agent, outcome_of=verdict, outcome=1
        )
        assert passed(verdict) == ("open", "", None)

    def test_own_run_is_an_own_word(self):
        """That an agent's own run or step ended well says nothing of what it decided; another one's does."""
        agent = Agent.objects.create(name="scout")
        mine, other = ended(), ended()
        Run.objects.filter(pk=mine.pk).update(agent=agent)
        Step.objects.filter(pk=mine.pk).update(agent=agent)
        own = [judged(agent=agent, run=mine), judged(agent=agent, subject=f"step:{mine.pk}")]
        assert passed(*own) == [("open", "", None)] * 2
        assert passed(judged(agent=agent, subject=f"run:{other.pk}")) == ("resolved", "downstream", 1)

    def test_all_at_once(self):
        """Taken away one by one, what tells an outcome goes in the order that is promised."""
        ways = {
            "override": lambda one: outcomes.override(one, 0, by="ann", reason="no"),
            "truth": lambda one: outcomes.truth(one, 0.5, source="ledger"),
            "lineage": lambda one: judged("reject", producer="second", parents=[one]),
            "downstream": lambda one: told("run.completed", Run.objects.get(pk=one.run_id)),
            "divergence": lambda one: scored(one.run_id, 0.8),
        }
        for first in range(len(ways)):
            names = list(ways)[first:]
            for order in (names, names[::-1]):
                verdict = judged(run=(run := runs.start("tests.add", {"left": 1})), step=run.id)
                outcomes.read()
                for name in order:
                    ways[name](verdict)
                passed(verdict)
                assert case_of(verdict).how == names[0], order
                assert records.outcome(verdict).outcome == case_of(verdict).outcome

    @pytest.mark.parametrize(("score", "outcome"), [(0.9, 1), (0.45, 0.5), (0.1, 0)])
    def test_divergence(self, score, outcome):
        """How far the scores of an output are from what was said of it tells, where nothing else does."""
        verdict = judged(step=ids.new())
        scored(verdict.step_id, score)
        assert passed(verdict) == ("resolved", "divergence", outcome)

    def test_degraded_evaluator_is_not_heard(self):
        """The scores of an evaluator that disagrees with the others tell nothing."""
        verdict = judged(step=ids.new())
        scored(verdict.step_id, 0.9)
        Evaluator.objects.create(name="strict", is_degraded=True)
        assert passed(verdict) == ("open", "", None)

    def test_persons_word_stays(self):
        """What a program says after a person changes nothing, also for those who read only the latest word."""
        verdict = judged()
        outcomes.override(verdict, 0, by="ann", reason="it was wrong")
        records.judge("outcome", subject="a:b", action="approve", producer="a program", outcome_of=verdict, outcome=1)
        assert passed(verdict) == ("resolved", "override", 0)
        latest = records.outcome(verdict)
        assert (latest.outcome, latest.data["how"], latest.producer) == (0, "override", findings.PRODUCER)
        count = Verdict.objects.count()
        assert passed(verdict) == ("resolved", "override", 0)
        assert Verdict.objects.count() == count


def a_candidate(state):
    """Write a candidate in a state."""
    from tests.recovery.stream_rows import candidates

    return RecoveryCandidate.objects.get(pk=candidates(1, state=state)[0])


def scored(step_id, score, evaluator="strict"):
    """Write a score."""
    Score.objects.create(step_id=step_id, agent_id=agents.id_of(None), evaluator=evaluator, score=score)


class TestSignals:
    @pytest.mark.parametrize(("outcome", "signal_"), [(1, 0.2), (0.5, 0.3), (0, 0.8)])
    def test_distance_of_what_was_said(self, outcome, signal_):
        """The signal is how far the confidence was from the outcome, and names both verdicts."""
        agent = Agent.objects.create(name="scout")
        verdict = judged(agent=agent)
        said = outcomes.truth(verdict, outcome, source="ledger")
        row = Assessment.objects.get(kind="calibration_signal")
        assert row.data["signal"] == pytest.approx(signal_)
        assert (row.subject, row.parents) == ("agent:scout", [verdict.id, said.id])

    @pytest.mark.parametrize("given", [{"confidence": None}, {"action": "escalate"}])
    def test_none_without_confidence_or_for_an_abstention(self, given):
        """Who is not sure of anything, or abstains, is not calibrated; the outcome is kept all the same."""
        verdict = judged(**given)
        outcomes.override(verdict, 1, by="ann", reason="looked")
        assert (signals(), case_of(verdict).state) == ([], "resolved")


class TestLateEvidence:
    def expired(self, **given):
        """Return a verdict whose case has expired."""
        verdict = judged(**given)
        outcomes.read()
        aged(verdict, days=8)
        assert passed(verdict)[0] == "expired"
        return verdict

    @pytest.mark.parametrize("way", ["override", "truth", "lineage", "run", "score"])
    def test_expired_case_is_resolved_by_what_comes_later(self, way):
        """Whatever comes later resolves an expired case, with a signal and its history kept, and once."""
        run = runs.start("tests.add", {"left": 1})
        verdict = self.expired(run=run, step=run.id)
        {
            "override": lambda: outcomes.override(verdict, 1, by="ann", reason="late"),
            "truth": lambda: outcomes.truth(verdict, 1, source="ledger"),
            "lineage": lambda: judged(producer="second", parents=[verdict]),
            "run": lambda: told("run.completed", run),
            "score": lambda: (scored(run.id, 0.8), outcomes.look_again(findings_of(run.id))),
        }[way]()
        outcomes.read(), outcomes.look()
        case = case_of(verdict)
        assert (case.state, case.outcome, case.reopened_count) == ("resolved", 1, 1)
        assert [one["state"] for one in case.history] == ["expired"]
        assert signals(verdict) == [pytest.approx(0.2)]
        for _ in range(2):
            outcomes.read(), outcomes.look()
        assert (case_of(verdict).reopened_count, len(signals())) == (1, 1)

    def test_later_word_replaces_and_history_tells(self):
        """Stronger evidence resolves a resolved case anew; a weaker one does not."""
        run = ended()
        verdict = judged(run=run, step=run.id)
        assert passed(verdict)[1:] == ("downstream", 1)
        outcomes.truth(verdict, 0, source="audit")
        told("run.completed", run)
        scored(run.id, 0.8)
        outcomes.look_again(findings_of(run.id))
        assert passed(verdict)[1:] == ("truth", 0)
        assert [(one["how"], one["outcome"]) for one in case_of(verdict).history] == [("downstream", 1)]
        assert signals(verdict) == [pytest.approx(0.2), pytest.approx(0.8)]

    def test_run_that_was_retried(self):
        """A run that failed and then completed changes what became of its verdict."""
        run = ended("failed")
        verdict = judged(run=run)
        assert passed(verdict)[2] == 0
        Run.objects.update(state="running")
        outcomes.look_again(findings_of(run.id))
        assert passed(verdict)[2] == 0
        told("run.completed", run)
        assert passed(verdict)[2] == 1

    def test_news_without_evidence_leave_it_expired(self):
        """A late verdict that says nothing about it leaves an expired case as it is."""
        verdict = self.expired()
        judged("escalate", producer="second", parents=[verdict])
        outcomes.read(), outcomes.look()
        assert (case_of(verdict).state, case_of(verdict).look_at, case_of(verdict).reopened_count) == (
            "expired",
            None,
            0,
        )


def findings_of(step_id):
    """Return the condition of cases about a run or a step."""
    from django.db.models import Q

    return Q(step_id=step_id) | Q(run_id=step_id)


class TestWords:
    @pytest.mark.parametrize(
        ("wish", "error", "problem"),
        [
            (lambda one: outcomes.override(one, 0.7, by="ann", reason="x"), OptionInvalid, "1 (it held), 0.5"),
            (lambda one: outcomes.override(one, 1, by="ann", reason=" "), OptionInvalid, "give a reason"),
            (lambda one: outcomes.override(one, 1, by="", reason="x"), NotAllowed, "no account named"),
            (lambda one: outcomes.override(one, 1, by="scout", reason="x"), NotAllowed, "an agent's own account"),
            (lambda one: outcomes.override(one, 1, by="eve", reason="x"), NotAllowed, "'graduation.resolve_case'"),
            (lambda one: outcomes.truth(one, 1, source=""), OptionInvalid, "has a source"),
            (lambda one: outcomes.truth(uuid.uuid4(), 1, source="x"), RecordUnknown, "no record"),
            (lambda one: outcomes.truth(records.outcome(one), 1, source="x"), NotAllowed, "speak of that one"),
        ],
    )
    def test_what_is_refused(self, wish, error, problem):
        """Each mistake is named, and nothing is written."""
        Agent.objects.create(name="scout")
        person("scout")
        person("eve", may_decide=False)
        verdict = judged()
        outcomes.truth(verdict, 0, source="first")
        count = Verdict.objects.count()
        with pytest.raises(error, match=problem.replace("(", r"\(").replace(")", r"\)")):
            wish(verdict)
        assert Verdict.objects.count() == count

    def test_what_a_person_overrules_is_reversed(self):
        """A person who says it did not hold overrules; one who says it held has reviewed."""
        first, second = judged(), judged()
        assert outcomes.override(first, 0, by="ann", reason="no").data["how"] == "override"
        assert outcomes.override(second, 1, by="ann", reason="yes").data["how"] == "review"

    def test_what_is_critical_lets_the_agent_fall_at_once(self):
        """Who says that something broke lets the agent fall in the same transaction, once; nothing said, no fall."""
        scout = Agent.objects.create(name="scout", level=Level.AUTONOMOUS)
        verdict = judged(agent=scout)
        with pytest.raises(OptionInvalid, match="only one that did not hold"):
            outcomes.truth(verdict, 0.5, source="ledger", is_critical=True)
        with transaction.atomic():
            outcomes.override(verdict, 0, by="ann", reason="it deleted the archive", is_critical=True)
            scout.refresh_from_db()
            assert scout.level == Level.OBSERVER
            transaction.set_rollback(True)
        scout.refresh_from_db()
        assert scout.level == Level.AUTONOMOUS
        assert "override: 0" in typed(
            "verdicts", "override", verdict.id, 0, "--critical", "--reason", "it deleted the archive", "--by", "ann"
        )
        ladder.take_all()
        [breach] = Verdict.objects.filter(kind="quality_breach")
        [change] = Verdict.objects.filter(kind="autonomy_change")
        assert (breach.reasoning, change.parents, change.data["after"]) == ("it deleted the archive", [breach.id], 0)
        assert records.get(breach.parents[0]).producer == "ann"


class TestNothingIsForgotten:
    """No path by which a verdict is never looked at again."""

    @pytest.mark.parametrize("seed", range(6))
    def test_whatever_happens_in_whatever_order(self, seed):
        """Verdicts, ends, words, expiry, passes and passes that die, at random: each verdict is resolved or looked at, or reopens."""
        chance = random.Random(seed)
        verdicts, started = [], []

        def dying():
            with transaction.atomic():
                chance.choice([outcomes.read, outcomes.look])()
                transaction.set_rollback(True)

        def give():
            run = runs.start("tests.add", {"left": 1})
            started.append(run)
            verdicts.append(judged(chance.choice(["approve", "reject", "escalate"]), run=run, parents=chance.sample(verdicts, min(len(verdicts), 1)), producer=f"p{chance.randrange(3)}"))  # fmt: skip

        steps = [
            give, give, dying, outcomes.read, outcomes.look,
            lambda: started and told(chance.choice(["run.completed", "run.failed", "run.cancelled"]), chance.choice(started)),
            lambda: verdicts and outcomes.truth(chance.choice(verdicts), chance.choice([0, 0.5, 1]), source="s"),
            lambda: verdicts and outcomes.override(chance.choice(verdicts), chance.choice([0, 1]), by="ann", reason="r"),
            lambda: Case.objects.filter(state="open").update(look_at=timezone.now() - timedelta(seconds=1)),
            lambda: verdicts and aged(chance.choice(verdicts), days=8),
        ]  # fmt: skip
        for _ in range(60):
            chance.choice(steps)()
        outcomes.read()
        assert not unlooked()
        Case.objects.filter(state="open").update(
            look_at=timezone.now() - timedelta(seconds=1), judged_at=timezone.now() - timedelta(days=8)
        )
        outcomes.look()
        assert set(Case.objects.values_list("state", flat=True)) <= {"resolved", "expired"}
        for verdict in verdicts:
            outcomes.truth(verdict, 1, source="late")
        assert set(Case.objects.filter(how="truth").values_list("outcome", flat=True)) <= {1.0}
        assert set(Case.objects.values_list("state", flat=True)) == {"resolved"}
        assert not RecordHold.objects.exists()

    def test_killed_passes(self, tmp_path):
        """A process that is killed in the midst of its passes leaves each verdict with one outcome, one signal and no hold."""
        good, bad = ended(), ended("failed")
        verdicts = [judged(run=run) for run in itertools.islice(itertools.cycle([good, bad]), 150)]
        code = "import django; django.setup(); from graduation.learn import outcomes\nwhile True: outcomes.read(); outcomes.look()"
        environment = os.environ | test_environment() | {"DJANGO_SETTINGS_MODULE": "config.settings"}
        for _ in range(3):
            child = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, env=environment)
            before = Case.objects.filter(state="resolved").count()
            wait_for_more(before, child)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            assert not unlooked() or Case.objects.count() == 0
        outcomes.read(), outcomes.look()
        assert not unlooked()
        assert Case.objects.filter(state="resolved").count() == len(verdicts)
        said = Verdict.objects.filter(outcome_of__in=[one.id for one in verdicts])
        assert said.count() == len({one.outcome_of for one in said}) == len(verdicts)
        assert len(signals()) == len(verdicts)
        assert not RecordHold.objects.exists()


def wait_for_more(before, child):
    """Wait until a child has resolved something, or everything is."""
    from tests.conftest import wait_until

    wait_until(
        lambda: (
            Case.objects.filter(state="resolved").count() > before
            or (not Case.objects.filter(look_at__lte=timezone.now()).exists() and Case.objects.exists())
            or child.poll() is not None
        ),
        timeout=40,
        message="the child looks at cases",
    )
    assert child.poll() is None


class TestCommands:
    def test_life_by_hand(self):
        """Listed, looked at, overruled and shown with its lineage, from the command line."""
        fact = records.assess("slo_status", subject="service:payments", producer="tests")
        verdict = judged(parents=[fact])
        assert "not read yet" in typed("verdicts", "list")
        outcomes.read()
        assert [one["verdict"] for one in document("verdicts", "cases", "--due")["cases"]] == [str(verdict.id)]
        assert "resolved by override: 0" in typed(
            "verdicts", "override", verdict.id, 0, "--reason", "no", "--by", "ann"
        )
        shown = document("verdicts", "show", verdict.id)
        assert (shown["case"]["how"], len(shown["lineage"]["rests on"]), len(shown["lineage"]["is what these rest on"])) == ("override", 1, 2)  # fmt: skip
        assert document("verdicts", "list")["verdicts"][0]["outcome"] == 0
        assert "resolved by override" in typed("verdicts", "show", verdict.id)
        assert typed("verdicts", "cases", "--due") == "there is no such case"

    def test_truth_by_hand(self):
        """The truth names its source; what is wrong is said in words."""
        verdict = judged()
        assert document("verdicts", "truth", verdict.id, 1, "--source", "audit")["how"] == "truth"
        assert "give a reason" in refused("verdicts", "override", verdict.id, 1, "--by", "ann")
        assert "no record's id" in refused("verdicts", "show", "abc")


class TestAdmin:
    def test_pages_and_the_word_of_a_person(self, admin_client, django_assert_max_num_queries):
        """The list costs the same however long it is; a person says what became of a verdict, with a reason."""
        verdicts = [judged() for _ in range(8)]
        outcomes.read()
        with django_assert_max_num_queries(8):
            assert admin_client.get("/admin/graduation/case/").status_code == 200
        given = {"action": "override", "_selected_action": str(verdicts[0].pk), "reason": "wrong", "outcome": "0"}
        given |= {"is_critical": "on"}
        admin_client.post("/admin/graduation/case/", given)
        assert (case_of(verdicts[0]).how, case_of(verdicts[0]).outcome) == ("override", 0)
        assert records.outcome(verdicts[0]).data["severity"] == "critical"
        page = admin_client.get(f"/admin/graduation/case/{verdicts[0].pk}/change/")
        assert page.status_code == 200

    def test_without_permission(self, client, django_user_model):
        """Who may not resolve a case is not offered to."""
        verdict = judged()
        outcomes.read()
        user = django_user_model.objects.create_user("eve", password="x", is_staff=True)
        client.force_login(user)
        given = {"action": "override", "_selected_action": str(verdict.pk), "reason": "mine", "outcome": "1"}
        client.post("/admin/graduation/case/", given)
        assert case_of(verdict).state == "open"


def test_event_of_the_cycle(settings):
    """The cycle reads and looks, and counts what it touched."""
    judged(run=ended())
    assert outcomes.WATCH.run() >= 2
    assert Case.objects.get().state == "resolved"
    assert Event.objects.filter(kind="assessment.made").count() == 1
