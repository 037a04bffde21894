"""The app's settings: typed, with defaults, read from `settings.CELERIAC` when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed


class Section:
    """One app's part of `CELERIAC`: a dataclass with a default for each name."""

    __slots__ = ()


_Found = TypeVar("_Found", bound=Section)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Section):
    """What `CELERIAC = {...}` may hold."""

    lease_seconds: int = 30
    """How long a silent worker keeps a step."""
    heartbeat_seconds: float = 10.0
    """How often a keeper extends the leases of what is performed; at most a third of a lease."""
    tick_seconds: float = 1.0
    """How often upkeep sweeps, wakes and feeds."""
    window: int = 500
    """Messages outstanding per queue, at most; in practice four for each living slot."""
    inline_count: int = 100
    """Steps that one message may lead to, one after the other in the same process."""
    inline_seconds: float = 1.0
    """How long one message may lead to further steps."""
    compress_from_bytes: int = 2048
    blob_from_bytes: int = 65536
    max_value_bytes: int = 16 * 1024 * 1024
    database_patience_seconds: float = 300.0
    """How long a worker's write waits for a database that is away."""
    lock_timeout_seconds: float = 30.0
    cancel_grace_seconds: float = 30.0
    """How long a cancelled skill may go on before its process is killed."""
    autoscale_up: float = 5.0
    autoscale_down: float = 2.0
    retries: int = 3
    retry_base_seconds: float = 1.0
    retry_cap_seconds: float = 300.0
    breaker_threshold: int = 5
    breaker_cooldown_seconds: int = 30
    lane_seconds: float = 30.0
    """How long a lane of a job keeps its slot, before it lines up behind what else waits for one."""
    item_days: float = 7.0
    """How long a job's items stay after its end."""
    checkpoint_days: float = 7.0
    timer_days: float = 7.0
    event_days: float = 90.0
    assessment_days: float = 90.0
    verdict_days: float = 365.0
    """How long records are kept; what a younger record rests on, and what is held for a case, stays longer."""
    key_hours: float = 24.0
    """How long an idempotency key holds after its run has ended."""
    memory_limit: int = 10_000
    """Memories that an agent keeps, pinned ones aside; the least used and oldest leave first."""
    memory_half_life_days: float = 30.0
    """How long until a memory counts half as much as a new one."""
    recall_seconds: float = 0.5
    """How long `ctx.memory` waits for an answer; without one the step goes on with none."""
    currency: str = "USD"
    callback_base_url: str = ""
    """Where the outside reaches this project, for the addresses that `ctx.callback` hands out."""
    app: str = ""
    """The Celery app as `module:attribute`, for keepers; found by itself in the usual layout."""
    redis_prefix: str = "celeriac:"
    session_locks: bool = True
    """False behind a connection pooler in transaction mode: leases alone decide."""
    prepare_statements: bool = True
    """False behind a connection pooler that cannot keep prepared statements."""
    workflows: bool = True
    """Whether runs of workflows may be opened; what runs goes on."""
    workflow_tracing: bool = True
    """Whether the parts of a graph's steps (validate, process, persist) have spans of their own."""
    workflow_metrics: bool = True
    """Whether /metrics tells of runs by the name of their workflow."""
    workflow_audit: bool = True
    """Whether registered definitions and decisions at gates are written to the log with who and why."""
    logs_url: str = ""
    """Where a run's logs are read, with `{run}` for its id: pages of runs lead there."""
    metrics_token: str = ""
    """When set, /metrics wants it as a bearer token."""
    flower_url: str = "http://127.0.0.1:5555"
    """Where Flower listens on this machine, for /flower/ behind the admin's login."""
    flower_account: str = ""
    """The `user:password` of Flower's own login, where it has one."""


def reader(section: type[_Found]) -> Callable[[], _Found]:
    """Return a function that returns one app's settings, read once and again after they were changed."""

    @lru_cache(maxsize=1)
    def current() -> _Found:
        from django.conf import settings

        return checked(section, getattr(settings, "CELERIAC", {}))

    def forget(*, setting: str, **_: Any) -> None:
        if setting == "CELERIAC":
            current.cache_clear()

    setting_changed.connect(forget, weak=False)
    return current


current = reader(Settings)
"""Return the settings in force."""


def read(given: dict[str, Any]) -> Settings:
    """Check a dictionary of settings; an unknown name is answered with the nearest known one."""
    return checked(Settings, given)


def checked(section: type[_Found], given: dict[str, Any]) -> _Found:
    """Return one app's part of a dictionary of settings; a name that no installed app knows is refused."""
    known = {field.name: field for field in _fields(section)}
    for name, value in given.items():
        if name in known:
            _check_type(name, value, type(known[name].default))
        elif name not in (names := _names()):
            near = get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ImproperlyConfigured(f"CELERIAC has no setting {name!r}{hint}")
    return section(**{name: value for name, value in given.items() if name in known})


def _check_type(name: str, value: Any, wanted: type) -> None:
    if not isinstance(value, (int, float) if wanted is float else wanted) or (
        wanted is not bool and isinstance(value, bool)
    ):
        raise ImproperlyConfigured(f"CELERIAC[{name!r}] must be {wanted.__name__}, not {value!r}")


def _fields(section: type[Section]) -> tuple[Field[Any], ...]:
    return fields(section)  # type: ignore[arg-type] # each section is a dataclass


def _names() -> list[str]:
    """Return the names of all settings: each installed app's `conf.py` may have a section of its own."""
    from django.apps import apps

    for app in apps.app_configs.values():
        if app.name != "execution" and find_spec(f"{app.name}.conf") is not None:
            import_module(f"{app.name}.conf")
    return [field.name for section in Section.__subclasses__() for field in _fields(section)]
