"""Recovery's functions: locks, and claims that two never share."""

from django.db import migrations

from execution.sql import create  # noqa: F401 - the functions come with what needs them


class Migration(migrations.Migration):
    dependencies = [("recovery", "0001_tables"), ("execution", "0002_functions")]

    operations = []
