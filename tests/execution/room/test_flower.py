"""Flower behind the admin's login: passed on whole, for operators alone, and nothing but Flower."""

import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from django.contrib.auth.models import Permission, User

from execution import ids, runs
from tests import skills

pytestmark = pytest.mark.django_db


class Pretender(BaseHTTPRequestHandler):
    """Stands where Flower would, and keeps what it is asked."""

    asked: ClassVar[list] = []

    def do_GET(self):
        """Answer a page, a file or a redirect."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, self.path, dict(self.headers), body))
        if self.path.endswith("/away"):
            self.send_response(302)
            self.send_header("Location", "http://elsewhere.example/")
            self.end_headers()
            return
        is_page = "/static/" not in self.path
        answer = b"<body><main>tasks</main></body>" if is_page else b"x" * 300_000
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if is_page else "text/css")
        self.send_header("Set-Cookie", "user=flower")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET  # noqa: N815 - the name that is looked for

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def flower(settings):
    """Return what the pretender was asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pretender)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    settings.CELERIAC = settings.CELERIAC | {"flower_url": url, "flower_account": "operator:secret"}
    Pretender.asked.clear()
    yield Pretender.asked
    server.shutdown()
    server.server_close()


def test_page_is_passed_on_with_flowers_own_login(flower, admin_client):
    """A page comes back with a way to the room; Flower sees its own account and none of the admin's cookies."""
    answer = admin_client.get("/flower/tasks?limit=3", headers={"X-Forwarded-For": "1.2.3.4", "Accept": "text/html"})
    assert answer.status_code == 200
    assert "tasks" in answer.text
    assert 'href="/admin/"' in answer.text
    ((method, path, headers, _),) = flower
    assert (method, path, headers["Accept"]) == ("GET", "/flower/tasks?limit=3", "text/html")
    assert headers["Authorization"] == f"Basic {base64.b64encode(b'operator:secret').decode()}"
    assert not {"Cookie", "X-Forwarded-For"} & set(headers)
    assert "user" not in answer.cookies


def test_file_is_streamed(flower, admin_client):
    """A large file comes in pieces and whole."""
    answer = admin_client.get("/flower/static/x.css")
    assert len(b"".join(answer.streaming_content)) == 300_000
    answer.close()


def test_task_leads_to_its_step_and_the_step_to_the_task(flower, admin_client, transactional_db):
    """Flower's page of a task links to the ledger, and the step's page to Flower's."""
    run = runs.start(skills.add, {"left": 1})
    assert f"/admin/go/{run.id}" in admin_client.get(f"/flower/task/{run.id}").text
    assert f"/flower/task/{run.id}" in admin_client.get(f"/admin/execution/step/{run.id}/change/").text
    assert admin_client.get("/admin/flower/").url == "/flower/"


def test_only_operators_reach_flower(flower, client):
    """Nobody without an account is let through, nor a viewer, and Flower is not asked."""
    assert client.get("/flower/").url.startswith("/admin/login/")
    user = User.objects.create_user("viewer", is_staff=True)
    client.force_login(user)
    assert client.get("/flower/").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="operate_run"))
    assert flower == []
    client.force_login(User.objects.get(pk=user.pk))
    assert client.get("/flower/").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://testserver"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"}, 403),
        ({}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_change_must_come_from_flowers_own_page(flower, admin_client, headers, status):
    """A POST of another site's is refused, and not passed on."""
    path = "/flower/api/task/revoke/x"
    assert admin_client.post(path, b"a=1", "application/x-www-form-urlencoded", headers=headers).status_code == status
    assert [body for _, _, _, body in flower] == ([b"a=1"] if status == 200 else [])


def test_other_methods_are_refused(flower, admin_client):
    """What Flower does not use is not passed on."""
    assert admin_client.delete("/flower/api/tasks").status_code == 405
    assert flower == []


@pytest.mark.parametrize(
    "path", ["//elsewhere.example/", "http://elsewhere.example/", "@elsewhere.example/", "..%2f..%2fx"]
)
def test_no_other_host_is_ever_asked(flower, admin_client, path):
    """Whatever stands in the path, Flower's own server is asked for it below its prefix."""
    admin_client.get(f"/flower/{path}")
    assert all(asked.startswith("/flower/") for _, asked, _, _ in flower)


def test_redirect_to_another_host_is_not_followed_nor_told(flower, admin_client):
    """Flower cannot send the reader elsewhere."""
    assert "Location" not in admin_client.get("/flower/away").headers


def test_flower_that_is_away_is_told_in_words(admin_client, settings):
    """Where Flower does not run, the page says so and how to start it."""
    settings.CELERIAC = settings.CELERIAC | {"flower_url": "http://127.0.0.1:9"}
    answer = admin_client.get("/flower/")
    assert answer.status_code == 503
    assert "--url_prefix=flower" in answer.text


def test_flower_on_another_host_is_refused(admin_client, settings):
    """The proxy is for this machine alone."""
    settings.CELERIAC = settings.CELERIAC | {"flower_url": f"http://flower-{ids.new()}.example"}
    answer = admin_client.get("/flower/")
    assert answer.status_code == 503
    assert "must be on this machine" in answer.text
