"""Provenance: exactly one record for each finished step, lineage that is exact, and formats that others read."""

import hashlib
import json
from decimal import Decimal

import networkx as nx
import pytest
from celery import chord
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from execution import events, ids, ledger, provenance, provenance_formats, runs
from execution.models import EventReader, Lineage, Provenance, Run, Step, Worker
from tests.execution.test_commands import document, refused, typed
from tests.hands import finish, graph, open_run, side_by_side, spend
from tests.skills import add, total

pytestmark = pytest.mark.django_db(transaction=True)


def sha(value):
    """Return the hash of a value's JSON."""
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).digest()


def edges():
    """Return all edges."""
    return set(Lineage.objects.values_list("step_id", "parent_id", "relation"))


class TestRecord:
    """A finished step has one record, made of what the ledger knows."""

    def test_what_a_record_holds(self, hands):
        """Skill, version, hashes, attempt, worker, cost and models are copied."""
        Worker.objects.create(id=hands.worker_id, hostname="host-1", pid=1, lock_number=1, queues=["default"])
        run = open_run("tests.add", {"left": 1, "right": 2})
        lost = hands.take(run)
        ledger.record(run.id, lost.epoch, [spend("a", "0.10", 10)])
        hands.lose(lost)
        claim = hands.take(run)
        ledger.record(run.id, claim.epoch, [spend("b", "0.25", 5)])
        finish(claim, value={"sum": 3}, version="v7")
        assert provenance.record_all() > 0
        record = Provenance.objects.get()
        assert (record.step_id, record.run_id, record.skill, record.version) == (run.id, run.id, "tests.add", "v7")
        assert (record.attempt_id, record.attempt_count, record.worker) == (claim.attempt_id, 2, "host-1")
        assert (record.cost, record.tokens, record.state) == (Decimal("0.35"), 15, "completed")
        assert bytes(record.output_hash) == sha({"sum": 3})
        assert provenance.by_hash(sha({"sum": 3})).get() == record
        assert bytes(record.input_hash) == sha({"args": [], "kwargs": {"left": 1, "right": 2}})

    def test_hash_is_of_the_content(self, hands):
        """A value has one hash, whether it is stored as it is, compressed, or as a blob."""
        for size in (10, 10_000, 3_000_000):
            value = (
                "".join(chr(33 + (i * 7919) % 90) for i in range(size))
                if size < 1e6
                else [ids.new().hex for _ in range(30_000)]
            )
            run = open_run()
            finish(hands.take(run), value=value)
            provenance.catch_up(run)
            assert bytes(Provenance.objects.get(pk=run.id).output_hash) == sha(value)

    def test_models_stand_with_what_they_cost(self, stage):
        """A spend may name its model, and the record sums up each."""

        def thinking(ctx):
            for number in range(3):
                ctx.spend(f"s{number}", cost="0.10", tokens=10, model="small" if number else "large")
            ctx.spend("unnamed", cost="1")

        run = stage.open(thinking)
        stage.finish(run)
        provenance.record_all()
        found = Provenance.objects.get(pk=run.id).models_used
        assert [(one["model"], Decimal(one["cost"]), one["tokens"]) for one in found] == [
            ("large", Decimal("0.10"), 10),
            ("small", Decimal("0.20"), 20),
        ]

    def test_finished_again_is_one_record(self, stage):
        """A step that failed, was retried and completed has one record: of its completion."""
        run = stage.open(lambda ctx: 2 if ctx.attempt > 1 else 1 / 0)
        stage.play(run)
        provenance.record_all()
        assert Provenance.objects.get().state == "failed"
        runs.retry(run)
        stage.finish(run)
        provenance.record_all()
        record = Provenance.objects.get()
        assert (record.state, record.attempt_count, bytes(record.output_hash)) == ("completed", 2, sha(2))

    def test_steps_without_an_ending_of_their_own(self, hands):
        """Steps that are cancelled beside others are recorded too; unfinished ones are not."""
        run, steps = graph([[], [0], [0]])
        finish(hands.take(steps[0]), value=1)
        provenance.record_all()
        assert Provenance.objects.count() == 1
        runs.cancel(run)
        provenance.record_all()
        states = dict(Provenance.objects.values_list("name", "state"))
        assert states == {"step-0": "completed", "step-1": "cancelled", "step-2": "cancelled"}

    def test_recorders_side_by_side_and_again(self, stage):
        """Cycles and catch-ups at once, and a log that is read again, leave one record each."""
        for number in range(12):
            stage.play(runs.start("tests.add", {"left": number}))
        side_by_side(*[provenance.record_all, provenance.catch_up] * 3)
        EventReader.objects.update(cursor={})
        provenance.record_all()
        assert Provenance.objects.count() == Run.objects.count() == 12
        assert provenance.catch_up() == 0

    def test_catch_up_needs_no_log(self, stage):
        """What the log no longer holds is found in the ledger."""
        stage.play(runs.start("tests.add", {"left": 1}))
        EventReader.objects.create(name=provenance.READER, cursor=events.read(limit=10_000).cursor.stored())
        assert provenance.record_all() == 0
        assert provenance.catch_up() == 1


