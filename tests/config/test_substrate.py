"""The embedded servers: started for real, in homes of their own, and hurt."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from config import substrate
from config.substrate import processes, servers
from config.substrate.addresses import Addresses, addresses
from config.substrate.postgres import Postgres
from config.substrate.redis import Redis
from tests.conftest import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path) -> Addresses:
    """A home of its own, whose servers end with the test."""
    where = addresses({"CELERIAC_HOME": str(tmp_path / "home")})
    yield where
    if where.sockets.is_dir() and stat.S_IMODE(where.sockets.stat().st_mode) != 0o700:
        where.sockets.chmod(0o700)
    substrate.stop(where)
    shutil.rmtree(where.sockets, ignore_errors=True)


@pytest.fixture
def running(home) -> Addresses:
    """A home whose servers run."""
    return substrate.ensure(home)


def connect(where: Addresses) -> psycopg.Connection:
    """Open a session as the application would."""
    database = where.database
    return psycopg.connect(host=database["HOST"], user=database["USER"], dbname=database["NAME"], autocommit=True)


def pids(where: Addresses) -> list[int | None]:
    """Return the process ids of both servers."""
    return [server.pid for server in substrate.status(where)]


def setting(where: Addresses, name: str) -> str:
    """Ask PostgreSQL for a setting."""
    with connect(where) as connection:
        return connection.execute("SELECT current_setting(%s)", [name]).fetchone()[0]


def test_ensure_from_nothing(running):
    """Both servers answer, with a database to use and settings that lose nothing."""
    assert all(server.is_running for server in substrate.status(running))
    wanted = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "listen_addresses": ""}
    assert {name: setting(running, name) for name in wanted} == wanted
    with redis.from_url(running.redis_url) as client:
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_ensure_opens_no_port(running):
    """Neither server listens anywhere but on its socket, and only the owner reaches that."""
    for pid in pids(running):
        assert [found for found in psutil.Process(pid).net_connections("inet") if found.status == "LISTEN"] == []
    for folder in (running.home, running.sockets, running.postgres_socket_folder, running.redis_socket.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_ensure_leaves_parent_folders_closed(tmp_path):
    """A home below a folder that nobody else may enter works, and the folder stays closed."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    where = addresses({"CELERIAC_HOME": str(closed / "home")})
    try:
        substrate.ensure(where)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert all(psutil.Process(pid).uids().effective != 0 for pid in pids(where))
    finally:
        substrate.stop(where)
        shutil.rmtree(where.sockets)


def test_ensure_when_running_is_fast(running):
    """Every command can afford it: well below 30 ms, and the servers stay the same."""
    before = pids(running)
    times = []
    for _ in range(30):
        began = time.perf_counter()
        substrate.ensure(running)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.03
    assert pids(running) == before


def test_ensure_twice_at_once(home):
    """Of two processes that find nothing running, one starts the servers and both return."""
    command = [sys.executable, "-m", "config.substrate", "start"]
    environment = os.environ | {"CELERIAC_HOME": str(home.home)}
    both = [
        subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    answers = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1]
    assert answers[0].count("running") == 2


def test_stop_and_start_again_keeps_data(running):
    """What was written is there after a restart."""
    with connect(running) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    with redis.from_url(running.redis_url) as client:
        client.set("kept", "yes")
    assert substrate.stop(running) == ["Redis", "PostgreSQL"]
    assert pids(running) == [None, None]
    substrate.ensure(running)
    with connect(running) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    with redis.from_url(running.redis_url) as client:
        assert client.get("kept") == b"yes"


def test_stop_without_servers(home):
    """There is nothing to stop, and nothing is made."""
    assert substrate.stop(home) == []
    assert not home.home.exists()


