"""The catalog: every version of every workflow that the ledger knows, and the shipped ones.

A definition is registered under its name; other content gets the next version, the same content the version that it
has. A version never changes, so what was read once is kept by the process. The shipped workflows are there without
being registered; one of the same name that a project registers itself takes their place.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction

from execution import conf, events, ledger
from execution.exceptions import DefinitionInvalid, InputInvalid, WorkflowUnknown
from execution.skills import SkillOptions
from execution.workflows import graph, known, planning, reading
from execution.workflows.known import Known
from execution.workflows.spec import Definition

if TYPE_CHECKING:
    from execution.models import Workflow

LIBRARY = Path(__file__).parent / "library"
SHIPPED = "celeriac"
"""Stands in `registered_by` of the workflows that come with the package."""

_folders = [LIBRARY]
_kept: dict[tuple[str, int], Stored] = {}


class Stored:
    """One version of a workflow; runs are opened of it as of a skill."""

    def __init__(self, name: str, version: int, definition: Definition) -> None:
        self.name, self.number, self.definition = name, version, definition
        self.options = SkillOptions(budget=_amount(definition), breaker="")

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def version(self) -> str:
        """The version as a run keeps it."""
        return str(self.number)

    @functools.cached_property
    def takes_input(self) -> inspect.Signature:
        """The inputs as a signature: what is not one of them is an option of the run."""
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature([inspect.Parameter(name, kind) for name in self.definition.inputs])

    def accepts(self, name: str, value: Any) -> bool:
        """Tell whether a value fits the type of an input; what is no input is said when it is bound."""
        wanted = self.definition.inputs.get(name)
        return wanted is None or wanted.accepts(value)

    @functools.cached_property
    def plan(self) -> planning.Plan:
        """The steps as a run opens them."""
        return planning.plan(self.definition)

    def bind_input(self, args: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs as they will be stored, or say everything that is wrong with them."""
        if args:
            raise InputInvalid(
                self.name, f"a workflow's inputs have names: {', '.join(self.definition.inputs) or 'it takes none'}"
            )
        return {"args": [], "kwargs": self.definition.bind(given)}


def _amount(definition: Definition) -> dict[str, Any]:
    """Return a workflow's budget; where it has none and each phase has one, theirs together."""
    if definition.budget is not None:
        return definition.budget.model_dump(exclude_none=True)
    found = [phase.budget.model_dump(exclude_none=True) if phase.budget else {} for phase in definition.phases.values()]
    units = {unit for budget in found for unit in budget if all(unit in other for other in found)}
    return {unit: sum(budget[unit] for budget in found) for unit in units}


def find(name: str) -> Stored:
    """Return the newest version of a workflow, or, of `name@3`, the third; raises WorkflowUnknown."""
    bare, _, version = name.partition("@")
    if bare in _shipped():
        _register_shipped(bare)
    number = int(version) if version.isdigit() else _newest(bare)
    if number is None or (version and not version.isdigit()):
        raise unknown(name)
    return _kept.get((bare, number)) or _read(name, bare, number)


def _newest(name: str) -> int | None:
    from execution.models import Workflow

    return Workflow.objects.filter(name=name).order_by("-version").values_list("version", flat=True).first()


def _read(asked: str, name: str, number: int) -> Stored:
    from execution.models import Workflow

    row = Workflow.objects.filter(name=name, version=number).first()
    if row is None:
        raise unknown(asked)
    return of(row)


def of(row: Workflow) -> Stored:
    """Return a stored version whole."""
    key = (row.name, row.version)
    if key not in _kept:
        _kept[key] = Stored(row.name, row.version, Definition.model_validate(json.loads(row.definition)))
    return _kept[key]


def forget() -> None:
    """Forget what was read: for tests, which empty the tables."""
    _kept.clear()


def unknown(name: str) -> WorkflowUnknown:
    """Return the error for a workflow that is not there, with the nearest that is."""
    from execution.models import Workflow

    bare, _, version = name.partition("@")
    known_numbers = Workflow.objects.filter(name=bare).order_by("version").values_list("version", flat=True)
    numbers = [str(number) for number in known_numbers] if version else []
    if numbers:
        return WorkflowUnknown(name, hint=f"{bare!r} has the versions {', '.join(numbers)}")
    near = get_close_matches(bare, names(), n=1)
    return WorkflowUnknown(
        name, hint=f"did you mean {near[0]!r}?" if near else "`manage.py workflow load DIR` registers those of a folder"
    )


