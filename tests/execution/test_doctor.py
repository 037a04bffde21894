"""The doctor finds what is wrong and says how to mend it."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from config import celery_app, substrate
from execution import doctor, ledger, sessions
from execution.doctor import broker, database, findings, work
from execution.models import CycleState, Worker
from tests import command_skills
from tests.conftest import wait_until
from tests.workers import REPOSITORY


def looked(*looks):
    """Make some looks and return their findings by id."""
    return {finding.id: finding for finding in findings.made(looks)}


def test_healthy_project(workers):
    """With a worker on every queue nothing is wrong, and the servers are named with their versions."""
    workers(queues="default,celeriac")
    wait_until(lambda: looked(work.workers, work.keepers)["upkeep.ticks"].level == doctor.OK)
    found = {finding.id: finding for finding in doctor.examine()}
    assert [finding for finding in found.values() if finding.level != doctor.OK] == []
    kind = "embedded" if substrate.addresses().embeds_postgres else "external"
    assert found["database.reachable"].text.startswith(f"{kind} PostgreSQL at")
    assert found["database.version"].text.startswith("PostgreSQL 1")
    assert found["broker.version"].text.startswith(("Redis", "Valkey"))
    assert "1 worker with 2 slots" in found["workers.alive"].text
    assert "session locks hold" in found["database.pooler"].text


def test_everything_down(tmp_path):
    """With no server at all the command ends with status 1, sentences and no traceback."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    answer = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=REPOSITORY,
        env=environment | {"CELERIAC_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr + answer.stdout
    found = {finding["id"]: finding for finding in json.loads(answer.stdout)["findings"]}
    for name in ("database.reachable", "broker.reachable"):
        assert "is not running" in found[name]["text"]
        assert "config.substrate start" in found[name]["mend"]


def test_external_servers_that_do_not_answer(tmp_path):
    """Servers of one's own are called external, and passwords are not shown."""
    given = {
        "CELERIAC_HOME": str(tmp_path / "home"),
        "DATABASE_URL": "postgres://ada:secret@127.0.0.1:1/ledger",
        "REDIS_URL": "redis://:secret@127.0.0.1:1/0",
    }
    answer = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=REPOSITORY, env=os.environ | given, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode == 1
    assert "external PostgreSQL at 127.0.0.1:1, database ledger does not answer" in answer.stdout
    assert "external Redis at redis://127.0.0.1:1/0 does not answer" in answer.stdout
    assert "secret" not in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr


def test_look_that_faints():
    """A look that raises is an error of its own, and the next is made."""

    def faints():
        """Look at nothing."""
        raise RuntimeError("oh")
        yield

    def stands():
        yield findings.ok("stands", "fine")

    found = looked(faints, stands)
    assert "could not look: Look at nothing (RuntimeError: oh)" in found["doctor.faints"].text
    assert found["stands"].level == doctor.OK


def test_settings_that_cannot_work(settings):
    """The system checks are findings, and a setting that cannot be read does not stop the doctor."""
    settings.CELERIAC = {"leese_seconds": 1}
    found = {finding.id: finding for finding in doctor.settings.system_checks()}
    assert found["celeriac.E001"].level == doctor.ERROR
    assert found["celeriac.E001"].mend


@pytest.mark.django_db
class TestDatabase:
    """What is wrong with the database and the schema."""

    def test_function_that_is_missing(self):
        """A function that is not there is named."""
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION execution_tick_v1")
        assert "execution_tick_v1" in looked(database.functions)["schema.functions"].text

    def test_function_of_another_version(self):
        """A function whose text is another than this code's is named."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_get_functiondef('execution_fold_v1'::regproc)")
            cursor.execute(cursor.fetchone()[0].replace("BEGIN", "BEGIN -- by another version", 1))
        assert "execution_fold_v1 is not what" in looked(database.functions)["schema.versions"].text

    def test_migrations_that_are_pending(self):
        """A migration that the database lacks is pending."""
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE app = 'execution' AND name = '0002_functions'")
        found = looked(database.migrations)["schema.migrations"]
        assert "execution.0002_functions" in found.text
        assert found.mend == "manage.py migrate"

    def test_database_that_is_newer(self):
        """A migration that the code does not know makes the database newer."""
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied) VALUES ('execution', '9999_later', now())"
            )
        assert "execution.9999_later" in looked(database.migrations)["schema.newer"].text

    def test_partitions_that_end(self):
        """A log without partitions ahead is warned of, and so are events in the default partition."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                "WHERE i.inhparent = 'execution_event'::regclass AND c.relname <> 'execution_event_default'"
            )
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP TABLE {name}")
        command_skills.ask.start()
        found = looked(database.partitions)
        assert found["log.partitions"].level == doctor.WARNING
        assert found["log.default_partition"].level == doctor.WARNING

    def test_clock_that_is_wrong(self, monkeypatch):
        """A host whose clock is hours off is warned of, with the direction."""
        ahead = [(timezone.now() + timedelta(hours=2),)]
        monkeypatch.setattr(database, "rows", lambda *_: ahead)
        assert "behind the database's" in looked(database.clock)["database.clock"].text

    def test_settings_that_lose_commits(self):
        """Asynchronous commits break the first promise."""
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = off")
        assert looked(database.durability)["database.synchronous_commit"].level == doctor.ERROR


