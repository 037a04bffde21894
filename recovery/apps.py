"""Register the recovery app with Django."""

from pathlib import Path

from django.apps import AppConfig


class RecoveryConfig(AppConfig):
    """Recovery understands what failed, groups it, and puts it right."""

    name = "recovery"
    verbose_name = "Recovery"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Ship the workflow of incidents, and install the schedule after a migration."""
        from django.db.models.signals import post_migrate

        from execution.workflows import catalog
        from recovery import schedule

        catalog.ship(Path(__file__).parent / "workflows")
        post_migrate.connect(schedule.install_after_migrate, sender=self)
