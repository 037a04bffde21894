"""The shop's app."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """A shop."""

    name = "tests.existing_project.shop"
    label = "shop"
