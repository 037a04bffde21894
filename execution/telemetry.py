"""Traces by OpenTelemetry, where the extra `telemetry` is installed and an exporter is configured.

A run is one trace, whatever processes perform it and however often it is resumed: the trace's id is made from the
run's. Each attempt is a span of its own, so that none lasts as long as the run and all are exported. What an attempt
calls is seen by the existing instrumentations of Celery, Django and psycopg. Without the extra, or without an exporter,
nothing is imported and a step costs one comparison more. A lost span changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import structlog

from execution import conf

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from execution.ledger import Claim
    from execution.outcomes import Outcome

log = structlog.get_logger(__name__)

SCOPE = "celeriac"
INSTRUMENTATIONS = (
    ("opentelemetry.instrumentation.celery", "CeleryInstrumentor"),
    ("opentelemetry.instrumentation.django", "DjangoInstrumentor"),
    ("opentelemetry.instrumentation.psycopg", "PsycopgInstrumentor"),
)
_EXPORTER_SETTINGS = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)

_tracer: Any = None


def is_wanted() -> bool:
    """Tell whether the environment names an exporter, and the extra is here."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = os.environ.get("OTEL_TRACES_EXPORTER", "")
    named = any(os.environ.get(name) for name in _EXPORTER_SETTINGS) and exporters.strip().lower() != "none"
    return named and find_spec("opentelemetry") is not None and find_spec("opentelemetry.sdk") is not None


def connect() -> None:
    """Start in each pool process of the workers to come, and in the main one where it performs steps itself."""
    if not is_wanted():
        return
    from celery import signals

    signals.worker_process_init.connect(_start_in_process, weak=False, dispatch_uid="celeriac.telemetry")
    signals.worker_ready.connect(_start_in_main, weak=False, dispatch_uid="celeriac.telemetry")
    signals.worker_process_shutdown.connect(_stop_in_process, weak=False, dispatch_uid="celeriac.telemetry")
    signals.worker_shutdown.connect(_stop_in_process, weak=False, dispatch_uid="celeriac.telemetry")


def _start_in_process(**_: Any) -> None:
    start()


def _start_in_main(sender: Any = None, **_: Any) -> None:
    """A prefork worker's main process performs nothing, and a tracer's thread would not outlive the forks to come."""
    pool = getattr(getattr(sender, "pool", None), "__module__", "")
    if "prefork" not in pool:
        start()


def _stop_in_process(**_: Any) -> None:
    stop()


def start(exporter: Any = None) -> None:
    """Trace in this process: by the provider that is set, or by one made from the environment's settings."""
    global _tracer  # noqa: PLW0603 - one a process
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider

        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            provider = _provider(exporter)
            trace.set_tracer_provider(provider)
        _tracer = provider.get_tracer(SCOPE)
        _instrument()
    except Exception as error:  # noqa: BLE001 - a tracer that cannot start must not stop a worker
        log.warning("telemetry.not_started", error=repr(error))


def stop(timeout_seconds: float = 5.0) -> None:
    """Send what has been gathered."""
    if _tracer is None:
        return
    from opentelemetry import trace

    with contextlib.suppress(Exception):
        trace.get_tracer_provider().force_flush(int(timeout_seconds * 1000))  # type: ignore[attr-defined]


def _provider(exporter: Any) -> Any:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME") or "celeriac"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    found = exporter or _exporter()
    if found is not None:
        provider.add_span_processor(BatchSpanProcessor(found))
    return provider


