"""Where the servers are, computed from the environment and nothing else.

Every process of one home computes the same addresses, so nothing needs to be handed from one to the other. Unix socket
paths must stay below 107 bytes, and a home may be deep; therefore the sockets stand in a short folder named after the
user and the home's path. It is not taken from XDG_RUNTIME_DIR, because a login shell has that variable and a cron job
of the same user has not: they would miss each other.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from config.substrate.errors import SubstrateError

REPOSITORY = Path(__file__).resolve().parents[2]
DATABASE = "celeriac"
POSTGRES_PORT = 5432
LONGEST_SOCKET_PATH = 106

Database = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The servers of one home, and which of them are embedded."""

    home: Path
    sockets: Path
    database: Database
    redis_url: str
    broker_url: str
    result_backend: str
    embeds_postgres: bool
    embeds_redis: bool

    @property
    def postgres_socket_folder(self) -> Path:
        """The folder that PostgreSQL puts its socket in."""
        return self.sockets / "postgres"

    @property
    def redis_socket(self) -> Path:
        """The socket that Redis listens on."""
        return self.sockets / "redis" / "redis.sock"


def addresses(environ: Mapping[str, str] = os.environ) -> Addresses:
    """Return where the servers are, without touching any of them."""
    home = Path(environ.get("CELERIAC_HOME") or REPOSITORY / ".celeriac").expanduser().absolute()
    sockets = _socket_folder(home, environ)
    redis_socket = sockets / "redis" / "redis.sock"
    embedded_database = f"postgres://{DATABASE}@{quote(f'{sockets}/postgres', safe='')}/{DATABASE}"
    redis_url = environ.get("REDIS_URL") or f"unix://{redis_socket}?db=0"
    return Addresses(
        home=home,
        sockets=sockets,
        database=parse_database_url(environ.get("DATABASE_URL") or embedded_database),
        redis_url=redis_url,
        broker_url=environ.get("CELERY_BROKER_URL") or broker_of(redis_url),
        result_backend=broker_of(redis_url),
        embeds_postgres=not environ.get("DATABASE_URL"),
        embeds_redis=not environ.get("REDIS_URL"),
    )


def parse_database_url(url: str) -> Database:
    """Turn `postgres://user:password@host:port/name?option=value` into Django's setting.

    A socket folder is written as the host, percent-encoded, or as `?host=/folder`.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        message = (
            f"DATABASE_URL starts with {parts.scheme!r}; Celeriac keeps its ledger in PostgreSQL: use postgres://..."
        )
        raise SubstrateError(message)
    name = unquote(parts.path.removeprefix("/"))
    if not name:
        message = "DATABASE_URL names no database; write postgres://user@host:5432/name"
        raise SubstrateError(message)
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or _host(parts.netloc),
        "PORT": _port(parts.netloc),
        "OPTIONS": options,
    }


def broker_of(redis_url: str) -> str:
    """Write a Redis client's URL the way kombu wants it: a socket path needs another scheme and `virtual_host`."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    query = dict(parse_qsl(parts.query))
    user = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
    return f"redis+socket://{user}{parts.path}?virtual_host={query.get('db', '0')}"


def _host(netloc: str) -> str:
    """Return the host with its case kept: `urlsplit().hostname` lowers it, which breaks socket folders."""
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return unquote(host.partition(":")[0])


def _port(netloc: str) -> str:
    host = netloc.rpartition("@")[2]
    return host.rpartition("]")[2].partition(":")[2]


def _socket_folder(home: Path, environ: Mapping[str, str]) -> Path:
    base = Path(environ.get("CELERIAC_SOCKETS") or "/tmp")  # noqa: S108 - the folder is checked before use (folders.py)
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:10]
    folder = base / f"celeriac-{os.getuid()}-{digest}"
    longest = folder / "postgres" / f".s.PGSQL.{POSTGRES_PORT}.lock"
    if len(os.fsencode(longest)) > LONGEST_SOCKET_PATH:
        message = f"The socket path {longest} is too long for a Unix socket; set CELERIAC_SOCKETS to a shorter folder."
        raise SubstrateError(message)
    return folder
