"""The execution app: registers its checks, its Celery signals and its errand runner."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ExecutionConfig(AppConfig):
    """Durable runs on Celery."""

    name = "execution"
    verbose_name = "Execution"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and connect what happens after a migration and when Celery looks for tasks."""
        from celery.signals import import_modules
        from django.db.models.signals import post_migrate

        from execution import checks, logs, results, schedule, telemetry  # noqa: F401 - importing the checks registers them

        logs.write_as_others_do()
        results.install_everywhere()
        telemetry.connect()
        import_modules.connect(_import_skills)
        post_migrate.connect(schedule.install_after_migrate, sender=self)
        post_migrate.connect(_install_groups)


def _install_groups(**about: Any) -> None:
    """Make the groups of people, after each app's migration."""
    from execution.room import groups

    groups.install_after_migrate(**about)


def _import_skills(**_: Any) -> None:
    """Import `skills.py` of each installed app, when and where Celery's `autodiscover_tasks` imports `tasks.py`."""
    autodiscover_modules("skills")
