"""Jobs: items spawned as a stream, performed in chunks by lanes, each recorded once."""

import itertools
import random
import tracemalloc
from decimal import Decimal

import pytest
from django.db import transaction

from execution import budgets, jobs, lanes, ledger, retention, runs, story, tunables, values, why
from execution.exceptions import InputInvalid, JobUnknown, NotPossible, OptionInvalid, RunCancelled, RunEnded
from execution.models import Blob, Event, Job, JobItem, JobLane, Run, Step
from tests import hands, job_skills
from tests.flows.skills import noted
from tests.hands import MARKS, side_by_side

pytestmark = MARKS
SKILLS = "tests.job_skills"


def numbers(count, **more):
    """Return so many items."""
    return ({"number": number, **more} for number in range(1, count + 1))


def steps_of(job):
    """Return a job's lanes as steps, in order."""
    return list(Step.objects.filter(run_id=job.pk).order_by("position"))


def carry_out(crew, job, *, passes=40):
    """Perform a job's lanes in this process, timers being due at once, until it has ended; return its progress."""
    for _ in range(passes):
        for step in steps_of(job):
            if step.state == "ready":
                crew.perform(step)
        if Run.objects.ended().filter(pk=job.pk).exists():
            return jobs.progress(job)
        ledger.ask("UPDATE execution_jobitem SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")
        for step in steps_of(job):
            hands.make_due(step)
        ledger.ask("SELECT * FROM execution_wake_v1()")
    raise AssertionError(f"the job has not ended after {passes} passes: {jobs.progress(job)}")


def take(claim, **more):
    """Record and take by hand."""
    return ledger.record_items(claim.step_id, claim.epoch, more.pop("done", []), at=None, takes=True)


def done(*positions, cost=None):
    """Return the outcomes of items that are done."""
    return [lanes.Outcome(position, "completed", b"j1", cost=cost) for position in positions]


