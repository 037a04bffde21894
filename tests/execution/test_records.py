"""Records: written once and never changed, with a lineage that is exact, and kept as long as something needs them."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import networkx as nx
import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execution import conf, events, ids, records, retention
from execution.exceptions import NotJson, OptionInvalid, RecordUnknown
from execution.models import Assessment, Event, RecordHold, RecordParent, Verdict
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS, side_by_side

pytestmark = MARKS


def judged(*parents, **more):
    """Write a verdict."""
    about = {"subject": "agent:scout", "action": "flag", "producer": "tests"} | more
    return records.judge("quality_breach", parents=parents, **about)


def assessed(*parents, **more):
    """Write an assessment."""
    return records.assess("slo_status", subject="service:payments", producer="tests", parents=parents, **more)


def old(days, *parents, model=Verdict):
    """Write a record as if it had been written so many days ago."""
    tail = ids.new().int & (2**64 - 1)
    made = uuid.UUID(int=events.first_id_at(timezone.now() - timedelta(days=days)).int | 7 << 76 | 2 << 62 | tail >> 2)
    kind = {"kind": "slo_status"} if model is Assessment else {"kind": "quality_breach", "action": "flag"}
    return model.objects.create(
        id=made, subject="agent:a", producer="tests", parents=[one.id for one in parents], **kind
    )


class TestWriting:
    """What is written, and what is refused."""

    def test_verdict_is_whole(self, transactional_db):
        """Every field is kept, and the record is read back as it was written."""
        run = uuid.uuid4()
        made = judged(
            confidence=0.75, reasoning="too many\0 errors", model="m-1", prompt_version="3", cost="0.02",
            data={"at": datetime(2030, 1, 1, tzinfo=UTC), "n": Decimal("1.5")}, run=run,
        )  # fmt: skip
        found = records.get(str(made.id))
        assert (found.confidence, found.reasoning, found.model, found.cost) == (
            0.75,
            "too many errors",
            "m-1",
            Decimal("0.02"),
        )
        assert (found.data, found.run_id) == ({"at": "2030-01-01T00:00:00Z", "n": "1.5"}, run)
        assert made.data == found.data

    def test_event_is_in_the_same_transaction(self, transactional_db):
        """The record and its event come together, or neither does; large data is left out of the event."""
        with transaction.atomic():
            judged()
            transaction.set_rollback(True)
        assert not Event.objects.filter(kind="verdict.given").exists()
        verdict, assessment = judged(run=uuid.uuid4()), assessed(data={"text": "x" * 9000})
        told, measured = Event.objects.get(kind="verdict.given"), Event.objects.get(kind="assessment.made")
        assert (told.data["id"], told.data["action"], told.run_id) == (str(verdict.id), "flag", verdict.run_id)
        assert (measured.data["id"], "data" in measured.data) == (str(assessment.id), False)

    @pytest.mark.parametrize(
        ("wish", "error", "words"),
        [
            (lambda: records.assess("slo_statuss", subject="a:b", producer="t"), OptionInvalid, "did you mean 'slo_status'"),
            (lambda: assessed(window=(timezone.now(), timezone.now() - timedelta(1))), OptionInvalid, "ends before"),
            (lambda: judged(action="aprove"), OptionInvalid, "did you mean 'approve'"),
            (lambda: judged(confidence=1.2), OptionInvalid, "a share from 0 to 1"),
            (lambda: judged(confidence=float("nan")), OptionInvalid, "a share from 0 to 1"),
            (lambda: judged(subject="scout"), OptionInvalid, "agent:scout"),
            (lambda: judged(producer=""), OptionInvalid, "no producer"),
            (lambda: judged(cost="-1"), OptionInvalid, "less than nothing"),
            (lambda: judged(data={"a": object()}), NotJson, "not JSON serializable"),
            (lambda: judged(data={"a": float("inf")}), NotJson, "JSON"),
            (lambda: judged(data={"a": "\0"}), NotJson, "NUL"),
            (lambda: judged(data={"a": "\ud800"}), NotJson, "surrogates"),
            (lambda: judged(uuid.uuid4()), RecordUnknown, "which record"),
            (lambda: judged("nonsense"), RecordUnknown, "no record's id"),
            (lambda: judged(outcome=1), OptionInvalid, "go together"),
            (lambda: judged(outcome_of=uuid.uuid4(), outcome=1), RecordUnknown, "no verdict"),
            (lambda: records.get(uuid.uuid4()), RecordUnknown, "records list"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, transactional_db, wish, error, words):
        """Each mistake is named, and nothing is written."""
        with pytest.raises(error, match=words):
            wish()
        assert not Verdict.objects.exists()
        assert not Assessment.objects.exists()

    def test_outcome_is_a_later_verdict(self, transactional_db):
        """What became of a verdict is said by a later one, which has it as a parent; the latest counts."""
        first = judged(confidence=0.9)
        assert records.outcome(first) is None
        for value in (0.5, 0):
            latest = judged(outcome_of=first, outcome=value)
        assert (records.outcome(first), latest.parents) == (latest, [first.id])
        assert {one.record.outcome for one in records.descendants(first)} == {0, 0.5}

    @pytest.mark.parametrize("model", [Assessment, Verdict])
    def test_database_refuses_changes(self, transactional_db, model):
        """No update and no removal, by whichever way, of a record or of an edge."""
        record = judged(assessed()) if model is Verdict else assessed(judged())
        ways = [
            lambda: model.objects.filter(pk=record.pk).update(subject="agent:other"),
            lambda: model.objects.get(pk=record.pk).save(),
            lambda: model.objects.filter(pk=record.pk).delete(),
            lambda: RecordParent.objects.update(parent_id=uuid.uuid4()),
            lambda: RecordParent.objects.all().delete(),
            lambda: RecordParent.objects.create(record_id=record.id, parent_id=uuid.UUID(int=1)),
            lambda: _raw("DO $$ BEGIN DELETE FROM TABLE; END $$", model),
            lambda: _raw("INSERT INTO TABLE SELECT * FROM TABLE ON CONFLICT (id) DO UPDATE SET producer = 'me'", model),
        ]  # fmt: skip
        before = (model.objects.values().get(pk=record.pk), list(RecordParent.objects.values()))
        for way in ways:
            with pytest.raises(IntegrityError, match="never changed"):
                way()
        assert (model.objects.values().get(pk=record.pk), list(RecordParent.objects.values())) == before


def _raw(sql, model):
    with connection.cursor() as cursor:
        cursor.execute(sql.replace("TABLE", model._meta.db_table))


class TestLineage:
    """Parents are older, and the closure is exact."""

    def test_parent_is_older_whatever_the_clock_says(self, transactional_db):
        """A record whose parents come from a clock that is ahead follows them all the same."""
        ahead = old(-30)
        child = judged(ahead)
        assert child.id > ahead.id
        assert [one.record.id for one in records.ancestors(judged(child))] == [child.id, ahead.id]

    def test_younger_parent_is_refused(self, transactional_db):
        """A circle cannot be written: an edge leads to an older record, or is refused by the database."""
        young = judged()
        with pytest.raises(IntegrityError, match="a_parent_is_older"):
            old(1, young)
        same = ids.new()
        with pytest.raises(IntegrityError):
            Verdict.objects.create(id=same, kind="k", action="flag", subject="a:b", producer="t", parents=[same])

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data(), size=st.integers(1, 14))
    def test_closure_is_that_of_the_graph(self, transactional_db, data, size):
        """Ancestors and descendants, with their distances, are those of a plain graph of the same edges."""
        made, graph = [], nx.DiGraph()
        for number in range(size):
            chosen = data.draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
            record = (assessed if number % 3 == 0 else judged)(*(made[one] for one in chosen))
            graph.add_node(record.id)
            graph.add_edges_from((record.id, made[one].id) for one in chosen)
            made.append(record)
        for record in made:
            up = nx.single_source_shortest_path_length(graph, record.id)
            down = nx.single_source_shortest_path_length(graph.reverse(), record.id)
            found = records.lineage(record)
            assert {one.record.id: one.distance for one in found.ancestors} | {record.id: 0} == up
            assert {one.record.id: one.distance for one in found.descendants} | {record.id: 0} == down

    @pytest.mark.parametrize("size", [500, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
    @pytest.mark.parametrize("shape", ["chain", "ladder", "fan"])
    def test_closure_of_thousands(self, transactional_db, shape, size):
        """A chain, a ladder with exponentially many paths and a fan of 10,000 records are answered exactly, and soon."""
        keys = [uuid.UUID(int=ids.new().int + number) for number in range(size)]
        above = {"chain": (1,), "ladder": (1, 2, 7), "fan": ()}[shape]
        Verdict.objects.bulk_create(
            Verdict(
                id=key, kind="k", action="flag", subject="a:b", producer="t",
                parents=[keys[n - step] for step in above if n >= step] or keys[:1] * bool(n),
            )
            for n, key in enumerate(keys)
        )  # fmt: skip
        _raw("ANALYZE TABLE", RecordParent)
        farthest = {"chain": size - 1, "ladder": 1 + (size - 2) // 7, "fan": 1}[shape]
        for ask, key in ((records.ancestors, keys[-1]), (records.descendants, keys[0])):
            started = time.monotonic()
            found = ask(key)
            took = time.monotonic() - started
            alone = shape == "fan" and ask is records.ancestors
            assert len({one.record.id for one in found}) == len(found) == (1 if alone else size - 1)
            assert abs(found[-1].distance - farthest) <= 2
            assert took < 3


class TestRetention:
    """What leaves, and what stays."""

    @pytest.fixture(autouse=True)
    def _empty(self, transactional_db):
        """Begin without records."""

    def left(self):
        """Forget what may be forgotten, and return the ids that are left."""
        records.forget()
        return {*Verdict.objects.values_list("id", flat=True), *Assessment.objects.values_list("id", flat=True)}

    def test_age_decides(self):
        """Verdicts stay a year, assessments ninety days."""
        kept = [old(360), old(80, model=Assessment), old(100)]
        for days, model in ((370, Verdict), (95, Assessment)):
            old(days, model=model)
        assert self.left() == {one.id for one in kept}

    def test_younger_descendant_keeps(self):
        """What a younger record rests on stays, however far up; when that goes, all go in one pass."""
        root = old(900, model=Assessment)
        middle = old(800, root)
        other = old(700, root)
        leaf = old(10, middle)
        assert self.left() == {root.id, middle.id, leaf.id}
        assert other.id not in self.left()

    def test_chain_goes_in_one_pass(self):
        """A chain of any length goes at once, across batches."""
        records._BATCH, before = 7, records._BATCH
        try:
            last = old(1000)
            for number in range(40):
                last = old(999 - number, last)
            assert records.forget() == 41
        finally:
            records._BATCH = before
        assert not RecordParent.objects.exists()

    def test_open_case_keeps(self):
        """What is held stays with all that it rests on, until it is released."""
        root = old(900)
        held = old(800, root)
        records.hold(held, "incident:42")
        records.hold(held, "incident:42")
        assert self.left() == {root.id, held.id}
        assert records.release("incident:42") == 1
        assert self.left() == set()
        assert not RecordHold.objects.exists()
        with pytest.raises(RecordUnknown, match="retention"):
            records.hold(held, "incident:43")

    def test_child_that_is_being_written_keeps(self):
        """Retention does not take a parent whose child is written at this moment, nor the child a parent that goes."""
        parents = [old(900) for _ in range(8)]

        def judge(parent):
            try:
                return judged(parent).id
            except RecordUnknown:
                return None

        answers = side_by_side(*[lambda parent=parent: judge(parent) for parent in parents], *[records.forget] * 3)
        children = [one for one in answers[:8] if one is not None]
        for child in children:
            assert len(records.ancestors(child)) == 1
        assert RecordParent.objects.count() == len(children)

    def test_clean_up_forgets(self, settings):
        """The daily clean-up does it, by the settings."""
        old(20)
        settings.CELERIAC = settings.CELERIAC | {"verdict_days": 10.0}
        retention.clean_up()
        assert not Verdict.objects.exists()
        assert conf.current().assessment_days == 90


def test_cloudevent(transactional_db):
    """The form is that of CloudEvents 1.0: its four required attributes, names of small letters, time by RFC 3339."""
    parent = assessed()
    told = records.as_cloudevent(judged(parent, producer="a cycle", confidence=0.5))
    assert (told["specversion"], told["type"], told["subject"]) == (
        "1.0",
        "celeriac.verdict.quality_breach",
        "agent:scout",
    )
    assert told["source"] == "/celeriac/a%20cycle"
    assert all(name.isalnum() and name == name.lower() for name in told)
    assert datetime.fromisoformat(told["time"]).tzinfo is not None
    assert (told["data"]["parents"], told["data"]["confidence"]) == ([str(parent.id)], 0.5)
    assert records.as_cloudevent(parent)["type"] == "celeriac.assessment.slo_status"


def test_command(transactional_db):
    """Records are listed, shown and traced from the command line."""
    assert typed("records", "list") == "there is no such record"
    parent = assessed()
    child = judged(parent, reasoning="it failed", confidence=0.9)
    judged(outcome_of=child, outcome=1, producer="a person")
    assert [one["record"] for one in document("records", "list", "--limit", 2)["records"]] == ["verdict", "verdict"]
    assert [one["id"] for one in document("records", "list", "--kind", "slo_status")["records"]] == [str(parent.id)]
    assert "1, says" in typed("records", "show", child.id)
    assert document("records", "show", child.id)["confidence"] == 0.9
    assert document("records", "show", child.id, "--cloudevent")["specversion"] == "1.0"
    traced = document("records", "lineage", child.id)
    assert ([one["distance"] for one in traced["ancestors"]], len(traced["descendants"])) == ([1], 1)
    assert "rests on: 1 record" in typed("records", "lineage", child.id)
    assert "no record's id" in refused("records", "show", "abc")
