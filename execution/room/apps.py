"""Puts the room in the admin's place: `INSTALLED_APPS` names this instead of `django.contrib.admin`."""

from django.contrib.admin.apps import AdminConfig


class RoomConfig(AdminConfig):
    """Django's admin, with the room as its site."""

    default_site = "execution.room.site.RoomSite"