def names() -> list[str]:
    """Return the names of all workflows, stored or shipped."""
    from execution.models import Workflow

    return sorted({*Workflow.objects.values_list("name", flat=True).distinct(), *_shipped()})


# Registering


def register(source: str | Path | Definition, *, by: str = "") -> Stored:
    """Store a definition, given as one or as the path of its file; raises DefinitionInvalid with all that is wrong."""
    if isinstance(source, Definition):
        return _keep(source, text="", file="", by=by)
    return load([source], by=by)[0]


def load(files: Iterable[str | Path], *, by: str = "") -> list[Stored]:
    """Store the definitions of files, all or none; they may use each other's workflows."""
    paths = list(files)
    alone = [reading.look_at(path) for path in paths]
    mine = {one.definition.name: one.definition for one in alone if one.definition is not None}
    around = known.of_this_process({**_inner(mine.values()), **mine})
    found = [reading.look_at(path, around) for path in paths]
    errors = [error for one in found for error in one.errors]
    if errors:
        raise DefinitionInvalid(errors)
    definitions = [one.definition for one in found if one.definition is not None]
    with transaction.atomic():
        return [
            _keep(definition, text=Path(path).read_text(encoding="utf-8-sig"), file=str(path), by=by, around=around)
            for path, definition in zip(paths, definitions, strict=True)
        ]


def _inner(definitions: Iterable[Definition]) -> dict[str, Definition]:
    """Return the stored workflows that these use as steps, and those that they use in turn."""
    found: dict[str, Definition] = {}
    waiting = [name for one in definitions for name in _used(one)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = find(name).definition
        except WorkflowUnknown:
            continue
        waiting += _used(found[name])
    return found


def _used(definition: Definition) -> list[str]:
    return [step.workflow for step in definition.steps.values() if step.workflow is not None]


@transaction.atomic
def _keep(definition: Definition, *, text: str, file: str, by: str, around: Known | None = None) -> Stored:
    """Store a definition as the next version of its name, unless it is the newest already."""
    from execution.models import Workflow

    _refuse_circles(definition, around or Known(workflows=_inner([definition])))
    ledger.ask_in_transaction("SELECT pg_advisory_xact_lock(hashtextextended(%s, 7005))", [definition.name])
    newest = Workflow.objects.filter(name=definition.name).order_by("-version").first()
    if newest is not None and newest.digest == definition.digest:
        return of(newest)
    row = Workflow.objects.create(
        name=definition.name,
        version=newest.version + 1 if newest else 1,
        digest=definition.digest,
        definition=json.dumps(definition.as_data(), ensure_ascii=False),
        source=text,
        file=file,
        registered_by=by,
    )
    if conf.current().workflow_audit:
        about = {"workflow": row.name, "version": row.version, "digest": row.digest, "by": by}
        events.note("workflow.registered", about)
    return Stored(row.name, row.version, definition)


def _refuse_circles(definition: Definition, around: Known) -> None:
    """Refuse a workflow that would, by way of others, run itself."""
    together = {definition.name: definition} | dict(around.workflows) | {definition.name: definition}
    needs = {name: [used for used in _used(one) if used in together] for name, one in together.items()}
    for path in graph.circles(needs, most=1):
        text = f"workflows run each other in a circle: {' runs '.join(path)}"
        finding = reading.Finding(file=definition.name, line=1, column=1, path="steps", text=text)
        raise DefinitionInvalid([finding])


# The shipped ones


def ship(folder: Path) -> None:
    """Let an app's own definitions be there as the shipped ones are: called once, when the app is ready."""
    if folder not in _folders:
        _folders.append(folder)
        _shipped.cache_clear()


@functools.cache
def _shipped() -> Mapping[str, Path]:
    """Return the files of the workflows that come with the package, by name."""
    return {path.stem: path for folder in _folders for path in sorted(folder.glob("*.yaml"))}


def shipped() -> dict[str, Definition]:
    """Return the workflows that come with the package; no database is asked."""
    return {name: _shipped_definition(name) for name in _shipped()}


@functools.cache
def _shipped_definition(name: str) -> Definition:
    return reading.load(_shipped()[name])


def _register_shipped(name: str) -> None:
    """Register a shipped workflow, unless it is there, or a project has put its own in its place."""
    from execution.models import Workflow

    newest = Workflow.objects.filter(name=name).order_by("-version").values("digest", "registered_by").first()
    definition = _shipped_definition(name)
    if newest is None or (newest["registered_by"] == SHIPPED and newest["digest"] != definition.digest):
        path = _shipped()[name]
        _keep(definition, text=path.read_text(encoding="utf-8"), file=path.name, by=SHIPPED)
