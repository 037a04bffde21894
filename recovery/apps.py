"""Register the recovery app with Django."""

from django.apps import AppConfig


class RecoveryConfig(AppConfig):
    """Recovery understands what failed, groups it, and puts it right."""

    name = "recovery"
    verbose_name = "Recovery"
    default_auto_field = "django.db.models.BigAutoField"
