"""Start, stop and describe the servers of one home; only one process at a time does the first two.

When both run, `ensure` reads a few small files and sends one PING, so that every command can afford it. Otherwise it
takes the home's lock, looks again, and starts what is missing.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from config.substrate import folders, processes, waiting
from config.substrate.addresses import Addresses, addresses
from config.substrate.errors import SubstrateError, with_log
from config.substrate.postgres import Postgres
from config.substrate.privileges import server_account
from config.substrate.redis import SHUTDOWN_SECONDS, Redis

Server = Postgres | Redis


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is known of one server without starting it."""

    name: str
    where: str
    is_embedded: bool
    is_running: bool
    pid: int | None
    version: str
    log: str


def ensure(where: Addresses | None = None) -> Addresses:
    """Start the embedded servers that are not running, and return the addresses."""
    where = where or addresses()
    if all(_is_up(server) for server in _embedded(where)):
        return where
    _make_home(where)
    with _lock(where):
        for server in _embedded(where):
            if not _is_up(server):
                _start(server)
    return where


def stop(where: Addresses | None = None) -> list[str]:
    """Stop the embedded servers that run, and return their names."""
    where = where or addresses()
    if not where.home.exists():
        return []
    with _lock(where):
        return [server.name for server in reversed(_embedded(where)) if _stop(server)]


def status(where: Addresses | None = None) -> list[Status]:
    """Describe both servers."""
    where = where or addresses()
    return [_describe(server) for server in _servers(where)]


def _servers(where: Addresses) -> list[Server]:
    return [Postgres(addresses=where), Redis(addresses=where)]


def _embedded(where: Addresses) -> list[Server]:
    return [server for server in _servers(where) if server.is_embedded]


def _is_up(server: Server) -> bool:
    identity = processes.recorded(server.record)
    if identity is None or not processes.is_alive(identity, mark=server.mark) or not server.socket_folder.exists():
        return False
    folders.check_private(server.addresses.sockets)
    return server.is_ready()


def _start(server: Server) -> None:
    account = server_account(server.data)
    folders.make_server_folder(server.addresses.home / "logs", account)
    folders.make_private(server.addresses.sockets)
    if not server.socket_folder.exists():
        _stop(server)  # its socket was swept away: nobody can reach it any more
    folders.make_server_folder(server.socket_folder, account)
    server.start(account)
    identity = server.identity()
    if identity is None:
        raise with_log(f"{server.name} ended right after its start.", server.log, "Mend what the log names.")
    identity.store(server.record)


def _stop(server: Server) -> bool:
    identity = server.identity()
    server.record.unlink(missing_ok=True)
    if identity is None:
        return False
    os.kill(identity.pid, server.stop_signal())
    ended = waiting.until(
        lambda: not processes.is_alive(identity, mark=server.mark),
        what=f"{server.name} is stopping",
        log=server.log,
        timeout_seconds=SHUTDOWN_SECONDS,
    )
    if not ended:
        raise with_log(f"{server.name} (process {identity.pid}) does not stop.", server.log, "End it by hand.")
    return True


def _describe(server: Server) -> Status:
    identity = server.identity() if server.is_embedded else None
    running = server.is_ready() if identity else False
    return Status(
        name=server.name,
        where=server.where,
        is_embedded=server.is_embedded,
        is_running=running,
        pid=identity.pid if identity else None,
        version=server.version() if running else "",
        log=str(server.log) if server.is_embedded else "",
    )


def _make_home(where: Addresses) -> None:
    try:
        where.home.mkdir(mode=folders.PRIVATE, parents=True, exist_ok=True)
        where.home.chmod(folders.PRIVATE)
    except OSError as error:
        message = f"The home {where.home} cannot be used: {error}. Set CELERIAC_HOME to a folder of your own."
        raise SubstrateError(message) from error


@contextmanager
def _lock(where: Addresses) -> Iterator[None]:
    with (where.home / "servers.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
