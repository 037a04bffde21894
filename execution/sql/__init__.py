"""The apps' SQL: one object a file, named with its version, headed by what it promises.

After a release a file is frozen: a change is a new version and a migration, and the old one goes a release later, so
that old and new workers work side by side.
"""

from __future__ import annotations

from importlib.resources import files

from django.db import migrations


def text(name: str, app: str = "execution") -> str:
    """Return the SQL of one object of an app."""
    return (files(f"{app}.sql") / f"{name}.sql").read_text(encoding="utf-8")


def create(*names: str, app: str = "execution") -> list[migrations.RunSQL]:
    """Return the migration operations that create these objects, in order."""
    return [migrations.RunSQL(text(name, app), migrations.RunSQL.noop) for name in names]
