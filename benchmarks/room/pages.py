"""The pages of the room, each opened some times as a person opens it: how long the server takes, and what it asks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from execution.models import Run, Step
from execution.room.parts import gathered

TIMES = 5
NO_PAGE = (302, 404, 405)
"""What answers so leads elsewhere, or wants to be told more."""
OURS = ("execution", "recovery", "graduation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One page: the median and the least of its times, the processor's, and how many statements it sent."""

    name: str
    address: str
    status: int
    milliseconds: float
    fastest: float
    processor: float
    """Milliseconds of this process and of its database session: what does not depend on who else is at work."""
    queries: int


def measure(only: str = "") -> Iterator[Measured]:
    """Open each page, once to warm it up and then some times."""
    client = Client(raise_request_exception=False, headers={"host": "localhost"})
    with connection.cursor() as cursor:
        # What a parallel worker does is not seen in the session's own time; so the session does all of it.
        cursor.execute("SET max_parallel_workers_per_gather = 0")
    client.force_login(User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)[0])
    for name, address in addresses():
        if only in name and client.get(address).status_code not in NO_PAGE:
            yield _measured(client, name, address)


def _measured(client: Client, name: str, address: str) -> Measured:
    times, processor = [], []
    for _ in range(TIMES):
        began, spent = time.perf_counter(), _processor_seconds()
        answer = client.get(address)
        times.append((time.perf_counter() - began) * 1000)
        processor.append((_processor_seconds() - spent) * 1000)
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    return Measured(
        name=name,
        address=address,
        status=answer.status_code,
        milliseconds=statistics.median(times),
        fastest=min(times),
        processor=statistics.median(processor),
        queries=len(queries),
    )


def _processor_seconds() -> float:
    """Return what this process and its database session have used of the processor."""
    connection.ensure_connection()
    session = psutil.Process(connection.connection.info.backend_pid).cpu_times()
    return time.process_time() + session.user + session.system


def addresses() -> Iterator[tuple[str, str]]:
    """Yield the home page, the room's own pages, each list, one page of each model, filters and searches."""
    yield "home", reverse("admin:index")
    for page in gathered("PAGES"):
        if "<" not in page.path:
            yield f"page {page.name}", reverse(f"admin:{page.name}")
    yield from _lists()
    yield from _searches()


def _lists() -> Iterator[tuple[str, str]]:
    for app in OURS:
        for model in apps.get_app_config(app).get_models():
            if model not in admin.site._registry:  # noqa: SLF001 - Django's name
                continue
            place = f"admin:{app}_{model._meta.model_name}"  # noqa: SLF001 - Django's name
            yield f"list of {model._meta.verbose_name_plural}", reverse(f"{place}_changelist")  # noqa: SLF001
            row = model._default_manager.order_by("-pk").first()  # noqa: SLF001
            if row is not None:
                yield f"one {model._meta.verbose_name}", reverse(f"{place}_change", args=[row.pk])  # noqa: SLF001


def _searches() -> Iterator[tuple[str, str]]:
    runs, steps = reverse("admin:execution_run_changelist"), reverse("admin:execution_step_changelist")
    run = Run.objects.order_by("id")[1000]
    for state in ("running", "failed", "parked", "completed"):
        yield f"runs that are {state}", f"{runs}?state__exact={state}"
    for waiting in ("timer", "budget"):
        yield f"steps that wait for {waiting}", f"{steps}?waiting={waiting}"
    yield "steps that are parked", f"{steps}?state=parked"
    yield "runs by agent", f"{runs}?agent={run.agent_id}"
    yield "page 200 of runs", f"{runs}?p=200"
    graph = Step.objects.filter(position=4).order_by("-id").values_list("run_id", flat=True)[0]
    yield "one run of five steps", reverse("admin:execution_run_change", args=[graph])
    for kind, term in (
        ("id", str(run.id)),
        ("beginning of an id", str(run.id)[:13]),
        ("end of an id", str(run.id)[-12:]),
        ("workflow", run.workflow),
        ("key", "order-5000"),
        ("correlation id", "trace-4000"),
        ("tag", "customer-50"),
        ("nothing that is there", "no such thing at all"),
    ):
        yield f"search by {kind}", f"{reverse('admin:search')}?s={term}"
        yield f"runs searched by {kind}", f"{runs}?q={term}"
