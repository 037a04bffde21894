"""Register the recovery app with Django."""

from django.apps import AppConfig


class RecoveryConfig(AppConfig):
    """Recovery understands what failed, groups it, and puts it right."""

    name = "recovery"
    verbose_name = "Recovery"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Install the schedule after a migration."""
        from django.db.models.signals import post_migrate

        from recovery import schedule

        post_migrate.connect(schedule.install_after_migrate, sender=self)
