"""What is seen of workflows, and the settings that switch it."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from execution import metrics, runs, telemetry, workflows
from execution.exceptions import NotPossible
from execution.models import Event, Run
from execution.workflows import catalog
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.execution.workflows.test_running import TestGates, play
from tests.hands import MARKS

pytestmark = MARKS
GATED = TestGates.TEXT


@pytest.fixture(autouse=True)
def _forget():
    catalog.forget()


@pytest.fixture
def spans(monkeypatch):
    """Gather the spans of this process."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("celeriac"))
    return lambda: [span.name for span in kept.get_finished_spans()]


@pytest.fixture
def switched(settings):
    """Switch something off."""

    def switch(name):
        settings.CELERIAC = settings.CELERIAC | {name: False}

    return switch


ONE = "name: one\nsteps: {a: {skill: graphs.give, with: {value: '${run.workflow}'}}}"


class TestTracing:
    def test_each_part_of_a_step_has_a_span(self, hands, spans):
        """A graph's step is executed: validated, processed, persisted."""
        play(hands, runs.start(workflows.read(ONE)))
        assert spans() == ["validate a", "process a", "persist a", "execute graphs.give"]

    def test_switched_off_only_the_attempt_is_left(self, hands, spans, switched):
        """Without workflow_tracing a step has one span, as every attempt."""
        switched("workflow_tracing")
        play(hands, runs.start(workflows.read(ONE)))
        assert spans() == ["execute graphs.give"]


def test_workflows_can_be_switched_off(hands, switched):
    """No run of a workflow is opened then, and what runs goes on."""
    run = runs.start(workflows.read(ONE))
    switched("workflows")
    with pytest.raises(NotPossible, match="workflows are switched off here"):
        runs.start("one")
    assert play(hands, run).state == "completed"
    assert Run.objects.count() == 1


@pytest.mark.parametrize("is_on", [True, False])
def test_audit_is_in_the_log(hands, switched, is_on):
    """Who registered a definition and who decided at a gate is an event, unless workflow_audit is off."""
    if not is_on:
        switched("workflow_audit")
    run = runs.start(catalog.register(workflows.read(GATED), by="eve"))
    play(hands, run)
    runs.approve(run, "review", by="ann", reason="fine")
    found = {one.kind: one.data for one in Event.objects.filter(kind__in=["workflow.registered", "gate.approved"])}
    if is_on:
        assert found["workflow.registered"]["by"] == "eve"
        assert found["gate.approved"] == {"by": "ann", "reason": "fine", "gate": "review"}
    assert len(found) == (2 if is_on else 0)
    assert play(hands, run).state == "completed"


@pytest.mark.parametrize("is_on", [True, False])
def test_metrics_by_workflow_can_be_switched_off(switched, is_on):
    """Without workflow_metrics the other figures are still there."""
    if not is_on:
        switched("workflow_metrics")
    text = metrics.text().decode()
    assert ("celeriac_workflow_active" in text) == is_on
    assert "celeriac_ready_steps" in text or "celeriac_workers" in text