class TestParents:
    """A record's parents are what the ledger knows of where its step came from."""

    def test_needs(self, hands):
        """A step of a graph comes from those that it needs."""
        _, steps = graph([[], [], [0, 1]])
        for step in steps:
            finish(hands.take(step), value=1)
        provenance.record_all()
        assert edges() == {(steps[2].id, steps[n].id, "needs") for n in (0, 1)}

    def test_call_and_fork(self, stage):
        """A child comes from the step that called it, a fork from the step it was forked from."""

        def calling(ctx):
            return ctx.begin("tests.add", left=1) and None

        run = stage.skill(calling).start()
        stage.play(run)
        child = Run.objects.get(parent_run_id=run.id)
        stage.play(child)
        fork = runs.fork(child)
        stage.play(fork)
        provenance.record_all()
        assert edges() == {(child.id, run.id, "call"), (fork.id, child.id, "fork")}
        assert [r.step_id for r in provenance.descendants(run.id)] == [child.id, fork.id]
        assert {r.step_id for r in provenance.ancestors(fork.id)} == {run.id, child.id}

    def test_chain_and_chord(self, stage):
        """A chain's step comes from the one before it, a chord's body from every part of its header."""
        chained = (add.s(1, 2) | add.s(3)).apply_async()
        together = chord([add.s(1, 1), add.s(2, 2)])(total.s())
        while ready := Step.objects.filter(state="ready").first():
            stage.hands.perform(ready)
        provenance.record_all()
        parts = [ids.from_celery(part.id) for part in together.parent.results]
        first, last, body = (ids.from_celery(result.id) for result in (chained.parent, chained, together))
        assert edges() == {(last, first, "task"), *((body, part, "chord") for part in parts)}

    @hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=40), st.integers(0, 14))
    def test_closure_is_exact(self, pairs, start):
        """On any graph, circles too, the closure is what networkx finds."""
        names = [ids.new() for _ in range(15)]
        plain = nx.DiGraph()
        plain.add_nodes_from(names)
        plain.add_edges_from((names[a], names[b]) for a, b in pairs if a != b)
        Lineage.objects.bulk_create(
            Lineage(parent_id=parent, step_id=step, relation="needs") for parent, step in plain.edges
        )
        one = names[start]
        for forwards, reachable in ((True, nx.descendants), (False, nx.ancestors)):
            found = provenance.closure([one], forwards=forwards)
            assert len(found) == len(set(found))
            assert set(found) - {one} == reachable(plain, one)


class TestFormats:
    """The formats are written by the packages that define them."""

    @pytest.fixture
    def records(self, hands):
        """The records of a run of two steps, of which the second failed."""
        run, steps = graph([[], [0]])
        finish(hands.take(steps[0]), value={"a": 1})
        claim = hands.take(steps[1])
        ledger.record(steps[1].id, claim.epoch, [spend("s", "0.5", 7)])
        finish(claim, "failed", error={"type": "ValueError", "message": "no", "kind": "permanent", "traceback": "tb"})
        provenance.catch_up(run)
        return list(provenance.of_run(run))

    def test_prov_is_read_back(self, records):
        """The PROV document is read back by prov, with an activity for each step and an entity for each value."""
        from prov.model import ProvActivity, ProvDocument, ProvEntity

        text = json.dumps(provenance_formats.as_prov(records))
        document = ProvDocument.deserialize(content=text, format="json")
        assert len(list(document.get_records(ProvActivity))) == 2
        assert len({entity.identifier for entity in document.get_records(ProvEntity)}) == 2
        found = json.loads(text)
        informed = next(iter(found["wasInformedBy"].values()))
        assert informed["prov:informant"] == f"celeriac:step/{records[0].step_id}"
        assert {"used", "wasGeneratedBy", "wasAssociatedWith", "wasDerivedFrom"} <= set(found)

    def test_openlineage_tells_start_and_end(self, records):
        """Each step is told by START and by COMPLETE or FAIL, with the error, the parent run and the hashes."""
        told = provenance_formats.as_openlineage(records)
        assert [event["eventType"] for event in told] == ["START", "COMPLETE", "START", "FAIL"]
        complete, failed = told[1], told[3]
        assert complete["outputs"][0]["name"] == f"sha256:{sha({'a': 1}).hex()}"
        assert complete["schemaURL"].endswith("2-0-2/OpenLineage.json#/$defs/RunEvent")
        assert failed["run"]["facets"]["errorMessage"]["message"] == "no"
        assert failed["run"]["facets"]["parent"]["run"]["runId"] == str(records[0].run_id)
        assert failed["run"]["facets"]["celeriac_record"]["parents"][0]["step"] == str(records[0].step_id)
        assert all(event["job"]["namespace"] == "celeriac" for event in told)


class TestCommand:
    """An operator asks where a result comes from."""

    def test_formats(self, hands):
        """The command records what is missing, and tells it as text, JSON, PROV and OpenLineage."""
        run, steps = graph([[], [0]])
        for step in steps:
            finish(hands.take(step), value=1)
        told = document("provenance", run.id)
        assert [row["name"] for row in told["steps"]] == ["step-0", "step-1"]
        assert told["edges"][0]["parent"] == str(steps[0].id)
        assert f"after needs {steps[0].id}" in typed("provenance", run.id)
        assert "activity" in json.loads(typed("provenance", run.id, "--format", "prov"))
        assert len(json.loads(typed("provenance", run.id, "--format", "openlineage"))) == 4
        assert typed("provenance", "--catch-up") == "recorded 0 steps"
        assert "give a run" in refused("provenance")

    def test_both_ways(self, stage):
        """Forwards and backwards it tells of other runs' steps too."""
        run = runs.start("tests.add", {"left": 1})
        stage.play(run)
        fork = runs.fork(run)
        stage.play(fork)
        provenance.record_all()
        for start, way in ((run, "--forwards"), (fork, "--backwards")):
            told = document("provenance", start.id, way)["steps"]
            assert [row["step_id"] for row in told] == [str(run.id), str(fork.id)]
            assert len(document("provenance", start.id)["steps"]) == 1
