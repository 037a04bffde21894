"""Errors in words, times in the reader's zone, banners: what stands around every page."""

import pytest
from django.db import OperationalError

from execution.room import banners, home, zones
from graduation import envelopes

pytestmark = pytest.mark.django_db


def test_address_that_is_not_there(client):
    """An unknown address is answered in words, with a way home."""
    answer = client.get("/no/such/page")
    assert answer.status_code == 404
    assert "There is no page at this address" in answer.text
    assert 'href="/admin/"' in answer.text


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OperationalError("hunter2"), 503, "The database does not answer"),
        (ValueError("hunter2"), 500, "has failed"),
    ],
)
def test_page_that_fails_tells_no_secret_and_asks_no_database(
    admin_client, monkeypatch, error, status, said, django_assert_max_num_queries
):
    """A page that fails says whether the database is away, and nothing of the error itself."""

    def fail(_):
        raise error

    monkeypatch.setattr(home, "context", fail)
    admin_client.raise_request_exception = False
    with django_assert_max_num_queries(2):
        answer = admin_client.get("/admin/")
    assert answer.status_code == status
    assert said in answer.text
    assert "hunter2" not in answer.text


def test_form_without_its_token_is_refused_in_words(admin_client):
    """A form that is too old says that nothing was done."""
    admin_client.handler.enforce_csrf_checks = True
    answer = admin_client.post("/admin/logout/")
    assert answer.status_code == 403
    assert "nothing was done" in answer.text


def test_root_and_mark_lead_on(client):
    """The root leads to the room, and the mark that browsers ask for is there."""
    assert client.get("/").url == "/admin/"
    assert client.get("/favicon.ico").url.endswith("mark.svg")


@pytest.mark.parametrize(
    ("cookie", "name"),
    [("Europe/Berlin", "Europe/Berlin"), ("", None), ("../../etc/passwd", None), ("No/Where", None), ("x" * 900, None)],
)
def test_zone_is_the_readers_if_there_is_such_a_zone(rf, cookie, name):
    """The cookie names a zone, or it is left aside."""
    request = rf.get("/", headers={"cookie": f"{zones.COOKIE}={cookie}"})
    assert getattr(zones.zone_of(request), "key", None) == name


def test_banner_of_the_kill_switch(rf, admin_user):
    """While the kill switch is engaged there is a banner with who and why; else there is none."""
    request = rf.get("/")
    request.user = admin_user
    assert banners.show(request).content == b""
    envelopes.engage(by="ann", reason="a <wave> of refunds")
    assert "By ann: a &lt;wave&gt; of refunds" in banners.show(request).text
