"""Register the graduation app with Django."""

from django.apps import AppConfig


class GraduationConfig(AppConfig):
    """Graduation lets an agent earn what it may do alone, and lose it, by evidence."""

    name = "graduation"
    verbose_name = "Graduation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Install the schedule after a migration."""
        from django.db.models.signals import post_migrate

        from graduation import schedule

        post_migrate.connect(schedule.install_after_migrate, sender=self)
