"""The log: read gap-safe by cursor, each event once, through late commits, restarts and restores; kept by partition."""

import random
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from execution import events, ids, ledger
from execution.events import Cursor
from execution.models import CycleState, Event, EventReader
from tests.hands import MARKS, side_by_side
from tests.patience import within

pytestmark = MARKS


@contextmanager
def writer(database=None):
    """Open a connection of a writer's own, in a transaction; what is left open is rolled back."""
    address = ledger.address("a slow writer") | ({"dbname": database} if database else {})
    own = psycopg.connect(**address)
    try:
        yield own
    finally:
        own.rollback()
        own.close()


def write(own, kind):
    """Write an event in an open transaction."""
    own.execute("SELECT execution_log_v1(%s, NULL, NULL, NULL, NULL, '{}')", [kind])


def note(*kinds):
    """Write events, each in a transaction of its own."""
    for kind in kinds:
        ledger.ask("SELECT execution_log_v1(%s, NULL, NULL, NULL, NULL, '{}')", [kind])


def kinds_of(batch):
    """Return the kinds of a batch's events."""
    return kinds_of_all(batch.events)


def kinds_of_all(found):
    """Return the kinds of events."""
    return [event.kind for event in found]


def read_all(cursor=None, limit=1000):
    """Read until nothing is left, storing and loading the cursor as JSON between; return the kinds and the cursor."""
    found = []
    while True:
        batch = events.read(cursor, limit=limit)
        cursor = Cursor.of(batch.cursor.stored())
        if not batch.events:
            return found, cursor
        found += kinds_of(batch)