@pytest.mark.parametrize("victim", [0, 1])
def test_kill_then_ensure_recovers(running, victim):
    """A killed server is started again, with all that it had been told to keep; the other one is left alone."""
    with connect(running) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    before = pids(running)
    os.kill(before[victim], signal.SIGKILL)
    wait_until(lambda: pids(running)[victim] is None, message="the server is dead")
    substrate.ensure(running)
    after = pids(running)
    assert after[victim] not in {None, before[victim]}
    assert after[1 - victim] == before[1 - victim]
    with connect(running) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_pid_file_with_a_recycled_number(running):
    """A pid file that names a stranger's process is not believed, and the stranger is never signalled."""
    servers_of = (Postgres(addresses=running), Redis(addresses=running))
    substrate.stop(running)
    user = (running.home / "postgres").stat().st_uid
    with subprocess.Popen(["sleep", "600"], user=user) as stranger:  # of the user whom PostgreSQL would believe
        try:
            (running.home / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n\n\n\n\n\n\nready\n")
            (running.home / "redis" / "redis.pid").write_text(f"{stranger.pid}\n")
            for server in servers_of:
                processes.Identity(pid=stranger.pid, birth=0.0).store(server.record)
            assert pids(running) == [None, None]
            assert substrate.stop(running) == []
            substrate.ensure(running)
            assert stranger.poll() is None
            assert stranger.pid not in pids(running)
        finally:
            stranger.kill()


def test_record_of_an_older_birth(running):
    """The number and the command line agree, the birth does not: the server is looked at anew, not started twice."""
    server = Postgres(addresses=running)
    before = pids(running)
    processes.Identity(pid=before[0], birth=1.0).store(server.record)
    substrate.ensure(running)
    assert pids(running) == before
    assert processes.recorded(server.record).birth > 1.0


def test_socket_folder_that_others_can_enter(home):
    """A folder that somebody else may have laid as a trap is refused, with what to do."""
    home.sockets.mkdir(mode=0o755)
    home.sockets.chmod(0o755)
    with pytest.raises(substrate.SubstrateError, match="set CELERIAC_SOCKETS to a folder that only you can write to"):
        substrate.ensure(home)


def test_socket_folder_that_is_a_link(home, tmp_path):
    """A link in place of the folder is refused."""
    home.sockets.symlink_to(tmp_path)
    try:
        with pytest.raises(substrate.SubstrateError, match="is not safe to use"):
            substrate.ensure(home)
    finally:
        home.sockets.unlink()


def test_socket_folder_that_was_swept_away(running):
    """A server whose socket a cleaner has deleted is started again: nobody could reach it any more."""
    shutil.rmtree(running.postgres_socket_folder)
    substrate.ensure(running)
    assert setting(running, "fsync") == "on"


def test_start_that_fails_says_where_and_what_to_do(running):
    """The error names the log, quotes its end, and says what to do."""
    substrate.stop(running)
    conf = running.home / "postgres" / "postgresql.conf"
    conf.write_text(conf.read_text() + "\nno_such_setting = 1\n")
    with pytest.raises(substrate.SubstrateError) as refusal:
        substrate.ensure(running)
    message = str(refusal.value)
    assert "PostgreSQL did not start" in message
    assert "no_such_setting" in message
    assert str(running.home / "logs" / "postgres.log") in message
    assert "start again" in message


def test_redis_that_cannot_read_its_data(running):
    """A damaged file of Redis is reported with its own words."""
    substrate.stop(running)
    shutil.rmtree(running.home / "redis" / "appendonlydir", ignore_errors=True)
    (running.home / "redis" / "appendonly.aof").write_bytes(b"nonsense")
    (running.home / "redis" / "appendonlydir").write_bytes(b"nonsense")
    with pytest.raises(substrate.SubstrateError, match=r"(?s)Redis .*redis\.log"):
        substrate.ensure(running)


def test_data_folder_that_is_no_cluster(home):
    """Somebody's files are not mistaken for an empty folder."""
    (home.home / "postgres").mkdir(parents=True)
    (home.home / "postgres" / "thesis.txt").write_text("mine")
    with pytest.raises(substrate.SubstrateError, match="holds no PostgreSQL cluster, but it is not empty"):
        substrate.ensure(home)
    assert (home.home / "postgres" / "thesis.txt").read_text() == "mine"


def test_cluster_of_another_version(running):
    """Binaries of another major version are not let near the data."""
    substrate.stop(running)
    (running.home / "postgres" / "PG_VERSION").write_text("13\n")
    with pytest.raises(substrate.SubstrateError, match="was made by PostgreSQL 13"):
        substrate.ensure(running)


def test_initdb_that_was_killed(home):
    """What a killed initdb has left is thrown away."""
    (home.home / "postgres.new" / "cluster").mkdir(parents=True)
    (home.home / "postgres.new" / "cluster" / "half").write_text("")
    substrate.ensure(home)
    assert not (home.home / "postgres.new").exists()


def test_external_servers_are_left_alone(tmp_path, monkeypatch):
    """With servers of one's own, nothing is started and no folder is made."""
    monkeypatch.setattr(servers, "_start", lambda server: pytest.fail(f"started {server.name}"))
    where = addresses(
        {"CELERIAC_HOME": str(tmp_path / "home"), "DATABASE_URL": "postgres://db/x", "REDIS_URL": "redis://cache"}
    )
    substrate.ensure(where)
    assert not where.home.exists()
    assert [(server.is_embedded, server.is_running) for server in substrate.status(where)] == [(False, False)] * 2


def test_foreign_user_is_refused(running):
    """Peer authentication lets in the owner alone, and the socket folder keeps everybody else out."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    stranger = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups"]
    reach = subprocess.run([*stranger, "test", "-S", running.redis_socket], check=False, cwd="/")
    assert reach.returncode != 0


def test_socket_is_the_only_door(running):
    """Redis answers on its socket."""
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(str(running.redis_socket))
        door.sendall(b"PING\r\n")
        assert door.recv(16) == b"+PONG\r\n"
