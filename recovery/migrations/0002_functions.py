"""Recovery's functions: locks, and claims that two never share."""

from django.db import migrations

from execution.sql import create


class Migration(migrations.Migration):
    dependencies = [("recovery", "0001_tables"), ("execution", "0002_functions")]

    operations = [
        *create("acquire_lock_v1", app="recovery"),
        *create("extend_lock_v1", app="recovery"),
        *create("release_lock_v1", app="recovery"),
        *create("disable_webhook_v1", app="recovery"),
        *create("valid_secrets_v1", app="recovery"),
        *create("claim_outbox_v1", app="recovery"),
        *create("complete_outbox_v1", app="recovery"),
        *create("reserve_advice_v1", "settle_advice_v1", app="recovery"),
        *create("open_candidates_v1", "claim_candidates_v1", app="recovery"),
        *create("count_action_version_v1", app="recovery"),
    ]
