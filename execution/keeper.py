"""The keeper's process: `python -m execution.keeper`, started by a worker's bootstep, described on its standard input.

It takes the worker's lock and registers the worker before it loads anything large: a keeper that replaces another
must hold the lock before two ticks have passed, and a worker claims nothing before it is registered. Loading Django
takes longer than both.
"""

import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

import psycopg

from execution.board import Board

LOCK_CLASS = 7003
REGISTER = """
INSERT INTO execution_worker (id, hostname, pid, pool, queues, slot_count, free_count, lock_number, holds_lock)
VALUES (%(worker)s, %(hostname)s, %(pid)s, %(pool)s, %(queues)s, %(slots)s, %(slots)s, %(lock_number)s, %(uses_lock)s)
ON CONFLICT (id) DO UPDATE SET lock_number = excluded.lock_number, missing_count = 0, missing_since = NULL,
    gone_at = NULL, seen_at = clock_timestamp()
"""


def main() -> None:
    """Take the lock, load the project, and keep until the worker ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    description = json.loads(line)
    lock = register_early(description)

    import django
    from celery import current_app
    from celery.utils.imports import symbol_by_name

    if description["app"]:
        symbol_by_name(description["app"]).set_current()
    show_no_pages()
    django.setup()
    current_app.conf.include = description["include"]
    from execution.keeping import Keeper

    Keeper.of(description, lock).run()


def register_early(description: dict[str, Any]) -> psycopg.Connection[Any] | None:
    """Register the worker on a connection that holds its lock; return None when the database does not let it."""
    with contextlib.suppress(psycopg.Error):
        connection = psycopg.connect(**description["database"], autocommit=True)
        if description["uses_lock"]:
            lock = [LOCK_CLASS, description["lock_number"]]
            taken = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", lock).fetchone()
            if taken is None or not taken[0]:
                connection.close()
                return None
        connection.execute(REGISTER, description)
        Board(Path(description["board"])).keep()
        return connection
    return None


def show_no_pages() -> None:
    """Let Django leave the admin's pages unloaded: they are a third of what it loads, and a keeper shows none."""
    from django.conf import settings

    if {"django.contrib.admin", "execution.room.apps.RoomConfig"} & {*settings.INSTALLED_APPS}:
        from django.contrib import admin

        admin.autodiscover = lambda: None


if __name__ == "__main__":
    main()
