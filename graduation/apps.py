"""Register the graduation app with Django."""

from django.apps import AppConfig


class GraduationConfig(AppConfig):
    """Graduation lets an agent earn what it may do alone, and lose it, by evidence."""

    name = "graduation"
    verbose_name = "Graduation"
    default_auto_field = "django.db.models.BigAutoField"
