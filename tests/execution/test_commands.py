"""The command line: one document with --json, errors in words, statuses that tell, ids by their beginning."""

import io
import json
import re
import uuid
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from execution import agents, runs
from execution.models import Checkpoint, Effect, Level, Run, Step, Worker
from tests import command_skills
from tests.conftest import wait_until

SKILLS = "tests.command_skills"


def typed(*line, **options):
    """Type a command and return what it printed."""
    out = io.StringIO()
    call_command(*[str(word) for word in line], stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue().strip()


def document(*line):
    """Type a command with --json and return its one document."""
    return json.loads(typed(*line, "--json"))


def refused(*line, status=1):
    """Type a command that must be refused, and return why."""
    with pytest.raises(CommandError) as caught:
        typed(*line)
    assert caught.value.returncode == status
    return str(caught.value)


def state_of(run):
    """Read a run's state."""
    return Run.objects.values_list("state", flat=True).get(pk=getattr(run, "id", run))


@pytest.mark.django_db
class TestStart:
    """Opening a run from the command line."""

    def test_id_alone_is_printed(self):
        """Standard output holds the id and nothing else, for scripts."""
        run_id = uuid.UUID(typed("start", "commands.report", "--input", "topic=celery"))
        assert Run.objects.get(pk=run_id).workflow == "commands.report"

    def test_values_are_json_or_text(self):
        """A value is read as its parameter's type wants it: 2024 is a topic and 3 is a number."""
        found = document("start", "commands.report", "--input", "topic=2024", "pages=3")
        told = document("run", found["run"])
        assert told["lines"][0]["facts"]["input"]["kwargs"] == {"topic": "2024", "pages": 3}

    def test_input_as_json(self):
        """A whole input is one JSON object, and single values go over it."""
        found = document("start", "commands.report", "--input-json", '{"topic": "a", "pages": 1}', "--input", "pages=2")
        told = document("run", found["run"])
        assert told["lines"][0]["facts"]["input"]["kwargs"] == {"topic": "a", "pages": 2}

    def test_options_reach_the_run(self):
        """Agent, key, priority, queue, tags, budget, deadline and start are taken over."""
        from execution.models import Agent

        Agent.objects.create(name="scout")
        run_id = document(
            "start", "commands.report", "--input", "topic=a", "--agent", "scout", "--key", "k", "--priority", "5",
            "--queue", "slow", "--tag", "one", "--tag", "two", "--budget", "cost=2.50,tokens=100", "--deadline", "6h",
            "--at", "10m", "--correlation", "order-7",
        )["run"]  # fmt: skip
        run = Run.objects.select_related("agent").get(pk=run_id)
        assert (run.agent.name, run.key, run.priority, run.tags) == ("scout", "k", 5, ["one", "two"])
        assert (str(run.budget_cost), run.budget_tokens, run.correlation_id) == ("2.500000", 100, "order-7")
        assert run.deadline_at > run.start_at > timezone.now() + timedelta(minutes=9)
        assert run.steps.get().queue == "slow"

    def test_key_used_again(self):
        """The second start under a key prints the first run's id and says so."""
        first = document("start", "commands.report", "--input", "topic=a", "--key", "k")
        again = document("start", "commands.report", "--input", "topic=a", "--key", "k")
        assert (first["created"], again["created"], first["run"]) == (True, False, again["run"])
        assert first["run"] in refused("start", "commands.report", "--input", "topic=b", "--key", "k")

    @pytest.mark.parametrize(
        ("line", "word"),
        [
            (["commands.reprt"], "did you mean 'commands.report'"),
            (["commands.report"], "topic"),
            (["commands.report", "--input", "topic=a", "pages=many"], "pages"),
            (["commands.report", "--input", "topic"], "name=value"),
            (["commands.report", "--input-json", "{bad"], "is not JSON"),
            (["commands.report", "--input-json", "[1]"], "must be an object"),
            (["commands.report", "--input", "topic=a", "--agent", "nobody"], "no agent named 'nobody'"),
            (["commands.report", "--input", "topic=a", "--at", "yesterday"], "--at is 'yesterday'"),
            (["commands.report", "--input", "topic=a", "--deadline", "2030-13-01"], "--deadline"),
            (["commands.report", "--input", "topic=a", "--budget", "much"], "'much'"),
            (["commands.report", "--input", "topic=a", "--budget", "tokens=few"], "'few'"),
            (["commands.report", "--input", "topic=a", "--priority", "99999"], "priority is 99999"),
            (["commands.costly", "--budget", "0.50"], "below the 1.00"),
        ],
    )
    def test_bad_input(self, line, word):
        """What is wrong is said in a sentence, and nothing is opened."""
        assert word in refused("start", *line)
        assert not Run.objects.exists()


@pytest.mark.django_db
class TestIds:
    """Runs are found by their id or its beginning."""

    def test_beginning_of_an_id(self):
        """Enough of an id to tell it from the others will do, with hyphens or without."""
        run = Run.objects.create(id="aabbccdd-0000-7000-8000-000000000001", agent_id=agents.id_of(None), workflow="x")
        Run.objects.create(id="aabbccdd-1111-7000-8000-000000000002", agent_id=agents.id_of(None), workflow="x")
        for text in ("aabbccdd-0", "aabbccdd0000", "AABBCCDD-0000-7000", str(run.id)):
            assert document("why", text)["run_id"] == str(run.id)

    def test_ambiguous_beginning(self):
        """A beginning that two ids share is refused with both."""
        for last in (1, 2):
            Run.objects.create(
                id=f"aabbccdd-0000-7000-8000-00000000000{last}", agent_id=agents.id_of(None), workflow="x"
            )
        why = refused("why", "aabbccdd")
        assert "aabbccdd-0000-7000-8000-000000000001" in why
        assert "aabbccdd-0000-7000-8000-000000000002" in why

    def test_step_stands_for_its_run(self):
        """The id of a step leads to its run."""
        run = command_skills.ask.start()
        step = Step.objects.create(run_id=run.id, agent_id=run.agent_id, name="second", skill="x")
        assert document("why", step.id)["run_id"] == str(run.id)

    def test_celery_id(self):
        """An id that a Celery caller chose is found as well."""
        command_skills.ask.apply_async(task_id="my own id")
        assert document("why", "my own id")["skill"] == "commands.ask"

    @pytest.mark.parametrize("verb", ["run", "why", "cancel", "pause", "resume", "retry", "fork", "approve", "watch"])
    def test_unknown_run(self, verb):
        """An unknown run is said to be so by every command."""
        assert "there is no run" in refused(verb, "00000000-0000-7000-8000-000000000000")
        assert "too short" in refused(verb, "0199")


@pytest.mark.django_db
class TestVerbs:
    """What an operator does to a run is done by the verbs of `runs`, with who and why in the log."""

    def test_pause_and_resume(self):
        """A paused run says by whom, and goes on."""
        run = command_skills.ask.start()
        assert document("pause", run.id, "--reason", "a look", "--by", "ada")["state"] == "paused"
        assert "paused by ada" in typed("why", run.id)
        assert "goes on" in typed("resume", run.id)
        assert state_of(run) == "pending"
        assert "only a paused or parked run" in refused("resume", run.id)

    def test_cancel(self):
        """A run that nobody performs is cancelled at once; twice is refused."""
        run = command_skills.ask.start()
        assert typed("cancel", run.id, "--reason", "no more") == f"run {run.id} is cancelled"
        assert "it cannot be cancelled" in refused("cancel", run.id)
        assert "no more" in typed("why", run.id)

    def test_retry_of_a_run_that_did_not_fail(self):
        """Only a failed run is retried."""
        assert "only a failed run" in refused("retry", command_skills.ask.start().id)

    def test_fork_from_a_step_that_is_not_there(self):
        """A fork names the steps there are; a parameter that is not the skill's is refused."""
        run = command_skills.ask.start()
        assert "has no step 'other'; its steps: commands.ask" in refused("fork", run.id, "--step", "other")
        assert "no checkpoint 'x'" in refused("fork", run.id, "--before", "x")
        assert "tiemout" in refused("fork", run.id, "--input", "tiemout=1h")

    def test_fork_with_other_input(self):
        """A fork keeps the input but for what is given."""
        run = runs.get(command_skills.report.delay("a", 1).id)
        forked = typed("fork", run.id, "--input", "pages=2")
        told = document("run", forked)
        assert told["run"]["forked_from_id"] == str(run.id)
        assert told["lines"][0]["facts"]["input"]["kwargs"] == {"topic": "a", "pages": 2}

    def test_signal_that_comes_early(self):
        """An early signal is kept, and one for an ended run refused."""
        run = command_skills.ask.start()
        assert document("signal", run.id, "approval", "--data", '{"yes": true}')["answer"] == "kept"
        runs.cancel(run)
        assert "cannot take the signal" in refused("signal", run.id, "approval")

    def test_approve(self):
        """A run above its agent's level goes on when a person approves it."""
        agents.id_of(None)
        agents.set_level("default", Level.ADVISOR)
        run = command_skills.guarded.start()
        Step.objects.filter(pk=run.id).update(state="parked", waiting="autonomy")
        Run.objects.filter(pk=run.id).update(state="parked", waiting="autonomy")
        assert f"manage.py approve {run.id}" in typed("why", run.id)
        assert document("approve", run.id, "--by", "ada")["state"] == "pending"
        assert Step.objects.get(pk=run.id).is_approved

    def test_topup(self):
        """A budget is raised by what is given; nothing given, or no budget, is refused."""
        run = command_skills.costly.start(budget="2.50")
        assert "say how much" in refused("topup", run.id)
        assert document("topup", run.id, "--cost", "1.25")["budget_cost"] == "3.750000"
        assert "nothing limits it" in refused("topup", command_skills.ask.start().id, "--cost", "1")
        assert "less than nothing" in refused("topup", run.id, "--cost=-1")

    def test_effect(self):
        """An effect is decided by its token; an unknown token is answered with those there are."""
        run = command_skills.publish.start()
        Effect.objects.create(step_id=run.id, token="effect:post", key="k", policy="ask", epoch=1)
        Run.objects.filter(pk=run.id).update(state="parked", waiting="effect")
        assert "its effects: 'post'" in refused("effect", run.id, "pots", "done")
        assert document("effect", run.id, "post", "done", "--receipt", '{"id": 7}', "--by", "ada")["decision"] == "done"
        assert Effect.objects.get().decided_by == "ada"
        assert "nothing to decide" in refused("effect", run.id, "post", "again")


@pytest.mark.django_db
class TestLists:
    """Runs, workers and skills in lists."""

    def test_filters(self):
        """Each filter leaves what fits."""
        asked = command_skills.ask.start(tags=["a", "b"], correlation_id="order-7")
        report = command_skills.report.start(topic="x")
        Step.objects.filter(pk=asked.id).update(state="waiting", waiting="signal", awaits=["approval"])
        runs.cancel(report)
        for line, expected in (
            (["--state", "cancelled"], [report]),
            (["--state", "cancelled", "--state", "pending"], [report, asked]),
            (["--skill", "commands.ask"], [asked]),
            (["--skill", "commands."], [report, asked]),
            (["--tag", "a", "--tag", "b"], [asked]),
            (["--waiting", "signal"], [asked]),
            (["--correlation", "order-7"], [asked]),
            (["--agent", "default"], [report, asked]),
            (["--since", "1h"], [report, asked]),
            (["--since", "2999-01-01"], []),
        ):
            found = [row["id"] for row in document("runs", *line)["runs"]]
            assert found == [str(run.id) for run in expected], line

    def test_limit(self):
        """More runs than the limit are announced."""
        for _ in range(3):
            command_skills.ask.start()
        found = document("runs", "--limit", "2")
        assert (len(found["runs"]), found["is_more"]) == (2, True)
        assert "at least 1" in refused("runs", "--limit", "0")

    def test_bad_filters(self):
        """A filter that names nothing is refused, with what there is."""
        assert "no agent named" in refused("runs", "--agent", "nobody")
        assert "--since" in refused("runs", "--since", "then")
        assert "invalid choice" in refused("runs", "--waiting", "godot")

    def test_why_in_short_and_progress(self):
        """Each row says why and how many checkpoints there are, in a fixed number of queries."""
        run = command_skills.ask.start()
        Step.objects.filter(pk=run.id).update(state="waiting", waiting="signal", awaits=["approval"])
        Checkpoint.objects.create(step_id=run.id, token="a", kind="once", position=1, epoch=1, size=30)
        (row,) = document("runs")["runs"]
        assert (row["why"], row["checkpoint_count"]) == ("signal approval", 1)
        assert "signal approval" in typed("runs")
        assert document("runs", "--stats") == {"checkpoints": {"count": 1, "total_bytes": 30, "mean_bytes": 30.0}}

    def test_skills(self):
        """Skills come with their parameters and the options that say something."""
        (found,) = document("skills", "commands.report")["skills"]
        assert found["signature"] == "(topic: str, pages: int = 2)"
        assert found["options"] == {"timebox": "6h"}
        assert "commands.ask(timeout: str | None = None)" in typed("skills")
        assert "did you mean" in refused("skills", "commands.aks")

    def test_workers_when_none_lives(self):
        """Without a worker the status is 1."""
        with pytest.raises(SystemExit) as caught:
            typed("workers")
        assert caught.value.code == 1

    @pytest.mark.parametrize(
        ("given", "state"),
        [
            ({}, "alive"),
            ({"is_draining": True}, "draining"),
            ({"missing_count": 1}, "unlocked"),
            ({"seen_at": timezone.now() - timedelta(minutes=1)}, "silent"),
        ],
    )
    def test_workers_by_state(self, given, state):
        """A worker's state tells how it is."""
        Worker.objects.create(hostname="w1@host", pid=1, slot_count=2, lock_number=1, **given)
        assert document("workers")["workers"][0]["state"] == state


@pytest.mark.django_db
class TestLeaving:
    """What a person leaves, and what is not there."""

    def test_watch_left_by_a_key(self, monkeypatch):
        """Ctrl-C ends the watching and not the run."""
        from execution.management.commands._watching import Watcher

        def interrupt(self):
            raise KeyboardInterrupt

        monkeypatch.setattr(Watcher, "_pause", interrupt)
        run = command_skills.ask.start()
        assert "opened as commands.ask" in typed("watch", run.id)
        assert state_of(run) == "pending"

    def test_database_that_is_away(self, monkeypatch):
        """A database that does not answer is a sentence that names the doctor."""
        from django.db import OperationalError

        def away(*_, **__):
            raise OperationalError("connection refused")

        monkeypatch.setattr(runs, "get", away)
        assert "the database does not answer: connection refused; `manage.py doctor`" in refused("why", "x")


class TestWithWorkers:
    """Commands on runs that real workers perform."""

    def test_watch_until_the_end(self, workers):
        """Watching tells each checkpoint as a line, and ends with the run."""
        workers(skills=SKILLS)
        out = typed("start", "commands.report", "--input", "topic=a", "--watch", "--timeout", "30s")
        assert "checkpoint 'page-1'" in out
        assert "spent 0.25 USD" in out

    def test_watch_says_what_is_waited_for(self, workers):
        """A run that waits says for what, and the time is over with status 5."""
        workers(skills=SKILLS)
        run = command_skills.ask.start()
        wait_until(lambda: run.steps.filter(waiting="signal").exists())
        assert "has not ended in 1s" in refused("watch", run.id, "--timeout", "1s", status=5)
        assert "moved by" in typed("why", run.id)
        assert document("signal", run.id, "approval", "--data", "yes")["answer"] == "woken"
        assert document("watch", run.id, "--timeout", "30s")["result"] == "yes"

    def test_watch_of_a_failure_and_its_retry(self, workers, tmp_path):
        """A failed run leaves with status 3; retried, it goes on from its checkpoint."""
        workers(skills=SKILLS)
        fix = tmp_path / "fix"
        run = command_skills.broken.start(fix=str(fix))
        assert "ValueError: this cannot work" in refused("watch", run.id, "--timeout", "30s", status=3)
        fix.touch()
        assert "goes on from its failed step" in typed("retry", run.id)
        assert document("watch", run.id, "--timeout", "30s")["result"] == "mended"

    def test_budget_that_is_topped_up(self, workers):
        """The command that `why` names lets a parked run go on."""
        workers(skills=SKILLS)
        run = command_skills.costly.start(budget="2.50")
        wait_until(lambda: state_of(run) == "parked")
        (move,) = document("why", run.id)["reasons"][0]["moves"]
        assert move == f"manage.py topup {run.id} --cost 0.50 (or more)"
        typed(*move.removeprefix("manage.py ").removesuffix(" (or more)").split())
        assert document("watch", run.id, "--timeout", "30s")["result"] == 3

    def test_worker_shows_what_it_performs(self, workers, tmp_path):
        """What a worker performs is listed; the cancellation of a performed run is asked for, then done."""
        workers("busy", skills=SKILLS, concurrency=1)
        run = command_skills.slow.start(gate=str(tmp_path / "gate"))
        wait_until(lambda: state_of(run) == "running" and Worker.objects.exists())
        (row,) = document("workers")["workers"]
        assert row["worker"].startswith("busy@")
        assert (row["slots"], row["queues"], row["performs"][0]["run"]) == (1, ["default"], str(run.id))
        assert "performed by busy@" in typed("why", run.id)
        assert "is asked for: 1 step still performed" in typed("cancel", run.id)
        assert "was cancelled" in refused("watch", run.id, "--timeout", "45s", status=4)


@pytest.mark.django_db(transaction=True)
class TestJobs:
    """Jobs from the command line."""

    @pytest.fixture
    def lines(self, tmp_path):
        """Write a file of three items."""
        path = tmp_path / "topics.jsonl"
        path.write_text('{"topic": "a"}\n\n{"topic": "b", "pages": 2}\n{"topic": "c"}\n')
        return path

    def test_spawn_and_show(self, lines):
        """A file of JSON lines becomes a job, once under its key; standard output holds its id alone."""
        job = typed("jobs", "spawn", "commands.report", lines, "--key", "night", "--parallel", "2", "--budget", "5.00")
        again = document("jobs", "spawn", "commands.report", lines, "--key", "night")
        assert again == {
            "job": job, "created": False, "items": 3, "lanes": 2, "skill": "commands.report", "state": "pending",
        }  # fmt: skip
        shown = document("jobs", "show", job[:18])
        assert (shown["item_count"], shown["left_count"], shown["seconds_left"]) == (3, 3, None)
        assert "0 of 3 items (0 %)" in typed("jobs", "show", job)
        assert job in typed("jobs", "list")
        assert document("jobs", "list")["jobs"][0]["job_id"] == job

    def test_file_without_items(self, tmp_path):
        """An empty file makes a job that completes with nothing done, and that is said."""
        path = tmp_path / "nothing.jsonl"
        path.write_text("\n")
        job = typed("jobs", "spawn", "commands.report", path)
        assert "it has no items" in typed("jobs", "show", job)
        assert "it was given no item" in typed("run", job)

    def test_operating(self, lines):
        """Pause, resume and cancel do as they say, and retry says why it cannot."""
        job = typed("jobs", "spawn", "commands.report", lines)
        assert "is paused" in typed("jobs", "pause", job, "--reason", "lunch")
        assert document("jobs", "resume", job)["before"] == "paused"
        assert document("jobs", "cancel", job)["state"] == "cancelled"
        assert "only what has ended can be retried" in refused("jobs", "retry", job)
        assert "it cannot be paused" in refused("jobs", "pause", job)

    def test_results_are_lines(self, lines):
        """What became of items is one JSON object a line."""
        job = typed("jobs", "spawn", "commands.report", lines)
        assert typed("jobs", "results", job) == ""
        found = [json.loads(line) for line in typed("jobs", "results", job, "--state", "pending").splitlines()]
        assert [(one["position"], one["state"]) for one in found] == [(1, "pending"), (2, "pending"), (3, "pending")]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('{"topic": "a"}\n{"topic"', "line 2 of .* is not JSON"),
            ('["a"]', "line 1 of .* an item is a JSON object"),
            ('{"topic": "a", "pages": "many"}', "item 1: pages: .*'many'"),
        ],
    )
    def test_wrong_lines(self, tmp_path, text, words):
        """A line that is no item is named, and nothing is spawned."""
        path = tmp_path / "wrong.jsonl"
        path.write_text(text)
        assert re.search(words, refused("jobs", "spawn", "commands.report", path))
        assert not Run.objects.exists()

    def test_unknown_job(self, tmp_path):
        """A run that is no job, and a file that is not there, are named."""
        run = typed("start", "commands.report", "--input", "topic=celery")
        assert "is no job, but a run of 'commands.report'" in refused("jobs", "show", run)
        assert "cannot be read" in refused("jobs", "spawn", "commands.report", tmp_path / "none")
