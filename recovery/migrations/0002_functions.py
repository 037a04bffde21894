"""Recovery's functions: locks, and claims that two never share."""

from django.db import migrations

from execution.sql import create


class Migration(migrations.Migration):
    dependencies = [("recovery", "0001_tables"), ("execution", "0002_functions")]

    operations = [
        *create("reserve_advice_v1", "settle_advice_v1", app="recovery"),
    ]
