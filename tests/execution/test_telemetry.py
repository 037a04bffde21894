"""A run is one trace across its attempts and processes, one span an attempt; without an exporter there is nothing."""

import http.server
import os
import subprocess
import sys
import threading
import uuid

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from execution import ids, ledger, runs, telemetry
from execution.outcomes import Completed, Failed
from tests.execution import seen
from tests.workers import REPOSITORY, test_environment

SKILLS = "tests.skills,tests.execution.seen"


class Collector:
    """A receiver of OTLP over HTTP on the loopback address."""

    def __init__(self):
        """Listen on a free port."""
        self.spans = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                collector.spans += [
                    span for part in request.resource_spans for scope in part.scope_spans for span in scope.spans
                ]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def environment(self):
        """What sends a worker's spans here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def attempts(self, run_id):
        """Return the spans of a run's attempts, oldest first."""
        found = [span for span in self.spans if _attributes(span).get("celeriac.run") == str(run_id)]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    def close(self):
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector():
    """A collector that listens."""
    started = Collector()
    yield started
    started.close()


@pytest.fixture
def exporter(monkeypatch):
    """Trace into memory, half of all runs being left out by the sampler where a test asks for it."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("tests"))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return kept


@pytest.fixture
def claim(transactional_db):
    """A claim on a new step."""
    run = runs.start(seen.quick, {"number": 1}, agent=None)
    return ledger.claim(run.id, ids.new(), worker_id=ids.new(), pid=os.getpid())


def test_span_of_an_attempt(exporter, claim):
    """A span names run, step, attempt, skill, agent and ending, in the trace of its run."""
    with telemetry.span(claim) as span:
        span.ended(Completed(value=1))
    [found] = exporter.get_finished_spans()
    assert found.name == "attempt seen.quick"
    assert found.context.trace_id == telemetry.trace_id(claim.run_id)
    assert dict(found.attributes) == {
        "celeriac.run": str(claim.run_id),
        "celeriac.step": str(claim.step_id),
        "celeriac.attempt": 1,
        "celeriac.skill": "seen.quick",
        "celeriac.agent": "default",
        "celeriac.ending": "completed",
    }


def test_span_of_a_failure(exporter, claim):
    """A failed attempt's span is an error, with the exception and its kind."""
    with telemetry.span(claim) as span:
        span.ended(Failed(error=ValueError("no"), kind="permanent"))
    [found] = exporter.get_finished_spans()
    assert not found.status.is_ok
    assert found.attributes["celeriac.error_kind"] == "permanent"
    assert found.events[0].attributes["exception.type"] == "ValueError"


def test_sampling_decides_by_run(monkeypatch, claim):
    """A sampler keeps its share of the runs, and all attempts of those or none."""
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.5)))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    decisions = [telemetry._origin(ids.new()).trace_flags.sampled for _ in range(400)]
    assert 140 < sum(decisions) < 260
    assert telemetry._origin(claim.run_id) == telemetry._origin(uuid.UUID(str(claim.run_id)))


def test_trace_across_workers(collector, workers, eventually):
    """A run that is resumed in another worker stays in its trace; Celery's and psycopg's spans are there as well."""
    first = workers("first", skills=SKILLS, concurrency=1, environment=collector.environment)
    run = runs.start(seen.wait)
    eventually(lambda: collector.attempts(run.id))
    assert first.stop() == 0
    workers("second", skills=SKILLS, concurrency=1, environment=collector.environment)
    runs.signal(run, "answer", 42)
    assert runs.wait(run, timeout=20) == 42
    spans = eventually(lambda: found if len(found := collector.attempts(run.id)) == 2 else None)
    expected = telemetry.trace_id(run.id).to_bytes(16, "big")
    assert {span.trace_id for span in spans} == {expected}
    assert [_attributes(span)["celeriac.ending"] for span in spans] == ["suspended", "completed"]
    names = eventually(
        lambda: (
            found if "run/seen.wait" in (found := {s.name for s in collector.spans if s.trace_id == expected}) else None
        )
    )
    assert "attempt seen.wait" in names


def test_collector_that_is_away(workers):
    """A collector that does not answer changes nothing."""
    workers("alone", skills=SKILLS, concurrency=1, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert runs.wait(runs.start(seen.quick, {"number": 5}), timeout=20) == 5


def test_nothing_without_an_exporter():
    """Where no exporter is configured nothing is instrumented (redis-py imports the API by itself where it is there)."""
    program = (
        "import django, sys; django.setup(); import execution.performing; from celery import signals; "
        "signals.worker_process_init.send(sender=None); "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.instrumentation')]"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=REPOSITORY,
        env=os.environ | test_environment() | {"DJANGO_SETTINGS_MODULE": "config.settings"},
    )


def _attributes(span):
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
