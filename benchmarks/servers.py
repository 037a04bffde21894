"""The servers under test and a fresh place on them for every measurement.

Servers come from the project's substrate, in a home of their own (`.celeriac/bench`), or from DATABASE_URL and
REDIS_URL. Each contender gets a database that is made before it starts and dropped after it ends, and an emptied Redis
database; a checkpoint in between keeps one contender's writes from being flushed at another's cost.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
import redis
from psycopg import sql

from config import substrate

REDIS_DATABASE = 9
SETTINGS = ("fsync", "synchronous_commit", "shared_buffers", "wal_level")
HOME = Path(__file__).resolve().parent.parent / ".celeriac" / "bench"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The addresses that one contender gets."""

    database: str
    redis: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """PostgreSQL, by a URL that may create databases, and Redis."""

    database: str
    redis: str

    @contextlib.contextmanager
    def place_for(self, contender: str) -> Iterator[Place]:
        """Give one contender an empty database and an empty Redis database, for as long as the block lasts."""
        name = f"celeriac_bench_{contender}"
        place = Place(database=with_database(self.database, name), redis=with_number(self.redis, REDIS_DATABASE))
        self._recreate(name)
        self._empty(place.redis)
        try:
            yield place
        finally:
            self._drop(name)
            self._empty(place.redis)

    def describe(self) -> dict[str, str]:
        """Return versions and the settings that decide how much a commit costs."""
        with self._connect() as connection:
            described = {"PostgreSQL": _shown(connection, "server_version")}
            described |= {f"PostgreSQL {name}": _shown(connection, name) for name in SETTINGS}
        with redis.Redis.from_url(self.redis) as client:
            described["Redis"] = str(client.info("server")["redis_version"])
            described["Redis appendonly"] = str(client.info("persistence")["aof_enabled"])
        return described

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self.database, autocommit=True)

    def _recreate(self, name: str) -> None:
        self._drop(name)
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute("CHECKPOINT")

    def _drop(self, name: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    @staticmethod
    def _empty(url: str) -> None:
        with redis.Redis.from_url(url) as client:
            client.flushdb()


def _shown(connection: psycopg.Connection, setting: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    return str(row[0]) if row else ""


def start() -> Servers:
    """Start the embedded servers where none are named, and return the addresses of those to measure on."""
    os.environ.setdefault("CELERIAC_HOME", str(HOME))
    substrate.ensure()
    addresses = substrate.addresses()
    return Servers(database=database_url(addresses.database), redis=addresses.redis_url)


def stop() -> None:
    """Stop the embedded servers of the benchmarks' home; servers named by a URL are left alone."""
    substrate.stop()


def database_url(database: dict[str, object]) -> str:
    """Write Django's database setting as the URL that every driver here reads; a socket folder goes into the query."""
    host = str(database["HOST"])
    options = {str(key): str(value) for key, value in dict(database["OPTIONS"]).items()}  # type: ignore[call-overload]
    user = quote(str(database["USER"]), safe="")
    password = f":{quote(str(database['PASSWORD']), safe='')}" if database["PASSWORD"] else ""
    port = f":{database['PORT']}" if database["PORT"] else ""
    if host.startswith("/"):
        options |= {"host": host} | ({"port": port[1:]} if port else {})
        host = port = ""
    query = f"?{urlencode(options)}" if options else ""
    return f"postgresql://{user}{password}@{host}{port}/{database['NAME']}{query}"


def with_database(url: str, name: str) -> str:
    """Return a PostgreSQL URL with another database name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def with_number(url: str, number: int) -> str:
    """Return a Redis URL with another database number."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        query = dict(parse_qsl(parts.query)) | {"db": str(number)}
        return f"unix://{parts.netloc}{parts.path}?{urlencode(query)}"
    return urlunsplit(parts._replace(path=f"/{number}"))
