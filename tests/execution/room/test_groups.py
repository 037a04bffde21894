"""The groups of people: made once, never fought over, and sufficient for what their pages offer."""

from collections import defaultdict
from html.parser import HTMLParser

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.urls import reverse

from execution import agents
from execution.models import Agent, CycleState
from execution.room import groups
from execution.room.parts import gathered
from graduation import envelopes
from tests import waiting
from tests.execution import test_admin
from tests.hands import MARKS

pytestmark = MARKS

APPS = ("execution", "recovery", "graduation")


def codes(name):
    """Return the permissions of a group."""
    rows = Group.objects.get(name=name).permissions.values_list("content_type__app_label", "codename")
    return {f"{label}.{code}" for label, code in rows}


@pytest.fixture
def seat(client):
    """Return a verb that logs somebody of a group in."""
    groups.install()

    def seated(group):
        user = User.objects.create_user(group, is_staff=True)
        user.groups.add(Group.objects.get(name=group))
        client.force_login(user)
        return client

    return seated


class TestInstalling:
    """What `migrate` does, the first time and each time after."""

    def test_each_may_what_the_one_before_may(self):
        """Viewer looks at everything, operator works, governor promotes and releases the kill switch."""
        groups.install()
        viewer, operator, governor = (codes(name) for name in groups.LADDER)
        assert viewer < operator < governor
        assert all(code.split(".")[1].startswith("view_") for code in viewer)
        assert {
            f"{label}.view_{model._meta.model_name}"
            for label in APPS
            for model in apps.get_app_config(label).get_models()
        } <= viewer
        above = {"execution.raise_agent", "graduation.release_killswitch"}
        assert above <= governor
        assert not above & operator
        assert "execution.operate_run" in operator

    def test_named_permissions_are_there(self):
        """No app grants what does not exist."""
        known = {
            f"{label}.{code}" for label, code in Permission.objects.values_list("content_type__app_label", "codename")
        }
        named = {one for grant in gathered("PEOPLE") for one in grant.permissions if "*" not in one}
        assert named <= known
        assert {grant.group for grant in gathered("PEOPLE")} <= set(groups.LADDER)

    def test_what_a_team_changes_stays(self):
        """What it takes away stays away, what it adds stays there, and a removed group is not made again."""
        assert groups.install() > 0
        operator = Group.objects.get(name="operator")
        operator.permissions.remove(Permission.objects.get(codename="operate_run"))
        operator.permissions.add(Permission.objects.get(codename="delete_user"))
        Group.objects.get(name="governor").delete()
        call_command("migrate", verbosity=0)
        assert groups.install() == 0
        assert "execution.operate_run" not in codes("operator")
        assert "auth.delete_user" in codes("operator")
        assert not Group.objects.filter(name="governor").exists()

    def test_what_a_new_version_brings_is_granted(self):
        """A permission that was not there before is granted once it is."""
        groups.install()
        row = CycleState.objects.get(name="execution.people")
        row.state["operator"].remove("recovery.decide_candidate")
        row.save()
        Group.objects.get(name="operator").permissions.remove(Permission.objects.get(codename="decide_candidate"))
        assert groups.install() == 1
        assert "recovery.decide_candidate" in codes("operator")

    def test_group_of_the_teams_own_is_left_alone(self):
        """Who is in a group of that name was not chosen for this."""
        Group.objects.create(name="operator")
        groups.install()
        groups.install()
        assert codes("operator") == set()
        assert codes("viewer") < codes("governor")


class Offered(HTMLParser):
    """What a page offers to press: its forms with their fields and buttons, and its links to forms."""

    def __init__(self, page):
        super().__init__()
        self.forms, self.links, self._open = [], set(), None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = defaultdict(str, {name: value or "" for name, value in attrs})
        form = next((one for one in self.forms if found["form"] and one["id"] == found["form"]), self._open)
        if tag == "form":
            self._open = {"fields": {}, "buttons": [], "actions": [], "id": found["id"], "action": found["action"]}
            self.forms.append(self._open | {"method": found["method"].lower() or "get"})
            self._open = self.forms[-1]
        elif tag == "a" and found["href"].rstrip("/").endswith("/add"):
            self.links.add(found["href"])
        elif form is None:
            return
        elif tag == "input" and found["type"] == "hidden":
            form["fields"][found["name"]] = found["value"]
        elif (tag == "button" and found["type"] in ("", "submit")) or (tag == "input" and found["type"] == "submit"):
            form["buttons"].append((found["name"], found["value"]))
        elif tag == "option" and found["value"]:
            form["actions"].append(found["value"])

    def handle_endtag(self, tag):
        if tag == "form":
            self._open = None


