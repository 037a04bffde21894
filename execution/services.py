"""Services: what skills call, declared in YAML or in the admin, with a tier, a contract, guarantees and dependencies.

A declaration says what a service promises and what it needs; others compare it with what is seen. Importing the same
files twice changes nothing, and every change is an event. Dependencies may go in a circle, as they do in life:
circles, and guarantees that are wanted and not given, are told and not refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from django.db import transaction
from django.db.models.functions import Now
from pydantic import BeforeValidator, Field, JsonValue, ValidationError

from execution import events
from execution.exceptions import ServicesInvalid, ServiceUnknown
from execution.models import Service, ServiceDependency, Tier
from execution.workflows import graph, reading, sources
from execution.workflows.expressions import nearest
from execution.workflows.fields import Few, Name, shown
from execution.workflows.reading import Finding
from execution.workflows.spec import Part

_Share = Annotated[float, Field(ge=0, le=1)]
_Milliseconds = Annotated[float, Field(ge=0, le=86_400_000)]


class Latency(Part):
    """How long a call takes, by the share of calls that take no longer."""

    p50: _Milliseconds | None = Field(None, description="Half of the calls.")
    p95: _Milliseconds | None = Field(None, description="95 of 100 calls.")
    p99: _Milliseconds | None = Field(None, description="99 of 100 calls.")


class Contract(Part):
    """What a service promises in figures."""

    availability: _Share | None = Field(None, description="The share of time in which it answers.")
    success_rate: _Share | None = Field(None, description="The share of calls that succeed.")
    latency_ms: Latency | None = Field(None, description="How long calls take, in milliseconds.")
    interface: JsonValue = Field(None, description="Its schema, or where that is to be found.")
    terms: dict[str, JsonValue] = Field(default_factory=dict, description="Whatever else was agreed.")


class Dependency(Part):
    """What a service relies on in another."""

    wants: Few = Field((), description="The guarantees that it relies on.")


def _by_name(value: Any) -> Any:
    return (
        {one: {} for one in value} if isinstance(value, list) and all(isinstance(one, str) for one in value) else value
    )


class Declaration(Part):
    """One service as it is declared."""

    tier: Literal["critical", "standard", "low"] = Field("standard", description="How much hangs on it.")
    owner: str = Field("", max_length=200, description="Who answers for it.")
    description: str = Field("", description="What it is for.")
    contract: Contract = Field(Contract.model_validate({}), description="What it promises in figures.")
    guarantees: Few = Field((), description="What it promises in words, such as idempotent or ordered.")
    dependencies: Annotated[dict[Name, Dependency], BeforeValidator(_by_name)] = Field(
        default_factory=dict, description="The services that it needs: a list, or a mapping with what it wants of each."
    )

    @classmethod
    def of(cls, service: Service) -> Declaration:
        """Return the declaration that a service's rows say."""
        needs = {one.needed_id: {"wants": one.wants} for one in service.dependencies.all()}
        return cls.model_validate(
            {
                "tier": service.tier,
                "owner": service.owner,
                "description": service.description,
                "contract": service.contract,
                "guarantees": service.guarantees,
                "dependencies": dict(sorted(needs.items())),
            }
        )