class TestRead:
    def test_each_event_is_handed_out_once_in_order(self, transactional_db):
        """Events come in the order of their transactions, whatever the size of the batches."""
        wanted = [f"k{number}" for number in range(25)]
        note(*wanted)
        for limit in (1, 2, 7, 24, 25, 26, 1000):
            assert read_all(limit=limit)[0] == wanted

    def test_reader_of_some_kinds(self, transactional_db):
        """Who wants some kinds is handed each event of these once, and goes past all others, in batches of any size."""
        note(*["odd", "wanted", "odd", "odd", "too"] * 5, "odd")
        for limit in (1, 2, 7, 25, 26, 27, 1000):
            found, read_count, cursor = [], 0, None
            while (batch := events.read(cursor, limit=limit, kinds={"wanted", "too"})).read_count:
                found += kinds_of(batch)
                read_count += batch.read_count
                cursor = Cursor.of(batch.cursor.stored())
            assert (found, read_count) == (["wanted", "too"] * 5, 26)
            assert events.read(batch.cursor).events == []

    def test_late_commit_of_a_wanted_kind_is_read(self, transactional_db):
        """What commits late is handed to who wants its kind, also when only others were read meanwhile."""
        with writer() as slow:
            write(slow, "wanted")
            note("odd")
            batch = events.read(kinds={"wanted"})
            assert (batch.events, batch.read_count) == ([], 1)
            slow.commit()
        assert kinds_of(events.read(batch.cursor, kinds={"wanted"})) == ["wanted"]

    def test_late_commit_is_read(self, transactional_db):
        """A transaction that began earlier and commits later is not skipped, although the reader has gone on."""
        with writer() as slow:
            write(slow, "slow")
            note("fast")
            found, cursor = read_all()
            assert found == ["fast"]
            slow.commit()
            note("after")
            assert read_all(cursor)[0] == ["slow", "after"]

    def test_many_events_of_a_late_commit_are_read_in_pages(self, transactional_db):
        """A large transaction that commits late is read in pages, between the pages of what came meanwhile."""
        with writer() as slow:
            for number in range(20):
                write(slow, f"s{number}")
            note(*[f"f{number}" for number in range(5)])
            _, cursor = read_all(limit=3)
            slow.commit()
            batch = events.read(cursor, limit=3)
            note("while paging")
            rest, _ = read_all(batch.cursor, limit=3)
            assert kinds_of(batch) + rest == [f"s{number}" for number in range(20)] + ["while paging"]

    def test_rolled_back_events_are_never_seen(self, transactional_db):
        """What was not committed did not happen."""
        with writer() as slow:
            write(slow, "never")
            note("fast")
            _, cursor = read_all()
            slow.rollback()
        note("after")
        assert read_all(cursor)[0] == ["after"]

    def test_uncommitted_page_is_not_lost_between_pages(self, transactional_db):
        """What commits while a backlog is being paged through is handed out after it, also if it began before."""
        note(*[f"a{number}" for number in range(4)])
        with writer() as slow:
            write(slow, "slow")
            note(*[f"b{number}" for number in range(4)])
            batch = events.read(limit=6)
            slow.commit()
            rest, _ = read_all(batch.cursor, limit=6)
        assert sorted(kinds_of(batch) + rest) == sorted(
            [f"a{number}" for number in range(4)] + [f"b{number}" for number in range(4)] + ["slow"]
        )

    def test_cursor_stays_small_behind_an_open_writer(self, transactional_db):
        """However much is read while a writer stays open, the cursor does not grow with it."""
        with writer() as slow:
            write(slow, "slow")
            ledger.ask("SELECT execution_log_v1('many', NULL, NULL, NULL, NULL, '{}') FROM generate_series(1, 12000)")
            found, cursor = read_all()
            assert len(found) == 12000
            assert len(str(cursor.stored())) < 500
            note("on")
            assert read_all(cursor)[0] == ["on"]

    def test_writer_in_another_database_holds_nobody_up(self, transactional_db):
        """A writer that stays open in another database of the server holds the horizon back, and no reader."""
        with writer("postgres") as slow:
            slow.execute("SELECT pg_current_xact_id()")
            note("one")
            found, cursor = read_all()
            note("two")
            assert found + read_all(cursor)[0] == ["one", "two"]
            held = events.horizon()
            assert held["blocker"]["database"] == "postgres"
            assert held["blocker"]["application"] == "a slow writer"

    def test_horizon_names_the_oldest_writer(self, transactional_db):
        """The blocker is who has been writing longest, not who has been connected longest."""
        with writer() as early, writer() as late:
            early.execute("SELECT 1")
            late.execute("SELECT pg_current_xact_id()")
            pid = late.info.backend_pid
            early.execute("SELECT pg_current_xact_id()")
            assert events.horizon()["blocker"]["pid"] == pid

    def test_readers_against_writers_lose_and_repeat_nothing(self, transactional_db):
        """Four writers whose transactions overlap by chance, and a reader that restarts all the time: each event once."""
        over, found = threading.Event(), []

        def scribble(seed):
            chance, names = random.Random(seed), []
            with writer() as own:
                for number in range(60):
                    for part in range(chance.randint(1, 3)):
                        write(own, f"{seed}-{number}-{part}")
                        names.append(f"{seed}-{number}-{part}")
                    note(f"{seed}-{number}-beside")
                    names.append(f"{seed}-{number}-beside")
                    if chance.random() < 0.2:
                        own.rollback()
                        names[:] = [name for name in names if name.endswith("beside") or f"-{number}-" not in name]
                    else:
                        own.commit()
            return names

        def follow():
            cursor = None
            while True:
                is_last = over.is_set()
                batch = events.read(cursor, limit=7)
                found.extend(kinds_of(batch))
                cursor = Cursor.of(batch.cursor.stored())
                if is_last and not batch.events:
                    return

        def all_scribble():
            names = side_by_side(*[lambda seed=seed: scribble(seed) for seed in range(4)])
            over.set()
            return [name for part in names for name in part]

        written, _ = side_by_side(all_scribble, follow)
        assert sorted(found) == sorted(written)

    def test_lag_is_the_age_of_the_oldest_unread_event(self, transactional_db):
        """A reader that was handed everything has no lag; the lag of another is what it has not been handed."""
        note("one")
        _, cursor = read_all()
        assert events.lag_seconds(cursor) == 0
        note("two", "three")
        Event.objects.filter(kind="two").update(at=timezone.now() - timedelta(minutes=5))
        assert 290 < events.lag_seconds(cursor) < 320
        assert events.lag_seconds(events.read(cursor, limit=1).cursor) < 60


