"""Between two tests the tables are emptied: only those that hold something, and without Django's installing anew.

Django's own way truncates every table and sends `post_migrate`, which costs a third of a second where there are a
hundred tables. Here one statement looks which tables hold rows and removes those. What `migrate` has installed stays,
and is installed anew only where a test has changed it.
"""

from functools import cache

from django.apps import apps
from django.core.management.sql import emit_post_migrate_signal
from django.db import connection
from django.test import TransactionTestCase

KEPT = frozenset({"django_migrations", "django_content_type", "auth_permission"})
"""What no test changes."""
INSTALLED = (
    "django_celery_beat_clockedschedule",
    "django_celery_beat_crontabschedule",
    "django_celery_beat_intervalschedule",
    "django_celery_beat_periodictask",
    "django_celery_beat_periodictasks",
    "django_celery_beat_solarschedule",
    "execution_capabilitylockout",
    "recovery_suggestionaction",
)
"""What `migrate` fills, and tests may change."""
LARGE_BYTES, LARGE_LOG_BYTES = 256 * 1024, 4 * 1024 * 1024
"""The log's partitions and their indexes have a megabyte when they are empty."""

# A large table is truncated: its dead rows would be in the next tests' way. The others are emptied, which is cheaper than
# a new file for each of their indexes; neither triggers nor foreign keys have a say in it.
_EMPTY = """
DO $$
DECLARE
    v_table text;
    v_holds boolean;
    v_is_large boolean;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOREACH v_table IN ARRAY ARRAY[{tables}] LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', v_table) INTO v_holds;
        CONTINUE WHEN NOT v_holds;
        v_is_large := pg_total_relation_size(v_table::regclass) > {large} OR v_table = 'execution_event' AND (
            SELECT sum(pg_total_relation_size(p.relid)) FROM pg_partition_tree(v_table::regclass) p) > {large_log};
        IF v_is_large THEN
            EXECUTE format('TRUNCATE %I CASCADE', v_table);
        ELSE
            EXECUTE format('DELETE FROM %I', v_table);
        END IF;
    END LOOP;
END $$
"""


def empty(tables):
    """Remove the rows of these tables."""
    named = ", ".join(f"'{table}'" for table in tables)
    with connection.cursor() as cursor:
        cursor.execute(_EMPTY.format(tables=named, large=LARGE_BYTES, large_log=LARGE_LOG_BYTES))


def empty_all():
    """Remove what a test has left, and install anew what it has changed."""
    empty(_emptied())
    if _digest() != _Baseline.digest:
        empty(INSTALLED)
        emit_post_migrate_signal(verbosity=0, interactive=False, db="default")
        empty(_emptied())
        _Baseline.digest = _digest()


class _Baseline:
    """What was installed looks like this."""

    digest = ""


@cache
def _emptied():
    """Return the tables of this database that tests fill; the log has its partitions emptied with it."""
    with connection.cursor() as cursor:
        names = set(connection.introspection.table_names(cursor))
    return sorted((names & {*_models(), "execution_event"}) - KEPT - set(INSTALLED))


def _models():
    return {model._meta.db_table for model in apps.get_models(include_auto_created=True)}


def _digest():
    """Return what the installed tables hold, in short."""
    parts = " || ".join(
        f"coalesce((SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t), '')"  # noqa: S608 - ours
        for table in INSTALLED
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {parts}")
        return cursor.fetchone()[0]


def instead_of_flush():
    """Let every test that commits end this way; where the user of the database may not, Django's way stays."""
    flush = TransactionTestCase._fixture_teardown
    TransactionTestCase._fixture_teardown = lambda case: empty_all() if _is_superuser() else flush(case)


@cache
def _is_superuser():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('is_superuser') = 'on'")
        return cursor.fetchone()[0]