def _exporter() -> Any:
    """Return the exporter that the environment names: `otlp` unless it says otherwise."""
    from importlib.metadata import entry_points

    name = (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")[0].strip().lower()
    if name == "otlp":
        name = "otlp_proto_http"
    for point in entry_points(group="opentelemetry_traces_exporter", name=name):
        return point.load()()
    known = sorted(point.name for point in entry_points(group="opentelemetry_traces_exporter"))
    log.warning("telemetry.exporter_unknown", exporter=name, known=known)
    return None


def _instrument() -> None:
    """Switch on the existing instrumentations, where they are installed."""
    from importlib import import_module

    for module, name in INSTRUMENTATIONS:
        try:
            instrumentor = getattr(import_module(module), name)()
            if not instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.instrument()
        except ImportError:
            continue
        except Exception as error:  # noqa: BLE001 - one that fails leaves the others
            log.warning("telemetry.not_instrumented", instrumentation=module, error=repr(error))


def trace_id(run_id: uuid.UUID) -> int:
    """Return the id of a run's trace: a hash, so that samplers, which look at its last half, see chance."""
    return int.from_bytes(hashlib.blake2b(run_id.bytes, digest_size=16, person=b"celeriac.trace").digest(), "big")


def _origin(run_id: uuid.UUID) -> SpanContext:
    """Return the span, never sent, that all attempts of a run descend from; the sampler decides once for all."""
    from opentelemetry import trace

    identity = trace_id(run_id)
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    is_sampled = True
    if sampler is not None:
        is_sampled = sampler.should_sample(None, identity, "run").decision.is_sampled()
    return trace.SpanContext(
        trace_id=identity,
        span_id=identity & 0xFFFFFFFFFFFFFFFF or 1,
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED if is_sampled else trace.TraceFlags.DEFAULT),
    )


def headers(claim: Claim) -> dict[str, str]:
    """Return what puts the spans of Celery's instrumentation into the run's trace."""
    if _tracer is None:
        return {}
    origin = _origin(claim.run_id)
    return {"traceparent": f"00-{origin.trace_id:032x}-{origin.span_id:016x}-{origin.trace_flags:02x}"}


class Seen:
    """The span of one attempt."""

    def __init__(self, span: Any = None) -> None:
        self.span = span

    def ended(self, outcome: Outcome) -> None:
        """Write how the attempt ended."""
        if self.span is None:
            return
        from opentelemetry.trace import Status, StatusCode

        from execution.outcomes import Failed

        self.span.set_attribute("celeriac.ending", type(outcome).__name__.lower())
        if isinstance(outcome, Failed):
            self.span.set_attribute("celeriac.error_kind", outcome.kind)
            self.span.record_exception(outcome.error)
            self.span.set_status(Status(StatusCode.ERROR, type(outcome.error).__name__))


_NOTHING = Seen()
_UNSEEN = contextlib.nullcontext(_NOTHING)


def span(claim: Claim) -> contextlib.AbstractContextManager[Seen]:
    """Return a span for an attempt; without a tracer, one that does nothing."""
    if _tracer is None:
        return _UNSEEN
    return _span(claim)


@contextlib.contextmanager
def _span(claim: Claim) -> Iterator[Seen]:
    from opentelemetry import trace

    context = None
    if trace.get_current_span().get_span_context().trace_id != trace_id(claim.run_id):
        context = trace.set_span_in_context(trace.NonRecordingSpan(_origin(claim.run_id)))
    with _tracer.start_as_current_span(
        f"{'execute' if claim.is_of_graph else 'attempt'} {claim.skill}",
        context=context,
        kind=trace.SpanKind.INTERNAL,
        attributes=_attributes(claim),
        record_exception=False,
        set_status_on_exception=False,
    ) as started:
        yield Seen(started)


def part(name: str, claim: Claim) -> contextlib.AbstractContextManager[Any]:
    """Return a span for a part of performing a graph's step: validate, process or persist, inside its attempt's."""
    if _tracer is None or not claim.is_of_graph or not conf.current().workflow_tracing:
        return _UNSEEN
    attributes = {"celeriac.step_name": claim.step_name}
    span: contextlib.AbstractContextManager[Any] = _tracer.start_as_current_span(
        f"{name} {claim.step_name}", attributes=attributes, record_exception=False, set_status_on_exception=False
    )
    return span


def _attributes(claim: Claim) -> dict[str, str | int]:
    given: dict[str, str | int] = {
        "celeriac.run": str(claim.run_id),
        "celeriac.step": str(claim.step_id),
        "celeriac.attempt": claim.epoch,
        "celeriac.skill": claim.skill,
        "celeriac.agent": claim.agent_name,
    }
    if claim.correlation_id:
        given["celeriac.correlation"] = claim.correlation_id
    if claim.root_run_id:
        given["celeriac.root_run"] = str(claim.root_run_id)
    return given
