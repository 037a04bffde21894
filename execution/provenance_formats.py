"""Provenance in the words of others: W3C PROV and OpenLineage, written by their own packages.

Values are named by the SHA-256 of their JSON, so that what one step made and another took is one thing in either. Both
packages come with the extra `celeriac[provenance]`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from execution.exceptions import NotPossible
from execution.models import Agent, Lineage, Provenance, Run, Step

NAMESPACE = "celeriac"
PRODUCER = "https://pypi.org/project/celeriac/"
_NOT_INSTALLED = "this format needs {}, which is not installed: pip install 'celeriac[provenance]'"
_ENDINGS = {"completed": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT", "skipped": "ABORT"}


def plain(record: Provenance) -> dict[str, Any]:
    """Return a record as JSON holds it."""
    found = {
        field.attname: getattr(record, field.attname)
        for field in Provenance._meta.concrete_fields  # noqa: SLF001 - Django's documented name
    }
    return found | {"input_hash": hex_of(record.input_hash), "output_hash": hex_of(record.output_hash)}


def hex_of(digest: bytes | memoryview | None) -> str | None:
    """Return a hash as text."""
    return None if digest is None else bytes(digest).hex()


def edges_of(records: Iterable[Provenance]) -> list[Lineage]:
    """Return the edges that lead to these steps."""
    return list(Lineage.objects.filter(step_id__in=[record.step_id for record in records]).order_by("id"))


def as_prov(records: list[Provenance]) -> dict[str, Any]:
    """Return records as a document of W3C PROV-JSON: steps are activities, values are entities."""
    try:
        from prov.model import ProvDocument
    except ImportError:
        raise NotPossible(_NOT_INSTALLED.format("prov")) from None
    document = ProvDocument()
    document.add_namespace(NAMESPACE, "urn:celeriac:")
    names = _agents(records)
    for record in records:
        _add_activity(document, record, names)
    known = {record.step_id for record in records}
    for edge in edges_of(records):
        if edge.parent_id not in known:
            document.activity(_step(edge.parent_id))
            known.add(edge.parent_id)
        document.wasInformedBy(
            _step(edge.step_id), _step(edge.parent_id), other_attributes={f"{NAMESPACE}:relation": edge.relation}
        )
    return json.loads(str(document.serialize(format="json")))  # type: ignore[no-any-return]


def _add_activity(document: Any, record: Provenance, names: dict[uuid.UUID, str]) -> None:
    facts = {
        "run": str(record.run_id), "skill": record.skill, "version": record.version, "state": record.state,
        "attempts": record.attempt_count, "cost": str(record.cost), "tokens": record.tokens,
    }  # fmt: skip
    if record.models_used:
        facts["models"] = json.dumps(record.models_used)
    activity = document.activity(
        _step(record.step_id),
        record.started_at or record.ended_at,
        record.ended_at,
        {"prov:label": record.name, **{f"{NAMESPACE}:{name}": value for name, value in facts.items()}},
    )
    agent = document.agent(f"{NAMESPACE}:agent/{record.agent_id}", {"prov:label": names.get(record.agent_id, "")})
    document.wasAssociatedWith(activity, agent)
    if record.worker_id:
        software = {"prov:type": document.valid_qualified_name("prov:SoftwareAgent"), "prov:label": record.worker}
        worker = document.agent(f"{NAMESPACE}:worker/{record.worker_id}", software)
        document.wasAssociatedWith(activity, worker)
    if record.input_hash is not None:
        document.used(activity, document.entity(_value(record.input_hash)))
    if record.output_hash is not None:
        output = document.entity(_value(record.output_hash))
        document.wasGeneratedBy(output, activity, record.ended_at)
        if record.input_hash is not None:
            document.wasDerivedFrom(output, _value(record.input_hash), activity=activity)


def _agents(records: list[Provenance]) -> dict[uuid.UUID, str]:
    return dict(Agent.objects.filter(pk__in={record.agent_id for record in records}).values_list("id", "name"))


def _step(step_id: uuid.UUID) -> str:
    return f"{NAMESPACE}:step/{step_id}"


def _value(digest: bytes | memoryview) -> str:
    return f"{NAMESPACE}:value/{hex_of(digest)}"


def as_openlineage(records: list[Provenance]) -> list[dict[str, Any]]:
    """Return records as OpenLineage's run events: START and COMPLETE, FAIL or ABORT of each step."""
    try:
        from openlineage.client.serde import Serde
    except ImportError:
        raise NotPossible(_NOT_INSTALLED.format("openlineage-python")) from None
    told = _Told(records)
    return [json.loads(Serde.to_json(event)) for record in records for event in told.events(record)]