class Session:
    """A session behind a pooler that hands out server processes."""

    def __init__(self, pids=(1, 2)):
        self.pids = iter(pids)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def execute(self, sql):
        """Take any statement."""
        return self

    def fetchone(self):
        """Answer with the next server process."""
        return (next(self.pids),)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([1, 1], [2], False), ([1, 2], [1], True), ([1, 3], [2], True), ([1, 1], [1], True)],
)
def test_transaction_pooler_is_noticed(first, second, expected):
    """Two sessions that take turns on one server process stand behind a transaction pooler."""
    assert database.shares_backends(Session(first), Session(second)) is expected


@pytest.mark.django_db
def test_pooler_against_the_settings(monkeypatch, settings):
    """A pooler is an error where session locks are wanted, and fine where the settings know of it."""
    monkeypatch.setattr(database, "_connect", Session)
    monkeypatch.setattr(database, "shares_backends", lambda *_: True)
    assert looked(database.pooler)["database.pooler"].level == doctor.ERROR
    settings.CELERIAC = {"session_locks": False}
    assert looked(database.pooler)["database.pooler"].level == doctor.OK
    monkeypatch.setattr(database, "shares_backends", lambda *_: False)
    assert looked(database.pooler)["database.pooler"].level == doctor.WARNING


@pytest.mark.django_db
def test_transaction_that_stays_open(monkeypatch):
    """A transaction that has been writing for long is named, with what ends it."""
    monkeypatch.setattr(database, "HORIZON_SECONDS", 0)
    with ledger.connect("forgotten") as other:
        other.execute("BEGIN")
        pid = other.execute("SELECT pg_backend_pid(), pg_current_xact_id()").fetchone()[0]
        found = looked(database.horizon)["database.horizon"]
        other.execute("ROLLBACK")
    assert "forgotten" in found.text
    assert f"pg_terminate_backend({pid})" in found.mend


