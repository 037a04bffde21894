"""Recovery's functions: locks, and claims that two never share."""

from django.db import migrations

from execution.sql import create


class Migration(migrations.Migration):
    dependencies = [("recovery", "0001_tables"), ("execution", "0002_functions")]

    operations = [
        *create("claim_candidates_v1", app="recovery"),
        *create("count_action_version_v1", app="recovery"),
    ]