class _Told:
    """What the events of several records have in common."""

    def __init__(self, records: list[Provenance]) -> None:
        runs = Run.objects.filter(pk__in={record.run_id for record in records})
        self.workflows = dict(runs.values_list("id", "workflow"))
        failed = [record.step_id for record in records if record.state == "failed"]
        self.errors = dict(Step.objects.filter(pk__in=failed).values_list("id", "error"))
        self.edges: dict[uuid.UUID, list[Lineage]] = {}
        for edge in edges_of(records):
            self.edges.setdefault(edge.step_id, []).append(edge)

    def events(self, record: Provenance) -> Iterator[Any]:
        yield self._event(record, "START", record.started_at or record.ended_at)
        yield self._event(record, _ENDINGS[record.state], record.ended_at)

    def _event(self, record: Provenance, kind: str, at: datetime) -> Any:
        from openlineage.client import event_v2 as lineage

        made = [record.output_hash] if kind == "COMPLETE" else []
        return lineage.RunEvent(
            eventType=lineage.RunState[kind],
            eventTime=at.isoformat(),
            run=lineage.Run(runId=str(record.step_id), facets=self._facets(record, kind)),
            job=_job(record),
            inputs=[lineage.InputDataset(NAMESPACE, f"sha256:{hex_of(record.input_hash)}")]
            if record.input_hash
            else [],
            outputs=[lineage.OutputDataset(NAMESPACE, f"sha256:{hex_of(one)}") for one in made if one is not None],
            producer=PRODUCER,
        )

    def _facets(self, record: Provenance, kind: str) -> dict[str, Any]:
        from openlineage.client.facet_v2 import RunFacet, error_message_run, parent_run

        workflow = self.workflows.get(record.run_id, record.skill)
        facets: dict[str, Any] = {
            "parent": parent_run.ParentRunFacet(
                run=parent_run.Run(runId=str(record.run_id)),
                job=parent_run.Job(namespace=NAMESPACE, name=workflow),
                producer=PRODUCER,
            )
        }
        if kind == "START":
            return facets
        facets["celeriac_record"] = RunFacet(producer=PRODUCER).with_additional_properties(**self._facts(record))
        if (error := self.errors.get(record.step_id)) is not None:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=str(error.get("message", "")),
                programmingLanguage="python",
                stackTrace=error.get("traceback"),
                producer=PRODUCER,
            )
        return facets

    def _facts(self, record: Provenance) -> dict[str, Any]:
        return {
            "version": record.version,
            "attempts": record.attempt_count,
            "worker": record.worker,
            "cost": str(record.cost),
            "tokens": record.tokens,
            "models": record.models_used,
            "parents": [
                {"step": str(edge.parent_id), "relation": edge.relation} for edge in self.edges.get(record.step_id, [])
            ],
        }


def _job(record: Provenance) -> Any:
    from openlineage.client import event_v2 as lineage
    from openlineage.client.facet_v2 import job_type_job

    kind = job_type_job.JobTypeJobFacet(
        processingType="BATCH", integration="CELERIAC", jobType="STEP", producer=PRODUCER
    )
    return lineage.Job(namespace=NAMESPACE, name=record.skill, facets={"jobType": kind})