class File(Part):
    """A file of services."""

    services: dict[Name, Declaration] = Field(min_length=1, description="The services, by name.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a declaration did to one service: nothing where no field changed."""

    service: str
    is_new: bool
    fields: tuple[str, ...]

    def __str__(self) -> str:
        if self.is_new:
            return f"{self.service} is new"
        return f"{self.service} has changed: {', '.join(self.fields)}" if self.fields else f"{self.service} is the same"


def read(paths: Iterable[str | Path]) -> dict[str, Declaration]:
    """Return the services that files declare, or raise ServicesInvalid with all that is wrong, each at its place."""
    found: dict[str, Declaration] = {}
    homes: dict[str, tuple[str, sources.Source]] = {}
    wrong: list[Finding] = []
    for path in paths:
        file, source = str(path), _source(path)
        declared, flaws = _declared(source, file)
        wrong += flaws
        for name in declared.keys() & found.keys():
            place = ("services", name)
            text = f"is declared in {homes[name][0]} too"
            wrong.append(reading.finding(file, source.mark(place, of_key=True), place, text))
        found |= declared
        homes |= dict.fromkeys(declared, (file, source))
    wrong = wrong or list(_unknown(found, homes))
    if wrong:
        raise ServicesInvalid(wrong)
    return found


def import_(paths: Iterable[str | Path], *, by: str = "") -> list[Change]:
    """Declare the services of files."""
    return declare_all(read(paths), by=by)


def declare(name: str, declaration: Declaration, *, by: str = "") -> Change:
    """Declare one service; what it depends on is declared before."""
    return declare_all({name: declaration}, by=by)[0]


@transaction.atomic
def declare_all(declared: Mapping[str, Declaration], *, by: str = "") -> list[Change]:
    """Declare services that may need each other; what has changed is an event each."""
    rows = {one.name: one for one in _rows().select_for_update(of=("self",)).filter(pk__in=declared)}
    before = {name: Declaration.of(row) for name, row in rows.items()}
    changes = [_change(name, before.get(name), one) for name, one in sorted(declared.items())]
    touched = {change.service: declared[change.service] for change in changes if change.is_new or change.fields}
    for name, one in touched.items():
        Service.objects.update_or_create(name=name, defaults=_fields(one))
    for name, one in touched.items():
        _replace_dependencies(name, one)
    for change in changes:
        if change.service in touched:
            data = {"service": change.service, "is_new": change.is_new, "fields": list(change.fields), "by": by}
            events.note("service.declared", data)
    return changes


def get(name: str) -> Service:
    """Return a service with its dependencies, or say which name is nearest."""
    found: Service | None = _rows().filter(pk=name).first()
    if found is None:
        raise ServiceUnknown(name, nearest(name, Service.objects.values_list("name", flat=True)))
    return found


def listed() -> list[Service]:
    """Return every service with its dependencies."""
    return list(_rows())


def exported(services: Iterable[Service]) -> str:
    """Return services as a file that `import_` reads."""
    found = {one.name: Declaration.of(one).as_data() for one in services}
    return yaml.safe_dump({"services": found}, sort_keys=False, allow_unicode=True)


def notes(services: Sequence[Service]) -> list[str]:
    """Return what is odd between declared services: circles, and guarantees that are wanted and not given."""
    needs = {one.name: [each.needed_id for each in one.dependencies.all()] for one in services}
    given = {one.name: set(one.guarantees) for one in services}
    found = [f"these need each other in a circle: {' → '.join(path)}" for path in graph.circles(needs)]
    for one in services:
        for each in one.dependencies.all():
            lacking = [want for want in each.wants if want not in given.get(each.needed_id, set())]
            if lacking:
                found.append(
                    f"{one.name} wants {', '.join(lacking)} of {each.needed_id}, which does not guarantee that"
                )
    return found


def _rows() -> Any:
    return Service.objects.prefetch_related("dependencies")


def _change(name: str, before: Declaration | None, after: Declaration) -> Change:
    parts = [
        part for part in Declaration.model_fields if before is None or getattr(before, part) != getattr(after, part)
    ]
    return Change(service=name, is_new=before is None, fields=tuple(parts) if before is not None else ())


def _fields(declaration: Declaration) -> dict[str, Any]:
    return {
        "tier": Tier(declaration.tier),
        "owner": declaration.owner,
        "description": declaration.description,
        "contract": declaration.contract.as_data(),
        "guarantees": list(declaration.guarantees),
        "changed_at": Now(),
    }


def _replace_dependencies(name: str, declaration: Declaration) -> None:
    wanted = declaration.dependencies
    missing = set(wanted) - set(Service.objects.filter(pk__in=wanted).values_list("name", flat=True))
    if missing:
        raise ServiceUnknown(min(missing), nearest(min(missing), Service.objects.values_list("name", flat=True)))
    ServiceDependency.objects.filter(service_id=name).exclude(needed_id__in=wanted).delete()
    ServiceDependency.objects.bulk_create(
        [ServiceDependency(service_id=name, needed_id=each, wants=list(one.wants)) for each, one in wanted.items()],
        update_conflicts=True,
        unique_fields=["service", "needed"],
        update_fields=["wants"],
    )


def _source(path: str | Path) -> sources.Source:
    try:
        source = sources.read(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        return sources.Source(
            flaws=[sources.Flaw(sources.Mark(1, 1), (), f"the file cannot be read: {error.strerror}")]
        )
    except UnicodeDecodeError:
        return sources.Source(flaws=[sources.Flaw(sources.Mark(1, 1), (), "the file is not UTF-8 text")])
    if not source.flaws and not isinstance(source.data, Mapping):
        text = f"a file of services is a mapping with services, not {shown(source.data)}"
        source.flaws.append(sources.Flaw(source.mark(()), (), text))
    return source


def _declared(source: sources.Source, file: str) -> tuple[dict[str, Declaration], list[Finding]]:
    """Return what one file declares, or what is wrong with it."""
    if source.flaws:
        return {}, [reading.finding(file, flaw.mark, flaw.path, flaw.text) for flaw in source.flaws]
    try:
        return File.model_validate(source.data).services, []
    except ValidationError as error:
        return {}, [reading.of_field(one, source, file, _fields_at) for one in error.errors(include_url=False)]


def _fields_at(path: tuple[str | int, ...]) -> list[str]:
    """Return the fields that may stand at a path."""
    models: dict[int, type[Part]] = {0: File, 2: Declaration, 3: Contract, 4: Latency}
    model = Dependency if path[2:3] == ("dependencies",) else models.get(len(path), File)
    return list(model.model_fields)


def _unknown(found: Mapping[str, Declaration], homes: Mapping[str, tuple[str, sources.Source]]) -> Iterator[Finding]:
    """Yield the dependencies that nobody declares, and those of a service on itself."""
    known = {*found, *Service.objects.values_list("name", flat=True)}
    for name, declaration in found.items():
        file, source = homes[name]
        for each in declaration.dependencies:
            place = _place(source, name, each)
            if each == name:
                yield reading.finding(file, source.mark(place, of_key=True), place, "a service does not need itself")
            elif each not in known:
                text = f"there is no service {each!r}{nearest(each, known - {name})}"
                yield reading.finding(file, source.mark(place, of_key=True), place, text)


def _place(source: sources.Source, name: str, needed: str) -> sources.Path:
    """Return where a dependency stands: in a list at its place, in a mapping under its name."""
    written = source.data["services"][name]["dependencies"]
    return ("services", name, "dependencies", written.index(needed) if isinstance(written, list) else needed)