class TestBroker:
    """What is wrong with Celery's settings."""

    def test_skill_that_acknowledges_late(self, monkeypatch):
        """A skill with acks_late would be started twice."""
        monkeypatch.setattr(celery_app.tasks["commands.ask"], "acks_late", True)
        assert looked(broker.acknowledgement)["celery.acks_late"].level == doctor.ERROR

    def test_plain_task_that_acknowledges_late(self, monkeypatch):
        """A plain task with acks_late is weighed against the visibility timeout."""
        monkeypatch.setattr(celery_app.tasks["execution.clean_up"], "acks_late", True)
        assert "3600 s" in looked(broker.acknowledgement)["celery.visibility_timeout"].text

    @pytest.mark.parametrize(
        ("look", "option", "value", "expected"),
        [
            ("time_outs", "broker_transport_options", {}, "celery.socket_timeout"),
            ("time_outs", "broker_connection_max_retries", 100, "celery.connection_retries"),
            ("chords", "result_chord_expires", 86400, "celery.chords"),
            ("chords", "result_chord_expires", timedelta(days=1), "celery.chords"),
            ("prefetch", "worker_disable_prefetch", False, "celery.prefetch"),
        ],
    )
    def test_options_that_hurt(self, monkeypatch, look, option, value, expected):
        """Each has a warning with the setting that mends it."""
        monkeypatch.setitem(celery_app.conf, option, value)
        found = looked(getattr(broker, look))[expected]
        assert found.level == doctor.WARNING
        assert "CELERY_" in found.mend

    def test_redis_that_evicts(self):
        """A Redis that evicts messages is warned of."""
        import redis

        from config import substrate

        with redis.from_url(substrate.addresses().redis_url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            try:
                found = looked(broker.reachable)["broker.eviction"]
            finally:
                client.config_set("maxmemory-policy", "noeviction")
        assert "allkeys-lru" in found.text


@pytest.mark.django_db
class TestWork:
    """What is wrong with workers and queues."""

    def test_nobody_works(self):
        """Without a worker, ready steps are an error and upkeep a warning."""
        command_skills.ask.start()
        found = looked(*work.LOOKS)
        assert found["workers.alive"].level == doctor.WARNING
        assert found["upkeep.ticks"].level == doctor.WARNING
        assert found["queues.evaluators"].level == doctor.WARNING
        assert found["queues.default"].level == doctor.ERROR
        assert "worker -Q default" in found["queues.default"].mend

    def test_workers_without_keepers(self):
        """Living workers whose upkeep does not tick are an error."""
        Worker.objects.create(hostname="w1", pid=1, queues=["default"], lock_number=1)
        CycleState.objects.create(name="execution.upkeep", ticked_at=timezone.now() - timedelta(minutes=2))
        assert looked(work.keepers)["upkeep.ticks"].level == doctor.ERROR

    def test_workers_without_locks(self):
        """A worker without its lock is warned of."""
        Worker.objects.create(hostname="w1", pid=1, holds_lock=False, lock_number=1)
        Worker.objects.create(hostname="w2", pid=1, missing_count=1, lock_number=2)
        found = looked(work.workers)
        assert "w1" in found["workers.locks"].text
        assert "w2" in found["workers.lost_locks"].text

    def test_schedule_that_is_missing(self):
        """A schedule without the ledger's tasks is warned of."""
        from django_celery_beat.models import PeriodicTask

        PeriodicTask.objects.all().delete()
        assert looked(work.beat)["beat.schedule"].level == doctor.WARNING

    def test_schedule_that_lacks_tasks_of_an_upper_app(self):
        """Every installed app's tasks are looked for: those of recovery and of graduation, too."""
        from django_celery_beat.models import PeriodicTask

        upper = ("recovery.take_in_failures", "graduation.collect")
        names = [PeriodicTask.objects.get(task=task).name for task in upper]
        PeriodicTask.objects.filter(task=upper[0]).delete()
        PeriodicTask.objects.filter(task=upper[1]).update(enabled=False)
        found = looked(work.beat)
        assert (found["beat.schedule"].level, names[0] in found["beat.schedule"].text) == (doctor.WARNING, True)
        assert (found["beat.disabled"].level, names[1] in found["beat.disabled"].text) == (doctor.WARNING, True)

    def test_beat_that_has_never_run(self):
        """Where sessions, memory rules or provenance need beat, one that has never run is warned of at once."""
        assert "beat.never" not in looked(work.beat), "nothing needs it yet"
        sessions.open("chat")
        found = looked(work.beat)["beat.never"]
        assert (found.level, "1 open session (nothing expires)" in found.text) == (doctor.WARNING, True)
        assert "memory rule" not in found.text
        sessions.WATCH.run()
        assert "beat.never" not in looked(work.beat)

    def test_beat_that_is_down(self):
        """A schedule that nobody has run for days is warned of."""
        from django_celery_beat.models import PeriodicTask

        PeriodicTask.objects.filter(task="execution.clean_up").update(last_run_at=timezone.now() - timedelta(days=3))
        found = looked(work.beat)["beat.silent"]
        assert found.level == doctor.WARNING
        assert "celeriac: clean up has not run since" in found.text
