"""The execution app: registers its checks, its Celery signals and its errand runner."""

from __future__ import annotations

from django.apps import AppConfig


class ExecutionConfig(AppConfig):
    """Durable runs on Celery."""

    name = "execution"
    verbose_name = "Execution"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and connect what happens after a migration."""
        from django.db.models.signals import post_migrate

        from execution import checks, results, schedule, telemetry  # noqa: F401 - importing the checks registers them

        results.install_everywhere()
        telemetry.connect()
        post_migrate.connect(schedule.install_after_migrate, sender=self)
