"""The doctor's look at Celery: the broker, Redis, acknowledgement, prefetch, time-outs, chords, the beat schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from celery import current_app
from django.conf import settings

from execution.doctor.database import START, is_embedded
from execution.doctor.findings import Finding, error, first_line, ok, warning

OLDEST_REDIS = (6, 2)
PATIENCE_SECONDS = 3.0
CHORD_SECONDS = 7 * 86400
_REDIS = ("redis", "rediss", "valkey", "unix")


def _app() -> Any:
    app: Any = current_app
    return app._get_current_object()  # noqa: SLF001 - a proxy's only way to its app


def _broker_url() -> str:
    return str(_app().conf.broker_url or "amqp://")


def shown(url: str) -> str:
    """Return an address without its password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def is_redis() -> bool:
    """Tell whether the broker is a Redis."""
    return _broker_url().startswith(_REDIS)


def reachable() -> Iterator[Finding]:
    """Connect to the broker."""
    redis_is_broker = is_redis()
    embedded = redis_is_broker and is_embedded("redis") and "socket" in _broker_url()
    name = (
        f"{'embedded' if embedded else 'external'} {'Redis' if redis_is_broker else 'broker'} at {shown(_broker_url())}"
    )
    broker = _app().connection_for_write(connect_timeout=PATIENCE_SECONDS)
    try:
        with broker:
            broker.ensure_connection(max_retries=1, interval_start=0.1, timeout=PATIENCE_SECONDS)
            yield ok("broker.reachable", f"{name} answers")
            yield from _redis_server(broker) if redis_is_broker else _amqp_server(broker)
    except Exception as problem:  # noqa: BLE001 - whatever kombu raises, the broker is not there
        state = "is not running" if embedded else "does not answer"
        mend = START if embedded else "Start it, or correct CELERY_BROKER_URL."
        yield error("broker.reachable", f"{name} {state}: {first_line(problem)}", mend)


def _redis_server(broker: Any) -> Iterator[Finding]:
    info = broker.default_channel.client.info()
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        yield error("broker.version", f"Redis is {version}", "Use Redis 6.2 or newer, or Valkey.")
    else:
        yield ok("broker.version", f"{'Valkey' if 'valkey_version' in info else 'Redis'} {version}")
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        yield ok("broker.eviction", "Redis evicts nothing")
    else:
        yield warning(
            "broker.eviction",
            f"maxmemory-policy is {policy}: when memory is short messages vanish and their steps wait to be rung again",
            "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf.",
        )


def _amqp_server(broker: Any) -> Iterator[Finding]:
    server = getattr(broker.connection, "server_properties", None) or {}
    product, version = server.get("product", "the broker"), server.get("version", "of an unknown version")
    yield ok("broker.version", f"{product} {version}")
    if str(product).lower().startswith("rabbit") and _acks_late_tasks():
        yield warning(
            "broker.consumer_timeout",
            "RabbitMQ closes the channel of a message that is not acknowledged within consumer_timeout (30 minutes)",
            "Acknowledge early, as skills do, or raise consumer_timeout in rabbitmq.conf for tasks with acks_late.",
        )


def _acks_late_tasks() -> list[str]:
    """Return the tasks that acknowledge late; Celery's own are left out."""
    app = _app()
    app.loader.import_default_modules()
    return sorted(name for name, task in app.tasks.items() if task.acks_late and not name.startswith("celery."))


def acknowledgement() -> Iterator[Finding]:
    """Look for late acknowledgement, and weigh it against the visibility timeout."""
    from execution.skills import SkillTask

    app = _app()
    late = _acks_late_tasks()
    skills = [name for name in late if isinstance(app.tasks[name], SkillTask)]
    if skills:
        yield error(
            "celery.acks_late",
            f"these skills acknowledge late: {', '.join(skills[:5])}; a long step would be started twice",
            "Remove acks_late from them: the ledger's leases recover what is lost.",
        )
    plain = [name for name in late if name not in skills]
    seconds = int((app.conf.broker_transport_options or {}).get("visibility_timeout", 3600))
    if plain and is_redis():
        yield warning(
            "celery.visibility_timeout",
            f"these tasks acknowledge late: {', '.join(plain[:5])}; one that lasts longer than the visibility timeout "
            f"({seconds} s), or meets a broken connection, is started a second time",
            "Make them skills, acknowledge early, or raise broker_transport_options['visibility_timeout'].",
        )
    if not late:
        yield ok("celery.acks_late", "messages are acknowledged early")


