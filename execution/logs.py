"""Logs: one line an event, with run, step and attempt bound, and no secrets.

`configuration()` is a value for Django's LOGGING: JSON lines where nobody looks on, key and value on a terminal. It
serves structlog and the standard library alike, in the web, in commands, in Celery's workers, their pool processes and
their keepers.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from celery import signals

from execution import secrecy

MASK = secrecy.MASK
FORMATS = ("auto", "json", "console")

EventDict = MutableMapping[str, Any]


def configuration(*, level: str = "INFO", form: str = "auto") -> dict[str, Any]:
    """Return a LOGGING setting, and make structlog write through it."""
    if form not in FORMATS:
        raise ValueError(f"the log format is {form!r}; it is one of {', '.join(FORMATS)}")
    _configure_structlog()
    signals.setup_logging.connect(_set_up_worker, dispatch_uid="celeriac.logs")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"celeriac": {"()": "execution.logs.formatter", "form": form}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "celeriac"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            # Django would write these twice: to a handler of its own, and to the root's.
            "django": {"handlers": [], "level": level.upper(), "propagate": True},
            "django.server": {"handlers": [], "level": level.upper(), "propagate": True},
        },
    }


def formatter(form: str = "auto") -> logging.Formatter:
    """Return the formatter of a handler."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer(default=str) if as_json else structlog.dev.ConsoleRenderer()
    first: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        first.append(structlog.processors.format_exc_info)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder(), _leave_out_objects],
        processors=[*first, hide_secrets, renderer],
    )


def hide_secrets(_: Any, __: str, event: EventDict) -> EventDict:
    """Hide the values of keys that name a secret, at any depth, and passwords inside addresses."""
    for key, value in event.items():
        event[key] = MASK if secrecy.is_secret(key, value) else secrecy.hidden(value)
    return event


def _shared() -> list[Any]:
    """The steps that every line takes, whoever wrote it."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _leave_out_objects(_: Any, __: str, event: EventDict) -> EventDict:
    """Drop what Celery and Django attach to their sentences: a task's arguments, a whole request."""
    for name, attached in (("celery", ("data",)), ("django", ("request", "server_time"))):
        if str(event.get("logger", "")).startswith(name):
            for key in attached:
                event.pop(key, None)
    return event


def _configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def write_as_others_do() -> None:
    """Let a project that has set up no structlog read our lines in its own logs, from the level on that it chose there.

    By itself structlog prints every line, debugging ones too, and a worker takes what is printed for a warning.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.format_exc_info,
            hide_secrets,
            structlog.processors.KeyValueRenderer(key_order=["event"], repr_native_str=False),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _set_up_worker(*, loglevel: int | str | None = None, logfile: str | None = None, **_: Any) -> None:
    """Keep these logs in a worker or beat: Celery's options choose the level and the file, and nothing else."""
    root = logging.getLogger()
    if logfile and root.handlers:
        handler = logging.FileHandler(logfile)
        handler.setFormatter(root.handlers[0].formatter)
        root.handlers[:] = [handler]
    if loglevel:
        root.setLevel(loglevel)