class TestConsume:
    def test_cursor_and_effect_are_stored_together(self, transactional_db):
        """A reader that crashes between its work and its cursor does both again, or neither: nothing is lost or repeated."""
        note("a", "b", "c")

        def derive(batch, crash=False):
            CycleState.objects.bulk_create(CycleState(name=f"derived:{event.kind}") for event in batch)
            if crash:
                raise RuntimeError("the worker died")

        with pytest.raises(RuntimeError):
            events.consume("reader", lambda batch: derive(batch, crash=True))
        assert not CycleState.objects.filter(name__startswith="derived").exists()
        while events.consume("reader", derive, limit=2):
            pass
        note("d")
        events.consume("reader", derive)
        assert events.consume("reader", derive) == 0
        assert CycleState.objects.filter(name__startswith="derived").count() == 4

    def test_reader_of_some_kinds_passes_the_others(self, transactional_db):
        """A reader that wants none of what it has read stores that it has read it, and is called for none of it."""
        note("odd", "wanted", "odd")
        handed = []
        counts = [events.consume("reader", handed.append, limit=1, kinds={"wanted"}) for _ in range(4)]
        assert (counts, [kinds_of_all(one) for one in handed]) == ([1, 1, 1, 0], [["wanted"]])

    def test_what_a_reader_writes_itself_is_read_next(self, transactional_db):
        """Events that a reader writes in the transaction of its cursor are neither lost nor read by it at once."""
        note("first")
        seen = []

        def answer(batch):
            kinds = [event.kind for event in batch]
            seen.extend(kinds)
            note("meanwhile")
            if "first" in kinds:
                ledger.ask_in_transaction("SELECT execution_log_v1('answer', NULL, NULL, NULL, NULL, '{}')")
                note("later")

        events.consume("reader", answer)
        events.consume("reader", seen.extend)
        assert seen[0] == "first"
        assert sorted(one if isinstance(one, str) else one.kind for one in seen[1:]) == ["answer", "later", "meanwhile"]

    def test_two_of_a_name_side_by_side_read_once(self, transactional_db):
        """While one reads, another of the same name returns at once; together they hand out each event once."""
        note(*[f"k{number}" for number in range(200)])
        seen = []

        def work():
            for _ in range(60):
                events.consume("reader", lambda batch: seen.extend(event.kind for event in batch), limit=9)

        side_by_side(work, work, work)
        assert sorted(seen) == sorted(f"k{number}" for number in range(200))

    def test_readers_of_different_names_do_not_share(self, transactional_db):
        """Each reader has a place of its own."""
        note("a")
        assert events.consume("one", lambda _: None) == 1
        assert events.consume("two", lambda _: None) == 1


def call_it(name):
    """Let the database have had another identity until now."""
    row = CycleState.objects.get(pk="execution.log")
    row.state["eras"][-1]["names"] = [name]
    row.save()


