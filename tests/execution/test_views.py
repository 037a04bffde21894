"""The addresses that machines ask: alive, ready, metrics, callbacks."""

import json
import uuid

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from execution import runs, signals, views
from execution.models import RunState, Signal
from tests.execution import seen

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def strict():
    """A client that enforces CSRF, as the outside meets it."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def run():
    """A run that has not ended."""
    return runs.start(seen.wait)


def address(run, *, nonce="1", expires=60):
    """Return a callback address for the signal `answer`."""
    return signals.address(run.id, "answer", expires=expires, nonce=nonce)


def test_health_asks_nobody(client, monkeypatch):
    """The process answers, whatever its servers do."""
    monkeypatch.setattr(views, "CHECKS", {"database": pytest.fail})
    assert (client.get("/healthz").status_code, client.get("/healthz").content) == (200, b"ok\n")


def test_ready(client):
    """With all servers there, each check says how long it took."""
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["ready"] is True
    assert {name: check["ok"] for name, check in answer.json()["checks"].items()} == dict.fromkeys(
        ("database", "migrations", "broker"), True
    )
    assert all(check["milliseconds"] >= 0 for check in answer.json()["checks"].values())


def test_ready_without_a_database(client, monkeypatch):
    """A database that is away is named by the kind of its error, and not by its address."""

    def away():
        raise OperationalError("connection to 10.0.0.7 failed")

    monkeypatch.setitem(views.CHECKS, "database", away)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"]["problem"] == "OperationalError: see the log"
    assert b"10.0.0.7" not in answer.content


def test_ready_without_a_broker(client, celery_away):
    """A broker that is away makes it unready within seconds."""
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["broker"]["ok"] is False
    assert answer.json()["checks"]["broker"]["milliseconds"] < 8000


@pytest.fixture
def celery_away(monkeypatch, tmp_path):
    """A broker's address where nobody listens."""
    from celery import current_app

    def nowhere(*_, **__):
        return current_app.connection(f"redis+socket://{tmp_path}/none.sock")

    monkeypatch.setattr(type(current_app._get_current_object()), "connection_for_write", nowhere)


def test_ready_with_migrations_pending(client, monkeypatch):
    """A database that is behind the code is not ready, and the answer says what to do."""
    monkeypatch.setattr(
        "django.db.migrations.executor.MigrationExecutor.migration_plan", lambda *_: [("execution", "0009")]
    )
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "manage.py migrate" in answer.json()["checks"]["migrations"]["problem"]


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/json", '{"yes": true}', {"yes": True}),
        ("application/json; charset=utf-8", '["é"]', ["é"]),
        ("application/x-www-form-urlencoded", "yes=1&tag=a&tag=b", {"yes": "1", "tag": ["a", "b"]}),
        ("application/json", "", None),
    ],
)
def test_callback_is_a_signal(strict, run, kind, body, expected):
    """A body, JSON or a form, becomes the signal's data; no CSRF token is asked for."""
    answer = strict.post(address(run), body, content_type=kind)
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "signal": "kept"})
    [signal] = Signal.objects.filter(run_id=run.id)
    from execution import ledger

    assert (signal.name, signal.sender, ledger.unpack(signal.data)) == ("answer", "callback", expected)


def test_callback_used_twice(strict, run):
    """The second POST to an address is refused, and stores nothing."""
    url = address(run)
    assert strict.post(url, {"a": 1}, content_type="application/json").status_code == 200
    answer = strict.post(url, {"a": 2}, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]) == (409, "this callback address has been used")
    assert Signal.objects.filter(run_id=run.id).count() == 1


def test_callback_expired(strict, run):
    """An address that is over is refused."""
    answer = strict.post(address(run, expires=-1), "{}", content_type="application/json")
    assert (answer.status_code, answer.json()["ok"]) == (410, False)


def test_callback_forged(strict, run):
    """An address that was changed, or made up, is not found."""
    url = address(run)
    for forged in (url[:-2] + "xx", reverse("celeriac-callback", args=["made-up"]), "/celeriac/callbacks/%C3%A9%00"):
        assert strict.post(forged, "{}", content_type="application/json").status_code == 404, forged
    assert not Signal.objects.exists()


def test_callback_for_an_ended_run(strict, run):
    """A run that has ended takes nothing more."""
    url = address(run)
    runs.cancel(run)
    answer = strict.post(url, "{}", content_type="application/json")
    assert answer.status_code == 410
    assert str(run.id) in answer.json()["error"]
    run.refresh_from_db()
    assert run.state == RunState.CANCELLED


def test_callback_for_an_unknown_run(strict):
    """A signed address of a run that was removed is not found."""
    url = signals.address(uuid.uuid4(), "answer", expires=60, nonce="1")
    assert strict.post(url, "{}", content_type="application/json").status_code == 404


@pytest.mark.parametrize("body", ["{", "NaN", b"\xff\xfe", "[" * 100_000])
def test_callback_that_cannot_be_read(strict, run, body):
    """What is not JSON is refused with the reason, and the address can still be used."""
    url = address(run)
    answer = strict.post(url, body, content_type="application/json")
    assert (answer.status_code, answer.json()["ok"]) == (400, False)
    assert strict.post(url, "{}", content_type="application/json").status_code == 200


def test_callback_that_is_too_large(strict, run):
    """A body over the limit is refused, in JSON and in a form."""
    large = "x" * (views.MOST_CALLBACK_BYTES + 1)
    assert strict.post(address(run), json.dumps(large), content_type="application/json").status_code == 413
    assert strict.post(address(run), {"a": large}).status_code == 413
    assert not Signal.objects.exists()


def test_callback_by_get(strict, run):
    """Opening the address in a browser sends nothing."""
    assert strict.get(address(run)).status_code == 405
    assert not Signal.objects.exists()


def test_metrics_with_a_token(client, settings):
    """Where a token is set, it must be given."""
    settings.CELERIAC = {**settings.CELERIAC, "metrics_token": "open sesame"}
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer open sesame"}).status_code == 200


def test_metrics_of_an_empty_ledger(client):
    """With nothing in the ledger the answer is text that Prometheus reads."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    assert b"celeriac_workers 0.0" in answer.content


def test_metrics_without_a_database(client, monkeypatch):
    """A ledger that is away is said so, without a traceback."""

    def away(*_):
        raise OperationalError("away")

    monkeypatch.setattr("execution.metrics.text", away)
    answer = client.get("/metrics")
    assert (answer.status_code, answer.content) == (503, b"the ledger is away\n")
