"""Prometheus: what a real server says becomes counts by the minute; what it does not say stays unknown."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from django.utils import timezone

from graduation import objectives
from graduation.models import Bucket, Objective, ObjectiveState
from graduation.observe import collect, prometheus
from tests.graduation.observe.prometheus_server import BINARY, WHY, Exporter, PrometheusServer
from tests.hands import MARKS

pytestmark = MARKS
needs_server = pytest.mark.skipif(BINARY is None, reason=WHY)

DATA = Path(__file__).parent.parent.parent / "data" / "openslo"
MINUTE = timedelta(minutes=1)
NAME = "front-page-answers-1"
OK, BAD = 'requests_total{code="200"}', 'requests_total{code="500"}'


@pytest.fixture
def declared(transactional_db):
    """Declare one objective on Prometheus, with each event counting."""
    objectives.import_([DATA / "prometheus.yaml"], by="ann")
    Objective.objects.exclude(pk=NAME).delete()
    Objective.objects.update(slices={}, calendar={})
    return Objective.objects.get()


@pytest.fixture
def server(tmp_path):
    """Have a Prometheus that is not started yet."""
    made = PrometheusServer(tmp_path)
    yield made
    made.stop()


def points_to(url, **indicator):
    """Let the objective ask a server."""
    found = Objective.objects.get()
    found.indicator |= {"url": url} | indicator
    found.save()


def state():
    """Return the objective's state."""
    return ObjectiveState.objects.get(pk=NAME)


def minutes():
    """Return (good, total) by minute, as minutes before the last full one."""
    return {row.minute: (row.good, row.total) for row in Bucket.objects.all()}


def history(now, *, until=0):
    """Return two hours of a counter that grows by ten a minute, began anew once, and had errors in one minute."""
    samples = []
    for ago in range(120, until - 1, -1):
        grown = (120 - ago) * 10 if ago > 60 else (60 - ago) * 10
        samples.append((OK, now - ago * MINUTE, grown))
        samples += [(BAD, now - ago * MINUTE, 4)] if ago <= 30 else []
    return samples


@needs_server
def test_history(declared, server, eventually):
    """A counter's growth is counted by the minute: exact, across a new beginning, and from the first error on."""
    now = timezone.now().replace(second=0, microsecond=0)
    server.remember(history(now))
    server.start(eventually)
    points_to(server.url)
    assert prometheus.collect() > 100
    found = minutes()
    assert found[now - 100 * MINUTE] == (10, 10)
    assert found[now - 61 * MINUTE] == (0, 0)
    assert found[now - 31 * MINUTE] == (10, 14)
    assert found[now - 30 * MINUTE] == (10, 10)
    assert (state().error, state().data_at) == ("", now)
    before = len(found)
    prometheus.collect()
    assert list(minutes().items())[:before] == list(found.items())


@needs_server
def test_what_cannot_be_asked(declared, server, eventually):
    """A server that is away, a query that is wrong and an address that is no Prometheus are errors of the objective."""
    points_to(server.url)
    collect.collect({})
    assert state().standing == "error"
    assert "does not answer" in state().error
    server.start(eventually)
    points_to(server.url, total="sum(")
    collect.collect({})
    assert "Prometheus refuses 'sum('" in state().error
    points_to(server.url, total="sum(requests_total)")
    collect.collect({})
    assert (state().standing, state().error) == ("no_data", "")
    assert not Bucket.objects.exists()


@needs_server
def test_threshold_and_ratio(declared, server, eventually):
    """A value is good where it holds against the threshold; a share that is ready-made counts in parts of a million."""
    now = timezone.now().replace(second=0, microsecond=0)
    server.remember(history(now))
    server.start(eventually)
    value = {"url": server.url, "value": "sum(requests_total)", "threshold": {"op": "lt", "value": 300.0}}
    Objective.objects.update(indicator=value)
    prometheus.collect()
    found = minutes()
    assert (found[now - 110 * MINUTE], found[now - 70 * MINUTE]) == ((1, 1), (0, 1))
    assert Bucket.objects.get(minute=now - 110 * MINUTE).value == 110
    Bucket.objects.all().delete()
    ObjectiveState.objects.update(data_at=None)
    Objective.objects.update(indicator={"url": server.url, "failure": "vector(0.25)"})
    prometheus.collect()
    assert minutes()[now - 2 * MINUTE] == (750_000, 1_000_000)


@needs_server
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_live(declared, tmp_path, eventually):
    """What a server scrapes while we watch is counted; while it is away nothing is known, and then it goes on."""
    exporter = Exporter()
    server = PrometheusServer(tmp_path, exporter.address)
    try:
        exporter.counts["200"] = 5
        server.start(eventually)
        points_to(server.url)
        eventually(lambda: prometheus.collect() >= 1, timeout=150, every=2)
        exporter.counts["200"] += 90
        exporter.counts["500"] += 10
        eventually(
            lambda: (prometheus.collect(), minutes())[1] and (90, 100) in minutes().values(), timeout=100, every=2
        )
        server.stop()
        collect.collect({})
        assert state().standing == "error"
        server.start(eventually)
        collect.collect({})
        assert (state().standing, state().good, state().total) == ("exhausted", 90, 100)
    finally:
        server.stop()
        exporter.close()


def test_no_server_is_named(declared):
    """Without any address the error says what to set."""
    points_to("")
    prometheus.collect()
    assert "set prometheus_url" in state().error


def test_dead_server_is_asked_once_in_a_pass(declared, monkeypatch):
    """Many objectives on a server that is away cost one time-out."""
    asked = []
    real = prometheus._asked
    monkeypatch.setattr(prometheus, "_asked", lambda *given: asked.append(1) or real(*given))
    objectives.import_([DATA / "prometheus.yaml"], by="ann")
    Objective.objects.update(indicator={"url": "http://127.0.0.1:9", "total": "a", "good": "b"})
    prometheus.collect()
    assert (len(asked), ObjectiveState.objects.exclude(error="").count()) == (1, 2)


@pytest.mark.parametrize(
    "body", ["no json", "[]", '{"status": "success"}', '{"status": "success", "data": {"result": [1]}}']
)
def test_what_is_no_prometheus(declared, monkeypatch, body):
    """Whatever answers, the error is the objective's and not the cycle's."""
    real = httpx.Client
    answer = httpx.MockTransport(lambda _: httpx.Response(200, text=body))
    monkeypatch.setattr(prometheus.httpx, "Client", lambda **given: real(transport=answer, **given))
    points_to("http://example.invalid")
    assert prometheus.collect() == 0
    assert state().error


def test_password_of_an_address_is_not_told(declared):
    """The error names the place and not the password; an address that is none is an error, too."""
    points_to("http://ann:secret@127.0.0.1:9")
    prometheus.collect()
    assert "Prometheus at 127.0.0.1:9 does not answer" in state().error
    assert "secret" not in state().error
    points_to("http://[::")
    prometheus.collect()
    assert "does not answer" in state().error
