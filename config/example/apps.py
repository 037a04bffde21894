"""The example as an app of this project."""

from django.apps import AppConfig


class ExampleConfig(AppConfig):
    """A small newspaper."""

    name = "config.example"
    label = "example"
    verbose_name = "The living example"