class TestSpawn:
    """Opening a job."""

    def test_items_are_streamed(self):
        """A generator is taken in constant memory, in the order in which it gives."""
        jobs.spawn(job_skills.double, numbers(10))
        tracemalloc.start()
        job = jobs.spawn(job_skills.double, numbers(10_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5_000_000, f"{peak:,} bytes"
        assert job.item_count == JobItem.objects.filter(job_id=job.pk).count() == 10_000
        assert ledger.unpack(JobItem.objects.get(job_id=job.pk, position=10_000).input)["kwargs"] == {"number": 10_000}

    def test_all_or_none(self):
        """An item that is not right is named by its place, and nothing of the job is left."""
        with pytest.raises(InputInvalid, match="item 2502: number: .*'many'"):
            jobs.spawn(job_skills.double, itertools.chain(numbers(2501), [{"number": "many"}]))
        assert not JobItem.objects.exists()
        assert not Run.objects.exists()

    def test_callers_transaction(self):
        """A job that is spawned in a transaction which rolls back was never there, however far its items had come."""
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            jobs.spawn(job_skills.double, ({"number": 6 // (3 - number)} for number in range(4)))
        assert not Job.objects.exists()
        assert not JobItem.objects.exists()

    def test_items_may_be_read_from_the_same_database(self):
        """A generator that asks the database while it is streamed is served."""
        first = jobs.spawn(job_skills.double, numbers(5000))
        rows = JobItem.objects.filter(job_id=first.pk).order_by("position").values_list("position", flat=True)
        second = jobs.spawn(job_skills.double, ({"number": position} for position in rows.iterator(chunk_size=100)))
        assert second.item_count == 5000

    def test_key_spawns_once(self):
        """A second spawn under a key returns the first job and takes no item, also when both come at once."""
        first = jobs.spawn(job_skills.double, numbers(3), key="night")
        again = jobs.spawn(job_skills.double, iter(lambda: pytest.fail("an item was taken"), None), key="night")
        assert (first.created, again.created, again.pk) == (True, False, first.pk)
        both = side_by_side(*[lambda: jobs.spawn(job_skills.double, numbers(2000), key="at once")] * 2)
        assert {job.pk for job in both} == {both[0].pk}
        assert sorted(job.created for job in both) == [False, True]
        assert JobItem.objects.filter(job_id=both[0].pk).count() == 2000

    def test_options_reach_the_lanes(self):
        """Agent, priority, queue, budget and deadline are those of the run and of each of its lanes."""
        job = jobs.spawn(
            job_skills.paid, numbers(10), parallel=3, priority=5, queue="slow", budget="2.00", deadline="1h", tags=["a"]
        )
        assert [(step.priority, step.queue, step.reserve_cost) for step in steps_of(job)] == [
            (5, "slow", Decimal("0.10"))
        ] * 3
        assert (job.run.budget_cost, job.run.tags, job.run.step_count) == (Decimal("2.00"), ["a"], 3)
        assert job.run.deadline_at is not None

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"chunk": 0}, "chunk is 0"),
            ({"parallel": True}, "parallel is True"),
            ({"chunks": 3}, "did you mean 'chunk'"),
            ({"start_at": None}, "has no option 'start_at'"),
        ],
    )
    def test_wrong_options(self, options, words):
        """A wrong option is refused with its name, before an item is taken."""
        with pytest.raises(OptionInvalid, match=words):
            jobs.spawn(job_skills.double, numbers(3), **options)

    def test_wrong_items(self):
        """An item that is no mapping, a skill that counts a rate and a task that is no function are refused."""
        with pytest.raises(OptionInvalid, match="item 1 .* is 7; an item is a mapping"):
            jobs.spawn(job_skills.double, [7])
        with pytest.raises(OptionInvalid, match="which counts steps"):
            jobs.spawn(job_skills.limited, numbers(3))
        with pytest.raises(OptionInvalid, match="base=SkillTask"):
            jobs.spawn(job_skills.plain, numbers(3))
        with pytest.raises(JobUnknown, match="is no job, but a run of 'jobs.double'"):
            jobs.progress(job_skills.double.start(number=1).id)


class TestLanes:
    """Performing items."""

    def test_every_item_is_recorded_once(self, hands):
        """Results stand with their items, in order, and the log tells of the job twice and of no item."""
        job = jobs.spawn(job_skills.double, numbers(1000), chunk=64, parallel=3)
        progress = carry_out(hands, job)
        assert (progress.state, progress.completed_count, progress.left_count) == ("completed", 1000, 0)
        assert [(one.position, one.output) for one in jobs.results(job)] == [(n, 2 * n) for n in range(1, 1001)]
        events = Event.objects.filter(run_id=job.pk)
        assert events.get(kind="job.spawned").data["items"] == 1000
        assert events.get(kind="job.ended").data["completed"] == 1000
        assert events.count() < 20

    def test_no_items(self, hands):
        """A job without items completes, and its story says that there were none."""
        job = jobs.spawn(job_skills.double, [])
        assert carry_out(hands, job).state == "completed"
        told = [line.text for line in story.of(Run.objects.get(pk=job.pk)).lines]
        assert any("it was given no item, and completes at once" in text for text in told)

    def test_retries_per_item(self, hands):
        """A transient error is tried again later, a permanent one fails at once, and neither touches its neighbours."""
        items = [{"number": number} for number in (-5, 1, 2, 3, 4, 5, 6)]
        job = jobs.spawn(job_skills.flaky, items, chunk=10, parallel=1)
        hands.perform(steps_of(job)[0])
        progress = jobs.progress(job)
        assert (progress.completed_count, progress.failed_count, progress.retrying_count) == (4, 1, 2)
        assert steps_of(job)[0].waiting == "timer", "no slot is held until they are due"
        progress = carry_out(hands, job)
        assert (progress.state, progress.completed_count, progress.failed_count) == ("completed", 6, 1)
        found = {one.position: one for one in jobs.results(job)}
        assert [found[position].attempt_count for position in range(1, 8)] == [1, 1, 1, 2, 1, 1, 2]
        assert found[1].error["type"] == "ValueError"
        assert found[1].error["kind"] == "permanent"
        assert "below nothing" in found[1].error["traceback"]
        assert found[4].error is None

    def test_retry_opens_failed_items_again(self, hands):
        """Failed items of an ended job are done again, what completed is kept, and nothing else can be retried."""
        job = jobs.spawn(job_skills.flaky, [{"number": -1}, {"number": 1}], parallel=2)
        with pytest.raises(NotPossible, match="only what has ended"):
            jobs.retry(job)
        carry_out(hands, job)
        JobItem.objects.filter(job_id=job.pk, position=1).update(
            input=values.pack({"args": [], "kwargs": {"number": 7}}, place="").data
        )
        assert jobs.retry(job).run.state == "running"
        assert jobs.progress(job).left_count == 1
        progress = carry_out(hands, job)
        assert (progress.state, progress.completed_count, progress.failed_count) == ("completed", 2, 0)
        with pytest.raises(NotPossible, match="no failed item"):
            jobs.retry(job)

    def test_verbs_that_need_a_step(self, hands):
        """What an item cannot do fails it at once, with words that say what to do instead."""
        job = jobs.spawn(job_skills.sleepy, numbers(1))
        carry_out(hands, job)
        (failed,) = jobs.results(job)
        assert (failed.error["type"], failed.attempt_count) == ("StepNeeded", 1)
        assert "runs.start_many" in failed.error["message"]

    def test_lane_without_a_job(self, hands):
        """A run of the lanes' skill that is no lane fails with words, and is not tried again."""
        run = runs.start("execution.job_lane")
        assert "is no lane of a job" in hands.perform(run).error["message"]

    def test_large_values(self, hands):
        """Inputs and outputs that are kept by their hash come back, and stay while the items do."""
        text = random.Random(1).randbytes(100_000).hex()
        job = jobs.spawn(job_skills.echo, [{"text": text}, {"text": "b"}])
        carry_out(hands, job)
        assert [one.output for one in jobs.results(job)] == [text, "b"]
        Blob.objects.update(created_at="2020-01-01T00:00:00Z")
        retention.clean_up()
        assert [one.output for one in jobs.results(job)] == [text, "b"]
        Run.objects.update(ended_at="2020-01-01T00:00:00Z")
        retention.clean_up()
        assert not JobItem.objects.exists()
        assert not Blob.objects.exists()

    def test_fallback(self, hands):
        """Where the skill has a fallback, an item that failed for good is its."""
        job = jobs.spawn(job_skills.falls, numbers(3))
        carry_out(hands, job)
        assert [one.output for one in jobs.results(job)] == [2, 4, 6]


class TestTuning:
    """The chunk, tuned while a job runs."""

    def test_chunk_of_a_skill_counts_at_the_next_take(self, hands):
        """A lane takes as many items as are tuned now, whatever the job was spawned with."""
        job = jobs.spawn("jobs.double", numbers(100), chunk=50, parallel=1)
        claim = hands.take(Step.objects.get(run_id=job.run_id))
        assert len(take(claim).open) == 50
        tunables.tune("jobs.chunk", 3, subject="jobs.double")
        assert len(ledger.record_items(claim.step_id, claim.epoch, done(*range(1, 51)), at=None, takes=True).open) == 3

    def test_chunk_for_all_counts_at_the_next_spawn(self):
        """A job that says nothing of its own is spawned with what is tuned for all."""
        tunables.tune("jobs.chunk", 7)
        assert jobs.spawn("jobs.double", numbers(1)).chunk == 7


class TestOperating:
    """Pause, resume, cancel."""

    def test_pause_records_what_is_done(self, hands):
        """A paused lane leaves before its next item, with all before it recorded, and goes on where it left."""
        job = jobs.spawn(job_skills.pauses, numbers(10, job=""), chunk=10, parallel=1)
        JobItem.objects.filter(job_id=job.pk, position=4).update(
            input=values.pack({"args": [], "kwargs": {"number": 4, "job": str(job.pk)}}, place="").data
        )
        hands.perform(steps_of(job)[0])
        progress = jobs.progress(job)
        assert (progress.state, steps_of(job)[0].waiting) == ("paused", "paused")
        assert 4 <= progress.completed_count < 10
        jobs.resume(job)
        progress = carry_out(hands, job)
        assert (progress.state, progress.completed_count) == ("completed", 10)
        assert all(one.attempt_count == 1 for one in jobs.results(job))

    def test_cancel_leaves_the_rest_undone(self, hands):
        """What was recorded stays, the rest stays pending, and the log says how many."""
        job = jobs.spawn(job_skills.double, numbers(10), chunk=5, parallel=1)
        claim = hands.take(steps_of(job)[0])
        held = take(claim).open
        take(claim, done=done(*held))
        jobs.cancel(job, reason="enough")
        assert take(claim).control == "cancel"
        hands_finish = ledger.finish(claim, "cancelled")
        assert hands_finish.state == "cancelled"
        ended = Event.objects.get(run_id=job.pk, kind="job.ended").data
        assert (ended["state"], ended["completed"], ended["left"]) == ("cancelled", len(held), 10 - len(held))
        with pytest.raises(RunCancelled):
            jobs.wait(job)
        with pytest.raises(RunEnded):
            jobs.pause(job)
        with pytest.raises(NotPossible, match="spawn what is left"):
            jobs.retry(job)

    def test_lane_gives_way(self, hands, settings):
        """A lane that has had its time lines up again with what it holds, and nothing is done twice."""
        settings.CELERIAC = settings.CELERIAC | {"lane_seconds": 0.0, "inline_count": 1}
        job = jobs.spawn(job_skills.double, numbers(100), chunk=10, parallel=1)
        hands.perform(steps_of(job)[0])
        assert steps_of(job)[0].state == "ready"
        settings.CELERIAC = settings.CELERIAC | {"lane_seconds": 30.0}
        progress = carry_out(hands, job)
        assert progress.completed_count == 100
        assert all(one.attempt_count == 1 for one in jobs.results(job))


class TestMoney:
    """What items spend."""

    def test_reserved_in_the_item(self, hands):
        """An item that reserves for itself parks the job before it passes the budget, and is begun again when topped up."""
        job = jobs.spawn(job_skills.reserves, numbers(20), chunk=20, parallel=1, budget="1.00")
        hands.perform(steps_of(job)[0])
        run = Run.objects.get(pk=job.pk)
        assert (run.state, run.spent_cost, jobs.progress(job).completed_count) == ("parked", Decimal("0.90"), 3)
        budgets.top_up(run, cost="5.00")
        assert carry_out(hands, job).completed_count == 20
        assert Run.objects.get(pk=job.pk).spent_cost == Decimal("6.00")

    def test_fenced_spending_is_booked(self, hands):
        """What a lane had spent when it lost its claim is real money: it is booked late."""
        job = jobs.spawn(job_skills.loses, numbers(3), chunk=3, parallel=1, budget="1.00")
        hands.perform(steps_of(job)[0])
        assert Run.objects.get(pk=job.pk).spent_cost == Decimal("0.30")
        assert jobs.progress(job).completed_count == 2, "all but the one in whose midst it was lost"

    def test_charged_once_with_the_result(self, hands):
        """Each item's cost stands with it and is booked on the run once."""
        job = jobs.spawn(job_skills.paid, numbers(30), chunk=7, parallel=2, budget="5.00")
        progress = carry_out(hands, job)
        run = Run.objects.get(pk=job.pk)
        assert (run.spent_cost, run.spent_tokens, run.reserved_cost) == (Decimal("3.00"), 210, 0)
        assert (progress.cost, progress.tokens) == (Decimal("3.00"), 210)
        assert {(one.cost, one.tokens) for one in jobs.results(job)} == {(Decimal("0.10"), 7)}

    def test_budget_is_never_passed(self, hands):
        """The job parks with what the budget holds done and no more, and goes on when it is topped up."""
        job = jobs.spawn(job_skills.paid, numbers(30), chunk=8, parallel=2, budget="1.05")
        for step in steps_of(job):
            hands.perform(step)
        run = Run.objects.get(pk=job.pk)
        assert (run.state, run.waiting) == ("parked", "budget")
        assert jobs.progress(job).completed_count == 10
        assert run.spent_cost + run.reserved_cost <= Decimal("1.05")
        said = why.explain(run).reasons[0]
        assert (
            "the budget does not hold the 20 items of the job that are left, about 2.00 and 140 tokens: " in said.text
        )
        assert "missing: 1.95" in said.text
        assert said.moves == [f"manage.py topup {run.id} --cost 1.95 (less does as many items as it pays for)"]
        budgets.top_up(run, cost="5.00")
        assert carry_out(hands, job).completed_count == 30
        assert Run.objects.get(pk=job.pk).spent_cost == Decimal("3.00")


class TestFence:
    """Who holds an item."""

    def test_stale_lane_records_nothing(self, hands):
        """After its step was given back a lane records nothing; what it spent is booked late, and the next one holds the same."""
        job = jobs.spawn(job_skills.double, numbers(20), chunk=5, parallel=1, budget="1.00")
        claim = hands.take(steps_of(job)[0])
        held = take(claim).open
        assert hands.lose(claim) == "ready"
        assert take(claim, done=done(*held)).verdict == "stale"
        assert not JobItem.objects.exclude(state="pending").exists()
        assert take(hands.take(steps_of(job)[0])).open == held

    def test_repeated_record_changes_nothing(self, hands):
        """A record whose answer was lost is said again: nothing is charged or counted twice."""
        job = jobs.spawn(job_skills.double, numbers(20), chunk=5, parallel=1, budget="9.00")
        claim = hands.take(steps_of(job)[0])
        held = take(claim).open
        first, again = (take(claim, done=done(*held, cost=Decimal("0.10"))) for _ in range(2))
        assert again.open == first.open
        progress = jobs.progress(job)
        assert (progress.completed_count, progress.cost) == (len(held), Decimal("0.10") * len(held))
        assert set(JobItem.objects.filter(state="completed").values_list("attempt_count", flat=True)) == {1}

    def test_long_item_holds_up_nobody(self, hands):
        """What a held-up lane has not begun is taken over by others, and the late lane records only what is still its."""
        job = jobs.spawn(job_skills.double, numbers(16), chunk=16, parallel=2)
        slow, quick = (hands.take(step) for step in steps_of(job))
        held = take(slow).open
        got = take(quick).open
        assert take(quick, done=done(*got)).open, "there is more that nobody has had"
        while mine := take(quick, done=done(*(JobLane.objects.get(pk=quick.step_id).open))).open:
            assert not set(mine) & set(held)
        ledger.ask("UPDATE execution_joblane SET heard_at = heard_at - interval '2 seconds'")
        stolen = take(quick).open
        assert stolen
        assert set(stolen) < set(held)
        assert held[0] not in stolen, "the one that it may have begun stays with it"
        answer = ledger.record_items(slow.step_id, slow.epoch, done(*held), at=None, takes=False)
        assert answer.open == []
        assert set(JobItem.objects.filter(state="pending").values_list("position", flat=True)) == set(stolen)


@pytest.mark.parametrize("seed", range(6))
def test_any_interleaving_records_each_item_once(hands, seed):
    """Lanes that take, record, fail, repeat themselves, die and come back late in any order end with each item once."""
    chance = random.Random(seed)
    count = chance.randint(1, 120)
    job = jobs.spawn(job_skills.double, numbers(count), chunk=chance.randint(1, 20), parallel=chance.randint(1, 4))
    claims = {step.id: hands.take(step) for step in steps_of(job)}
    stale, last = [], {}
    for _ in range(2000):
        step_id = chance.choice(list(claims))
        claim = claims[step_id]
        move = chance.random()
        if move < 0.08:
            hands.lose(claim)
            stale.append((claim, JobLane.objects.get(pk=step_id).open))
            claims[step_id] = hands.take(step_id)
        elif move < 0.16 and stale:
            old, held = chance.choice(stale)
            assert take(old, done=done(*held)).verdict == "stale"
        elif move < 0.24 and step_id in last:
            take(claim, done=last[step_id])
        elif move < 0.30:
            ledger.ask("UPDATE execution_joblane SET heard_at = heard_at - interval '2 seconds'")
            ledger.ask("UPDATE execution_jobitem SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")
        else:
            held = JobLane.objects.get(pk=step_id).open
            part = held[: chance.randint(0, len(held))]
            again = lanes.Outcome(0, "pending", None, '{"kind": "transient"}', 60.0)
            outcomes = [
                again._replace(position=position) if chance.random() < 0.2 else done(position)[0] for position in part
            ]
            last[step_id] = outcomes
            take(claim, done=outcomes)
        if not JobItem.objects.filter(job_id=job.pk, state="pending").exists():
            break
        held = [position for lane in JobLane.objects.all() for position in lane.open]
        assert len(held) == len(set(held)), "no item is in two hands"
    assert not JobItem.objects.filter(job_id=job.pk, state="pending").exists()
    progress = jobs.progress(job)
    assert (progress.completed_count, progress.left_count, progress.taken_count) == (count, 0, 0)


class TestWorkers:
    """Real workers, and what becomes of their items when they die."""

    @pytest.mark.slow
    def test_killed_in_mid_chunk(self, workers, grown_server, tmp_path, eventually):
        """Workers die by kill -9 in mid-chunk: every item is recorded once, and few are performed again."""
        count = 600
        job = jobs.spawn(job_skills.mark, numbers(count, folder=str(tmp_path), pause=0.01), chunk=100, parallel=2)
        for share in (50, 200):
            worker = workers(skills=SKILLS, concurrency=2)
            eventually(lambda share=share: jobs.progress(job).completed_count > share, timeout=30)
            worker.kill()
        workers(skills=SKILLS, concurrency=2)
        progress = jobs.wait(job, timeout=60)
        assert (progress.completed_count, progress.failed_count) == (count, 0)
        assert [one.output for one in jobs.results(job)] == list(range(1, count + 1))
        performed = [noted(tmp_path, str(number)) for number in range(1, count + 1)]
        assert min(performed) == 1
        # Two deaths of two lanes each, which had spoken a quarter of a second before, at a hundred items a second.
        assert sum(performed) - count < 4 * 60, f"{sum(performed) - count} items were performed again"

    @pytest.mark.slow
    def test_item_that_kills_its_process(self, workers, tmp_path):
        """An item over which its process dies again and again fails alone; its neighbours are done."""
        job = jobs.spawn(job_skills.deadly, numbers(40, folder=str(tmp_path)), chunk=20, parallel=1)
        workers(skills=SKILLS, concurrency=1)
        progress = jobs.wait(job, timeout=60)
        assert (progress.completed_count, progress.failed_count) == (39, 1)
        (failed,) = jobs.results(job, states=["failed"])
        assert (failed.position, failed.error["type"]) == (7, "PoisonItem")
        assert noted(tmp_path, "7") <= 3

    def test_long_item_does_not_hold_its_chunk(self, workers, tmp_path, eventually):
        """While one item lasts, everything else is done, what shared its chunk as well."""
        job = jobs.spawn(job_skills.wait, numbers(400, folder=str(tmp_path)), chunk=200, parallel=2)
        workers(skills=SKILLS, concurrency=2)
        eventually(lambda: jobs.progress(job).completed_count == 399, timeout=30, message="all but one are done")
        (tmp_path / "go").touch()
        assert jobs.wait(job, timeout=20).completed_count == 400

    def test_two_lanes_share_the_work(self, workers, tmp_path, eventually):
        """Rate and time left are told while a job is carried out, and lanes work side by side."""
        job = jobs.spawn(job_skills.mark, numbers(300, folder=str(tmp_path), pause=0.01), chunk=20, parallel=2)
        workers(skills=SKILLS, concurrency=2)
        eventually(lambda: jobs.progress(job).completed_count > 50, timeout=30)
        progress = jobs.progress(job)
        assert 10 < progress.rate < 400
        assert progress.seconds_left is not None
        jobs.wait(job, timeout=30)
        assert min(JobLane.objects.filter(job_id=job.pk).values_list("completed_count", flat=True)) > 20
