"""What machines ask over HTTP: is it alive, is it ready, its metrics, and the callbacks that steps wait for."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery import current_app
from django.core.exceptions import RequestDataTooBig
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST, require_safe

from execution import conf, signals
from execution.exceptions import (
    CallbackExpired,
    CallbackInvalid,
    CallbackUsed,
    NotJson,
    RunEnded,
    RunUnknown,
    ValueTooLarge,
)

log = structlog.get_logger(__name__)

MOST_CALLBACK_BYTES = 1024 * 1024
BROKER_SECONDS = 3


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view takes it
    """Answer: this process lives. It asks nobody else, so that a database's trouble restarts no web server."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - a view takes it
    """Answer whether work can be taken: each check with its time, and 503 when one fails."""
    checks = {name: _checked(name, check) for name, check in CHECKS.items()}
    is_ready = all(check["ok"] for check in checks.values())
    return JsonResponse({"ready": is_ready, "checks": checks}, status=200 if is_ready else 503)


def _checked(name: str, check: Callable[[], str]) -> dict[str, Any]:
    """Run one check. What went wrong is named here by its kind alone: the sentence, with its addresses, is logged."""
    began = time.perf_counter()
    try:
        problem = check()
    except Exception as error:  # noqa: BLE001 - whatever fails is the answer
        log.warning("ready.check_failed", check=name, error=str(error).strip())
        problem = f"{type(error).__name__}: see the log"
    found: dict[str, Any] = {"ok": not problem, "milliseconds": round((time.perf_counter() - began) * 1000, 1)}
    return found | ({"problem": problem} if problem else {})


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


def _migrations() -> str:
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(plan)} migrations are not applied: run `manage.py migrate`" if plan else ""


def _broker() -> str:
    with current_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
    return ""


CHECKS: dict[str, Callable[[], str]] = {"database": _database, "migrations": _migrations, "broker": _broker}


@never_cache
@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer the metrics; where `CELERIAC["metrics_token"]` is set, to who knows it."""
    token = conf.current().metrics_token
    given = request.headers.get("Authorization", "")
    if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        refused = HttpResponse("the metrics want a bearer token\n", status=401, content_type="text/plain")
        refused["WWW-Authenticate"] = "Bearer"
        return refused
    from prometheus_client import CONTENT_TYPE_LATEST

    from execution import metrics as figures

    try:
        return HttpResponse(figures.text(), content_type=CONTENT_TYPE_LATEST)
    except DatabaseError as error:
        log.warning("metrics.unavailable", error=str(error).strip())
        return HttpResponse("the ledger is away\n", status=503, content_type="text/plain")


@csrf_exempt
@require_POST
def callback(request: HttpRequest, token: str) -> JsonResponse:
    """Take what was POSTed to a callback address: its signature is the permission."""
    try:
        answer = signals.receive(token, _body(request))
    except CallbackUsed as error:
        return _refused(409, str(error))
    except (CallbackExpired, RunEnded) as error:
        return _refused(410, str(error))
    except (CallbackInvalid, RunUnknown) as error:
        return _refused(404, str(error))
    except (ValueTooLarge, RequestDataTooBig):
        return _refused(413, f"the body is too large: at most {MOST_CALLBACK_BYTES:,} bytes are taken")
    except (NotJson, ValueError, RecursionError, MultiPartParserError) as error:
        return _refused(400, f"the body cannot be read: {error}")
    return JsonResponse({"ok": True, "signal": answer})


def _refused(status: int, reason: str) -> JsonResponse:
    return JsonResponse({"ok": False, "error": reason}, status=status)


def _body(request: HttpRequest) -> Any:
    """Return the body: JSON, or the fields of a form; nothing where it is empty."""
    if int(request.META.get("CONTENT_LENGTH") or 0) > MOST_CALLBACK_BYTES:
        raise RequestDataTooBig
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return {name: values[0] if len(values) == 1 else values for name, values in request.POST.lists()}
    body = request.read(MOST_CALLBACK_BYTES + 1)
    if len(body) > MOST_CALLBACK_BYTES:
        raise RequestDataTooBig
    return json.loads(body) if body.strip() else None
