"""The DBOS application that the DBOS contenders share: its configuration and its database URL."""

import os

from dbos import DBOSConfig

VERSION = "benchmark"


def sqlalchemy_url(database: str) -> str:
    """Return the URL with the driver that DBOS uses by name, so that SQLAlchemy does not look for another."""
    return database.replace("postgres://", "postgresql://").replace("postgresql://", "postgresql+psycopg://", 1)


def configuration(database: str) -> DBOSConfig:
    """Return the documented defaults with logging, telemetry and the admin server quiet."""
    return {
        "name": "benchmark",
        "system_database_url": sqlalchemy_url(database),
        "application_version": VERSION,
        "executor_id": f"executor-{os.getpid()}",
        "run_admin_server": False,
        "enable_otlp": False,
        "log_level": "WARNING",
    }