def restore():
    """Do to the log what a dump and a restore into a new server do: the rows are the same, transaction ids begin anew."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE dumped AS SELECT * FROM execution_event; TRUNCATE execution_event; "
            "UPDATE dumped SET xid = xid + 1000000000; INSERT INTO execution_event SELECT * FROM dumped; DROP TABLE dumped"
        )
    readers = list(EventReader.objects.all())
    for reader in readers:
        reader.cursor = shifted(Cursor.of(reader.cursor)).stored()
        reader.save()
    call_it("the old server")


def shifted(cursor):
    """Return a cursor as the old server, whose transaction ids were higher, would have stored it."""

    def shift(snapshot):
        low, high, running = snapshot.split(":") if snapshot else ("", "", "")
        up = ",".join(str(int(one) + 10**9) for one in running.split(",") if one)
        return f"{int(low) + 10**9}:{int(high) + 10**9}:{up}" if snapshot else ""

    return Cursor(
        generation="the old server", seen=shift(cursor.seen), target=shift(cursor.target),
        xid=cursor.xid + 10**9, event_id=cursor.event_id,
    )  # fmt: skip


class TestGeneration:
    @pytest.mark.parametrize("noticed", ["at once", "late"])
    @pytest.mark.parametrize("limit", [2, 3, 100])
    def test_readers_go_on_over_a_restore(self, transactional_db, limit, noticed):
        """After a restore a reader finishes the old events and goes on with the new, losing and repeating none."""
        note(*[f"old{number}" for number in range(6)])
        first = events.read(limit=limit)
        cursor = shifted(first.cursor)
        restore()
        if noticed == "at once":
            events.note_generation()
        note(*[f"new{number}" for number in range(5)])
        rest, cursor = read_all(cursor, limit=limit)
        assert kinds_of(first) + rest == [f"old{number}" for number in range(6)] + [
            f"new{number}" for number in range(5)
        ]
        note("newest")
        assert read_all(cursor, limit=limit)[0] == ["newest"]

    def test_late_commit_over_the_seam_is_read(self, transactional_db):
        """What was being written when the restore was noticed is read when it is committed."""
        note("old")
        _, cursor = read_all()
        cursor = shifted(cursor)
        restore()
        with writer() as slow:
            write(slow, "slow")
            note("new")
            found, cursor = read_all(cursor)
            slow.commit()
        assert found + read_all(cursor)[0] == ["new", "slow"]

    def test_reader_that_slept_through_two_restores_goes_through_both(self, transactional_db):
        """Each era is read by its own order of transactions."""
        note("first")
        _, cursor = read_all()
        cursor = shifted(cursor)
        restore()
        note("second-1", "second-2")
        events.note_generation()
        row = CycleState.objects.get(pk="execution.log")
        row.state["eras"][-1]["names"] = ["the middle server"]
        row.save()
        with connection.cursor() as sql:
            sql.execute(
                "CREATE TEMPORARY TABLE dumped AS SELECT * FROM execution_event; TRUNCATE execution_event; "
                "UPDATE dumped SET xid = xid + 500000000 WHERE xid < 1000000000; "
                "INSERT INTO execution_event SELECT * FROM dumped; DROP TABLE dumped"
            )
        note("third")
        assert read_all(cursor)[0] == ["second-1", "second-2", "third"]

    def test_new_reader_after_a_restore_reads_everything(self, transactional_db):
        """A reader that begins after a restore is handed the old events and the new, in order."""
        note("old")
        events.note_generation()
        restore()
        note("new")
        assert read_all()[0] == ["old", "new"]

    @pytest.mark.slow
    def test_copy_of_the_files_goes_on_where_it_was(self, transactional_db):
        """In a copy of the database, whose transaction ids go on, readers go on as if nothing had happened."""
        note("a", "b")
        cursor = events.read(limit=1).cursor
        name = f"{connection.settings_dict['NAME']}_copy"
        ledger.close()
        connection.close()
        with psycopg.connect(**(ledger.address() | {"dbname": "postgres"}), autocommit=True) as own:
            own.execute(f'CREATE DATABASE "{name}" TEMPLATE "{connection.settings_dict["NAME"]}"')
        original = connection.settings_dict["NAME"]
        connection.settings_dict["NAME"] = name
        try:
            note("c")
            found, last = read_all(cursor)
            assert found == ["b", "c"]
            assert last.generation != cursor.generation
            assert read_all(last)[0] == []
        finally:
            ledger.close()
            connection.close()
            connection.settings_dict["NAME"] = original
            with psycopg.connect(**(ledger.address() | {"dbname": "postgres"}), autocommit=True) as own:
                own.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def partition_names():
    """Return the months for which there are partitions."""
    return [name.removeprefix("execution_event_") for name in events.partitions()]


def month(ahead=0):
    """Return the name of a month."""
    number = timezone.now().year * 12 + timezone.now().month - 1 + ahead
    return f"{number // 12}_{number % 12 + 1:02}"


def event_at(moment, kind="old"):
    """Write an event of a moment long past."""
    event_id = uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (ids.new().int & (2**76 - 1)) | (7 << 76))
    ledger.ask(
        "INSERT INTO execution_event (id, xid, at, kind, data) "
        "VALUES (%s, pg_current_xact_id()::text::bigint, %s, %s, '{}')",
        [event_id, moment, kind],
    )


@pytest.fixture
def old_partition(transactional_db):
    """Make a partition of a month five months ago, and remove what a test leaves of it."""
    start, end = (events._month(timezone.now(), ahead) for ahead in (-5, -4))
    name = f"execution_event_{start:%Y_%m}"
    ledger.ask(
        f"CREATE TABLE {name} PARTITION OF execution_event "
        f"FOR VALUES FROM ('{events.first_id_at(start)}') TO ('{events.first_id_at(end)}')"
    )
    yield start
    ledger.ask(f"DROP TABLE IF EXISTS {name}")


class TestPartitions:
    def test_partitions_stand_three_months_ahead(self, transactional_db):
        """This month and the next three have partitions; making them again makes none."""
        events.make_partitions()
        assert {month(), month(1), month(2), month(3)} <= set(partition_names())
        assert events.make_partitions() == []

    def test_event_without_a_partition_is_caught(self, transactional_db):
        """A missing partition fails no writer: the default one catches, and readers see no difference."""
        far = timezone.now() + timedelta(days=400)
        event_at(far, "far")
        note("near")
        assert sorted(read_all()[0]) == ["far", "near"]
        assert ledger.ask("SELECT count(*) AS n FROM execution_event_default")[0].n == 1

    def test_partition_is_made_although_the_default_one_has_caught_for_it(self, transactional_db):
        """What was caught for a month is moved when its partition is made; nothing is lost, read twice or out of order."""
        name = f"execution_event_{month(3)}"
        ledger.ask(f"DROP TABLE IF EXISTS {name}")
        start = events._month(timezone.now(), 3)
        event_at(start + timedelta(days=1), "caught-1")
        event_at(start + timedelta(days=1), "caught-2")
        first = events.read(limit=1)
        assert events.make_partitions() == [name]
        assert ledger.ask("SELECT count(*) AS n FROM execution_event_default")[0].n == 0
        assert len(ledger.ask(f"TABLE {name}")) == 2
        assert kinds_of(first) + read_all(first.cursor)[0] == ["caught-1", "caught-2"]

    def test_old_partition_is_dropped(self, old_partition):
        """Events leave by partition when they are old enough, and not before."""
        event_at(old_partition + timedelta(days=2))
        note("young")
        assert events.drop_partitions(days=400) == []
        assert events.drop_partitions(days=60) == [f"execution_event_{old_partition:%Y_%m}"]
        assert read_all()[0] == ["young"]

    def test_reader_that_lags_is_marked_overrun(self, old_partition):
        """What a registered reader has not been handed is not dropped without telling so."""
        event_at(old_partition + timedelta(days=2))
        events.consume("awake", lambda _: None)
        EventReader.objects.create(name="it's asleep")
        events.drop_partitions(days=60)
        assert dict(EventReader.objects.values_list("name", "is_overrun")) == {"awake": False, "it's asleep": True}

    def test_old_events_leave_the_default_partition(self, transactional_db):
        """What the default partition has caught leaves as well when it is old, and marks who had not read it."""
        event_at(datetime(2001, 1, 1, tzinfo=UTC))
        event_at(timezone.now() + timedelta(days=400), "far")
        EventReader.objects.create(name="asleep")
        events.drop_partitions(days=60)
        assert read_all()[0] == ["far"]
        assert EventReader.objects.get().is_overrun

    @within(3, busy=15)
    def test_reader_in_the_way_postpones_and_holds_writers_up_only_shortly(self, old_partition, bound):
        """While somebody reads the log the drop is put off; a writer waits about a second for it at most."""
        event_at(old_partition + timedelta(days=2))
        with writer() as slow:
            slow.execute("SELECT count(*) FROM execution_event")

            def note_all_the_time():
                longest = 0.0
                for _ in range(30):
                    began = time.monotonic()
                    note("young")
                    longest = max(longest, time.monotonic() - began)
                return longest

            dropped, longest = side_by_side(lambda: events.drop_partitions(days=60), note_all_the_time)
            assert dropped == []
            assert longest < bound
        assert len(events.drop_partitions(days=60)) == 1

    def test_postponed_pass_marks_nobody(self, old_partition):
        """A reader is overrun when events have gone, not when they were about to."""
        event_at(old_partition + timedelta(days=2))
        EventReader.objects.create(name="asleep")
        with writer() as slow:
            slow.execute("SELECT count(*) FROM execution_event")
            events.drop_partitions(days=60)
        assert not EventReader.objects.get().is_overrun