def prefetch() -> Iterator[Finding]:
    """Look whether workers reserve messages that they cannot start."""
    options = _app().conf
    if is_redis() and getattr(options, "worker_disable_prefetch", False):
        yield ok("celery.prefetch", "workers take a message only when a slot is free")
    elif options.worker_prefetch_multiplier == 1:
        name = "CELERY_WORKER_DISABLE_PREFETCH = True takes none." if is_redis() else ""
        text = "each busy slot reserves one message, which is rung again elsewhere when it waits"
        yield warning("celery.prefetch", text, name) if name else ok("celery.prefetch", text)
    else:
        yield warning(
            "celery.prefetch",
            f"worker_prefetch_multiplier is {options.worker_prefetch_multiplier}: messages wait behind long steps",
            "CELERY_WORKER_PREFETCH_MULTIPLIER = 1, and on Redis CELERY_WORKER_DISABLE_PREFETCH = True.",
        )


def time_outs() -> Iterator[Finding]:
    """Look whether a dead broker connection would hang a publisher for ever."""
    options = _app().conf
    if is_redis():
        given = options.broker_transport_options or {}
        missing = [name for name in ("socket_timeout", "socket_connect_timeout") if not given.get(name)]
        missing += [name for name in ("socket_keepalive", "health_check_interval") if not given.get(name)]
        if missing:
            yield warning(
                "celery.socket_timeout",
                f"broker_transport_options lacks {', '.join(missing)}: a publish on a dead connection may hang",
                "CELERY_BROKER_TRANSPORT_OPTIONS = {'socket_timeout': 15, 'socket_connect_timeout': 5, "
                "'socket_keepalive': True, 'health_check_interval': 15}",
            )
        else:
            yield ok("celery.socket_timeout", f"broker sockets give up after {given['socket_timeout']} s")
    retries = options.broker_connection_max_retries
    if retries:
        yield warning(
            "celery.connection_retries",
            f"broker_connection_max_retries is {retries}: a worker gives up on a broker that stays away",
            "CELERY_BROKER_CONNECTION_MAX_RETRIES = None",
        )
    else:
        yield ok("celery.connection_retries", "workers wait for a broker that is away, however long")


def chords() -> Iterator[Finding]:
    """Look how long a plain chord's header may take."""
    given: Any = _app().conf.get("result_chord_expires") or 86400
    seconds = given.total_seconds() if isinstance(given, timedelta) else float(given)
    text = f"the header of a chord of plain tasks may take {seconds / 86400:.1f} days (result_chord_expires)"
    if seconds < CHORD_SECONDS:
        yield warning(
            "celery.chords", text, "CELERY_RESULT_CHORD_EXPIRES = 30 * 24 * 3600: longer than the longest run."
        )
    else:
        yield ok("celery.chords", text)


def telemetry() -> Iterator[Finding]:
    """Connect to the Redis that dashboards and streams use."""
    import redis

    url = getattr(settings, "REDIS_URL", "")
    if not url or (is_redis() and shown(url).partition("?")[0].rpartition("://")[2] in _broker_url()):
        return
    name = f"{'embedded' if is_embedded('redis') else 'external'} Redis at {shown(url)} (REDIS_URL)"
    try:
        with redis.Redis.from_url(url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS) as one:
            one.ping()
    except (redis.RedisError, OSError, ValueError) as problem:
        mend = START if is_embedded("redis") else "Start it, or correct REDIS_URL."
        yield error("redis.reachable", f"{name} does not answer: {first_line(problem)}", mend)
    else:
        yield ok("redis.reachable", f"{name} answers")


LOOKS = (reachable, telemetry, acknowledgement, prefetch, time_outs, chords)
