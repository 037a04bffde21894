"""Register the recovery app with Django."""

from pathlib import Path

from django.apps import AppConfig


class RecoveryConfig(AppConfig):
    """Recovery understands what failed, groups it, and puts it right."""

    name = "recovery"
    verbose_name = "Recovery"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks, ship the workflow of incidents, and install the schedule after a migration."""
        from django.db.models.signals import post_migrate

        from execution.workflows import catalog
        from recovery import checks as _checks  # noqa: F401 - registers them
        from recovery import schedule

        catalog.ship(Path(__file__).parent / "workflows")
        post_migrate.connect(schedule.install_after_migrate, sender=self)