def pages(client):
    """Return all pages that somebody may open with what they offer: the room's own, each list, each first row."""
    found = {address: client.get(address) for address in ("/admin/", reverse("admin:inbox"))}
    for model in admin.site._registry:
        about = f"{model._meta.app_label}_{model._meta.model_name}"
        listed = reverse(f"admin:{about}_changelist")
        answer = client.get(listed)
        if answer.status_code != 200:
            continue
        found[listed] = answer
        row = model._default_manager.first()
        if row is not None and model._meta.model_name != "blob":
            address = reverse(f"admin:{about}_change", args=[row.pk])
            found[address] = client.get(address)
    return {address: Offered(answer.text) for address, answer in found.items()}


def refused(client, address, offered):
    """Return what a page offers that would be refused; a list's own form sends only what its select names."""
    wrong = [link for link in offered.links if client.get(link).status_code == 403]
    for form in offered.forms:
        action = form["action"] or address
        if "select_across" in form["fields"] or any(word in action for word in ("logout", "search", "setlang")):
            continue
        send = client.post if form["method"] == "post" else client.get
        for name, value in form["buttons"]:
            data = form["fields"] | ({name: value} if name else {})
            if send(action, data).status_code == 403:
                wrong.append((action, data))
    return wrong


def changing(offered):
    """Return what of a page changes something: links to add, actions, and buttons of forms that are posted."""
    forms = [form for form in offered.forms if form["method"] == "post" and "logout" not in form["action"]]
    return [*offered.links, *(form for form in forms if form["actions"] or form["buttons"])]


@pytest.mark.timeout(500)
@pytest.mark.parametrize("group", ["viewer", "operator"])
def test_no_page_offers_what_is_refused(seat, hands, group):
    """Every page that a person may open has only forms and buttons that this person may use; a viewer has none."""
    test_admin.fill(1)
    waiting.everything(hands)
    envelopes.switch()
    client = seat(group)
    found = pages(client)
    assert len(found) > 100
    wrong = {address: refused(client, address, offered) for address, offered in found.items()}
    assert {address: what for address, what in wrong.items() if what} == {}
    offers = {address for address, offered in found.items() if changing(offered)}
    if group == "viewer":
        assert offers == set()
    else:
        assert len(offers) > 20


def test_direct_posts_are_refused(seat, hands):
    """Who is not offered something and sends it all the same is answered 403, and nothing is changed."""
    offer = waiting.offer()
    switch = envelopes.switch()
    (step,) = waiting.approval(hands)
    operator = seat("operator")
    told = {"kind": "promotion", "key": str(offer.pk), "decision": "accept", "reason": "I want it"}
    assert operator.post(reverse("admin:inbox_ask"), told).status_code == 403
    for name, verb, row in (("offer", "accept", offer), ("killswitch", "release", switch)):
        data = {"action": verb, "_selected_action": [str(row.pk)], "index": 0, "reason": "I want it"}
        assert operator.post(reverse(f"admin:graduation_{name}_changelist"), data).status_code == 403
    page = operator.get(reverse("admin:inbox")).text
    assert "may rise from" in page
    assert "Decline" not in page
    viewer = seat("viewer")
    told = {"kind": "approval", "key": str(step.pk), "decision": "approve", "reason": "I want it"}
    assert viewer.post(reverse("admin:inbox_ask"), told).status_code == 403
    data = {"action": "cancel", "_selected_action": [str(step.run_id)], "index": 0, "reason": "I want it"}
    assert viewer.post(reverse("admin:execution_run_changelist"), data).status_code == 403
    step.refresh_from_db()
    assert (step.state, Agent.objects.get(name="hero").level) == ("waiting", 1)


def test_governor_promotes(seat):
    """A governor's word in the inbox raises an agent."""
    offer = waiting.offer()
    governor = seat("governor")
    told = {"kind": "promotion", "key": str(offer.pk), "decision": "accept", "reason": "earned"}
    assert governor.post(reverse("admin:inbox_ask"), told).status_code == 302
    assert agents.id_of("hero")
    assert Agent.objects.get(name="hero").level == 2
