"""Graduation's functions and triggers."""

from django.db import migrations

from execution.sql import create


class Migration(migrations.Migration):
    dependencies = [("graduation", "0001_tables"), ("execution", "0002_functions")]

    operations = [*create("immutable_v1", "lock_new_agent_v1", app="graduation")]
