"""The environment becomes settings in one place."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from config import celery, settings
from config.secret import kept_secret
from config.substrate import SubstrateError, addresses
from config.substrate.addresses import broker_of, parse_database_url


def test_database_url_with_all_its_parts():
    """Every part of the URL reaches Django, decoded."""
    parsed = parse_database_url("postgres://ann:p%40ss@db.example.org:6432/ledger?sslmode=require")
    assert (parsed["USER"], parsed["PASSWORD"], parsed["HOST"]) == ("ann", "p@ss", "db.example.org")
    assert (parsed["PORT"], parsed["NAME"], parsed["OPTIONS"]) == ("6432", "ledger", {"sslmode": "require"})


@pytest.mark.parametrize(
    "url",
    ["postgres://ann@%2FRun%2Fpg/ledger", "postgresql://ann@/ledger?host=/Run/pg", "postgres:///ledger?host=/Run/pg"],
)
def test_database_url_with_a_socket_folder(url):
    """A socket folder is the host, percent-encoded or as an option, and keeps its case."""
    parsed = parse_database_url(url)
    assert parsed["HOST"] == "/Run/pg"
    assert parsed["NAME"] == "ledger"


def test_database_url_with_an_ipv6_host():
    """Brackets are the URL's, not the host's."""
    parsed = parse_database_url("postgres://ann@[::1]:5433/ledger")
    assert (parsed["HOST"], parsed["PORT"]) == ("::1", "5433")


@pytest.mark.parametrize(
    ("url", "words"), [("sqlite:///x.db", "PostgreSQL"), ("postgres://ann@host", "names no database")]
)
def test_database_url_that_cannot_serve(url, words):
    """A database that is none, or not PostgreSQL, is refused in words."""
    with pytest.raises(SubstrateError, match=words):
        parse_database_url(url)


def test_redis_socket_as_broker():
    """Kombu reads sockets under another scheme than redis-py does."""
    assert broker_of("unix:///run/redis.sock?db=3") == "redis+socket:///run/redis.sock?virtual_host=3"
    assert broker_of("rediss://host:6380/1") == "rediss://host:6380/1"


def test_addresses_of_external_servers():
    """What the environment names is not embedded, and one Redis serves as broker too."""
    found = addresses({"DATABASE_URL": "postgres://ann@db/ledger", "REDIS_URL": "redis://cache:6379/2"})
    assert not found.embeds_postgres
    assert not found.embeds_redis
    assert found.broker_url == found.result_backend == "redis://cache:6379/2"


def test_addresses_with_another_broker():
    """With RabbitMQ as broker, Redis stays embedded for everything else."""
    found = addresses({"CELERY_BROKER_URL": "amqp://rabbit//"})
    assert found.embeds_redis
    assert found.broker_url == "amqp://rabbit//"
    assert found.result_backend.startswith("redis+socket://")


def test_addresses_of_one_home_agree(tmp_path):
    """Every process computes the same address, whatever its session is."""
    one = addresses({"CELERIAC_HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/1"})
    assert one == addresses({"CELERIAC_HOME": str(tmp_path)})
    assert one.sockets != addresses({"CELERIAC_HOME": str(tmp_path / "other")}).sockets


def test_addresses_with_too_long_a_socket_path():
    """A path that no Unix socket can have is refused before any server starts."""
    with pytest.raises(SubstrateError, match="set CELERIAC_SOCKETS to a shorter folder"):
        addresses({"CELERIAC_SOCKETS": "/" + "x" * 100})


def test_secret_key_is_made_once(tmp_path):
    """The key is kept, and nobody else can read it."""
    key = kept_secret(tmp_path / "home" / "secret_key")
    assert kept_secret(tmp_path / "home" / "secret_key") == key
    assert len(key) >= 50
    assert stat.S_IMODE((tmp_path / "home" / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["secret_key"]


def test_secret_key_without_a_home(tmp_path):
    """A home that is no folder is named, with the variables that help."""
    (tmp_path / "home").write_text("")
    with pytest.raises((SubstrateError, NotADirectoryError), match="home"):
        kept_secret(tmp_path / "home" / "secret_key")


def test_exports_storage(monkeypatch):
    """The environment names the bucket of exports, with keys of its own or the way to Vault."""
    for name, value in {
        "EXPORTS_BUCKET": "nights",
        "EXPORTS_ENDPOINT_URL": "https://account.r2.cloudflarestorage.com",
        "EXPORTS_ACCESS_KEY_ID": "id",
        "EXPORTS_SECRET_ACCESS_KEY": "key",
        "VAULT_ADDR": "https://vault:8200",
        "VAULT_ROLE_ID": "role",
    }.items():
        monkeypatch.setenv(name, value)
    options = settings.exports_storage()["OPTIONS"]
    assert (options["bucket_name"], options["region_name"], options["access_key"]) == ("nights", "auto", "id")
    assert "vault" not in options
    monkeypatch.setenv("EXPORTS_VAULT_PATH", "secret/exports")
    vault = settings.exports_storage()["OPTIONS"]["vault"]
    assert (vault["url"], vault["path"], vault["role_id"]) == ("https://vault:8200", "secret/exports", "role")


def test_celeriac_options(monkeypatch):
    """CELERIAC_<NAME> becomes an option: numbers and lists as JSON, the rest as text; the home is none."""
    monkeypatch.setenv("CELERIAC_LEASE_SECONDS", "5")
    monkeypatch.setenv("CELERIAC_REDIS_PREFIX", "team:")
    found = settings.celeriac_options()
    assert found["lease_seconds"] == 5
    assert found["redis_prefix"] == "team:"
    assert "home" not in found


@pytest.mark.parametrize(
    ("command_line", "needed"),
    [
        (["/venv/bin/celery", "-A", "config", "worker"], True),
        (["/venv/lib/celery/__main__.py", "-A", "config", "beat"], True),
        (["/venv/bin/celery", "-A", "config", "worker", "--help"], False),
        (["/venv/bin/pytest"], False),
        ([], False),
    ],
)
def test_celery_commands_that_need_servers(command_line, needed):
    """Only a celery command that does something starts servers on import."""
    assert celery.needs_servers(command_line) is needed


def test_settings_for_another_broker(tmp_path):
    """What only Redis understands is not told to RabbitMQ."""
    program = (
        "from config import settings as s;"
        "print(s.CELERY_WORKER_DISABLE_PREFETCH, s.CELERY_BROKER_TRANSPORT_OPTIONS, s.CELERY_TASK_ACKS_LATE)"
    )
    environment = os.environ | {"CELERY_BROKER_URL": "amqp://rabbit//", "CELERIAC_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path.cwd(), env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False {} False"
