"""Loads the example by starting it, and removes what it left. A user's own code could do the same.

Loading twice changes nothing: what is started has a key. Removing cancels what still runs and deletes its rows. What
the ledger refuses to forget stays: the agents' names with their levels, and, until retention, events and verdicts.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from django.db import transaction
from django.db.models import QuerySet

from config.example import skills
from execution import agents, jobs, runs, services, sessions
from execution.exceptions import CeleriacError
from execution.models import Agent, Level, Memory, Run, RunState, Service, Session, Workflow
from execution.workflows import catalog
from graduation import envelopes, objectives
from graduation.models import Envelope, EnvelopeState, Objective
from recovery.models import FailureMatch, FailurePattern, Incident

HERE = Path(__file__).parent
PREFIX = "example"
TAGS = ["example"]
BY = "the example"
LEVELS = {
    "example-scout": Level.ADVISOR,
    "example-editor": Level.ADVISOR,
    "example-buyer": Level.ADVISOR,
    "example-readers": Level.OBSERVER,
}
SERVICES = ("example-press", "example-supplier", "example-archive")
"""In the order in which they can be removed: what needs another goes first."""
EDITIONS = {"morning": ["celery", "weather", "chess"], "evening": ["football", "opera"]}
ORDERS = 8


def is_loaded() -> bool:
    """Tell whether the example was loaded and not removed."""
    return Session.objects.filter(name=skills.SUPPLIER).exists()


def load() -> int:
    """Declare the newspaper and start its work; return how many runs there are. The workers do the rest."""
    with transaction.atomic():
        _hire()
        services.import_([HERE / "services.yaml"], by=BY)
        objectives.import_([HERE / "objectives.yaml"], by=BY)
        catalog.load(sorted((HERE / "workflows").glob("*.yaml")), by=BY)
        sessions.open(skills.SUPPLIER, state={"supplier": "the paper mill"}, ttl="30d", tags=TAGS)
        sessions.open("example/readers", state={"letters": 0}, ttl="7d", tags=TAGS)
        _start()
    _lengthen_retries()
    return _runs().count()


def remove() -> int:
    """Cancel what still runs, and delete what the example wrote; return how many runs went."""
    mine = _runs()
    for run in mine.exclude(state__in=(RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED)):
        runs.cancel(run.id, by=BY, reason="the example is removed")
    for envelope in Envelope.objects.filter(subject__startswith=f"{PREFIX}.", state=EnvelopeState.ACTIVE):
        envelopes.revert(envelope, by=BY, reason="the example is removed")
    with transaction.atomic():
        return _delete(list(mine.values_list("id", flat=True)))


def _runs() -> QuerySet[Run]:
    return Run.objects.filter(agent__name__startswith=f"{PREFIX}-")


def _hire() -> None:
    for name, level in LEVELS.items():
        Agent.objects.get_or_create(name=name, defaults={"level": level})
    agents.set_budget("example-scout", cost=Decimal("25.00"))


def _start() -> None:
    """Start one of everything that a person may meet: each under a key, so that it is started once."""
    for name, topics in EDITIONS.items():
        runs.start(
            "example-edition", {"topics": topics}, agent="example-scout", key=f"example-{name}", tags=[*TAGS, name]
        )
    for number in range(ORDERS):
        runs.start(
            skills.ask_supplier, {"reams": 10 + number}, agent="example-buyer", key=f"example-order-{number}", tags=TAGS
        )
    runs.start(skills.pay_supplier, {"amount": "240.00"}, agent="example-buyer", key="example-payment", tags=TAGS)
    runs.start(skills.translate, {"chapters": 12}, agent="example-editor", key="example-book", budget="0.50", tags=TAGS)
    runs.start(skills.rewrite_archive, {"year": 1931}, agent="example-editor", key="example-1931", tags=TAGS)
    runs.start(skills.watch_the_night, {"hours": 8}, agent="example-scout", key="example-night", tags=TAGS)
    for seed in range(2):
        runs.start(
            skills.review,
            {"count": 150, "seed": seed},
            agent="example-editor",
            key=f"example-review-{seed}",
            session="example/readers",
            tags=TAGS,
        )
    jobs.spawn(
        skills.sort_letter,
        ({"number": number} for number in range(1, 401)),
        parallel=1,
        chunk=20,
        agent="example-scout",
        key="example-letters",
        tags=TAGS,
    )


def _lengthen_retries() -> None:
    """Hold one tunable by an envelope for an hour: retries wait longer while the supplier is away."""
    with suppress(CeleriacError):  # the kill switch is engaged, or the example was loaded before
        envelopes.propose(
            "retries.base",
            2,
            subject="example.ask_supplier",
            importance="reliability",
            timebox="1h",
            bounds=envelopes.Bounds(most=5),
            by=BY,
            reason="the supplier is away",
        )


def _delete(run_ids: list[uuid.UUID]) -> int:
    failures = FailureMatch.objects.filter(run_id__in=run_ids)
    patterns = list(failures.exclude(pattern=None).values_list("pattern_id", flat=True).distinct())
    failures.delete()
    FailurePattern.objects.filter(pk__in=patterns, failures=None).delete()
    incidents = Incident.objects.filter(services__overlap=list(SERVICES))
    Run.objects.filter(pk__in=list(incidents.values_list("run_id", flat=True))).delete()
    incidents.delete()
    Run.objects.filter(pk__in=run_ids).delete()
    Session.objects.filter(name__startswith=f"{PREFIX}/").delete()
    Memory.objects.filter(agent__name__startswith=f"{PREFIX}-").delete()
    Objective.objects.filter(name__startswith=f"{PREFIX}-").delete()
    for name in SERVICES:
        Service.objects.filter(name=name).delete()
    Workflow.objects.filter(name__startswith=f"{PREFIX}-").delete()
    catalog.forget()
    return len(run_ids)
