"""The inbox: what waits for a person, in order, counted by pattern, decided once, taken back where it can be."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from execution.exceptions import OptionInvalid
from execution.models import Agent, Event, Run, Signal, Step
from execution.room.inbox import deciding, reading
from execution.room.inbox.deciding import Word
from execution.room.inbox.parts import rows_of, source_of, sources
from execution.room.inbox.reading import Wish
from recovery.models import RecoveryCandidate
from tests import waiting
from tests.hands import MARKS, side_by_side
from tests.recovery import failed

pytestmark = MARKS


def listed(**wish):
    """Return the kinds and keys of a page, in order."""
    return [(one.kind, one.key) for one in reading.listing(sources(), Wish(**wish)).matters]


def say(kind, row, decision, by="ann", **given):
    """Decide one matter, and return the result."""
    return deciding.decide(kind, [str(row.pk)], Word(decision=decision, by=by, reason="a test", given=given))[0]


class TestReading:
    """What waits, and how much."""

    def test_every_kind_is_listed_the_oldest_first(self, hands):
        """One of each kind is there, in the order in which they began to wait."""
        found = waiting.everything(hands)
        assert listed() == [(kind, str(row.pk)) for kind, row in found]
        assert reading.count(sources()) == len(found)
        assert {one.kind for one in sources()} - {kind for kind, _ in found} == {"incident"}

    def test_each_says_what_it_asks(self, hands):
        """Each has a sentence, evidence, and at least one decision; none of it raises."""
        waiting.everything(hands)
        for one in reading.listing(sources(), Wish()).matters:
            evidence = one.source.evidence(one.row)
            assert one.told.asks.rstrip()[-1] in "?."
            assert evidence.facts
            assert one.decisions()

    def test_what_does_not_wait_is_not_listed(self, hands):
        """What runs, has ended, or waits for no person stays away."""
        failed.failed_run(hands)
        waiting.command_skills.nap.start()
        ended = waiting.question(hands)
        waiting.runs.cancel(ended.run_id, by="ann")
        assert listed() == []
        assert reading.count(sources()) == 0

    def test_pages_follow_each_other(self, hands):
        """Pages of two, of one moment too, hold each matter once and in order, by age and by cost."""
        waiting.approval(hands, count=3)
        waiting.candidates(4)
        for _ in range(3):
            waiting.letter()
        Step.objects.update(changed_at=timezone.now() - timedelta(hours=1))
        moment = timezone.now() - timedelta(minutes=1)
        waiting.DeadLetter.objects.update(died_at=moment)
        RecoveryCandidate.objects.update(evaluated_at=moment)
        Run.objects.filter(workflow="release").update(spent_cost=Decimal("2.5"))
        for order in reading.ORDERS:
            pages, after = [], ""
            while True:
                page = reading.listing(sources(), Wish(order=order, after=after), limit=2)
                pages += [(one.kind, one.key) for one in page.matters]
                after = page.after
                if not after:
                    break
            assert pages == listed(order=order)
            assert len(set(pages)) == 10
            assert [kind for kind, _ in pages[:3]] == ["approval"] * 3

    def test_filters(self, hands):
        """By kind, by pattern, by agent; what nobody knows finds nothing."""
        waiting.approval(hands, count=2)
        step = waiting.autonomy(hands)
        assert listed(kind="autonomy") == listed(agent="scout") == [("autonomy", str(step.pk))]
        assert len(listed(pattern="release: sign_off")) == 2
        assert listed(agent="nobody") == listed(pattern="none") == listed(kind="none") == []

    def test_patterns_are_counted(self, hands):
        """Each pattern with how many, the most first."""
        waiting.approval(hands, count=3)
        waiting.letter()
        found = [(one.kind, one.pattern, one.count) for one in reading.groups(sources())]
        assert found == [("approval", "release: sign_off", 3), ("letter", "stream:candidates", 1)]

    def test_run_that_parks_twice_is_one_matter(self, hands):
        """The parked steps of a run are decided together, and listed once."""
        run, steps = waiting.graph_of_two()
        assert [key for kind, key in listed() if kind == "autonomy"] == [str(min(step.pk for step in steps))]
        assert say("autonomy", steps[0], "approve").is_done
        assert set(Step.objects.filter(run_id=run.id).values_list("state", flat=True)) == {"ready"}

    def test_a_place_that_is_none_is_the_beginning(self, hands):
        """An address that somebody has changed by hand raises nothing."""
        waiting.letter()
        for after in ("x", "1~2~3~4", "1~2030-01-01T00:00:00+00:00~letter~no", "~~~", "\0"):
            assert len(listed(after=after)) == 1


class TestSpeed:
    """What is asked of the database does not grow."""

    def test_badge_is_one_statement(self, hands, django_assert_num_queries):
        """However many kinds wait."""
        waiting.everything(hands)
        with django_assert_num_queries(1):
            assert reading.count(sources()) == 11

    def test_page_asks_as_much_for_many_as_for_few(self, hands, admin_client):
        """The list asks for session, user, badge, groups, places, and once for each kind that is shown."""
        counts = []
        for _ in range(2):
            waiting.candidates(3)
            waiting.approval(hands, count=3)
            admin_client.get(reverse("admin:inbox"))
            with CaptureQueriesContext(
                connection,
            ) as asked:
                assert admin_client.get(reverse("admin:inbox")).status_code == 200
            counts.append(len(asked))
        assert counts[0] == counts[1] <= 10

    def test_steps_are_found_by_their_index(self, hands):
        """What waits among steps is read by an index that holds nothing else."""
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            plans = [rows_of(source_of(kind)).order_by("inbox_since")[:51].explain() for kind in ("approval", "budget")]
            cursor.execute("RESET enable_seqscan")
        assert all("steps_for_a_person" in plan for plan in plans), plans


class TestDeciding:
    """Each decision calls its verb, once."""

    def test_approve_and_refuse_a_gate(self, hands):
        """Approved, the run goes on; refused, it fails, and the refusal can be taken back."""
        passed, refused = waiting.approval(hands, count=2)
        assert say("approval", passed, "approve").is_done
        assert hands.perform(passed).state == "completed"
        result = say("approval", refused, "refuse")
        assert (result.is_done, result.can_undo) == (True, True)
        assert hands.perform(refused).state == "failed"
        assert deciding.undo("approval", str(refused.pk), "refuse", by="ann", reason="a mistake").is_done
        assert hands.perform(refused).waiting == "signal"
        assert listed() == [("approval", str(refused.pk))]

    def test_answer_a_question(self, hands):
        """The skill is handed the answer."""
        step = waiting.question(hands)
        result = say("question", step, "answer", answer="go")
        assert (result.is_done, result.can_undo, "has the answer" in result.final) == (True, False, True)
        assert hands.perform(step).state == "completed"
        assert waiting.runs.result(step.run_id) == "go"

    def test_top_up(self, hands):
        """The budget is higher, and the run goes on."""
        step = waiting.budget(hands)
        assert say("budget", step, "top-up", cost=Decimal(2), tokens=None).is_done
        run = Run.objects.get(pk=step.run_id)
        assert (run.budget_cost, run.state) == (Decimal("3.5"), "running")

    @pytest.mark.parametrize(
        ("decision", "state"), [("done", "running"), ("again", "running"), ("failed", "cancelled")]
    )
    def test_unknown_effect(self, hands, decision, state):
        """It was done, is done again, or has failed."""
        effect = waiting.effect(hands).effects.get()
        given = {"receipt": '{"id": 7}'} if decision == "done" else {}
        assert say("effect", effect, decision, **given).is_done
        assert Run.objects.get(pk=effect.step.run_id).state == state
        effect.refresh_from_db()
        assert (effect.decided_by, effect.state) == ("ann", "done" if decision == "done" else "failed")

    def test_autonomy_is_parked_again(self, hands):
        """An approval can be withdrawn until somebody has begun."""
        step = waiting.autonomy(hands)
        assert say("autonomy", step, "approve").is_done
        assert deciding.undo("autonomy", str(step.pk), "approve", by="ann", reason="no").is_done
        step.refresh_from_db()
        assert (step.state, step.waiting, step.is_approved) == ("parked", "autonomy", False)
        assert Run.objects.get(pk=step.run_id).state == "parked"
        assert say("autonomy", step, "approve").is_done
        assert hands.perform(step).state == "completed"
        late = deciding.undo("autonomy", str(step.pk), "approve", by="ann", reason="no")
        assert (late.is_done, "has not begun" in late.text) == (False, True)

    def test_version_goes_on(self):
        """The run goes on under the new version."""
        step = waiting.version()
        assert say("version", step, "go-on").is_done
        step.refresh_from_db()
        assert step.state == "ready"

    def test_cancel(self, hands):
        """What waits may be ended instead."""
        step = waiting.question(hands)
        assert say("question", step, "cancel").is_done
        assert Run.objects.get(pk=step.run_id).state == "cancelled"

    def test_candidate(self):
        """Approved, it is applied; rejected, it can be reopened; another action can be chosen."""
        first, second, third = waiting.candidates(3)
        assert say("candidate", first, "approve").is_done
        assert say("candidate", second, "reject").is_done
        assert deciding.undo("candidate", str(second.pk), "reject", by="bob", reason="wait").is_done
        decision = source_of("candidate").decision("other")
        other = deciding.checked(decision, {"action": "retry-later", "reason": "later"})
        assert say("candidate", third, "other", action=other["action"]).is_done
        assert failed.states(first, second, third) == ["applied", "waiting", "applied"]
        kinds = list(Event.objects.filter(kind__startswith="candidate.re").values_list("kind", "data__by"))
        assert kinds == [("candidate.rejected", "ann"), ("candidate.reopened", "bob")]
        assert [line.rule for line in second.provenance.filter(actor="bob")] == ["reopened"]

    def test_overtaken_rejection_stays(self):
        """A rejection is not taken back where the run has gone on."""
        (one,) = waiting.candidates(1)
        say("candidate", one, "reject")
        waiting.runs.retry(one.run_id)
        result = deciding.undo("candidate", str(one.pk), "reject", by="bob", reason="wait")
        assert (result.is_done, "went on" in result.text) == (False, True)

    def test_handler_letter_offer_recommendation(self):
        """Each is decided by its own verb; what was put aside or declined waits again when that is taken back."""
        User.objects.create_superuser("ann")
        question, letter, offer, advice = waiting.handler(), waiting.letter(), waiting.offer(), waiting.recommendation()
        assert say("handler", question, "answer", answer="news").is_done
        assert say("letter", letter, "dismiss").is_done
        assert deciding.undo("letter", str(letter.pk), "dismiss", by="ann", reason="no").is_done
        assert say("promotion", offer, "accept").is_done
        assert Agent.objects.get(name="hero").level == 2
        assert say("recommendation", advice, "decline").is_done
        assert deciding.undo("recommendation", str(advice.pk), "decline", by="ann", reason="no").is_done
        assert say("recommendation", advice, "accept").is_done
        question.refresh_from_db()
        assert question.answers == {"Which list does this customer belong to?": "news"}
        assert listed() == [("letter", str(letter.pk))]

    def test_agents_account_promotes_nobody(self):
        """The verb refuses, and the result says why."""
        User.objects.create_superuser("hero")
        result = say("promotion", waiting.offer(), "accept", by="hero")
        assert (result.is_done, "agent's own account" in result.text) == (False, True)

    def test_who_comes_second_is_told_who_was_faster(self, hands):
        """Four people at each: one wins, the others are told by whom, and it is done once."""
        gate, asks, parked = waiting.approval(hands)[0], waiting.question(hands), waiting.budget(hands)
        for kind, row, decision, given in (
            ("approval", gate, "approve", {}),
            ("question", asks, "answer", {"answer": 1}),
            ("budget", parked, "top-up", {"cost": Decimal(1), "tokens": None}),
            ("candidate", waiting.candidates()[0], "reject", {}),
            ("letter", waiting.letter(), "dismiss", {}),
        ):
            tries = [lambda n=n, x=(kind, row, decision, given): say(*x[:3], by=f"op-{n}", **x[3]) for n in range(4)]
            results = side_by_side(*tries)
            lost = [result for result in results if not result.is_done]
            assert len(lost) == 3, (kind, results)
            assert all("op-" in result.text for result in lost), (kind, lost)
        assert Run.objects.get(pk=parked.run_id).budget_cost == Decimal("2.5")
        assert Signal.objects.filter(run_id=asks.run_id).count() == 1

    def test_old_look_decides_nothing(self, hands):
        """What has been decided and asks anew is not decided by who saw it before."""
        step = waiting.budget(hands)
        old = deciding.find("budget", str(step.pk)).stamp
        say("budget", step, "top-up", cost=Decimal("0.01"), tokens=None)
        hands.perform(step)
        word = Word(decision="top-up", by="bob", reason="more", given={"cost": 1, "tokens": 0})
        (result,) = deciding.decide("budget", [str(step.pk)], word, stamp=old)
        assert (result.is_done, "asks anew" in result.text) == (False, True)

    def test_all_of_a_pattern(self):
        """Each on its own: those that went on meanwhile are told, the others are done; newer ones are left."""
        found = waiting.candidates(4)
        until = timezone.now()
        newer = waiting.candidates(1, kind="e" * 40)[0]
        pattern = deciding.find("candidate", str(found[0].pk)).pattern
        waiting.runs.retry(found[1].run_id)
        word = Word(decision="approve", by="ann", reason="known")
        results, left = deciding.decide_all("candidate", Wish(pattern=pattern, until=until), word)
        assert [result.text.split(":")[0] for result in results] == ["applied", "overtaken", "applied", "applied"]
        assert (left, failed.states(newer)) == (0, ["waiting"])

    def test_so_many_at_once(self, monkeypatch):
        """What is over the bound is left, and counted."""
        monkeypatch.setattr(deciding, "AT_ONCE", 2)
        found = waiting.candidates(5)
        pattern = deciding.find("candidate", str(found[0].pk)).pattern
        results, left = deciding.decide_all(
            "candidate", Wish(pattern=pattern), Word(decision="reject", by="a", reason="b")
        )
        assert ([result.is_done for result in results], left) == ([True, True], 3)

    def test_wrong_words_are_named(self):
        """A decision or a field that is not known says which are."""
        with pytest.raises(OptionInvalid, match="approve, reject, other"):
            deciding.decision_of("candidate", "aprove")
        decision = source_of("budget").decision("top-up")
        for given, said in (
            ({"reason": "x"}, "Say how much"),
            ({"cost": "1"}, "reason: This field is required"),
            ({"cost": "much", "reason": "x"}, "cost: Enter a number"),
            ({"costs": "1", "reason": "x"}, "not for costs"),
        ):
            with pytest.raises(OptionInvalid, match=said):
                deciding.checked(decision, given)


class TestPage:
    """The page: what a person sees, says and is told."""

    def ask(self, client, kind, row, decision, **more):
        """Send the form of a decision, and return the page that follows."""
        data = {"kind": kind, "key": str(row.pk), "decision": decision, "reason": "I looked", **more}
        return client.post(reverse("admin:inbox_ask"), data, follow=True)

    def test_decision_is_kept_in_history_and_log(self, hands, admin_client):
        """Who, when and why stand in the admin's history and in the ledger's log."""
        (step,) = waiting.approval(hands)
        page = self.ask(admin_client, "approval", step, "approve")
        assert "1 of 1 matter done" in page.text
        entry = LogEntry.objects.get(object_id=str(step.run_id))
        assert (entry.user.username, "I looked" in entry.change_message) == ("admin", True)
        assert Event.objects.filter(run_id=step.run_id, data__by="admin", data__reason="I looked").exists()

    def test_reason_is_asked(self, hands, admin_client):
        """Without a reason nothing is decided; the form says so."""
        (step,) = waiting.approval(hands)
        page = self.ask(admin_client, "approval", step, "approve", reason=" ")
        assert "This field is required" in page.text
        assert listed()

    def test_undo_from_the_page(self, admin_client):
        """What was just rejected waits again."""
        (one,) = waiting.candidates()
        page = self.ask(admin_client, "candidate", one, "reject")
        assert "Take it back" in page.text
        page = admin_client.post(reverse("admin:inbox_undo"), follow=True)
        assert "Taken back: 1 of 1" in page.text
        assert failed.states(one) == ["waiting"]
        assert LogEntry.objects.filter(object_id=str(one.pk)).count() == 2

    def test_what_has_gone_is_told(self, admin_client):
        """A form for what somebody else has decided leads back, and says who it was."""
        (one,) = waiting.candidates()
        say("candidate", one, "reject", by="bob")
        about = {"kind": "candidate", "key": str(one.pk), "decision": "reject"}
        page = admin_client.get(reverse("admin:inbox_ask"), about, follow=True)
        assert "Bob was faster" in page.text
        assert "bob was faster" in self.ask(admin_client, "candidate", one, "reject").text.lower()

    def test_bulk(self, admin_client):
        """All of a pattern with one reason, and a result for each."""
        found = waiting.candidates(3)
        pattern = deciding.find("candidate", str(found[0].pk)).pattern
        shown = admin_client.get(reverse("admin:inbox"), {"kind": "candidate", "pattern": pattern})
        assert "Reject all" in shown.text
        about = {"kind": "candidate", "pattern": pattern, "decision": "reject", "reason": "known"}
        page = admin_client.post(reverse("admin:inbox_ask"), about, follow=True)
        assert "3 of 3 matters done" in page.text
        assert failed.states(*found) == ["rejected"] * 3

    def test_back_leads_to_the_inbox_only(self, hands, admin_client):
        """An address of elsewhere is not followed."""
        (step,) = waiting.approval(hands)
        page = self.ask(admin_client, "approval", step, "approve", back="https://example.com/admin/inbox/?")
        assert page.redirect_chain == [("/admin/inbox/", 302)]

    def test_empty(self, admin_client):
        """It says what would appear here."""
        page = admin_client.get(reverse("admin:inbox")).text
        assert "Nothing waits for a person" in page
        assert "an agent has earned a higher level" in page

    @pytest.mark.parametrize("address", ["inbox_ask", "inbox_evidence"])
    @pytest.mark.parametrize("given", [{}, {"kind": "x"}, {"kind": "letter", "key": "x", "decision": "sing"}])
    def test_nonsense_is_not_found(self, admin_client, address, given):
        """What is not there is answered plainly."""
        assert admin_client.get(reverse(f"admin:{address}"), given).status_code in (200, 404)

    def test_who_may_only_look_sees_no_button(self, hands, client):
        """Evidence, but no decision; and the form is refused."""
        (step,) = waiting.approval(hands)
        waiting.letter()
        user = User.objects.create_user("viewer", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_run"))
        client.force_login(user)
        page = client.get(reverse("admin:inbox")).text
        assert "May release pass" in page
        assert 'name="decision"' not in page
        assert "given up" not in page
        for kind, row, decision in (("approval", step, "approve"), ("letter", waiting.letter(), "replay")):
            assert self.ask(client, kind, row, decision).status_code == 403
        assert client.get(reverse("admin:inbox_evidence"), {"kind": "letter", "key": "x"}).status_code == 403
