"""The room as a site: its navigation, its search, and the look of other apps' pages."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from unfold.admin import ModelAdmin

from execution.room import navigation
from execution.room.parts import gathered

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer(client):
    """Return a browser of somebody who may look at runs and at nothing else."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    return client


def test_navigation_leads_to_pages_that_open(admin_client):
    """Each line of the navigation leads somewhere, once."""
    pages = [entry.page for group in gathered("NAVIGATION") for entry in group.entries]
    assert len(pages) == len(set(pages)) > 30
    assert {admin_client.get(reverse(page)).status_code for page in pages if page != "admin:flower"} == {200}
    assert admin_client.get(reverse("admin:flower")).url == "/flower/"


def test_navigation_hides_what_may_not_be_opened(viewer, rf):
    """Who may look at runs sees the home page, the inbox and the runs, no heading without a line."""
    request = rf.get("/admin/")
    request.user = User.objects.get(username="viewer")
    shown = {group["title"]: [line["title"] for line in group["items"]] for group in navigation.groups(request)}
    assert shown == {"": ["Home", "Inbox"], "Work": ["Runs"]}


@pytest.mark.parametrize(("term", "found"), [("RUNS", True), ("agents", False), ("\0", False), ("x" * 5000, False)])
def test_search_finds_the_pages_that_may_be_opened(viewer, term, found):
    """The palette finds a page by its title, and only for who may open it."""
    page = viewer.get("/admin/search/", {"s": term, "extended": "1"})
    assert page.status_code == 200
    assert ("/admin/execution/run/" in page.text) is found


def test_pages_of_other_apps_have_the_rooms_look():
    """A model that another app registered with Django's own class looks like the rest."""
    assert all(isinstance(page, ModelAdmin) for page in admin.site._registry.values())
